import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pattern } from './support/random.js';
import { World } from './support/world.js';

/** @typedef {import('../src/session.js').Kind} Kind */

const SEEDS = Number(process.env.PERIGEE_SEEDS ?? 150);
const FIRST_SEED = Number(process.env.PERIGEE_SEED ?? 1);

/** @type {{ name: string, evil: number, kinds: Kind[], reloads?: boolean }[]} */
const NETWORKS = [
  { name: 'a good network, every transport', evil: 0, kinds: ['websocket', 'stream', 'poll'] },
  { name: 'hostile, websocket', evil: 0.3, kinds: ['websocket'] },
  { name: 'hostile, stream', evil: 0.3, kinds: ['stream'] },
  { name: 'hostile, poll', evil: 0.3, kinds: ['poll'] },
  { name: 'hostile, every transport', evil: 0.3, kinds: ['websocket', 'stream', 'poll'] },
  { name: 'a page that is loaded again and again', evil: 0, kinds: ['websocket', 'stream', 'poll'], reloads: true },
  { name: 'hostile, and a page that is loaded again and again', evil: 0.3, kinds: ['websocket', 'stream', 'poll'], reloads: true },
];

/** One life of a session: streams that carry known bytes both ways, some of them given up. @param {number} seed @param {typeof NETWORKS[0]} network */
function live(seed, { evil, kinds, reloads = false }) {
  const windowBytes = 3000;
  const sendBytes = 5000;
  /** @type {Map<number, { up: number, down: number, abort: boolean, discard: boolean }>} */
  const plans = new Map();
  const world = new World(seed, {
    evil, kinds, windowBytes, sendBytes, roleWindow: 2000,
    onOpen: ({ id }, role) => {
      const plan = /** @type {NonNullable<ReturnType<typeof plans.get>>} */ (plans.get(id));
      world.after(world.random.int(0, 300), () => role.opened(id));
      let written = 0;
      const backend = () => {
        const stream = role.streams.get(id);
        if (stream === undefined) return;
        if (world.random.chance(0.7)) role.deliver(id, stream.delivered + world.random.int(1, 3000));
        if (stream.opened && written < plan.down && stream.out.length - stream.base < 4000) {
          const to = Math.min(plan.down, written + world.random.int(1, 2500));
          role.write(id, pattern(-id, written, to));
          written = to;
        }
        if (stream.opened && written === plan.down) role.finish(id);
        world.after(world.random.int(5, 200), backend);
      };
      backend();
    },
    onData: () => {},
  });
  const { random } = world;
  const streams = Array.from({ length: random.int(1, 4) }, () => {
    const stream = world.session.open('echo');
    plans.set(stream.id, {
      up: random.int(0, 20_000), down: random.int(0, 20_000), abort: random.chance(0.15), discard: random.chance(0.1),
    });
    return { stream, read: Buffer.alloc(0), written: 0, ended: false };
  });
  let abortAt = random.int(0, 20_000);
  for (const app of streams) {
    const plan = /** @type {NonNullable<ReturnType<typeof plans.get>>} */ (plans.get(app.stream.id));
    const turn = () => {
      const { session } = world;
      const { stream } = app;
      if (plan.abort && world.now > abortAt) {
        session.reset(stream, 'aborted', 'gave up');
        return;
      }
      if (plan.discard && app.read.length > plan.down / 2) session.discard(stream, world.now);
      if (random.chance(0.6)) {
        const bytes = session.read(stream, world.now);
        if (bytes) app.read = Buffer.concat([app.read, bytes]);
      }
      if (stream.receive.atEnd && !stream.receive.passed) {
        session.passEnd(stream, world.now);
        app.ended = true;
      }
      if (app.written < plan.up) {
        const to = Math.min(plan.up, app.written + random.int(1, 4000));
        app.written += session.write(stream, pattern(stream.id, app.written, to));
      }
      if (app.written === plan.up) session.finish(stream);
      assert.ok(stream.receive.waiting <= windowBytes, 'more is held than was granted');
      assert.ok(stream.send.written - stream.send.acked <= sendBytes, 'more is held than there is room for');
      assert.ok(stream.send.base <= stream.send.next && stream.send.next <= stream.send.end);
      assert.ok(Math.min(stream.send.next, stream.send.written) <= Math.max(stream.send.limit, stream.send.base));
      const there = world.role?.find(stream.id);
      assert.deepEqual(Buffer.from(pattern(-stream.id, 0, app.read.length)), app.read, 'what was read is not a prefix');
      if (there) {
        assert.deepEqual(Buffer.from(pattern(stream.id, 0, there.received.length)), there.received, 'what arrived is not a prefix');
        assert.ok(stream.send.acked <= there.delivered, 'more was acked to us than was delivered');
        assert.ok(there.base <= stream.receive.ack, 'more was acked by us than was taken');
      }
      if (!stream.over) world.after(random.int(1, 150), turn);
    };
    turn();
  }
  // The network changes under the session.
  const disturb = () => {
    if (world.evil === 0 && evil > 0) return;
    const alive = world.transports.filter((one) => one.alive);
    if (evil > 0 && random.chance(0.5) && alive.length > 0) world.cut(random.pick(alive));
    else if (random.chance(0.5)) world.attach(random.pick(kinds));
    world.after(random.int(50, 4000), disturb);
  };
  world.after(random.int(50, 4000), disturb);
  const reload = () => {
    if (world.now > 25_000) return;
    if (random.chance(0.7) && world.reload()) {
      const { streams: there } = world.session;
      for (const app of streams) app.stream = there.find(({ id }) => id === app.stream.id) ?? app.stream;
    }
    world.after(random.int(20, 3000), reload);
  };
  if (reloads) world.after(random.int(20, 3000), reload);
  world.after(25_000, () => {
    world.evil = 0;
  });
  world.pump();
  world.run(() => world.now > 26_000 && world.session.size === 0 && world.role?.streams.size === 0, 900_000);

  for (const { stream, read, written } of streams) {
    const plan = /** @type {NonNullable<ReturnType<typeof plans.get>>} */ (plans.get(stream.id));
    const there = world.role?.find(stream.id);
    if (plan.abort && stream.over?.code === 'aborted') continue;
    assert.ok(stream.over?.clean, `stream ${stream.id} ended with ${stream.over?.code}: ${stream.over?.text}`);
    assert.equal(written, plan.up);
    assert.equal(there?.received.length, plan.up, 'not everything arrived');
    assert.equal(there?.passed, true, 'the backend was not told of the end');
    assert.equal(stream.over?.acked, plan.up);
    // What is still in the log can be read, and nothing is missing.
    let rest = read;
    for (let bytes = world.session.read(stream, world.now); bytes; bytes = world.session.read(stream, world.now)) rest = Buffer.concat([rest, bytes]);
    if (!plan.discard) assert.deepEqual(rest, Buffer.from(pattern(-stream.id, 0, plan.down)), 'not everything was read');
  }
  return world;
}

for (const network of NETWORKS) {
  test(`${network.name}: all bytes arrive once and in order`, () => {
    const sum = { attaches: 0, cuts: 0, posts: 0, lostReplies: 0, doublePosts: 0, reloads: 0, resent: 0, gaps: 0, repeated: 0 };
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
      try {
        const world = live(seed, network);
        for (const key of /** @type {const} */ (['attaches', 'cuts', 'posts', 'lostReplies', 'doublePosts', 'reloads'])) sum[key] += world.log[key];
        sum.resent += world.log.resent + world.session.stats.resent;
        sum.repeated += world.role?.repeated ?? 0;
      } catch (error) {
        throw new Error(`PERIGEE_SEED=${seed} on "${network.name}"`, { cause: error });
      }
    }
    // A hostile network that did no harm proves nothing.
    if (network.evil > 0) {
      assert.ok(sum.cuts > SEEDS && sum.resent > 0 && sum.repeated > 0, JSON.stringify(sum));
      if (!network.kinds.includes('websocket')) assert.ok(sum.lostReplies > 0 && sum.doublePosts > 0, JSON.stringify(sum));
    }
    if (network.reloads) assert.ok(sum.reloads > 2 * SEEDS, JSON.stringify(sum));
    if (process.env.PERIGEE_VERBOSE) process.stdout.write(`# ${network.name}: ${JSON.stringify(sum)}\n`);
  });
}
