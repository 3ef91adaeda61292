/**
 * What a page is told when there is no connection to be had, or no more: a code from a fixed list, the same on a
 * WebSocket and on HTTP.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend, closedPort } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { OriginServer } from './support/origin-server.js';

const TRANSPORTS = /** @type {const} */ (['websocket', 'stream', 'poll']);

/** What a page asks for, and what it is to be told. */
const REFUSALS = /** @type {const} */ ([
  { what: 'a backend that is not configured', target: 'nowhere', code: 'denied' },
  { what: 'a backend without a rule', target: 'private', code: 'denied' },
  { what: 'a host that no rule names', target: 'irc.example.org', port: 6667, code: 'denied' },
  { what: 'a backend that refuses', target: 'closed', code: 'refused' },
  { what: 'a backend that does not answer', target: 'silent', code: 'timeout' },
  { what: 'a backend whose name has no address', target: 'unresolvable', code: 'dns' },
  { what: 'a backend that speaks no TLS', target: 'plain', code: 'tls' },
  { what: 'a host that refuses, which is nobody’s business', target: '127.0.0.1', port: 0, code: 'unreachable' },
  { what: 'a backend that breaks the connection off', target: 'rude', code: 'reset' },
]);

/**
 * Runs in the page: opens a socket and says how that ended.
 * @param {{ module: string, transport: string, target: string, port?: number }} task
 */
async function open({ module, transport, target, port }) {
  const { Gateway, PerigeeError, TCPSocket } = await import(module);
  const gateway = new Gateway(undefined, { transport });
  const socket = port === undefined ? new TCPSocket(target, { gateway }) : new TCPSocket(target, port, { gateway });
  /** @param {unknown} error */
  const told = (error) => (error instanceof PerigeeError ? `${error.name} ${error.code}` : String(error));
  const opened = await socket.opened.then(() => 'opened', told);
  const closed = await socket.closed.then(() => 'closed', told);
  gateway.close();
  return { opened, closed };
}

describeInBrowsers('failures', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} allowed */
  let site;
  /** @type {OriginServer} not allowed */
  let stranger;
  /** @type {Backend[]} */
  let backends;
  /** @type {Gateway} */
  let gateway;
  let closed = 0;

  before(async () => {
    site = await OriginServer.start();
    stranger = await OriginServer.start();
    closed = await closedPort();
    const echo = await Backend.echo();
    const silent = await Backend.start(() => {});
    const plain = await Backend.start((socket) => socket.end('220 no TLS is spoken here\r\n'));
    const rude = await Backend.start((socket) => socket.once('data', () => {}).resetAndDestroy());
    backends = [echo, silent, plain, rude];
    gateway = await Gateway.serve(`
      [backend.echo]
      address = "${echo.address}"
      [backend.private]
      address = "${echo.address}"
      [backend.closed]
      address = "127.0.0.1:${closed}"
      [backend.silent]
      address = "${silent.address}"
      tls = true
      tls_name = "silent.test"
      connect_timeout = "1s"
      [backend.unresolvable]
      address = "no-such-host.invalid:7"
      connect_timeout = "3s"
      [backend.plain]
      address = "${plain.address}"
      tls = true
      tls_name = "plain.test"
      [backend.rude]
      address = "${rude.address}"
      [[allow]]
      origins = ["${site.origin}"]
      to = ["echo", "closed", "silent", "unresolvable", "plain", "rude", "127.0.0.1:${closed}"]
      networks = ["127.0.0.0/8"]
      [timeouts]
      connect = "1s"
    `);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await gateway?.stop();
    for (const backend of backends ?? []) await backend.stop();
    await site?.stop();
    await stranger?.stop();
  });
  afterEach(() => browser.tidy());

  const module = () => `${gateway.url}/perigee.js`;

  for (const transport of TRANSPORTS) {
    test(`each refusal has its code (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      const answers = await Promise.all(REFUSALS.map(({ target, ...rest }) => {
        const port = 'port' in rest ? rest.port || closed : undefined;
        return page.evaluate(open, { module: module(), transport, target, ...(port !== undefined && { port }) });
      }));
      const told = REFUSALS.map(({ what }, i) => `${what}: ${answers[i].closed}`);
      assert.deepEqual(told, REFUSALS.map(({ what, code }) => `${what}: PerigeeError ${code}`));
      for (const [i, { code }] of REFUSALS.entries()) {
        if (code !== 'reset') assert.equal(answers[i].opened, answers[i].closed, 'both promises say the same');
      }
    });

    test(`an origin that is not allowed (${transport})`, async () => {
      const { page } = await browser.open(stranger.origin);
      assert.deepEqual(await page.evaluate(open, { module: module(), transport, target: 'echo' }), {
        opened: 'PerigeeError denied', closed: 'PerigeeError denied',
      });
      assert.equal(backends[0].accepted, 0, 'no backend heard of it');
    });
  }

  for (const transport of TRANSPORTS) {
    test(`the session is lost when the gateway starts anew (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await page.evaluate(async (url, transport) => {
        const { Gateway, TCPSocket } = await import(url);
        const gateway = new Gateway(undefined, { transport });
        const lost = /** @type {string[]} */ ([]);
        gateway.on('lost', (/** @type {{ code: string }} */ { code }) => lost.push(code));
        const socket = new TCPSocket('echo', { gateway, encoding: 'utf-8' });
        const { readable, writable } = await socket.opened;
        await writable.getWriter().write('before');
        await readable.getReader().read();
        // The echo may come before the acknowledgement: they travel on connections of their own.
        while (socket.stats.acked < 6) await new Promise(requestAnimationFrame);
        const told = socket.closed.then(() => 'closed', (/** @type {any} */ error) => ({ code: error.code, acked: error.acked }));
        Object.assign(globalThis, { perigee: { TCPSocket, gateway, lost, told } });
      }, module(), transport);
      await gateway.crash();
      const after = await page.evaluate(async () => {
        const { TCPSocket, gateway, lost, told } = /** @type {any} */ (globalThis).perigee;
        const end = await told;
        // The next socket starts over, on a session of its own.
        const socket = new TCPSocket('echo', { gateway, encoding: 'utf-8' });
        const { readable, writable } = await socket.opened;
        await writable.getWriter().write('after');
        const { value } = await readable.getReader().read();
        gateway.close();
        return { end, lost, value };
      });
      assert.deepEqual(after, { end: { code: 'lost', acked: 6 }, lost: ['lost'], value: 'after' });
    });
  }

  test('there is no gateway', async () => {
    const { page } = await browser.open(site.origin);
    const told = await page.evaluate(async (url, nowhere) => {
      const { Gateway, TCPSocket } = await import(url);
      const gateway = new Gateway(nowhere, { connectTimeoutMs: 2000 });
      return new TCPSocket('echo', { gateway }).opened.then(() => 'opened', (/** @type {any} */ error) => error.code);
    }, module(), `http://127.0.0.1:${closed}`);
    assert.equal(told, 'offline');
  });
});
