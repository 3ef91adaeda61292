/**
 * Real browsers behind real proxies that do what networks do to people: they refuse WebSockets, hold replies back, and cut what
 * is idle.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { FRONTS, GATEWAY, TRANSPORTS, assertWhole, behindProxy } from './support/fronts.js';
import { Gateway } from './support/gateway.js';
import { open, say } from './support/held.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';
import { Proxy } from './support/proxy.js';
import { until } from './support/wait.js';

const BYTES = 1024 * 1024;
/** What a server says by itself at first: more than buffers of 2 KiB hold, and with all frames and headers it ends in the middle of one. */
const BANNER_BYTES = 50_000;

describeInBrowsers('proxies that are not kind', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let gateway;
  /** @type {Gateway} that speaks up before an impatient proxy cuts */
  let lively;
  /** @type {{ stop: () => Promise<unknown> }[]} for one test, the first to be stopped last */
  const used = [];

  before(async () => {
    site = await OriginServer.start();
    backend = await Backend.echo();
    gateway = await Gateway.serve(behindProxy(site.origin, { echo: backend.address }));
    lively = await Gateway.serve(behindProxy(site.origin, { echo: backend.address }, { timeouts: 'heartbeat = "2s"\nhold = "2s"' }));
    browser = await Browser.launch(name, { acceptInsecureCerts: true });
  });
  after(async () => {
    await browser?.stop();
    await gateway?.stop();
    await lively?.stop();
    await backend?.stop();
    await site?.stop();
  });
  afterEach(async () => {
    await browser.tidy();
    for (const thing of used.splice(0).reverse()) await thing.stop();
  });

  /** @template {{ stop: () => Promise<unknown> }} T @param {Promise<T>} starting @returns {Promise<T>} */
  const use = async (starting) => {
    const thing = await starting;
    used.push(thing);
    return thing;
  };
  /** @param {Parameters<typeof Proxy.start>} how */
  const start = (...how) => use(Proxy.start(...how));

  for (const { name: front, program, file, refusing, buffering } of FRONTS) {
    test(`${front} refuses WebSockets`, async () => {
      const proxy = await start(program, file, { [GATEWAY]: gateway.port }, refusing);
      const { page } = await browser.open(site.origin);
      const echoed = await page.evaluate(echo, { module: `${proxy.url}/perigee.js`, bytes: BYTES });
      assertWhole(echoed);
      assert.deepEqual(echoed.transports, ['stream']);
    });

    test(`${front} refuses WebSockets and holds replies back`, async () => {
      const proxy = await start(program, file, { [GATEWAY]: gateway.port }, [...refusing, ...buffering]);
      const { page } = await browser.open(site.origin);
      const echoed = await page.evaluate(echo, { module: `${proxy.url}/perigee.js`, bytes: BYTES });
      assertWhole(echoed);
      assert.equal(echoed.transports.at(-1), 'poll');
    });
  }

  test('nginx passes on what fills its buffers, and holds the rest back', async () => {
    const talkative = await use(Backend.start((socket) => {
      socket.write('.'.repeat(BANNER_BYTES));
      socket.pipe(socket);
    }));
    const talking = await use(Gateway.serve(behindProxy(site.origin, { echo: talkative.address })));
    const [{ program, file, refusing, buffering }] = FRONTS;
    const [[there, instead], ...others] = buffering;
    const small = instead.replace('1m; proxy_buffers 8 1m;', '2k; proxy_buffers 8 2k; proxy_busy_buffers_size 4k;');
    const proxy = await start(program, file, { [GATEWAY]: talking.port }, [...refusing, [there, small], ...others]);
    const { page } = await browser.open(site.origin);
    const { transports, heard } = await page.evaluate(async (url, banner) => {
      const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
      const gateway = new Gateway(url, { storage: null, probeMs: 500 });
      const transports = /** @type {string[]} */ ([]);
      const polls = new Promise((resolve) => {
        gateway.on('transport', (/** @type {{ to: string }} */ { to }) => {
          transports.push(to);
          if (to === 'poll') resolve(undefined);
        });
      });
      const { readable, writable } = await new TCPSocket('echo', { gateway, encoding: 'utf-8' }).opened;
      await writable.getWriter().write('said');
      const reader = readable.getReader();
      let heard = '';
      while (heard.length < banner + 4) heard += (await reader.read()).value;
      await polls;
      gateway.close();
      return { transports, heard: heard.slice(banner) };
    }, proxy.url, BANNER_BYTES);
    assert.equal(heard, 'said');
    assert.deepEqual(transports, ['stream', 'poll']);
  });

  test('what is idle is cut after 5 seconds, again and again, and sockets stay', async () => {
    const urls = [];
    for (const { program, file, impatient } of FRONTS) {
      for (const { port } of [gateway, lively]) urls.push((await start(program, file, { [GATEWAY]: port }, impatient)).url);
    }
    const { page } = await browser.open(site.origin);
    const before = backend.accepted;
    const ways = urls.flatMap((url, i) => TRANSPORTS.map((transport) => ({ url, transport, isLively: i % 2 === 1 })));
    await page.evaluate(open, ways);
    assert.deepEqual(await page.evaluate(say, 'before'), ways.map(() => 'before'));
    const resumes = () => page.evaluate(() => (
      /** @type {import('./support/held.js').Held[]} */ (/** @type {any} */ (globalThis).held).map(({ gateway }) => gateway.stats.resumes)));
    await until('each was cut twice', async () => (await resumes()).every((count, i) => ways[i].isLively || count >= 2), 60_000);
    assert.deepEqual(await page.evaluate(say, 'after'), ways.map(() => 'after'));
    assert.equal(backend.accepted - before, ways.length, 'each socket has had one connection');
    // None, on a machine that always has time for a heartbeat.
    const cut = (await resumes()).map((count, i) => ({ ...ways[i], count })).filter(({ isLively, count }) => isLively && count > 1);
    assert.deepEqual(cut, [], 'a heartbeat that is shorter than the patience of the proxy keeps everything open');
  });
});
