import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stepUpDelay } from '../src/health.js';
import { KINDS, backoff, better, next } from '../src/ladder.js';

/** @typedef {import('../src/session.js').Kind} Kind */

test('which transport is next', () => {
  /** @type {{ name: string, list?: readonly Kind[], failures?: import('../src/ladder.js').Failures, worked?: Kind, busy?: Kind[], want: Kind | null }[]} */
  const cases = [
    { name: 'the first at first', want: 'websocket' },
    { name: 'the order is that of the list', list: ['poll', 'websocket'], want: 'poll' },
    { name: 'down after a failure', failures: { websocket: 1 }, want: 'webtransport' },
    { name: 'down again', failures: { websocket: 1, webtransport: 1 }, want: 'stream' },
    { name: 'and again', failures: { websocket: 1, webtransport: 1, stream: 1 }, want: 'sse' },
    { name: 'and once more', failures: { websocket: 1, webtransport: 1, stream: 1, sse: 1 }, want: 'poll' },
    { name: 'from the top when all failed alike', failures: { websocket: 1, webtransport: 1, stream: 1, sse: 1, poll: 1 }, want: 'websocket' },
    { name: 'and down again', failures: { websocket: 2, webtransport: 1, stream: 1, sse: 1, poll: 1 }, want: 'webtransport' },
    { name: 'what worked last comes first', worked: 'poll', want: 'poll' },
    { name: 'what worked is forgiven one failure', worked: 'stream', failures: { stream: 1, websocket: 1, webtransport: 1 }, want: 'stream' },
    { name: 'but not two, when something else did not fail', worked: 'stream', failures: { stream: 2, websocket: 1, webtransport: 1 }, want: 'sse' },
    { name: 'among equals what worked', worked: 'poll', failures: { websocket: 1, webtransport: 1, stream: 1, sse: 1, poll: 2 }, want: 'poll' },
    { name: 'what worked but is not in the list does not count', list: ['stream', 'poll'], worked: 'websocket', want: 'stream' },
    { name: 'a race takes the next rung', busy: ['websocket'], want: 'webtransport' },
    { name: 'and the one after', busy: ['websocket', 'webtransport', 'stream', 'sse'], want: 'poll' },
    { name: 'until there is none', busy: ['websocket', 'webtransport', 'stream', 'sse', 'poll'], want: null },
    { name: 'one rung is all there is', list: ['poll'], failures: { poll: 7 }, want: 'poll' },
    { name: 'nothing from nothing', list: [], want: null },
  ];
  for (const { name, list = KINDS, failures = {}, worked = null, busy = [], want } of cases) {
    assert.equal(next(list, failures, worked, busy), want, name);
  }
});

test('which transport is better', () => {
  /** @type {{ current: Kind, failures?: import('../src/ladder.js').Failures, list?: readonly Kind[], want: Kind | null }[]} */
  const cases = [
    { current: 'websocket', want: null },
    { current: 'stream', want: 'websocket' },
    { current: 'stream', failures: { websocket: 9, webtransport: 10 }, want: 'websocket' },
    { current: 'poll', want: 'websocket' },
    { current: 'poll', failures: { websocket: 1, webtransport: 1 }, want: 'stream' },
    { current: 'poll', failures: { websocket: 1, webtransport: 1, stream: 1 }, want: 'sse' },
    { current: 'poll', failures: { websocket: 1, webtransport: 1, stream: 1, sse: 1 }, want: 'websocket' },
    { current: 'websocket', list: ['stream', 'poll'], want: null },
  ];
  for (const { current, failures = {}, list = KINDS, want } of cases) {
    assert.equal(better(list, failures, current), want, `${current} ${JSON.stringify(failures)}`);
  }
});

test('how long to wait', () => {
  assert.deepEqual([0, 1, 2, 20].map((inVain) => stepUpDelay(300_000, inVain)), [300_000, 600_000, 1_200_000, 3_600_000]);
  assert.equal(stepUpDelay(7_200_000, 3), 7_200_000);
  const bounds = { backoffMinMs: 500, backoffMaxMs: 30_000 };
  assert.deepEqual([0, 1, 5, 6, 1000].map((failures) => backoff(failures, bounds, 0.5)), [250, 500, 8000, 15_000, 15_000]);
  assert.equal(backoff(9, bounds, 0), 0);
});
