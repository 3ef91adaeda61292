/**
 * WebTransport in a real browser: bytes there and back, from the demo's own page and from one of another origin, also
 * while the transport changes; pages that may not; gateways that have none.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';
import { until } from './support/wait.js';

const BYTES = 10 * 1024 * 1024;
const SWITCHES = /** @type {const} */ (['websocket', 'webtransport', 'poll', 'webtransport', 'stream', 'webtransport']);

/** @param {import('./support/in-page.js').Echoed} echoed */
function assertWhole(echoed) {
  assert.equal(echoed.received, echoed.sent, `${echoed.received} of ${echoed.sent} bytes came back`);
  assert.equal(echoed.receivedHash, echoed.sentHash);
}

/**
 * Runs in the page: asks for a session without the client, and says whether it was granted.
 * @param {{ url: string, hash: string }} task
 */
async function ask({ url, hash }) {
  const value = Uint8Array.from(atob(hash), (character) => character.charCodeAt(0));
  const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
  session.closed.catch(() => {});
  const granted = await session.ready.then(() => true, () => false);
  session.close();
  return granted;
}

/**
 * Runs in the page: a transfer without end, there and back.
 * @param {{ module: string }} task
 */
async function flood({ module }) {
  const { Gateway, TCPSocket } = await import(module);
  const gateway = new Gateway(undefined, { transport: 'webtransport' });
  const { readable, writable } = await new TCPSocket('echo', { gateway }).opened;
  const writer = writable.getWriter();
  const reader = readable.getReader();
  (async () => {
    for (;;) await writer.write(new Uint8Array(65_536));
  })().catch(() => {});
  (async () => {
    while (!(await reader.read()).done);
  })().catch(() => {});
  Object.assign(globalThis, { gateway });
}

/**
 * Runs in the page.
 * @param {{ module: string, gateway: string }} task
 * @returns {Promise<string>} the code of the error
 */
async function fail({ module, gateway: url }) {
  const { Gateway, TCPSocket } = await import(module);
  const gateway = new Gateway(url, { transport: 'webtransport', connectTimeoutMs: 1000 });
  return new TCPSocket('echo', { gateway }).opened.then(() => 'opened', (/** @type {{ code: string }} */ { code }) => code);
}

describeInBrowsers('webtransport', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let friend;
  /** @type {OriginServer} */
  let stranger;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let demo;
  /** @type {Gateway} that has no WebTransport */
  let plain;

  before(async () => {
    friend = await OriginServer.start();
    stranger = await OriginServer.start();
    backend = await Backend.echo();
    demo = await Gateway.demo([friend.origin]);
    plain = await Gateway.serve(`
      [backend.echo]
      address = "${backend.address}"
      [[allow]]
      origins = ["${friend.origin}"]
      to = ["echo"]
    `);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await plain?.stop();
    await demo?.stop();
    await backend?.stop();
    await stranger?.stop();
    await friend?.stop();
  });
  afterEach(() => browser.tidy());

  for (const from of /** @type {const} */ (['127.0.0.1', 'localhost', 'another origin'])) {
    test(`from ${from}`, async () => {
      const url = from === 'another origin' ? demo.url : `http://${from}:${demo.port}`;
      const { page, log } = await browser.open(from === 'another origin' ? friend.origin : url);
      const echoed = await page.evaluate(echo, { module: `${url}/perigee.js`, bytes: BYTES, transport: 'webtransport' });
      assertWhole(echoed);
      assert.deepEqual(echoed.transports, ['webtransport']);
      assert.equal(echoed.stats.attaches, 1);
      assert.deepEqual(log.entries, []);
      await demo.logs(/stream closed.*transports=webtransport .*code=closed/);
    });
  }

  test(`the transport is switched ${SWITCHES.length} times`, async () => {
    const { page } = await browser.open(friend.origin);
    const echoed = await page.evaluate(echo, {
      module: `${demo.url}/perigee.js`, bytes: BYTES, transport: 'webtransport', switches: [...SWITCHES],
    });
    assertWhole(echoed);
    assert.deepEqual(echoed.transports, ['webtransport', ...SWITCHES]);
    assert.equal(echoed.stats.resumes, 0, 'a switch is no break');
  });

  test('a page that is loaded again in mid-transfer says goodbye', async () => {
    const { page } = await browser.open(demo.url);
    await page.evaluate(flood, { module: `${demo.url}/perigee.js` });
    await until('a transfer is under way', () => page.evaluate(() => /** @type {any} */ (globalThis).gateway.stats.delivered > 2_000_000));
    const from = demo.log.length;
    await page.reload();
    await demo.logs(/stream closed.*transports=webtransport .*code=closed/, from);
  });

  test('a page that may not use the gateway is told so, and gets no session past its client', async () => {
    const { page } = await browser.open(stranger.origin);
    const task = { module: `${demo.url}/perigee.js`, gateway: demo.url };
    assert.equal(await page.evaluate(fail, task), 'denied');
    const { host, port, hashes } = await (await fetch(`${demo.url}/perigee/v1/webtransport`)).json();
    const url = `https://${host}:${port}/perigee/v1/new/wt`;
    const from = demo.log.length;
    assert.equal(await page.evaluate(ask, { url, hash: hashes[0] }), false);
    await demo.logs(new RegExp(`request refused.*origin=${stranger.origin} .*code=denied`), from);
    const allowed = await browser.open(friend.origin);
    assert.equal(await allowed.page.evaluate(ask, { url, hash: hashes[0] }), true);
    assert.equal(await allowed.page.evaluate(ask, { url: url.replace('/new/wt', ''), hash: hashes[0] }), false, 'nothing else is there');
  });

  test('a gateway without it costs nothing', async () => {
    const { page } = await browser.open(friend.origin);
    const echoed = await page.evaluate(echo, {
      module: `${plain.url}/perigee.js`, bytes: 100_000, transports: ['webtransport', 'poll'],
    });
    assertWhole(echoed);
    assert.deepEqual(echoed.transports, ['poll']);
    assert.equal(echoed.stats.resumes, 0);
    assert.equal(await page.evaluate(fail, { module: `${plain.url}/perigee.js`, gateway: plain.url }), 'offline');
  });
});
