// The transfer test of the console page: it must pass a true echo and catch every kind of wrong one.
import assert from 'node:assert/strict';
import test from 'node:test';

import { transfer } from '../../crates/gateway/src/demo/pages/transfer.js';

const TOTAL = 300_001;

/** Runs the test against an echo whose chunks pass through `change`. */
function run(change) {
  let index = 0;
  const echo = new TransformStream({
    transform(chunk, controller) {
      for (const out of change(chunk, index)) controller.enqueue(out);
      index += 1;
    },
  });
  return transfer(echo.readable, echo.writable, TOTAL, Infinity, () => {});
}

test('a true echo passes, and both hashes are equal', async () => {
  const result = await run((chunk) => [chunk.subarray(0, 7), chunk.subarray(7)]);
  assert.deepEqual([result.sent, result.received, result.mismatches], [TOTAL, TOTAL, 0]);
  assert.match(result.sentHash, /^[\da-f]{64}$/);
  assert.equal(result.receivedHash, result.sentHash);
});

test('lost, repeated, swapped and changed bytes are caught', async () => {
  let held;
  const echoes = {
    'one byte changed': (chunk, i) => [i === 2 ? chunk.map((byte, at) => (at === 5 ? byte ^ 1 : byte)) : chunk],
    'one chunk lost': (chunk, i) => (i === 2 ? [] : [chunk]),
    'one byte lost at the end': (chunk) => [chunk.length < 65536 ? chunk.subarray(0, -1) : chunk],
    'one chunk twice': (chunk, i) => (i === 1 ? [chunk, chunk] : [chunk]),
    'one byte too many': (chunk) => (chunk.length < 65536 ? [chunk, Uint8Array.of(1)] : [chunk]),
    'two chunks swapped': (chunk, i) => (i === 1 ? ((held = chunk), []) : i === 2 ? [chunk, held] : [chunk]),
  };
  for (const [name, change] of Object.entries(echoes)) {
    const result = await run(change);
    assert.ok(result.mismatches > 0, name);
  }
});

test('an end with an error is told, not counted as an end', async () => {
  await assert.rejects(run(() => { throw new RangeError('cut'); }), RangeError);
});
