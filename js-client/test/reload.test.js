import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gateway, TCPSocket } from '../src/index.js';
import { failure } from './support/failure.js';
import { makePage } from './support/page.js';
import { pattern } from './support/random.js';
import { KINDS, NodeWebSocket, setup } from './support/setup.js';
import { until, within } from './support/wait.js';

const BYTES = 200_000;
const FAST = { WebSocket: NodeWebSocket, backoffMinMs: 5, backoffMaxMs: 50, surviveReload: true };

/** Where sessions are put away. @param {string} url */
const key = (url) => `perigee:sessions:${url}`;

/** Reads a socket until there are `count` bytes more, or the end. @param {any} reader @param {number} count */
async function read(reader, count) {
  let bytes = Buffer.alloc(0);
  while (bytes.length < count) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes = Buffer.concat([bytes, typeof value === 'string' ? Buffer.from(value) : value]);
  }
  return bytes;
}

for (const transport of KINDS) {
  test(`${transport}: a socket goes on in the next page, and in the one after that`, async (t) => {
    const { happens, storage } = makePage(t);
    const { gateway, fake } = await setup(t, { transport, surviveReload: true });
    assert.deepEqual(await gateway.restored(), [], 'there was no page before');
    let socket = new TCPSocket('echo', { gateway, label: 'ours' });
    /** Writes until the client takes no more. @param {any} one */
    const fill = (one) => {
      const writer = one.writable.getWriter();
      void (async () => {
        for (;;) {
          const { written } = one.stats;
          if (written === BYTES) return writer.close();
          await writer.write(pattern(1, written, Math.min(BYTES, written + 7000)));
        }
      })().catch(() => {});
    };
    fill(socket);
    let got = await within(read(socket.readable.getReader(), 50_000), 'a part of the echo');
    for (let page = 2; page <= 3; page += 1) {
      await happens('pagehide');
      await until(() => fake.transports.size === 0, 'nothing is left open');
      assert.equal(fake.role.ended, null, 'the session is not ended');
      const next = new Gateway(fake.url, { ...FAST, transport });
      t.after(() => next.close());
      const [restored, ...others] = await within(next.restored(), 'restored');
      assert.ok(restored && others.length === 0);
      assert.equal(storage.has(key(fake.url)), false, 'what was put away is taken out');
      assert.equal(restored.label, 'ours');
      assert.equal(restored.stats.delivered, got.length);
      assert.equal((await within(restored.opened, 'opened')).remoteAddress, 'echo');
      socket = /** @type {any} */ (restored);
      fill(socket);
      got = Buffer.concat([got, await within(read(socket.readable.getReader(), page === 2 ? 60_000 : Infinity), 'more of the echo', 30_000)]);
    }
    assert.ok(got.equals(Buffer.from(pattern(1, 0, BYTES))), 'the echo is the same');
    await within(socket.closed, 'closed');
    assert.equal(fake.roles.size, 1);
  });
}

test('characters and ends survive', async (t) => {
  const { happens } = makePage(t);
  const { gateway, fake } = await setup(t, { surviveReload: true });
  await gateway.restored();
  const half = new TCPSocket('echo', { gateway, encoding: 'utf-8', label: 'half a character' });
  const ended = new TCPSocket('source:10', { gateway, label: 'ended' });
  const finished = new TCPSocket('slow', { gateway, label: 'finished' });
  const closing = new TCPSocket('slow', { gateway, label: 'closing' });
  const cancelled = new TCPSocket('echo', { gateway, label: 'cancelled' });
  assert.ok(new TCPSocket('silent', { gateway, label: 'not open yet' }));
  await half.writable.getWriter().write(Buffer.from('0€😀').subarray(0, 6));
  assert.equal((await within(read(half.readable.getReader(), 4), 'what is whole')).toString(), '0€');
  await until(() => half.stats.delivered === 6, 'a part of a character');
  const endedReader = ended.readable.getReader();
  await read(endedReader, Infinity);
  const writer = finished.writable.getWriter();
  await writer.write('last');
  writer.close().catch(() => {});
  await closing.writable.getWriter().write('bye');
  closing.close().catch(() => {});
  await cancelled.readable.cancel();
  await until(() => fake.role.streams.size === 6 && finished.stats.sent === 4 && closing.stats.sent === 3, 'under way');
  await happens('pagehide');
  // Too late: this page is gone, so neither is it sent nor does it look as if it was.
  await assert.rejects(cancelled.writable.getWriter().write('x'), failure('aborted'));
  assert.deepEqual([finished.stats.finished, cancelled.stats.finished], [true, false]);
  const next = new Gateway(fake.url, FAST);
  t.after(() => next.close());
  const sockets = new Map((await within(next.restored(), 'restored')).map((socket) => [socket.label, socket]));
  assert.deepEqual([...sockets.keys()], ['half a character', 'ended', 'finished', 'cancelled', 'not open yet']);
  const [text, end, fin, quiet] = [...sockets.values()];
  assert.ok(text && end && fin && quiet);
  assert.deepEqual([text, end, fin, quiet].map(({ stats }) => stats.finished), [false, false, true, false]);
  await text.writable.getWriter().write(Buffer.from('0€😀').subarray(6));
  assert.deepEqual(await within(text.readable.getReader().read(), 'the character'), { done: false, value: '😀' });
  assert.deepEqual(await within(end.readable.getReader().read(), 'the end'), { done: true, value: undefined });
  await end.writable.close();
  await within(end.closed, 'closed');
  await assert.rejects(fin.writable.close(), TypeError, 'it is closed already');
  fake.flow();
  await until(() => fin.stats.acked === 4, 'the last words arrived');
  await until(() => fake.role.over.get(4)?.code === 0, 'what was closed before is delivered and ended');
  assert.deepEqual(await within(quiet.readable.getReader().read(), 'cancelled'), { done: true, value: undefined });
  next.close();
});

test('what was closed before all of it was taken is the next page\'s to finish', async (t) => {
  const { happens } = makePage(t);
  const { gateway, fake } = await setup(t, { surviveReload: true, sendBytes: 10_000 });
  await gateway.restored();
  const socket = new TCPSocket('slow', { gateway });
  await within(socket.opened, 'opened');
  const before = socket.writable.getWriter();
  before.write(pattern(2, 0, 15_000)).catch(() => {});
  before.close().catch(() => {});
  await until(() => socket.stats.written === 10_000, 'what there is room for is taken');
  assert.equal(socket.stats.finished, false);
  await happens('pagehide');
  const next = new Gateway(fake.url, FAST);
  t.after(() => next.close());
  const [restored] = await within(next.restored(), 'restored');
  assert.ok(restored);
  assert.deepEqual([restored.stats.written, restored.stats.finished], [10_000, false]);
  fake.flow();
  const writer = restored.writable.getWriter();
  await within(writer.write(pattern(2, 10_000, 15_000)), 'written');
  await within(writer.close(), 'delivered');
  assert.deepEqual([restored.stats.acked, restored.stats.finished], [15_000, true]);
});

test('a session that is lost meanwhile says so on each socket', async (t) => {
  for (const why of ['the gateway forgot it', 'the time is over']) {
    const { happens, storage } = makePage(t);
    const { gateway, fake } = await setup(t, { surviveReload: true });
    await gateway.restored();
    const sockets = [new TCPSocket('sink', { gateway }), new TCPSocket('sink', { gateway })];
    await Promise.all(sockets.map(({ opened }) => within(opened, 'opened')));
    await sockets[0]?.writable.getWriter().write('abc');
    await until(() => sockets[0]?.stats.acked === 3, 'acked');
    await happens('pagehide');
    await until(() => fake.transports.size === 0, 'nothing is left open');
    if (why === 'the gateway forgot it') fake.crash();
    else {
      await fake.stop();
      const text = storage.get(key(fake.url)) ?? '';
      storage.set(key(fake.url), text.replace(/"at":\d+/, `"at":${Date.now() - 3_600_000}`));
    }
    const next = new Gateway(fake.url, FAST);
    t.after(() => next.close());
    /** @type {unknown[]} */
    const lost = [];
    next.on('lost', (event) => lost.push(event));
    const restored = await within(next.restored(), 'restored');
    assert.equal(restored.length, 2);
    for (const { closed, opened } of restored) {
      await assert.rejects(within(closed, why), failure('lost'));
      await opened.catch(() => {});
    }
    assert.equal(await restored[0]?.closed.catch(({ acked }) => acked), 3, 'and how much arrived');
    assert.deepEqual(lost, [{ code: 'lost' }]);
  }
});

test('a page that cannot put anything away ends its session', async (t) => {
  const { happens, storage } = makePage(t);
  storage.set = (key) => {
    throw new Error(`no room for ${key}`);
  };
  const { gateway, fake } = await setup(t, { surviveReload: true });
  await gateway.restored();
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  await happens('pagehide');
  await until(() => fake.role.ended?.code === 0, 'the gateway knows');
  await assert.rejects(socket.closed, failure('aborted'));
});

test('a page that is put aside puts nothing away', async (t) => {
  const { happens, storage } = makePage(t);
  const { gateway, fake } = await setup(t, { surviveReload: true });
  await gateway.restored();
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  await happens('pagehide', true);
  assert.equal(storage.has(key(fake.url)), false);
  await happens('pageshow', true);
  await until(() => gateway.state === 'attached', 'back');
});

test('only one page, of the same gateway, goes on', async (t) => {
  const { happens, storage } = makePage(t);
  const { gateway, fake } = await setup(t, { surviveReload: true });
  await gateway.restored();
  await within(new TCPSocket('sink', { gateway }).opened, 'opened');
  await happens('pagehide');
  assert.equal(storage.has(key(fake.url)), true);
  const others = [new Gateway('http://127.0.0.1:1', FAST), new Gateway(fake.url, { ...FAST, surviveReload: false })];
  for (const other of others) {
    assert.deepEqual(await other.restored(), []);
    other.close();
  }
  const both = [new Gateway(fake.url, FAST), new Gateway(fake.url, FAST)];
  t.after(() => both.forEach((one) => one.close()));
  const [first, second] = await Promise.all(both.map((one) => one.restored()));
  assert.equal(first?.length, 1);
  assert.deepEqual(second, []);
  assert.equal(await both[0]?.restored().then(([again]) => again), first[0], 'asked again it is the same');
});

test('sockets that nobody asks for are closed', async (t) => {
  const { happens } = makePage(t);
  const { gateway, fake } = await setup(t, { surviveReload: true });
  await gateway.restored();
  await within(new TCPSocket('sink', { gateway }).opened, 'opened');
  await happens('pagehide');
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const next = new Gateway(fake.url, FAST);
  t.after(() => next.close());
  await new Promise((resolve) => {
    next.on('state', ({ state }) => state === 'attached' && resolve(undefined));
  });
  assert.equal(fake.role.streams.size, 1);
  const real = performance.now.bind(performance);
  t.mock.method(performance, 'now', () => real() + 11_000);
  t.mock.timers.tick(11_000);
  t.mock.timers.reset();
  await until(() => fake.role.streams.size === 0, 'closed');
  assert.deepEqual(await next.restored(), []);
});

test('what was put away by another version is left alone', async (t) => {
  const { storage } = makePage(t);
  const { gateway, fake } = await setup(t);
  for (const text of ['not JSON', '{"version":999,"list":[{"at":1,"packed":{}}]}', '{}', '[null]', '7', 'null']) {
    storage.set(key(fake.url), text);
    const next = new Gateway(fake.url, FAST);
    t.after(() => next.close());
    assert.deepEqual(await next.restored(), [], text);
    assert.equal(storage.has(key(fake.url)), false, text);
  }
  gateway.close();
});
