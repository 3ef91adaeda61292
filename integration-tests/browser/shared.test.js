/** Tabs that share one session: one connection for all of them, and each has its own sockets, for as long as it lives. */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { OriginServer } from './support/origin-server.js';
import { until } from './support/wait.js';

/** A tab more or less is the same to Firefox, but takes it longer to open. */
const TABS = { chromium: 20, firefox: 6 };
const BYTES = 200_000;

/**
 * Runs in the page: opens a connection that stays.
 * @param {{ module: string, gateway?: string, shared: boolean | string, transports?: string[] }} task
 */
async function connect({ module, gateway: url, ...options }) {
  const { Gateway, TCPSocket } = await import(module);
  // A busy machine may take its time to start a worker.
  const gateway = new Gateway(url, { raceAfterMs: 60_000, attemptTimeoutMs: 60_000, lingerMs: 0, ...options });
  const socket = new TCPSocket('echo', { gateway });
  await socket.opened;
  Object.assign(globalThis, { gateway, writer: socket.writable.getWriter(), reader: socket.readable.getReader() });
}

/** Runs in the page: random bytes there and back. @param {number} bytes @returns {Promise<boolean>} whether they are the same */
async function exchange(bytes) {
  const { writer, reader } = /** @type {any} */ (globalThis);
  const sent = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(sent.subarray(at, at + 65_536));
  const sending = writer.write(sent.slice());
  let same = true;
  for (let count = 0; count < bytes;) {
    const { value } = await reader.read();
    same &&= value.every((/** @type {number} */ byte, /** @type {number} */ at) => byte === sent[count + at]);
    count += value.length;
  }
  await sending;
  return same;
}

describeInBrowsers('shared session', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let gateway;
  /** @type {CuttingProxy} for sessions only: modules come from the gateway itself */
  let proxy;

  before(async () => {
    site = await OriginServer.start();
    backend = await Backend.echo();
    gateway = await Gateway.serve(`
      [backend.echo]
      address = "${backend.address}"
      resume_timeout = "3s"
      [[allow]]
      origins = ["${site.origin}"]
      to = ["echo"]
    `);
    site.scripts['perigee-worker.js'] = `import '${gateway.url}/perigee/shared-worker.js';`;
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await gateway?.stop();
    await backend?.stop();
    await site?.stop();
  });
  afterEach(async () => {
    await browser.tidy();
    await proxy?.stop();
    await until('the backend is left alone', () => backend.sockets.size === 0);
  });

  /** @param {number} count */
  const openTabs = async (count) => {
    proxy = await CuttingProxy.start(gateway.port);
    const tabs = [];
    for (let tab = 0; tab < count; tab += 1) tabs.push((await browser.open(site.origin)).page);
    const task = { module: `${gateway.url}/perigee.js`, gateway: proxy.url, shared: '/perigee-worker.js', transports: ['websocket'] };
    // Chromium runs the worker in the process of the first tab.
    await tabs[0].evaluate(connect, task);
    await Promise.all(tabs.slice(1).map((page) => page.evaluate(connect, task)));
    assert.equal(backend.sockets.size, count);
    return tabs;
  };
  /** @param {import('puppeteer-core').Page[]} tabs */
  const assertExchange = async (tabs) => {
    const same = await Promise.all(tabs.map((page) => page.evaluate(exchange, BYTES)));
    assert.ok(same.every(Boolean), String(same));
  };

  test(`${TABS[name]} tabs have one connection`, async () => {
    const tabs = await openTabs(TABS[name]);
    await assertExchange(tabs);
    assert.equal(proxy.connections, 1);
    assert.equal(proxy.open, 1);
    proxy.cut();
    await assertExchange(tabs);
    assert.equal(proxy.connections, 2);
    for (const page of tabs) assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).gateway.stats.resumes), 1);
  });

  test('a tab that is closed, loaded again or crashes takes its own sockets with it', async () => {
    const [stays, closed, again, crashed] = await openTabs(4);
    await closed.close();
    await until('the socket of the closed tab ended', () => backend.sockets.size === 3);
    await again.reload();
    await until('the socket of the page before ended', () => backend.sockets.size === 2);
    // Firefox has no page that crashes; there it goes without a word in another way.
    if (name === 'chromium') void (await crashed.createCDPSession()).send('Page.crash').catch(() => {});
    else await crashed.goto('about:blank');
    await until('the socket of the crashed tab ended', () => backend.sockets.size === 1);
    await assertExchange([stays]);
    assert.equal(proxy.connections, 1);
  });

  test('without such workers a tab has a connection of its own', async () => {
    proxy = await CuttingProxy.start(gateway.port);
    const { page } = await browser.open(site.origin);
    await page.evaluate(() => void Reflect.deleteProperty(globalThis, 'SharedWorker'));
    await page.evaluate(connect, { module: `${gateway.url}/perigee.js`, gateway: proxy.url, shared: '/perigee-worker.js', transports: ['websocket'] });
    await assertExchange([page]);
    assert.equal(proxy.connections, 1);
  });

  test('a script that is not there costs no connection', async () => {
    proxy = await CuttingProxy.start(gateway.port);
    const { page } = await browser.open(site.origin);
    await page.evaluate(connect, { module: `${gateway.url}/perigee.js`, gateway: proxy.url, shared: '/missing-worker.js', transports: ['websocket'] });
    await assertExchange([page]);
  });

  test('the page of the gateway needs no script of its own', async () => {
    const demo = await Gateway.demo();
    try {
      const tabs = [];
      for (let tab = 0; tab < 2; tab += 1) tabs.push((await browser.open(`${demo.url}/`)).page);
      for (const page of tabs) await page.evaluate(connect, { module: '/perigee.js', shared: true });
      await assertExchange(tabs);
      await tabs[0].evaluate(() => /** @type {any} */ (globalThis).gateway.cut());
      await until('the session is resumed', () => tabs[1].evaluate(() => /** @type {any} */ (globalThis).gateway.stats.resumes === 1));
      await Promise.all(tabs.map((page) => page.evaluate(() => /** @type {any} */ (globalThis).gateway.close())));
    } finally {
      await demo.stop();
    }
  });
});
