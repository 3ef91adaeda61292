import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gateway, TCPSocket } from '../src/index.js';
import { failure } from './support/failure.js';
import { pattern } from './support/random.js';
import { KINDS, setup } from './support/setup.js';
import { collect, until, within } from './support/wait.js';

for (const transport of KINDS) {
  test(`${transport}: what is sent comes back, and both ends close`, async (t) => {
    const { gateway } = await setup(t, { transport });
    const socket = new TCPSocket('echo', { gateway });
    const { readable, writable, remoteAddress, remotePort } = await within(socket.opened, 'opened');
    assert.equal(remoteAddress, 'echo');
    assert.equal(remotePort, undefined);
    const writer = writable.getWriter();
    await writer.write('hello ');
    await writer.write(new Uint8Array([119, 111]));
    await writer.write(new Uint8Array([0, 114, 108, 100, 0]).subarray(1, 4));
    await writer.write(new TextEncoder().encode('!').buffer);
    await within(writer.close(), 'the end is delivered');
    assert.equal((await within(collect(readable), 'the echo')).toString(), 'hello world!');
    await within(socket.closed, 'closed');
    assert.deepEqual(socket.stats, { written: 12, sent: 12, acked: 12, received: 12, delivered: 12, finished: true });
    assert.equal(gateway.transport, transport);
    assert.equal(gateway.state, 'attached');
  });

  test(`${transport}: a megabyte each way, through small windows`, async (t) => {
    const { gateway } = await setup(t, { transport, windowBytes: 40_000, sendBytes: 30_000 });
    const socket = new TCPSocket('echo', { gateway });
    const size = 1_000_000;
    const sent = pattern(0, 0, size);
    const writer = socket.writable.getWriter();
    const writing = (async () => {
      await writer.write(sent.subarray(0, 700_001));
      for (let at = 700_001; at < size; at += 9_999) await writer.write(sent.subarray(at, Math.min(size, at + 9_999)));
      await writer.close();
    })();
    const received = await within(collect(socket.readable), 'the echo', 30_000);
    await writing;
    assert.ok(received.equals(sent), 'the bytes are not the same');
    await within(socket.closed, 'closed');
    const { sent: up, received: down, acked, delivered } = gateway.stats;
    assert.deepEqual({ up, down, acked, delivered }, { up: size, down: size, acked: size, delivered: size });
  });

  test(`${transport}: many sockets at once`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const socket = new TCPSocket('echo', { gateway });
      const writer = socket.writable.getWriter();
      await writer.write(pattern(i, 0, 5000 + i));
      await writer.close();
      const received = await within(collect(socket.readable), `echo ${i}`, 20_000);
      assert.ok(received.equals(pattern(i, 0, 5000 + i)));
      await within(socket.closed, `closed ${i}`);
    }));
    await until(() => fake.role.streams.size === 0, 'the gateway forgot them');
  });

  test(`${transport}: a reader that does not read stops the server`, async (t) => {
    const { gateway, fake } = await setup(t, { transport, windowBytes: 20_000 });
    const socket = new TCPSocket('source:100000', { gateway });
    await within(socket.opened, 'opened');
    await until(() => socket.stats.received === 20_000, 'the window is full');
    assert.equal(socket.stats.delivered, 0);
    const reader = socket.readable.getReader();
    const { value } = await reader.read();
    assert.ok(value && value.length > 0);
    assert.equal(socket.stats.delivered, value.length);
    assert.ok(socket.stats.received <= 20_000 + value.length);
    reader.releaseLock();
    const rest = await within(collect(socket.readable), 'the rest');
    assert.ok(Buffer.concat([value, rest]).equals(pattern(0, 0, 100_000)));
    await socket.writable.close();
    await within(socket.closed, 'closed');
    await until(() => fake.role.streams.size === 0, 'the gateway forgot it');
  });

  test(`${transport}: a server that does not read stops the writer`, async (t) => {
    const { gateway, fake } = await setup(t, { transport, sendBytes: 10_000 });
    const socket = new TCPSocket('slow', { gateway });
    await within(socket.opened, 'opened');
    const writer = socket.writable.getWriter();
    let done = false;
    const writing = writer.write(pattern(0, 0, 200_000)).then(() => (done = true));
    await until(() => socket.stats.sent === 10_000, 'all that is held was sent');
    assert.equal(done, false);
    assert.equal(socket.stats.acked, 0);
    fake.flow();
    await within(writing, 'written');
    await within(writer.close(), 'delivered');
    assert.ok(fake.role.find(1)?.received.equals(pattern(0, 0, 200_000)));
    assert.equal(socket.stats.acked, 200_000);
  });

  test(`${transport}: a refused connection`, async (t) => {
    const { gateway } = await setup(t, { transport });
    const socket = new TCPSocket('refused', { gateway });
    await assert.rejects(within(socket.opened, 'refusal'), failure('refused', { acked: 0 }));
    await assert.rejects(socket.closed, failure('refused'));
    await assert.rejects(collect(socket.readable), failure('refused'));
    await assert.rejects(socket.writable.getWriter().write('x'), failure('refused'));
  });

  test(`${transport}: the end of one direction leaves the other open`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    const socket = new TCPSocket('source:10', { gateway });
    assert.equal((await within(collect(socket.readable), 'all of it')).length, 10);
    const writer = socket.writable.getWriter();
    await writer.write('still here');
    await until(() => socket.stats.acked === 10, 'delivered');
    await within(writer.close(), 'the end');
    await within(socket.closed, 'closed');
    assert.equal(fake.role.find(1)?.received.toString(), 'still here');
  });

  test(`${transport}: an abort ends it at the gateway too`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    const controller = new AbortController();
    const socket = new TCPSocket('echo', { gateway, signal: controller.signal });
    await within(socket.opened, 'opened');
    const read = socket.readable.getReader().read();
    controller.abort();
    await assert.rejects(socket.closed, failure('aborted'));
    await assert.rejects(read, failure('aborted'));
    await until(() => fake.role.over.get(1)?.code === 0 || fake.role.over.has(1), 'the gateway knows');
    assert.equal(fake.role.streams.size, 0);
  });

  test(`${transport}: close delivers what was written`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    const socket = new TCPSocket('sink', { gateway });
    const writer = socket.writable.getWriter();
    const writes = Promise.all([writer.write(pattern(0, 0, 50_000)), writer.write('QUIT')]);
    await within(socket.close(), 'closed');
    await writes;
    assert.equal(fake.role.find(1)?.received.length, 50_004);
    assert.equal(fake.role.find(1)?.passed, true);
    await assert.rejects(writer.write('more'), failure('aborted'));
    assert.equal((await collect(socket.readable)).length, 0);
    await until(() => fake.role.streams.size === 0, 'the gateway ended the other direction');
  });
}

test('an abort before and during the connection', async (t) => {
  const { gateway, fake } = await setup(t);
  const before = new TCPSocket('echo', { gateway, signal: AbortSignal.abort() });
  await assert.rejects(before.opened, failure('aborted'));
  await assert.rejects(before.closed, failure('aborted'));
  await assert.rejects(collect(before.readable), failure('aborted'));
  assert.equal(gateway.state, 'idle');
  assert.equal(fake.roles.size, 0);
  const controller = new AbortController();
  const during = new TCPSocket('silent', { gateway, signal: controller.signal });
  await until(() => fake.roles.size === 1 && fake.role.streams.size === 1, 'asked');
  controller.abort();
  await assert.rejects(during.opened, failure('aborted'));
  await assert.rejects(during.closed, failure('aborted'));
  await until(() => fake.role.streams.size === 0, 'the gateway forgot it');
});

test('aborting the writable resets, even while a write waits', async (t) => {
  const { gateway, fake } = await setup(t, { sendBytes: 1000 });
  const socket = new TCPSocket('slow', { gateway });
  await within(socket.opened, 'opened');
  const writer = socket.writable.getWriter();
  const write = writer.write(new Uint8Array(5000));
  await until(() => socket.stats.sent === 1000, 'sent');
  const abort = writer.abort(new Error('enough'));
  await assert.rejects(write, failure('aborted'));
  await within(abort.catch(() => {}), 'aborted');
  await assert.rejects(socket.closed, failure('aborted', { acked: 0 }));
  await until(() => fake.role.streams.size === 0, 'the gateway forgot it');
});

test('cancelling the readable lets the server talk on and ends with the writable', async (t) => {
  const { gateway, fake } = await setup(t, { windowBytes: 5000 });
  const socket = new TCPSocket('source:50000', { gateway });
  await within(socket.opened, 'opened');
  await socket.readable.cancel();
  await until(() => fake.role.streams.get(1)?.base === 50_001, 'everything was taken');
  const writer = socket.writable.getWriter();
  await writer.write('bye');
  await within(writer.close(), 'the end');
  await within(socket.closed, 'closed');

  const endless = new TCPSocket('sink', { gateway });
  await within(endless.opened, 'opened');
  await endless.readable.cancel();
  await within(endless.writable.close(), 'the end');
  await within(endless.closed, 'nobody waits for a server that nobody reads');
  await until(() => fake.role.streams.size === 0, 'the gateway forgot them');
});

test('what was received before the connection broke can be read', async (t) => {
  const { gateway, fake } = await setup(t);
  const socket = new TCPSocket('echo', { gateway });
  const writer = socket.writable.getWriter();
  await writer.write('0123456789');
  await until(() => socket.stats.received === 10, 'the echo');
  fake.update((role) => role.reset(1, 9, 'connection reset by peer'));
  await assert.rejects(socket.closed, failure('reset', { acked: 10 }));
  const reader = socket.readable.getReader();
  assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), '0123456789');
  await assert.rejects(reader.read(), failure('reset', { acked: 10 }));
});

test('text comes as whole characters', async (t) => {
  const { gateway } = await setup(t);
  const socket = new TCPSocket('echo', { gateway, encoding: 'utf-8' });
  const writer = socket.writable.getWriter();
  const reader = socket.readable.getReader();
  const bytes = new TextEncoder().encode('aä🛰');
  /** @type {string[]} */
  const texts = [];
  const reading = (async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      texts.push(value);
    }
  })();
  for (let i = 0; i < bytes.length; i += 1) {
    await writer.write(bytes.subarray(i, i + 1));
    await until(() => socket.stats.delivered === i + 1, `byte ${i}`);
  }
  await writer.write(new Uint8Array([0xc3]));
  await writer.close();
  await within(reading, 'the end');
  assert.deepEqual(texts, ['a', 'ä', '🛰', '\ufffd']);
});

test('a socket by host and port', async (t) => {
  const { gateway, fake } = await setup(t);
  const socket = new TCPSocket('irc.example.org', 6667, { gateway });
  const { remoteAddress, remotePort } = await within(socket.opened, 'opened');
  assert.deepEqual([remoteAddress, remotePort], ['irc.example.org', 6667]);
  const six = new TCPSocket('2001:db8::1', 25, { gateway });
  const opened = await within(six.opened, 'opened');
  assert.deepEqual([opened.remoteAddress, opened.remotePort], ['2001:db8::1', 25]);
  assert.equal(fake.role.find(2)?.target, '[2001:db8::1]:25');
});

test('a socket asks for the service it names', async (t) => {
  const { gateway, fake } = await setup(t);
  for (const service of /** @type {const} */ ([undefined, 'tunnel', 'irc', 'xmpp', 'stomp'])) {
    await within(new TCPSocket('host', { gateway, service }).opened, 'opened');
  }
  assert.deepEqual([1, 2, 3, 4, 5].map((id) => fake.role.find(id)?.service), [0, 0, 1, 2, 3]);
});

test('what cannot be meant is refused at once', async (t) => {
  const { gateway } = await setup(t);
  for (const run of [
    () => new TCPSocket('', { gateway }),
    () => new TCPSocket('x'.repeat(256), { gateway }),
    () => new TCPSocket('host', 0, { gateway }),
    () => new TCPSocket('host', 65_536, { gateway }),
    () => new TCPSocket('host', 1.5, { gateway }),
    () => new TCPSocket('host', /** @type {never} */ ({ gateway, nodelay: true })),
    () => new TCPSocket('host', /** @type {never} */ ({ gateway, encoding: 'latin1' })),
    () => new TCPSocket('host', /** @type {never} */ ({ gateway, service: 'ftp' })),
    () => new TCPSocket('host'),
    () => new Gateway('ftp://example.org'),
    () => new Gateway(gateway.url, /** @type {never} */ ({ transprot: 'poll' })),
    () => new Gateway(gateway.url, /** @type {never} */ ({ transport: 'carrier pigeon' })),
    () => new Gateway(gateway.url, { transports: [] }),
    () => new Gateway(gateway.url, { raceAfterMs: -1 }),
    () => gateway.use(/** @type {never} */ ('smoke')),
  ]) assert.throws(run, TypeError, run.toString());
  const socket = new TCPSocket('echo', { gateway });
  await within(socket.opened, 'opened');
  const writer = socket.writable.getWriter();
  await assert.rejects(writer.write(/** @type {never} */ (42)), TypeError);
  await assert.rejects(socket.closed, failure('aborted'));
});

test('a socket that is closed before it is open', async (t) => {
  const { gateway, fake } = await setup(t);
  const socket = new TCPSocket('silent', { gateway });
  await within(socket.close(), 'closed');
  await assert.rejects(socket.opened, failure('aborted'));
  await within(socket.close(), 'closing twice does no harm');
  const late = new TCPSocket('echo', { gateway });
  await within(late.opened, 'another one');
  gateway.close();
  await assert.rejects(late.closed, failure('aborted'));
  assert.equal(gateway.state, 'closed');
  await assert.rejects(new TCPSocket('echo', { gateway }).opened, failure('aborted'));
  await until(() => fake.role.ended !== null, 'the gateway was told');
});

test('bytes are held by the client, not by the application', async (t) => {
  const { gateway, fake } = await setup(t, { transport: 'websocket' });
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  const writer = socket.writable.getWriter();
  const bytes = pattern(0, 0, 1000);
  await writer.write(bytes);
  bytes.fill(0);
  gateway.cut();
  await within(writer.close(), 'delivered');
  assert.ok(fake.role.find(1)?.received.equals(pattern(0, 0, 1000)));
});
