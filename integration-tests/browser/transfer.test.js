/**
 * Ten mebibytes there and back in a real browser, from a page of the gateway and from one of another origin: on each
 * transport, while the network is cut all the time, and while the transport is switched in the middle.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';

const BYTES = 10 * 1024 * 1024;
const CUT_EVERY_MS = 300;
/** At this rate 10 MiB take at least eight lives of a connection, however fast the machine is. */
const STORM_BYTES_PER_SECOND = 4 * 1024 * 1024;
/** What passes the proxy that cuts; the demo's WebTransport goes around it. */
const OVER_TCP = /** @type {const} */ (['websocket', 'stream', 'sse', 'poll']);
const SWITCHES = /** @type {const} */ (['poll', 'websocket', 'stream', 'poll', 'websocket']);

/**
 * @param {import('./support/in-page.js').Echoed} echoed
 */
function assertWhole(echoed) {
  assert.equal(echoed.received, echoed.sent, `${echoed.received} of ${echoed.sent} bytes came back`);
  assert.equal(echoed.firstDifference, -1, 'the bytes that came back differ');
  assert.equal(echoed.receivedHash, echoed.sentHash);
}

describeInBrowsers('transfer', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {CuttingProxy} between the browser and the demo, so that its page is of the origin it talks to */
  let demoProxy;
  /** @type {Gateway} */
  let demo;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend[]} */
  let backends;
  /** @type {Gateway} */
  let gateway;
  /** @type {CuttingProxy} */
  let gatewayProxy;

  before(async () => {
    demoProxy = await CuttingProxy.start();
    demo = await Gateway.demo([demoProxy.url]);
    demoProxy.aim(demo.port);
    site = await OriginServer.start();
    const forgetful = await Backend.start(forget);
    backends = [await Backend.echo(), forgetful];
    gateway = await Gateway.serve(`
      [backend.echo]
      address = "${backends[0].address}"
      [backend.forgetful]
      address = "${backends[1].address}"
      [[allow]]
      origins = ["${site.origin}"]
      to = ["echo", "forgetful"]
    `);
    gatewayProxy = await CuttingProxy.start(gateway.port);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await gatewayProxy?.stop();
    await demoProxy?.stop();
    await gateway?.stop();
    await demo?.stop();
    for (const backend of backends ?? []) await backend.stop();
    await site?.stop();
  });
  afterEach(async () => {
    for (const proxy of [demoProxy, gatewayProxy]) {
      proxy.calm();
      proxy.rate = Infinity;
    }
    await browser.tidy();
  });

  for (const from of /** @type {const} */ (['the page of the gateway', 'a page of another origin'])) {
    const own = from === 'the page of the gateway';
    const proxy = () => (own ? demoProxy : gatewayProxy);
    /** @param {Partial<import('./support/in-page.js').Echo>} task */
    const run = async (task) => {
      const { page, log } = await browser.open(own ? `${demoProxy.url}/` : site.origin);
      const echoed = await page.evaluate(echo, { module: `${proxy().url}/perigee.js`, bytes: BYTES, ...task });
      return { echoed, log };
    };

    for (const transport of /** @type {const} */ (['websocket', 'stream', 'poll'])) {
      test(`${from}: over ${transport}`, async () => {
        const { echoed, log } = await run({ transport });
        assertWhole(echoed);
        assert.deepEqual([...new Set(echoed.transports)], [transport]);
        assert.equal(echoed.stats.resumes, 0, 'nothing was cut');
        assert.deepEqual(log.entries, []);
      });
    }

    test(`${from}: every connection is cut every ${CUT_EVERY_MS} ms`, async () => {
      const { page } = await browser.open(own ? `${demoProxy.url}/` : site.origin);
      // The module is there before the storm: what is tested is the session, not how a browser loads a script.
      await page.evaluate((module) => import(module).then(() => {}), `${proxy().url}/perigee.js`);
      proxy().rate = STORM_BYTES_PER_SECOND;
      proxy().storm(CUT_EVERY_MS);
      const echoed = await page.evaluate(echo, { module: `${proxy().url}/perigee.js`, bytes: BYTES, transports: [...OVER_TCP] });
      assertWhole(echoed);
      assert.ok(echoed.stats.resumes >= 7, `${echoed.stats.resumes} resumes are too few to say anything`);
    });

    test(`${from}: the transport is switched ${SWITCHES.length} times`, async () => {
      const { echoed } = await run({ transport: 'stream', switches: [...SWITCHES] });
      assertWhole(echoed);
      assert.deepEqual(echoed.transports, ['stream', ...SWITCHES]);
    });
  }

  test('a page with a WebSocket loads nothing for other transports', async () => {
    const { page } = await browser.open(site.origin);
    /** @type {string[]} */
    const loaded = [];
    page.on('request', (request) => loaded.push(new URL(request.url()).pathname));
    assertWhole(await page.evaluate(echo, { module: `${gateway.url}/perigee.js`, bytes: 100_000 }));
    assert.deepEqual(loaded.filter((path) => path.includes('/transports/')).sort(), [
      '/perigee/transports/endpoint.js', '/perigee/transports/open.js', '/perigee/transports/websocket.js',
    ]);
  });

  test('a byte that a backend changes is found', async () => {
    const { page } = await browser.open(site.origin);
    const echoed = await page.evaluate(echo, { module: `${gateway.url}/perigee.js`, backend: 'forgetful', bytes: 300_000 });
    assert.equal(echoed.received, echoed.sent);
    assert.equal(echoed.firstDifference, FORGOTTEN);
    assert.notEqual(echoed.receivedHash, echoed.sentHash);
  });
});

const FORGOTTEN = 200_000;

/** Echoes, but turns the bits of one byte. @param {import('node:net').Socket} socket */
function forget(socket) {
  let at = 0;
  socket.on('data', (chunk) => {
    if (at <= FORGOTTEN && FORGOTTEN < at + chunk.length) chunk[FORGOTTEN - at] ^= 0xff;
    at += chunk.length;
    socket.write(chunk);
  });
  socket.on('end', () => socket.end());
}
