import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Keeper } from '../src/clients/keeper.js';
import { Clock } from './support/clock.js';

const PATIENCE = { minMs: 100, maxMs: 1000, attempts: Infinity };
const LATE_MS = 5000;

/** A client that writes down what it is asked for, and a keeper of it. @param {Partial<typeof PATIENCE>} [patience] */
function setup(patience) {
  /** @type {string[]} */
  const log = [];
  const kept = {
    open: () => void log.push('open'),
    /** As a connection that is given up says so at once. */
    drop: () => {
      log.push('drop');
      keeper.down(new Error('dropped'));
    },
    leave: () => void log.push('leave'),
    changed: (/** @type {string} */ state) => void log.push(state),
    failed: (/** @type {Error} */ error) => void log.push(`failed: ${error.message}`),
    isFinal: (/** @type {Error} */ error) => error.message === 'final',
    error: (/** @type {string} */ code) => new Error(code),
  };
  const keeper = new Keeper(kept, { ...PATIENCE, ...patience }, LATE_MS);
  /** What has happened since it was asked last. */
  const happened = () => log.splice(0).join(', ');
  /** How a promise ended goes into the log. @param {string} name @param {Promise<void>} promise */
  const watch = (name, promise) => void promise.then(() => log.push(`${name}: done`), (error) => log.push(`${name}: ${error.message}`));
  return { keeper, kept, log, happened, watch };
}

test('what is asked for is told once, and what is lost comes back', async (t) => {
  const clock = new Clock(t);
  const { keeper, happened, watch } = setup();
  watch('connect', keeper.connect());
  watch('again', keeper.connect());
  assert.equal(happened(), 'connecting, open');
  keeper.up();
  await clock.pass(0);
  assert.equal(happened(), 'connected, connect: done, again: done');
  keeper.down(new Error('lost'));
  assert.equal(happened(), 'waiting, failed: lost');
  await clock.pass(PATIENCE.minMs);
  assert.equal(happened(), 'connecting, open');
  watch('close', keeper.close());
  await clock.pass(0);
  assert.equal(happened(), 'drop, idle, close: done');
  await clock.pass(1e6);
  assert.equal(happened(), '');
});

test('who asked is told what went wrong, and nothing is tried again by itself', async (t) => {
  const clock = new Clock(t);
  for (const [name, end, told] of /** @type {[string, (keeper: Keeper) => unknown, string][]} */ ([
    ['refused', (keeper) => keeper.down(new Error('refused')), 'idle, connect: refused'],
    ['no answer', () => clock.pass(LATE_MS), 'drop, idle, connect: timeout'],
    ['closed', (keeper) => keeper.close(), 'drop, idle, connect: closed'],
  ])) {
    const { keeper, happened, watch } = setup();
    watch('connect', keeper.connect());
    happened();
    void end(keeper);
    await clock.pass(LATE_MS);
    assert.equal(happened(), told, name);
    await clock.pass(1e6);
    assert.equal(happened(), '', name);
  }
});

test('a client that cannot begin to connect says why', async (t) => {
  const clock = new Clock(t);
  const { keeper, kept, happened, watch } = setup();
  kept.open = () => {
    throw new Error('no way');
  };
  watch('connect', keeper.connect());
  await clock.pass(0);
  assert.equal(happened(), 'connecting, idle, connect: no way');
});

test('what is final, or was tried often enough, is told as an event and is the end', async (t) => {
  const clock = new Clock(t);
  const { keeper, happened } = setup({ attempts: 2 });
  void keeper.connect();
  keeper.up();
  for (const lost of ['one', 'two']) {
    keeper.down(new Error(lost));
    await clock.pass(PATIENCE.maxMs);
  }
  happened();
  keeper.down(new Error('three'));
  assert.equal(happened(), 'idle, failed: three');
  void keeper.connect();
  keeper.up();
  happened();
  keeper.down(new Error('final'));
  await clock.pass(1e6);
  assert.equal(happened(), 'idle, failed: final');
});

test('who held for long has not failed', async (t) => {
  const clock = new Clock(t);
  const { keeper, happened } = setup({ attempts: 1 });
  void keeper.connect();
  for (let i = 0; i < 5; i += 1) {
    keeper.up();
    await clock.pass(PATIENCE.maxMs);
    happened();
    keeper.down(new Error('lost'));
    assert.equal(happened(), 'waiting, failed: lost');
    await clock.pass(PATIENCE.minMs);
  }
});

test('a goodbye waits for the server, but not for long', async (t) => {
  const clock = new Clock(t);
  for (const answers of [true, false]) {
    const { keeper, happened, watch } = setup();
    void keeper.connect();
    keeper.up();
    happened();
    watch('close', keeper.close());
    watch('again', keeper.close());
    watch('connect', keeper.connect());
    await clock.pass(4999);
    assert.equal(happened(), 'leave, connect: closed');
    if (answers) keeper.down(new Error('ended'));
    await clock.pass(1);
    assert.equal(happened(), answers ? 'idle, close: done, again: done' : 'drop, idle, close: done, again: done');
  }
});

test('a listener of the state may close it, or connect at once', async (t) => {
  const clock = new Clock(t);
  for (const [when, what, then] of /** @type {const} */ ([
    ['connecting', 'close', 'connecting, idle, close: done, connect: closed'],
    ['connecting', 'connect', 'connecting, open, drop, idle, connect: timeout, connect: timeout'],
    ['waiting', 'close', 'connecting, open, connected, waiting, idle, failed: lost, connect: done, close: done'],
    ['waiting', 'connect', 'connecting, open, connected, waiting, connecting, open, failed: lost, connect: done, drop, idle, connect: timeout'],
  ])) {
    const { keeper, kept, log, happened, watch } = setup();
    let heard = false;
    kept.changed = (state) => {
      log.push(state);
      if (state === when && !heard) {
        heard = true;
        watch(what, keeper[what]());
      }
    };
    watch('connect', keeper.connect());
    if (when === 'waiting') {
      keeper.up();
      keeper.down(new Error('lost'));
    }
    await clock.pass(1e6);
    assert.equal(happened(), then, `${what} when ${when}`);
  }
});
