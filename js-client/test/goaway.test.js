/** What a client does when its gateway asks it to go, on every transport: when it comes back, and that it loses nothing by it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PerigeeError } from '../src/index.js';
import { LEGACY } from '../src/session.js';
import { makePage } from './support/page.js';
import { EVERY_RUNG, setupQuiet } from './support/quiet.js';

/** docs/protocol.md section 6. */
const ROTATE = 16;
const GOING_AWAY = 15;

for (const kind of EVERY_RUNG) {
  test(`${kind}: attaches again when it is asked to, and no sooner`, async (t) => {
    if (LEGACY.some((one) => one === kind)) makePage(t);
    const { world, clock, gateway, connect } = setupQuiet(t, kind);
    await connect();
    for (const after of [0, 1, 4000, 20_000]) {
      // A poll is attached to anew with each reply, so what counts is the reply in use when the time has come.
      world.tried = [];
      world.say({ type: 'GOAWAY', after_ms: after, code: ROTATE });
      const since = clock.now;
      await clock.pass(0);
      world.tried = world.tried.filter(({ at }) => at > since || after === 0);
      await clock.pass(after + 1);
      const later = (world.tried[0]?.at ?? Infinity) - since;
      assert.ok(later >= after && later <= after + 1, `${later} ms later, not ${after}`);
      await clock.pass(100);
      assert.equal(gateway.state, 'attached');
    }
    gateway.close();
    await clock.pass(0);
  });

  test(`${kind}: has the time it is given when the gateway stops, and connects anew when it is over`, async (t) => {
    if (LEGACY.some((one) => one === kind)) makePage(t);
    for (const after of [4000, 6000, 8000]) {
      const { world, clock, gateway, connect } = setupQuiet(t, kind);
      const socket = await connect();
      /** @type {number[]} */
      const ended = [];
      const closed = socket.closed.then((error) => {
        assert.ok(error instanceof PerigeeError && error.code === 'going_away', String(error));
        ended.push(clock.now);
      });
      world.say({ type: 'GOAWAY', after_ms: after, code: GOING_AWAY });
      await clock.pass(after - 1);
      assert.deepEqual(ended, [], 'what it has goes on');
      assert.equal(world.sessions, 1, 'and nobody comes before there is a reason to');
      await clock.pass(1);
      const due = clock.now;
      world.say({ type: 'RESET', stream: 0, code: GOING_AWAY, ack: 0, text: '' });
      await clock.pass(1);
      await closed;
      assert.deepEqual(ended, [due], 'it ends when the gateway ends it');
      // Each gateway gives each session a time of its own, so the client adds none.
      world.restart();
      await connect();
      assert.equal(world.sessions, 2);
      gateway.close();
      await clock.pass(0);
    }
  });
}
