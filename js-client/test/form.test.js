import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configure } from '../src/options.js';
import { Timers } from '../src/timers.js';
import { Uplink } from '../src/transports/http.js';

/** As much of a document as forms need: none of them is ever answered. @param {import('node:test').TestContext} t */
function makeSilentDocument(t) {
  const seen = { submitted: 0, frames: 0 };
  const element = () => ({ style: {}, append() {}, remove() {}, submit: () => (seen.submitted += 1), contentWindow: {} });
  const body = { append() {} };
  const createElement = (/** @type {string} */ name) => {
    seen.frames += Number(name === 'iframe');
    return Object.assign(element(), name === 'iframe' && { remove: () => (seen.frames -= 1) });
  };
  Object.assign(globalThis, { document: { body, createElement }, addEventListener() {}, removeEventListener() {} });
  t.after(() => {
    for (const name of ['document', 'addEventListener', 'removeEventListener']) Reflect.deleteProperty(globalThis, name);
  });
  return seen;
}

test('a form without an answer has failed after 10 seconds, and leaves nothing in the page', async (t) => {
  const seen = makeSilentDocument(t);
  let failed = 0;
  const session = /** @type {any} */ ({
    sid: 's', token: new Uint8Array(32), uplink: { epoch: 1, down: 'htmlfile' },
    pollTransmit: () => new Uint8Array(8),
    upFailed: () => (failed += 1),
  });
  const timers = new Timers(() => {});
  /** @type {unknown[]} */
  const done = [];
  const uplink = new Uplink(configure('https://gateway.example', {}), session, timers, (failure) => done.push(failure));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  uplink.pump();
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  while (seen.submitted === 0) await turn();
  assert.equal(seen.frames, 1);
  t.mock.timers.tick(9_999);
  await turn();
  assert.deepEqual([failed, done.length], [0, 0]);
  t.mock.timers.tick(1);
  while (done.length === 0) await turn();
  assert.deepEqual([failed, seen.frames], [1, 0]);
  assert.ok(timers.has('up'), 'it is sent again after a pause');
  uplink.abort();
  t.mock.timers.reset();
});
