/**
 * Gateways that vanish without a word, on every transport, with the times of an ordinary page: docs/protocol.md section 8 and
 * docs/clients.md say how soon the client leaves.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LEGACY } from '../src/session.js';
import { makePage } from './support/page.js';
import { EVERY_RUNG, setupQuiet } from './support/quiet.js';

/** A page that is shown leaves within this: docs/clients.md. */
const SHOWN_MS = 46_000;
/** And every client within this. */
const DEAD_MS = 55_000;

for (const kind of EVERY_RUNG) {
  // What needs a document has a page.
  for (const shown of LEGACY.some((one) => one === kind) ? [true] : [true, false]) {
    test(`${kind}: a gateway that vanishes is left in time ${shown ? 'by a page' : 'without a page'}`, async (t) => {
      if (shown) makePage(t);
      const { world, clock, gateway, connect } = setupQuiet(t, kind);
      /** @type {string[]} */
      const left = [];
      gateway.on('detach', ({ reason }) => left.push(reason));
      await connect();
      // Minutes in which nobody has anything to say are no silence.
      await clock.pass(200_000);
      assert.deepEqual(left, [], 'it was only quiet');
      assert.equal(gateway.state, 'attached');
      world.silent = true;
      world.tried = [];
      const since = clock.now;
      await clock.pass(DEAD_MS + 1);
      // Another one is tried, be it beside the one in use.
      const [next] = world.tried;
      assert.ok(next, 'nothing was done about it');
      const ms = next.at - since;
      assert.equal(next.kind, kind);
      assert.ok(ms <= (shown ? SHOWN_MS : DEAD_MS) + 1, `after ${ms} ms`);
      assert.ok(ms >= 5000, `after ${ms} ms`);
      gateway.close();
      await clock.pass(0);
    });
  }
}
