/**
 * What happens to pages in the middle of a transfer, and must not be noticed in its bytes: they are loaded again, frozen,
 * slowed down, put behind other tabs, cut off for longer than anybody waits, and moved behind another proxy.
 *
 * The heartbeats are short, so that both ends find each other dead in seconds. PERIGEE_OUTAGE_MS makes the outages longer.
 *
 * A page stops to read at `HELD` until it is allowed to go on: whatever happens to it happens in mid-transfer, however
 * slow the machine is.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { OriginServer } from './support/origin-server.js';

const TRANSPORTS = /** @type {const} */ (['websocket', 'stream', 'poll']);
const BYTES = 800_000;
const BYTES_PER_SECOND = 1_000_000;
/** What is left then is more than may be on its way. */
const HELD = 450_000;
const PEER_DEAD_MS = 3000;
const OUTAGE_MS = Number(process.env.PERIGEE_OUTAGE_MS ?? 0);

/**
 * Runs in the page, and once more after each reload: bytes to an echo backend and back. What came back is the page's to
 * keep, so it keeps that beside what the client keeps.
 * @param {{ module: string, bytes: number, held: number, [option: string]: unknown }} task
 */
async function carry({ module, bytes, held, ...options }) {
  const { Gateway, TCPSocket } = await import(module);
  const gateway = new Gateway(undefined, options);
  const [restored] = await gateway.restored();
  const socket = restored ?? new TCPSocket('echo', { gateway, label: 'transfer' });
  const received = new Uint8Array(bytes);
  let count = 0;
  for (const char of atob(sessionStorage.getItem('received') ?? '')) received[count++] = char.charCodeAt(0);
  const state = Object.assign(globalThis, { gateway, socket, restored: restored !== undefined, count, allow: () => {}, result: /** @type {string | null} */ (null) });
  /** @type {Promise<void>} */
  const allowed = new Promise((resolve) => (state.allow = resolve));
  if (options.surviveReload) {
    addEventListener('pagehide', () => {
      let text = '';
      for (let at = 0; at < state.count; at += 8192) text += String.fromCharCode(...received.subarray(at, Math.min(state.count, at + 8192)));
      sessionStorage.setItem('received', btoa(text));
    });
  }
  const sent = new Uint8Array(bytes).map((_, at) => (Math.imul(at, 2654435761) >>> 13) & 255);
  const writer = socket.writable.getWriter();
  const send = async () => {
    while (socket.stats.written < bytes) await writer.write(sent.slice(socket.stats.written, socket.stats.written + 20_000));
    // A page before this one may have come to that, too.
    if (!socket.stats.finished) await writer.close();
  };
  const receive = async () => {
    for await (const chunk of socket.readable) {
      received.set(chunk.subarray(0, bytes - state.count), state.count);
      state.count += chunk.length;
      if (state.count > held) await allowed;
    }
  };
  Promise.all([send(), receive()]).then(() => socket.closed).then(async () => {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', received));
    state.result = `${state.count} ${[...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  }).catch((error) => (state.result = `failed: ${error}`));
}

const expected = (() => {
  const bytes = new Uint8Array(BYTES).map((_, at) => (Math.imul(at, 2654435761) >>> 13) & 255);
  return `${BYTES} ${createHash('sha256').update(bytes).digest('hex')}`;
})();

describeInBrowsers('page life', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let gateway;
  /** @type {CuttingProxy} what the page takes for the gateway */
  let proxy;

  before(async () => {
    site = await OriginServer.start();
    backend = await Backend.echo();
    gateway = await Gateway.serve(`
      [timeouts]
      heartbeat = "1s"
      peer_dead = "${PEER_DEAD_MS}ms"
      hold = "2s"
      [backend.echo]
      address = "${backend.address}"
      resume_timeout = "${30 + Math.ceil(OUTAGE_MS / 1000)}s"
      [[allow]]
      origins = ["${site.origin}"]
      to = ["echo"]
    `);
    proxy = await CuttingProxy.start(gateway.port);
    browser = await Browser.launch(name, { throttles: true });
  });
  after(async () => {
    await browser?.stop();
    await proxy?.stop();
    await gateway?.stop();
    await backend?.stop();
    await site?.stop();
  });
  afterEach(async () => {
    proxy.flow();
    proxy.comeBack();
    proxy.refusing = null;
    proxy.aim(gateway.port);
    proxy.rate = Infinity;
    await browser.tidy();
  });

  /** @param {import('puppeteer-core').Page} page @param {Record<string, unknown>} options */
  const start = async (page, options) => {
    proxy.rate = BYTES_PER_SECOND;
    await page.evaluate(carry, { module: `${proxy.url}/perigee.js`, bytes: BYTES, held: HELD, backoffMaxMs: 500, ...options });
  };
  /** @param {import('puppeteer-core').Page} page @param {number} count */
  const received = (page, count) => page.waitForFunction((count) => /** @type {any} */ (globalThis).count > count, { polling: 20 }, count);
  /** @param {Record<string, unknown>} options @param {number} [count] */
  const under = async (options, count = 100_000) => {
    const { page } = await browser.open(site.origin);
    await page.evaluate(() => sessionStorage.clear());
    const { accepted } = backend;
    await start(page, options);
    await received(page, count);
    return { page, accepted };
  };
  /** @param {import('puppeteer-core').Page} page @param {number} accepted before the transfer */
  const assertWhole = async (page, accepted) => {
    await page.evaluate(() => /** @type {any} */ (globalThis).allow());
    const result = await page.waitForFunction(() => /** @type {any} */ (globalThis).result, { polling: 50, timeout: 60_000 });
    assert.equal(await result.jsonValue(), expected);
    assert.equal(backend.accepted, accepted + 1, 'it was one connection all the time');
  };
  const outage = () => OUTAGE_MS > 0 && new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));

  for (const transport of TRANSPORTS) {
    test(`loaded again in mid-transfer, twice (${transport})`, async () => {
      const options = { transport, surviveReload: true };
      const { page, accepted } = await under(options);
      for (const count of [400_000, BYTES - 1]) {
        await page.reload({ waitUntil: 'load' });
        await start(page, options);
        assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).restored), true, 'the socket came back');
        if (count < BYTES - 1) await received(page, count);
      }
      await assertWhole(page, accepted);
    });
  }

  for (const transport of /** @type {const} */ (['websocket', 'poll'])) {
    test(`loaded again when all was written and closed, and nothing delivered (${transport})`, async () => {
      const options = { transport, surviveReload: true, sendBytes: BYTES };
      const { page } = await browser.open(site.origin);
      await page.evaluate(() => sessionStorage.clear());
      const { accepted } = backend;
      await page.evaluate(async ({ module, ...options }) => {
        const { Gateway, TCPSocket } = await import(module);
        const gateway = new Gateway(undefined, options);
        await gateway.restored();
        const socket = new TCPSocket('echo', { gateway, label: 'transfer' });
        await socket.opened;
        Object.assign(globalThis, { socket });
      }, { module: `${proxy.url}/perigee.js`, ...options });
      proxy.stall();
      const stats = await page.evaluate(async (bytes) => {
        const { socket } = /** @type {any} */ (globalThis);
        const writer = socket.writable.getWriter();
        await writer.write(new Uint8Array(bytes).map((_, at) => (Math.imul(at, 2654435761) >>> 13) & 255));
        writer.close().catch(() => {});
        await Promise.resolve();
        return socket.stats;
      }, BYTES);
      assert.deepEqual([stats.written, stats.acked, stats.finished], [BYTES, 0, true]);
      proxy.goDown();
      await page.reload({ waitUntil: 'load' });
      proxy.flow();
      proxy.comeBack();
      await start(page, options);
      assert.deepEqual(await page.evaluate(() => [/** @type {any} */ (globalThis).restored, /** @type {any} */ (globalThis).socket.stats.finished]), [true, true]);
      await assertWhole(page, accepted);
    });
  }

  test('a tab that is duplicated does not go on with the connections of the first', async () => {
    const { page, accepted } = await under({ surviveReload: true });
    await page.goto('about:blank');
    await page.goto(site.origin, { waitUntil: 'load' });
    // As the browser copies it for the new tab.
    const copy = await page.evaluate(() => JSON.stringify(sessionStorage));
    await start(page, { surviveReload: true });
    const other = await browser.open(site.origin);
    await other.page.evaluate((copy) => Object.assign(sessionStorage, JSON.parse(copy)), copy);
    const others = await other.page.evaluate(async (module) => {
      const { Gateway } = await import(module);
      return (await new Gateway(undefined, { surviveReload: true }).restored()).length;
    }, `${proxy.url}/perigee.js`);
    assert.equal(others, 0);
    await assertWhole(page, accepted);
  });

  for (const transport of /** @type {const} */ (['websocket', 'poll'])) {
    test(`cut off, in silence, for longer than the page waits (${transport})`, async () => {
      const { page, accepted } = await under({ transport });
      proxy.stall();
      await page.waitForFunction(() => /** @type {any} */ (globalThis).gateway.state === 'detached', { timeout: 30_000 });
      await outage();
      proxy.flow();
      await assertWhole(page, accepted);
    });
  }

  for (const transport of /** @type {const} */ ([undefined, 'stream', 'sse', 'poll'])) test(`the proxy in front is replaced by one on another port (${transport ?? 'auto'})`, async () => {
    const [old, young] = [await CuttingProxy.start(gateway.port), await CuttingProxy.start(gateway.port)];
    try {
      proxy.aim(old.port);
      // Browsers keep connections for the pages that follow: those of the pages before lead elsewhere.
      proxy.cut();
      const { page, accepted } = await under(transport ? { transport } : {});
      proxy.aim(young.port);
      await old.stop();
      await assertWhole(page, accepted);
      assert.ok(old.connections > 0 && young.connections > 0, `${old.connections} and ${young.connections} connections`);
    } finally {
      await old.stop();
      await young.stop();
    }
  });

  test('up the ladder without a pause, when the network permits WebSockets', async () => {
    proxy.refusing = /upgrade: websocket/i;
    const { page, accepted } = await under({ transports: ['websocket', 'stream'], storage: null, stepUpAfterMs: 100 });
    assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).gateway.transport), 'stream');
    // Slow enough to be under way when its turn comes again.
    proxy.rate = BYTES_PER_SECOND / 10;
    await page.evaluate(() => {
      /** @type {string[]} */
      const told = [];
      const { gateway } = /** @type {any} */ (globalThis);
      gateway.on('detach', () => told.push('detach'));
      gateway.on('transport', (/** @type {Record<string, string>} */ { from, to, reason }) => told.push(`${from} ${to} ${reason}`));
      Object.assign(globalThis, { told });
    });
    proxy.refusing = null;
    await page.waitForFunction(() => /** @type {any} */ (globalThis).gateway.transport === 'websocket', { polling: 20 });
    assert.ok(await page.evaluate((bytes) => /** @type {any} */ (globalThis).count < bytes, BYTES), 'it was in mid-transfer');
    proxy.rate = Infinity;
    await assertWhole(page, accepted);
    assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).told), ['stream websocket step-up']);
  });

  test('behind another tab', async () => {
    const { page, accepted } = await under({});
    const { page: front } = await browser.open(site.origin);
    await front.bringToFront();
    await assertWhole(page, accepted);
  });

  test('behind another tab, with slow timers and nothing to say: the gateway keeps it alive', async () => {
    const { page } = await browser.open(site.origin);
    await page.evaluate(async (module) => {
      const { Gateway, TCPSocket } = await import(module);
      const gateway = new Gateway();
      const socket = new TCPSocket('echo', { gateway });
      await socket.opened;
      Object.assign(globalThis, { gateway, socket });
    }, `${proxy.url}/perigee.js`);
    const { page: front } = await browser.open(site.origin);
    await front.bringToFront();
    await page.waitForFunction(() => document.visibilityState === 'hidden', { polling: 20 });
    await page.evaluate(() => {
      const state = Object.assign(globalThis, { since: performance.now(), ticks: 0 });
      setInterval(() => state.ticks++, 10);
    });
    await page.waitForFunction((ms) => performance.now() - /** @type {any} */ (globalThis).since > ms, { polling: 20 }, 2 * PEER_DEAD_MS);
    const { ticks, resumes } = await page.evaluate(() => {
      const { ticks, gateway } = /** @type {any} */ (globalThis);
      return { ticks, resumes: gateway.stats.resumes };
    });
    assert.ok(ticks < 2 * PEER_DEAD_MS / 100, `${ticks} ticks: the timers are not slow`);
    assert.equal(resumes, 0);
    assert.equal(await page.evaluate(async () => {
      const { socket } = /** @type {any} */ (globalThis);
      const writer = socket.writable.getWriter();
      await writer.write(new TextEncoder().encode('still there'));
      const { value } = await socket.readable.getReader().read();
      return new TextDecoder().decode(value);
    }), 'still there');
  });

  // Only Chromium can be told to.
  if (name === 'chromium') {
    test('the network is gone and comes back: the page does not wait for the end of its pause', async () => {
      // Without the event it would pause for minutes.
      const patience = { backoffMinMs: 600_000, backoffMaxMs: 600_000 };
      const { page, accepted } = await under(patience);
      await page.evaluate(() => Object.assign(Math, { random: () => Object.assign(globalThis, { pauses: true }) && 0.9 }));
      proxy.goDown();
      await page.setOfflineMode(true);
      await page.waitForFunction(() => !navigator.onLine && /** @type {any} */ (globalThis).pauses, { polling: 20 });
      proxy.comeBack();
      assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).gateway.state), 'detached');
      await page.setOfflineMode(false);
      await assertWhole(page, accepted);
    });

    test('frozen for longer than the gateway waits', async () => {
      const { page, accepted } = await under({});
      const session = await page.createCDPSession();
      await session.send('Page.setWebLifecycleState', { state: 'frozen' });
      // How long a page sleeps is up to its browser; that it was long enough shows when it wakes up.
      await new Promise((resolve) => setTimeout(resolve, Math.max(OUTAGE_MS, 2 * PEER_DEAD_MS)));
      await session.send('Page.setWebLifecycleState', { state: 'active' });
      await assertWhole(page, accepted);
      assert.ok(await page.evaluate(() => /** @type {any} */ (globalThis).gateway.stats.resumes) > 0, 'the gateway gave it up');
    });

    test('on a slow processor', async () => {
      const { page, accepted } = await under({});
      await page.emulateCPUThrottling(20);
      await received(page, 300_000);
      await page.emulateCPUThrottling(null);
      await assertWhole(page, accepted);
    });
  }
});
