import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stepUpDelay } from '../src/health.js';
import { KINDS, Ladder, backoff, better, next } from '../src/ladder.js';
import { configure } from '../src/options.js';
import { LEGACY } from '../src/session.js';
import { Random } from './support/random.js';

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

/** Every rung there is, in the order of the contract. @type {readonly Kind[]} */
const SEVEN = ['websocket', 'webtransport', 'stream', 'sse', 'poll', 'htmlfile', 'jsonp'];

/** The rungs with one failure each. @param {readonly Kind[]} kinds */
const once = (kinds) => Object.fromEntries(kinds.map((kind) => [kind, 1]));

test('seven rungs', () => {
  assert.deepEqual([...KINDS, ...LEGACY], SEVEN);
  for (const [at, kind] of SEVEN.entries()) {
    const above = SEVEN.slice(0, at);
    const below = SEVEN.slice(at + 1);
    assert.equal(next(SEVEN, once(above), null), kind, `${kind} is next when all above it failed`);
    assert.equal(next(SEVEN, {}, null, above), kind, `${kind} is next when all above it are being tried`);
    assert.equal(next(SEVEN, once([...above, ...below]), null), kind, `${kind} is next when all others failed`);
    assert.equal(next(SEVEN, {}, kind), kind, `${kind} is first where it worked`);
    assert.equal(next(SEVEN, { [kind]: 1 }, kind), kind, `${kind} is forgiven one failure where it worked`);
    assert.equal(next(SEVEN, { [kind]: 2 }, kind), SEVEN.find((one) => one !== kind), `${kind} is not forgiven two`);
    assert.equal(next(SEVEN, { ...once(SEVEN), [kind]: 0 }, null), kind, `${kind} is next when it alone did not fail`);
    assert.equal(next([...SEVEN].reverse(), once(below), null), kind, `${kind} is next in the other order, too`);
    assert.equal(next([kind], { [kind]: 5 }, null), kind, `${kind} is next where there is nothing else`);
    assert.equal(next(SEVEN, {}, null, SEVEN.filter((one) => one !== kind)), kind, `${kind} is the last to compete`);
    assert.equal(better(SEVEN, {}, kind), above[0] ?? null, `the first is better than ${kind}`);
    assert.equal(better(SEVEN, once(above.slice(0, -1)), kind), above.at(-1) ?? null, `what is just above ${kind} is better when the others failed`);
    assert.equal(better(SEVEN, once(below), kind), above[0] ?? null, `what is below ${kind} does not count`);
  }
  assert.equal(next(SEVEN, {}, null, SEVEN), null);
  // Down all the way and around again, whatever worked once.
  for (const worked of [null, ...SEVEN]) {
    /** @type {Partial<Record<Kind, number>>} */
    const failures = {};
    /** @type {(Kind | null)[]} */
    const tried = [];
    for (let i = 0; i < 2 * SEVEN.length; i += 1) {
      const kind = next(SEVEN, failures, worked);
      tried.push(kind);
      if (kind !== null) failures[kind] = (failures[kind] ?? 0) + 1;
    }
    assert.deepEqual([...new Set(tried)].sort(), [...SEVEN].sort(), `each had its turn where ${worked} worked`);
  }
});

/** @param {Kind[]} transports */
function ladderOf(...transports) {
  const { WebSocket, WebTransport } = /** @type {any} */ ({ WebSocket: class {}, WebTransport: class {} });
  return new Ladder(configure('http://localhost', { transports, WebSocket, WebTransport, storage: null }));
}

test('what does not exist is not what is left', () => {
  /** What is tried from now on, each failing. @param {Ladder} ladder */
  const rounds = (ladder) => Array.from({ length: 4 }, () => {
    const kind = ladder.next();
    if (kind !== null) ladder.failed(kind);
    return kind;
  });
  const gone = ladderOf('websocket', 'webtransport', 'stream');
  gone.leave('webtransport');
  assert.deepEqual(rounds(gone), ['websocket', 'stream', 'websocket', 'stream']);
  for (const order of [['webtransport', 'stream'], ['stream', 'webtransport']]) {
    const ladder = ladderOf('webtransport', 'stream');
    for (const kind of order) {
      if (kind === 'stream') ladder.holdBack(kind);
      else ladder.leave('webtransport');
    }
    assert.deepEqual(new Set(rounds(ladder)), new Set(['stream']), `${order[0]} left first`);
  }
  const late = ladderOf('webtransport', 'stream', 'poll');
  late.holdBack('stream');
  late.holdBack('poll');
  assert.deepEqual(new Set(rounds(late)), new Set(['webtransport']));
  late.leave('webtransport');
  assert.deepEqual(rounds(late), ['stream', 'poll', 'stream', 'poll']);
  // Somebody asked for nothing else, and is told when it is over.
  const only = ladderOf('webtransport');
  only.leave('webtransport');
  assert.equal(only.next(), 'webtransport');
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

test('clients that were cut off together do not come back together', () => {
  const bounds = { backoffMinMs: 500, backoffMaxMs: 30_000 };
  const random = new Random(1);
  for (const [failures, most] of /** @type {const} */ ([[0, 500], [1, 1000], [2, 2000], [3, 4000], [4, 8000], [5, 16_000], [6, 30_000], [7, 30_000], [100, 30_000]])) {
    // Full jitter: of thousands each part of the time up to the bound gets its share, the first and the last one too.
    const parts = new Array(10).fill(0);
    for (let i = 0; i < 5000; i += 1) {
      const wait = backoff(failures, bounds, random.next());
      assert.ok(wait >= 0 && wait < most, `${wait} ms after ${failures} failures`);
      parts[Math.floor(wait / most * 10)] += 1;
    }
    assert.ok(parts.every((count) => count > 400 && count < 600), `after ${failures} failures: ${parts.join(' ')}`);
  }
});
