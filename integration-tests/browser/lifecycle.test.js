/**
 * Pages that go away in the middle: the gateway ends their streams, at the latest when it waited long enough for them to
 * come back, and a new page works at once.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';
import { until } from './support/wait.js';

const TRANSPORTS = /** @type {const} */ (['websocket', 'stream', 'poll']);
const RESUME_MS = 3000;

/**
 * Runs in the page: a transfer without end, there and back.
 * @param {{ module: string, transport: string }} task
 */
async function flood({ module, transport }) {
  const { Gateway, TCPSocket } = await import(module);
  const gateway = new Gateway(undefined, { transport });
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

describeInBrowsers('lifecycle', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let gateway;
  /** @type {CuttingProxy} */
  let proxy;

  before(async () => {
    site = await OriginServer.start();
    site.cacheControl = 'no-cache';
    backend = await Backend.echo();
    gateway = await Gateway.serve(`
      [backend.echo]
      address = "${backend.address}"
      resume_timeout = "${RESUME_MS}ms"
      [[allow]]
      origins = ["${site.origin}"]
      to = ["echo"]
    `);
    proxy = await CuttingProxy.start(gateway.port);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await proxy?.stop();
    await gateway?.stop();
    await backend?.stop();
    await site?.stop();
  });
  afterEach(async () => {
    proxy.comeBack();
    await browser.tidy();
    await until('the backend is left alone', () => backend.sockets.size === 0);
  });

  const module = () => `${proxy.url}/perigee.js`;
  /** @param {import('puppeteer-core').Page} page @param {string} transport */
  const floodFrom = async (page, transport) => {
    await page.evaluate(flood, { module: module(), transport });
    const [socket] = backend.sockets;
    await until('megabytes passed', () => socket.bytesRead > 2_000_000);
  };
  /** @param {import('puppeteer-core').Page} page */
  const assertWorks = async (page) => {
    const { firstDifference, received } = await page.evaluate(echo, { module: module(), bytes: 100_000 });
    assert.deepEqual({ firstDifference, received }, { firstDifference: -1, received: 100_000 });
  };

  for (const transport of TRANSPORTS) {
    test(`a page is closed in mid-transfer (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await floodFrom(page, transport);
      const from = gateway.log.length;
      await page.close();
      const next = await browser.open(site.origin);
      await assertWorks(next.page);
      await until('its backend saw the end', () => backend.sockets.size === 0);
      const [, code] = await gateway.logs(new RegExp(`stream closed.*transports=${transport}.* code=(\\w+)`), from);
      // Its goodbye arrived, or nobody came back.
      assert.ok(['closed', 'lost'].includes(code), code);
      assert.doesNotMatch(gateway.log, /ERROR|panic/);
    });

    test(`a page is loaded again in mid-transfer (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await floodFrom(page, transport);
      await page.reload({ waitUntil: 'load' });
      await assertWorks(page);
      await until('the backend of the page before saw the end', () => backend.sockets.size === 0);
    });

    test(`a page is loaded again while it has no network to the gateway (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await floodFrom(page, transport);
      const from = gateway.log.length;
      proxy.goDown();
      await page.waitForFunction(() => /** @type {any} */ (globalThis).gateway.state === 'detached');
      await page.reload({ waitUntil: 'load' });
      proxy.comeBack();
      await assertWorks(page);
      await until('the backend of the page before saw the end', () => backend.sockets.size === 0);
      // Firefox keeps the goodbye until there is a network again; then it is not lost but closed.
      await gateway.logs(new RegExp(`stream closed.*transports=${transport}.* code=(closed|lost)`), from);
      assert.doesNotMatch(gateway.log, /ERROR|panic/);
    });
  }

  // Firefox keeps no page with an open connection, and decides that before it tells the page.
  const keeps = name === 'chromium';
  const fate = keeps ? 'goes on where it was' : 'starts anew, and the one before it is over';
  for (const transport of TRANSPORTS) {
    test(`a page that is left in mid-transfer and comes back ${fate} (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await floodFrom(page, transport);
      const from = gateway.log.length;
      await page.evaluate(() => {
        const { gateway } = /** @type {any} */ (globalThis);
        /** @type {string[]} */
        const told = [];
        gateway.on('detach', (/** @type {{ reason: string }} */ { reason }) => told.push(reason));
        addEventListener('pageshow', ({ persisted }) => Object.assign(globalThis, { persisted, before: gateway.stats.delivered }));
        Object.assign(globalThis, { told });
      });
      await page.goto('about:blank');
      if (!keeps) await gateway.logs(new RegExp(`stream closed.*transports=${transport}.* code=(closed|lost)`), from);
      // Not by goBack, which waits for a page that is loaded.
      await page.evaluate(() => setTimeout(() => history.back()));
      await page.waitForFunction((origin) => location.origin === origin && document.readyState === 'complete', { polling: 20 }, site.origin);
      if (!keeps) {
        assert.equal(await page.evaluate(() => 'told' in globalThis), false, 'it is another page');
        await assertWorks(page);
        return;
      }
      await page.waitForFunction(() => /** @type {any} */ (globalThis).persisted === true, { polling: 20 });
      await page.waitForFunction(() => {
        const { gateway, before } = /** @type {any} */ (globalThis);
        return gateway.stats.delivered > before + 1_000_000;
      }, { polling: 20 });
      assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).told), ['hidden'], 'it let go of its transport when it was put aside');
      assert.equal(backend.sockets.size, 1, 'it is the same connection');
    });
  }
});
