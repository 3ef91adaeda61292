import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '../src/frame.js';
import { Gateway, TCPSocket } from '../src/index.js';
import { failure } from './support/failure.js';
import { pattern } from './support/random.js';
import { FakeGateway } from './support/gateway.js';
import { collect, until, within } from './support/wait.js';

const SCRIPT = 'http://127.0.0.1/shared-worker.js';
let workers = 0;

/**
 * A fake gateway and what makes tabs of it. Node has no SharedWorker, so here is one: the module that would run in it,
 * loaded once for each name, and real ports.
 * @param {import('node:test').TestContext} t
 */
async function setup(t) {
  const fake = await FakeGateway.start();
  /** @type {Map<string, Promise<(event: unknown) => void>>} */
  const running = new Map();
  /** @param {string} name */
  const start = async (name) => {
    /** @type {(event: unknown) => void} */
    let connect = () => {};
    const { setInterval } = globalThis;
    Object.assign(globalThis, {
      name,
      addEventListener: (/** @type {string} */ _, /** @type {typeof connect} */ listener) => (connect = listener),
      setInterval: (/** @type {() => void} */ run, /** @type {number} */ ms) => {
        const timer = setInterval(run, ms);
        t.after(() => clearInterval(timer));
      },
    });
    workers += 1;
    await import(`../src/shared-worker.js?${workers}`);
    Object.assign(globalThis, { setInterval });
    Reflect.deleteProperty(globalThis, 'addEventListener');
    return connect;
  };
  /** @type {{ tab: MessagePort, name: string }[]} */
  const ports = [];
  class SharedWorker {
    /** @param {string} script @param {{ name: string }} options */
    constructor(script, { name }) {
      assert.equal(script, SCRIPT);
      const { port1, port2 } = new MessageChannel();
      this.port = port1;
      ports.push({ tab: port1, name });
      if (!running.has(name)) running.set(name, start(name));
      void running.get(name)?.then((connect) => connect({ ports: [port2] }));
    }
  }
  Object.assign(globalThis, { SharedWorker });
  /** @type {Gateway[]} */
  const tabs = [];
  /** @param {import('../src/options.js').GatewayOptions} [options] */
  const openTab = (options = {}) => {
    const gateway = new Gateway(fake.url, { transports: ['stream', 'poll'], shared: SCRIPT, backoffMinMs: 5, backoffMaxMs: 50, lingerMs: 50, raceAfterMs: 10_000, ...options });
    tabs.push(gateway);
    return gateway;
  };
  t.after(async () => {
    for (const tab of tabs) tab.close();
    await fake.stop();
    for (const { tab } of ports) tab.close();
    Reflect.deleteProperty(globalThis, 'SharedWorker');
  });
  return { fake, openTab, ports, crash: () => running.clear() };
}

/** @param {import('../src/socket.js').TCPSocket} socket @param {number} id @param {number} count */
async function echo(socket, id, count) {
  const writer = socket.writable.getWriter();
  const sending = (async () => {
    for (let at = 0; at < count; at += 30_000) await writer.write(pattern(id, at, Math.min(count, at + 30_000)));
    await writer.close();
  })();
  const got = await within(collect(socket.readable), 'the echo', 30_000);
  await sending;
  assert.ok(got.equals(pattern(id, 0, count)), `tab ${id} has its own bytes`);
  await within(socket.closed, 'closed');
}

test('twenty tabs have one session, and each its own bytes', async (t) => {
  const { fake, openTab } = await setup(t);
  await Promise.all(Array.from({ length: 20 }, (_, id) => echo(new TCPSocket('echo', { gateway: openTab() }), id, 60_000)));
  assert.equal(fake.roles.size, 1);
  assert.equal(fake.requests.stream, 1);
});

test('a tab asks for its service through the worker', async (t) => {
  const { fake, openTab } = await setup(t);
  await within(new TCPSocket('host', { gateway: openTab(), service: 'irc' }).opened, 'opened');
  assert.equal([...fake.roles.values()][0]?.find(1)?.service, 1);
});

test('what happens to the session is told to every tab', async (t) => {
  const { fake, openTab } = await setup(t);
  const tabs = [openTab(), openTab()];
  const sockets = tabs.map((gateway) => new TCPSocket('echo', { gateway }));
  /** @type {string[][]} */
  const told = tabs.map(() => []);
  tabs.forEach((tab, index) => {
    for (const name of /** @type {const} */ (['state', 'transport', 'detach', 'resume'])) tab.on(name, () => told[index]?.push(name));
  });
  await Promise.all(sockets.map(({ opened }) => within(opened, 'opened')));
  await until(() => tabs.every(({ state, transport }) => state === 'attached' && transport === 'stream'), 'both know');
  tabs[0]?.cut();
  await until(() => tabs.every(({ stats }) => stats.resumes === 1), 'both know that it was cut');
  for (const one of told) assert.ok(one.includes('detach') && one.includes('resume'), String(one));
  tabs[1]?.use('poll');
  await until(() => tabs.every(({ transport }) => transport === 'poll'), 'both have another transport');
  await Promise.all(sockets.map((socket, id) => echo(socket, id, 50_000)));
  assert.equal(fake.roles.size, 1);
});

test('a tab that closes takes its own sockets with it', async (t) => {
  const { fake, openTab } = await setup(t);
  const [one, other] = [openTab(), openTab()];
  const ours = new TCPSocket('echo', { gateway: one });
  const theirs = new TCPSocket('echo', { gateway: other });
  await within(Promise.all([ours.opened, theirs.opened]), 'opened');
  one.close();
  await assert.rejects(within(ours.closed, 'closed'), failure('aborted'));
  await until(() => fake.role.streams.size === 1, 'the gateway was told');
  await echo(theirs, 7, 50_000);
  await assert.rejects(within(new TCPSocket('echo', { gateway: one }).opened, 'closed'), failure('aborted'));
});

test('a tab that does not read stops its own server only, and nothing piles up', async (t) => {
  const { fake, openTab } = await setup(t);
  const limits = { windowBytes: 50_000, sendBytes: 50_000 };
  const [one, other] = [openTab(limits), openTab(limits)];
  const source = new TCPSocket('source:1000000', { gateway: one });
  const slow = new TCPSocket('slow', { gateway: one });
  await within(Promise.all([source.opened, slow.opened]), 'opened');
  const reader = source.readable.getReader();
  const first = (await within(reader.read(), 'the first bytes')).value;
  const writer = slow.writable.getWriter();
  let written = 0;
  const filling = (async () => {
    for (;;) {
      await writer.write(new Uint8Array(10_000));
      written += 10_000;
    }
  })().catch(() => {});
  await echo(new TCPSocket('echo', { gateway: other }), 3, 100_000);
  await until(() => written === 50_000, 'as much as one socket holds');
  const stream = fake.role.find(1);
  assert.ok(first && stream && stream.sent <= first.length + 50_000, `${stream?.sent} bytes are on their way`);
  assert.equal(slow.stats.acked, 0, 'acked is what the gateway acked');
  fake.flow();
  await until(() => slow.stats.acked > 50_000, 'and then it is acked');
  await within(writer.abort(), 'aborted');
  await filling;
  reader.releaseLock();
  const rest = await within(collect(source.readable), 'the rest', 30_000);
  assert.ok(Buffer.concat([first, rest]).equals(pattern(0, 0, 1_000_000)));
});

test('ends are told as they are without a worker', async (t) => {
  const { fake, openTab } = await setup(t);
  const gateway = openTab({ connectTimeoutMs: 300 });
  await assert.rejects(within(new TCPSocket('refused', { gateway }).opened, 'refused'), failure('refused'));
  const sink = new TCPSocket('sink', { gateway });
  await sink.writable.getWriter().write('abc');
  await until(() => sink.stats.acked === 3, 'acked');
  /** @type {unknown[]} */
  const lost = [];
  gateway.on('lost', (event) => lost.push(event));
  fake.crash();
  await assert.rejects(within(sink.closed, 'lost'), failure('lost'));
  assert.equal(await sink.closed.catch(({ acked }) => acked), 3);
  assert.deepEqual(lost, [{ code: 'lost' }]);
  await fake.stop();
  await assert.rejects(within(new TCPSocket('echo', { gateway }).opened, 'offline'), failure('offline'));
});

test('a worker that is gone lost everything', async (t) => {
  const { openTab, ports, crash } = await setup(t);
  const gateway = openTab();
  const socket = new TCPSocket('echo', { gateway });
  await within(socket.opened, 'opened');
  const [port] = ports;
  // This worker forgets the tab and the next one never knew it.
  port?.tab.postMessage({ frames: encode([{ type: 'RESET', stream: 0, code: 0, ack: 0, text: '' }]) });
  crash();
  port?.tab.dispatchEvent(Object.assign(new Event('message'), { data: { ended: 'lost' } }));
  await assert.rejects(within(socket.closed, 'lost'), failure('lost'));
  await echo(new TCPSocket('echo', { gateway }), 1, 1000);
});

test('without such workers each tab has a session of its own', async (t) => {
  const { fake, openTab } = await setup(t);
  class Broken {
    port = new MessageChannel().port1;
    /** @type {(() => void) | null} */
    onerror = null;
    constructor() {
      queueMicrotask(() => {
        this.port.close();
        this.onerror?.();
      });
    }
  }
  const Refused = () => {
    throw new DOMException('not here', 'SecurityError');
  };
  let sessions = 0;
  for (const SharedWorker of [undefined, Broken, Refused]) {
    Object.assign(globalThis, { SharedWorker });
    const gateway = openTab();
    const socket = new TCPSocket('echo', { gateway });
    await within(socket.opened, 'opened');
    gateway.use('poll');
    await until(() => gateway.transport === 'poll' && gateway.state === 'attached', 'its own');
    gateway.cut();
    await echo(socket, 1, 10_000);
    sessions += 1;
    assert.equal(fake.roles.size, sessions);
    assert.equal(gateway.stats.resumes, 1);
  }
});

test('what cannot be is refused at once', async (t) => {
  const { openTab } = await setup(t);
  assert.throws(() => openTab({ surviveReload: true }), TypeError);
  Object.assign(globalThis, { location: { origin: 'http://127.0.0.1' } });
  t.after(() => Reflect.deleteProperty(globalThis, 'location'));
  assert.throws(() => openTab({ shared: true }), /origin/);
});
