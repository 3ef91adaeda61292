import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TCPSocket } from '../src/index.js';
import { Ladder } from '../src/ladder.js';
import { recall } from '../src/memory.js';
import { configure } from '../src/options.js';
import { moved, remember } from '../src/remember.js';
import { makePage } from './support/page.js';
import { pattern } from './support/random.js';
import { KINDS, setup } from './support/setup.js';
import { makeStorage } from './support/storage.js';
import { collect, until, within } from './support/wait.js';

/** A wall clock that can be moved. @param {import('node:test').TestContext} t */
function makeClock(t) {
  const { now } = Date;
  let ahead = 0;
  Date.now = () => now.call(Date) + ahead;
  t.after(() => {
    Date.now = now;
  });
  return {
    /** @param {number} ms */
    sleep(ms) {
      ahead += ms;
    },
  };
}

test('a stream that is held back on its way is left for a poll', async (t) => {
  const { gateway, fake, events } = await setup(t, { transports: ['stream', 'poll'], probeMs: 20, stepUpAfterMs: 30 }, (one) => {
    one.holdStreams = true;
  });
  const { happens } = makePage(t);
  const socket = new TCPSocket('echo', { gateway });
  const writer = socket.writable.getWriter();
  await writer.write(pattern(1, 0, 50_000));
  await until(() => gateway.transport === 'poll', 'down');
  assert.ok(events.some(({ name, reason }) => name === 'detach' && reason === 'held back'));
  const more = new TCPSocket('source:20000', { gateway });
  assert.ok((await within(collect(more.readable), 'the rest')).equals(pattern(0, 0, 20_000)));
  assert.equal(fake.requests.stream, 1, 'it is not tried again on this network');
  fake.holdStreams = false;
  await happens('online');
  await until(() => gateway.transport === 'stream', 'up again on another one');
  await writer.close();
  assert.ok((await within(collect(socket.readable), 'the echo')).equals(pattern(1, 0, 50_000)), 'nothing is lost');
});

test('a stream of which only the end is held back is left for a poll', async (t) => {
  const { gateway, fake, events } = await setup(t, { transports: ['stream', 'poll'], probeMs: 500 });
  gateway.on('transport', () => {
    fake.streamPieces = 8192;
  });
  const socket = new TCPSocket('echo', { gateway });
  await until(() => fake.roles.size === 1 && fake.role.heard.some((frame) => frame.type === 'PING' && frame.t > 0), 'asked');
  // The beginning of the echo comes after that, and is no answer.
  const writer = socket.writable.getWriter();
  await writer.write(pattern(1, 0, 20_000));
  await writer.close();
  assert.ok((await within(collect(socket.readable), 'the echo')).equals(pattern(1, 0, 20_000)));
  assert.ok(events.some(({ name, reason }) => name === 'detach' && reason === 'held back'));
  assert.equal(fake.requests.stream, 1);
});

test('a stream that moves is left alone', async (t) => {
  const { gateway, fake, events } = await setup(t, { transports: ['stream', 'poll'], probeMs: 500 });
  const { sleep } = makeClock(t);
  const socket = new TCPSocket('sink', { gateway });
  const writer = socket.writable.getWriter();
  const asked = () => fake.role.heard.filter(({ type }) => type === 'PING').length;
  await within(socket.opened, 'opened');
  await until(asked, 'asked');
  // While POSTs are answered it is asked again, but not before the first answer was judged.
  const before = asked();
  for (let sent = 1; asked() === before; sent += 1) {
    sleep(31_000);
    await writer.write('x');
    await until(() => socket.stats.acked === sent, 'answered');
  }
  assert.ok(!events.some(({ name }) => name === 'detach'));
  assert.equal(gateway.transport, 'stream');
});

for (const transport of KINDS) {
  test(`${transport}: a computer that slept looks at its transport at once`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    const { happens } = makePage(t);
    const { sleep } = makeClock(t);
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    const asked = () => fake.role.heard.filter(({ type }) => type === 'PING').length + fake.role.helloes;
    await happens('visibilitychange');
    await socket.writable.getWriter().write('x');
    await until(() => socket.stats.acked === 1, 'awake');
    const before = asked();
    sleep(60_000);
    await happens('visibilitychange');
    await until(() => asked() > before, 'asked');
    assert.equal(gateway.state, 'attached');
  });
}

test('a WebSocket that died while the computer slept is left soon', async (t) => {
  const { gateway, fake, events } = await setup(t, { transport: 'websocket', probeMs: 30 });
  const { happens } = makePage(t);
  const { sleep } = makeClock(t);
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  const { downlink } = fake;
  assert.ok(downlink);
  fake.transports.delete(downlink);
  sleep(100_000);
  await happens('resume');
  await until(() => gateway.stats.resumes === 1, 'another one');
  assert.ok(events.some(({ name, reason }) => name === 'detach' && reason === 'silence'));
});

test('a network of another kind is another network', async (t) => {
  const { gateway, fake } = await setup(t, { transport: 'poll' });
  const { happens, navigator: { connection } } = makePage(t);
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  await happens('visibilitychange');
  const { helloes } = fake.role;
  connection.dispatchEvent(new Event('change'));
  connection.type = 'cellular';
  connection.dispatchEvent(new Event('change'));
  await until(() => fake.role.helloes > helloes, 'attached anew');
});

test('without a network no transport has failed', (t) => {
  const { navigator } = makePage(t);
  const ladder = new Ladder(configure('http://localhost', { transports: ['stream', 'poll'] }));
  navigator.onLine = false;
  for (let i = 0; i < 9; i += 1) ladder.failed('stream');
  assert.equal(ladder.next(), 'stream');
  navigator.onLine = true;
  ladder.failed('stream');
  assert.equal(ladder.next(), 'poll');
});

test('what a network is remembered for', (t) => {
  const { navigator: { connection } } = makePage(t);
  const { sleep } = makeClock(t);
  const storage = makeStorage();
  const config = configure('http://localhost', { storage, transports: ['stream', 'poll'] });
  assert.equal(recall(config), null);
  connection.type = 'wifi';
  remember(config, 'poll');
  assert.equal(recall(config), 'poll');
  connection.type = 'cellular';
  assert.equal(recall(config), null, 'another network');
  connection.type = 'wifi';
  moved(config);
  assert.equal(recall(config), 'poll', 'networks that can be told apart keep what is known of them');
  sleep(20 * 3_600_000);
  remember(config, 'poll');
  assert.equal(recall(config), 'poll');
  sleep(5 * 3_600_000);
  assert.equal(recall(config), null, 'a day after it began');
  for (let i = 0; i < 9; i += 1) {
    connection.type = `n${i}`;
    remember(config, 'poll');
  }
  connection.type = 'n0';
  assert.equal(recall(config), null, 'the oldest of nine is forgotten');
  connection.type = 'n1';
  assert.equal(recall(config), 'poll');
  assert.equal(recall({ ...config, transports: ['stream'] }), null, 'what cannot be used');
  for (const text of ['poll', 'null', '7', '{"n1/undefined":3}']) {
    storage.setItem('perigee:http://localhost', text);
    assert.equal(recall(config), null, text);
    remember(config, 'stream');
    assert.equal(recall(config), 'stream', text);
  }
  Reflect.deleteProperty(navigator, 'connection');
  assert.equal(recall(config), null);
  remember(config, 'poll');
  assert.equal(recall(config), 'poll');
  moved(config);
  assert.equal(recall(config), null, 'where networks look alike, another one starts from the top');
});
