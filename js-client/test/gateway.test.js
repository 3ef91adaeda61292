import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { Gateway, TCPSocket } from '../src/index.js';
import { failure } from './support/failure.js';
import { pattern } from './support/random.js';
import { EVERY_KIND, KINDS, NodeWebSocket, setup } from './support/setup.js';
import { makeStorage } from './support/storage.js';
import { collect, until, within } from './support/wait.js';

/**
 * An echo of `size` bytes; `disturb` is called each time a part of it came back.
 * @param {Gateway} gateway
 * @param {number} size
 * @param {(received: number) => void} [disturb]
 */
async function echo(gateway, size, disturb = () => {}) {
  const socket = new TCPSocket('echo', { gateway });
  const sent = pattern(3, 0, size);
  const writer = socket.writable.getWriter();
  const writing = (async () => {
    for (let at = 0; at < size; at += 7000) await writer.write(sent.subarray(at, Math.min(size, at + 7000)));
    await writer.close();
  })();
  let received = Buffer.alloc(0);
  const reading = (async () => {
    for await (const chunk of socket.readable) {
      received = Buffer.concat([received, chunk]);
      disturb(received.length);
    }
  })();
  await within(Promise.all([writing, reading]), `the echo (${received.length} of ${size})`, 30_000);
  assert.ok(received.equals(sent), 'the bytes are not the same');
  await within(socket.closed, 'closed');
}

for (const transport of EVERY_KIND) {
  test(`${transport}: cuts on our side lose nothing`, async (t) => {
    const { gateway, events } = await setup(t, { transport });
    let next = 20_000;
    await echo(gateway, 200_000, (received) => {
      if (received < next) return;
      next += 40_000;
      gateway.cut();
    });
    const count = (/** @type {string} */ wanted) => events.filter(({ name }) => name === wanted).length;
    await until(() => count('resume') === count('detach'), 'recovered from the last cut');
    assert.ok(count('resume') >= 2, `${count('resume')} resumes`);
    assert.equal(gateway.stats.resumes, count('resume'));
    assert.equal(gateway.transport, transport);
  });

  test(`${transport}: cuts on the other side lose nothing`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport });
    let next = 20_000;
    await echo(gateway, 200_000, (received) => {
      if (received < next) return;
      next = received + 60_000;
      fake.breakNext += 1;
    });
    assert.ok(events.some(({ name }) => name === 'resume'));
    await until(() => fake.role.over.get(1)?.code === 0, 'the gateway saw a clean end');
  });

  test(`${transport}: a silent transport is found dead`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport }, (one) => {
      one.heartbeatMs = 40;
    });
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    await until(() => gateway.stats.resumes >= 2, 'came back');
    assert.ok(events.some(({ name, reason }) => name === 'detach' && reason === 'silence'));
    assert.equal(fake.role.streams.size, 1);
  });

  test(`${transport}: a crash of the gateway ends all sockets, and the next one starts anew`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport });
    const sockets = [new TCPSocket('echo', { gateway }), new TCPSocket('sink', { gateway })];
    await Promise.all(sockets.map(({ opened }) => within(opened, 'opened')));
    const [first] = sockets;
    assert.ok(first);
    await first.writable.getWriter().write('12345');
    await until(() => first.stats.acked === 5, 'acked');
    fake.crash();
    for (const socket of sockets) await assert.rejects(within(socket.closed, 'the end'), failure('lost'));
    await first.closed.catch((error) => assert.equal(error.acked, 5));
    assert.ok(events.some(({ name, code }) => name === 'lost' && code === 'lost'));
    assert.equal(gateway.state, 'idle');
    await echo(gateway, 1000);
    assert.equal(gateway.state, 'attached');
  });

  test(`${transport}: a PING is answered`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    await until(() => fake.downlink, 'a downlink');
    fake.update((role) => role.say({ type: 'PING', t: 77 }));
    await until(() => fake.role.heard.some((frame) => frame.type === 'PONG' && frame.t === 77), 'PONG');
  });

  test(`${transport}: what breaks the protocol ends the session`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport });
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    await until(() => fake.downlink, 'a downlink');
    const downlink = fake.downlink;
    assert.ok(downlink);
    downlink.send(Buffer.from([0x77, 0, 0, 0, 0, 0, 0, 0]));
    if (transport === 'poll') downlink.end();
    await assert.rejects(within(socket.closed, 'the end'), failure('protocol'));
    await until(() => fake.role.ended?.code === 1, 'the gateway was told why');
    assert.ok(events.some(({ name, code }) => name === 'lost' && code === 'protocol'));
  });

  test(`${transport}: a rotation is not felt`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport });
    let next = 10_000;
    await echo(gateway, 100_000, (received) => {
      if (received < next) return;
      next += 30_000;
      fake.update((role) => role.say({ type: 'GOAWAY', after_ms: 0, code: 16 }));
    });
    await until(() => fake.downlink, 'a downlink');
    fake.update((role) => role.say({ type: 'GOAWAY', after_ms: 0, code: 16 }));
    await until(() => events.some(({ name, code }) => name === 'goaway' && code === 'rotate'), 'goaway');
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    await until(() => fake.downlink, 'a downlink');
    const before = gateway.stats.attaches;
    fake.update((role) => role.say({ type: 'DETACH', n: role.n, why: 1 }));
    await until(() => gateway.stats.attaches > before, 'attached again');
    await until(() => gateway.state === 'attached', 'attached');
    assert.ok(!events.some(({ name }) => name === 'detach'), 'it was felt');
  });

  test(`${transport}: a gateway that goes away finishes what it has`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport });
    const old = new TCPSocket('echo', { gateway });
    await within(old.opened, 'opened');
    const [role] = [...fake.roles.values()];
    assert.ok(role);
    await until(() => fake.downlink, 'a downlink');
    fake.update((one) => one.say({ type: 'GOAWAY', after_ms: 5000, code: 15 }));
    await until(() => events.some(({ name }) => name === 'goaway'), 'goaway');
    await echo(gateway, 1000);
    assert.equal(fake.roles.size, 2, 'the new socket has a new session');
    const writer = old.writable.getWriter();
    await writer.write('still');
    await writer.close();
    assert.equal((await within(collect(old.readable), 'the echo')).toString(), 'still');
    await within(old.closed, 'closed');
    await until(() => role.ended?.code === 0, 'the old session ends when it has no more streams');
    assert.equal(gateway.state, 'attached');
  });
}

test('switching between transports in mid-stream loses nothing', async (t) => {
  const { gateway, events } = await setup(t);
  const socket = new TCPSocket('echo', { gateway });
  const writer = socket.writable.getWriter();
  let written = 0;
  let switching = true;
  const writing = (async () => {
    while (switching) {
      await writer.write(pattern(3, written, written + 7000));
      written += 7000;
    }
    await writer.close();
  })();
  const reading = collect(socket.readable);
  for (const kind of /** @type {const} */ (['poll', 'stream', 'websocket', 'poll', 'websocket', 'stream'])) {
    const mark = socket.stats.delivered + 50_000;
    gateway.use(kind);
    await until(() => gateway.transport === kind && socket.stats.delivered > mark, `on ${kind}`);
  }
  gateway.use('auto');
  await until(() => gateway.transport === 'websocket', 'the choice is given back');
  switching = false;
  await within(writing, 'written');
  assert.ok((await within(reading, 'the echo')).equals(pattern(3, 0, written)));
  await within(socket.closed, 'closed');
  assert.ok(!events.some(({ name }) => name === 'detach'), 'a switch is no break');
  assert.ok(events.some(({ name, from, to, reason }) => name === 'transport' && from === 'websocket' && to === 'poll' && reason === 'forced'));
});

for (const transport of /** @type {const} */ (['stream', 'poll'])) {
  test(`${transport}: uplink POSTs that are lost, doubled or unanswered`, async (t) => {
    const { gateway, fake } = await setup(t, { transport }, (one) => {
      one.window = 20_000;
      one.upFaults = ['lost', 'reply lost', 'twice', 'lost', 'lost', 'reply lost', 'reply lost', 'twice', 'twice', 'lost', 'reply lost'];
    });
    await echo(gateway, 300_000);
    assert.equal(fake.upFaults.length, 0);
    assert.ok(fake.role.repeated > 0, 'nothing was repeated');
    assert.ok(gateway.stats.resent > 0);
    assert.equal(gateway.stats.sent, 300_000);
  });
}

test('a stream that is cut inside frames', async (t) => {
  const { gateway } = await setup(t, { transport: 'stream' }, (one) => {
    one.cutStreamAfter = 25_007;
  });
  const socket = new TCPSocket('source:100000', { gateway });
  assert.ok((await within(collect(socket.readable), 'all of it', 30_000)).equals(pattern(0, 0, 100_000)));
  assert.ok(gateway.stats.resumes >= 3);
});

test('a poll that is held and let go', async (t) => {
  const { gateway, fake } = await setup(t, { transport: 'poll' }, (one) => {
    one.holdMs = 20;
  });
  const socket = new TCPSocket('echo', { gateway });
  const writer = socket.writable.getWriter();
  await writer.write('a');
  await until(() => (fake.requests.poll ?? 0) > 8, 'polls go on');
  await writer.write('b');
  await writer.close();
  assert.equal((await within(collect(socket.readable), 'the echo')).toString(), 'ab');
  assert.equal(gateway.stats.resumes, 0);
});

test('down the ladder, and remembered', async (t) => {
  const storage = makeStorage();
  const { gateway, fake, events } = await setup(t, { storage }, (one) => one.broken.add('websocket').add('stream'));
  await echo(gateway, 10_000);
  assert.equal(gateway.transport, 'poll');
  assert.deepEqual(events.filter(({ name }) => name === 'transport'), [{ name: 'transport', from: null, to: 'poll', reason: 'fallback' }]);
  assert.deepEqual([fake.requests.websocket, fake.requests.stream], [1, 1]);
  const again = new Gateway(fake.url, { WebSocket: NodeWebSocket, storage });
  t.after(() => again.close());
  await echo(again, 100);
  assert.deepEqual([fake.requests.websocket, fake.requests.stream], [1, 1], 'what worked last was tried first');
});

test('a gateway without WebTransport is asked once, and no turn is lost', async (t) => {
  const options = /** @type {const} */ ({ transports: ['webtransport', 'websocket', 'poll'], raceAfterMs: 20_000 });
  const { gateway, fake, events } = await setup(t, options, (one) => {
    one.offersWebTransport = false;
    one.broken.add('websocket');
  });
  await echo(gateway, 10_000);
  assert.deepEqual(events.filter(({ name }) => name === 'transport'), [{ name: 'transport', from: null, to: 'poll', reason: 'fallback' }]);
  const again = new Gateway(fake.url, { ...options, WebSocket: NodeWebSocket, WebTransport: fake.WebTransport, backoffMinMs: 5 });
  t.after(() => again.close());
  await echo(again, 100);
  // In the log of requests the question is counted as the sessions are.
  assert.equal(fake.requests.webtransport, 1);
});

test('WebTransport that is not there is replaced in a race at once', async (t) => {
  const options = /** @type {const} */ ({ transports: ['websocket', 'webtransport', 'poll'], raceAfterMs: 60, attemptTimeoutMs: 20_000 });
  const { gateway } = await setup(t, options, (one) => {
    one.offersWebTransport = false;
    one.mute.add('websocket');
  });
  await echo(gateway, 1000);
  assert.equal(gateway.transport, 'poll');
});

test('WebTransport that is refused is a transport that failed', async (t) => {
  const { gateway, fake } = await setup(t, { transports: ['webtransport', 'poll'] }, (one) => one.broken.add('webtransport'));
  await echo(gateway, 1000);
  assert.equal(gateway.transport, 'poll');
  // Asked once, and tried.
  assert.equal(fake.requests.webtransport, 2);
});

test('what does not answer gets a competitor', async (t) => {
  const { gateway, fake, events } = await setup(t, { raceAfterMs: 30 }, (one) => one.mute.add('websocket').add('stream'));
  await echo(gateway, 10_000);
  assert.equal(gateway.transport, 'poll');
  assert.deepEqual(events.filter(({ name }) => name === 'transport'), [{ name: 'transport', from: null, to: 'poll', reason: 'race' }]);
  assert.equal(fake.roles.size, 1);
});

test('an answer that comes late wins nothing it should not', async (t) => {
  // The gateway is slow, so that each attempt is answered after its competitor was started.
  const { gateway, fake } = await setup(t, { raceAfterMs: 20 });
  const socket = new TCPSocket('echo', { gateway });
  await within(socket.opened, 'opened');
  fake.mute.add('websocket');
  fake.broken.add('stream').add('poll');
  gateway.cut();
  await until(() => (fake.requests.poll ?? 0) > 0, 'competitors');
  fake.mute.clear();
  fake.broken.clear();
  const writer = socket.writable.getWriter();
  await writer.write('x');
  await writer.close();
  assert.equal((await within(collect(socket.readable), 'the echo')).toString(), 'x');
});

test('an answer that only its end set free wins nothing', async (t) => {
  const { gateway, fake, events } = await setup(t, { transports: ['stream', 'poll'], raceAfterMs: 300 });
  const socket = new TCPSocket('echo', { gateway });
  await within(socket.opened, 'opened');
  await until(() => gateway.transport === 'stream', 'by stream');
  fake.streamPieces = 65_536;
  gateway.cut();
  const writer = socket.writable.getWriter();
  await writer.write('x');
  await writer.close();
  // A stream that such an answer has taken back would have no competitor, and be waited for in vain.
  assert.equal((await within(collect(socket.readable), 'the echo')).toString(), 'x');
  await until(() => gateway.transport === 'poll', 'by poll');
  assert.deepEqual(events.flatMap(({ name, to }) => (name === 'transport' ? [to] : [])), ['stream', 'poll']);
});

test('up the ladder without a pause', async (t) => {
  const { gateway, fake, events } = await setup(t, { stepUpAfterMs: 30 }, (one) => one.broken.add('websocket').add('stream'));
  const socket = new TCPSocket('echo', { gateway });
  await within(socket.opened, 'opened');
  await until(() => (fake.requests.websocket ?? 0) > 1, 'better rungs are tried');
  const more = new TCPSocket('echo', { gateway });
  await within(more.opened, 'a new stream in spite of that');
  fake.broken.clear();
  await until(() => gateway.transport === 'websocket', 'up');
  assert.ok(events.some(({ name, to, reason }) => name === 'transport' && to === 'websocket' && reason === 'step-up'));
  assert.ok(!events.some(({ name }) => name === 'detach'));
  const writer = socket.writable.getWriter();
  await writer.write('x');
  await writer.close();
  assert.equal((await within(collect(socket.readable), 'the echo')).toString(), 'x');
});

test('an uplink that is blocked is left', async (t) => {
  const { gateway, fake } = await setup(t, { transports: ['stream', 'websocket'] }, (one) => {
    one.upFaults = Array.from({ length: 200 }, () => 'lost');
  });
  await echo(gateway, 10_000);
  assert.equal(gateway.transport, 'websocket');
  assert.ok(fake.upFaults.length > 0);
});

test('a denied origin', async (t) => {
  const { gateway, fake, events } = await setup(t, { origin: 'https://bad.example', connectTimeoutMs: 20_000 }, (one) => {
    one.origin = 'https://good.example';
  });
  await assert.rejects(within(new TCPSocket('echo', { gateway }).opened, 'denied'), failure('denied'));
  assert.equal(gateway.state, 'idle');
  assert.ok(!events.some(({ name }) => name === 'lost'), 'there was no session to lose');
  for (const transport of KINDS) {
    const good = new Gateway(fake.url, { WebSocket: NodeWebSocket, origin: 'https://good.example', transport });
    t.after(() => good.close());
    await echo(good, 100);
  }
});

test('an origin that CORS denies', async (t) => {
  const { gateway } = await setup(t, {
    connectTimeoutMs: 20_000,
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      if (init?.mode !== 'no-cors' && !response.ok) throw new TypeError('Failed to fetch');
      return response;
    },
  }, (one) => {
    one.origin = 'https://good.example';
  });
  await assert.rejects(within(new TCPSocket('echo', { gateway }).opened, 'denied'), failure('denied'));
});

test('no way to the gateway', async (t) => {
  const { gateway, fake } = await setup(t, { connectTimeoutMs: 150 });
  await fake.stop();
  const socket = new TCPSocket('echo', { gateway });
  await assert.rejects(within(socket.opened, 'offline'), failure('offline'));
  await assert.rejects(socket.closed, failure('offline'));
  await assert.rejects(collect(socket.readable), failure('offline'));
  assert.equal(gateway.state, 'idle');
});

test('a gateway without room', async (t) => {
  const { gateway, fake } = await setup(t, { connectTimeoutMs: 200 }, (one) => {
    one.refuse = 'overloaded';
  });
  await assert.rejects(within(new TCPSocket('echo', { gateway }).opened, 'refused'), failure('overloaded'));
  const socket = new TCPSocket('echo', { gateway });
  fake.refuse = null;
  await within(socket.opened, 'there is room now');
});

test('a session that exists outlasts a long absence of the network', async (t) => {
  // In this time a busy machine has to open the socket, too.
  const connectTimeoutMs = 3000;
  const { gateway, fake, events } = await setup(t, { connectTimeoutMs });
  const began = performance.now();
  const socket = new TCPSocket('echo', { gateway });
  await within(socket.opened, 'opened');
  for (const kind of KINDS) fake.broken.add(kind);
  fake.cut();
  await until(() => gateway.state === 'detached', 'cut');
  const tries = () => KINDS.reduce((sum, kind) => sum + (fake.requests[kind] ?? 0), 0);
  await until(() => performance.now() > began + connectTimeoutMs, 'longer than a first session would try');
  const before = tries();
  await until(() => tries() > before + 9, 'it goes on trying');
  const writer = socket.writable.getWriter();
  await writer.write('patience');
  fake.broken.clear();
  await writer.close();
  assert.equal((await within(collect(socket.readable), 'the echo')).toString(), 'patience');
  assert.ok(events.some(({ name, afterMs }) => name === 'resume' && Number(afterMs) > 0));
});

test('a session that nobody can know any more is given up', async (t) => {
  const { gateway, fake } = await setup(t, {}, (one) => {
    one.heartbeatMs = 50;
    one.resumeMs = 100;
  });
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  await fake.stop();
  await assert.rejects(within(socket.closed, 'the end'), failure('lost'));
});

test('a portal that answers instead of the gateway is a broken network', async (t) => {
  const portal = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Please log in</h1>');
  });
  await new Promise((resolve) => portal.listen(0, '127.0.0.1', () => resolve(undefined)));
  t.after(() => portal.close());
  const address = /** @type {import('node:net').AddressInfo} */ (portal.address());
  const gateway = new Gateway(`http://127.0.0.1:${address.port}/`, { WebSocket: NodeWebSocket, connectTimeoutMs: 150, backoffMinMs: 5 });
  t.after(() => gateway.close());
  await assert.rejects(within(new TCPSocket('echo', { gateway }).opened, 'offline'), failure('offline'));
});

test('a session without sockets ends after a while', async (t) => {
  const { gateway, fake } = await setup(t, { lingerMs: 30 });
  await echo(gateway, 10);
  await until(() => gateway.state === 'idle', 'idle');
  await until(() => fake.role.ended?.code === 0, 'the gateway was told');
  await echo(gateway, 10);
  assert.equal(fake.roles.size, 2);
});

test('nobody has to listen', async (t) => {
  const { gateway, fake } = await setup(t);
  /** @type {unknown[]} */
  const unhandled = [];
  const listener = (/** @type {unknown} */ reason) => unhandled.push(reason);
  process.on('unhandledRejection', listener);
  t.after(() => process.off('unhandledRejection', listener));
  const sockets = ['refused', 'echo', 'silent', 'sink'].map((name) => new TCPSocket(name, { gateway }));
  await until(() => fake.roles.size === 1 && fake.role.streams.size === 3, 'opened');
  sockets[1]?.close();
  fake.crash();
  await until(() => gateway.state === 'idle', 'lost');
  gateway.close();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(unhandled, []);
});

for (const name of /** @type {const} */ (['state', 'transport', 'detach', 'resume'])) {
  test(`a gateway that is closed by a listener of ${name} stays closed`, async (t) => {
    const { gateway, fake } = await setup(t);
    const closing = new Promise((resolve) => {
      gateway.on(name, () => resolve(gateway.close()));
    });
    const socket = new TCPSocket('sink', { gateway });
    if (name === 'detach' || name === 'resume') {
      await within(socket.opened, 'opened');
      gateway.cut();
    }
    await within(closing, 'closed');
    assert.equal(gateway.state, 'closed');
    assert.equal(gateway.transport, null);
    await assert.rejects(within(socket.closed, 'the end'), failure('aborted'));
    await until(() => fake.transports.size === 0, 'nothing is left open');
  });
}

test('listeners can leave, and their mistakes harm nobody', async (t) => {
  const { gateway } = await setup(t);
  /** @type {string[]} */
  const states = [];
  const off = gateway.on('state', ({ state }) => {
    states.push(state);
    if (state === 'attached') off();
  });
  await echo(gateway, 10);
  gateway.close();
  assert.deepEqual(states, ['connecting', 'attached']);
  assert.equal(gateway.state, 'closed');
});
