/**
 * Real browsers behind real proxies that do what networks do to people: they refuse WebSockets, hold replies back, and cut what
 * is idle.
 */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { AT_A_TIME, FRONTS, GATEWAY, assertWhole, behindProxy } from './support/fronts.js';
import { Gateway } from './support/gateway.js';
import { open, say } from './support/held.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';
import { Proxy } from './support/proxy.js';
import { stage } from './support/stage.js';
import { until } from './support/wait.js';

const BYTES = 1024 * 1024;
/** Nobody waits for long to find out what does not work. */
const HASTE = { probeMs: 500, raceAfterMs: 1000 };
/** What a server says by itself at first: more than buffers of 2 KiB hold, and with all frames and headers it ends in the middle of one. */
const BANNER_BYTES = 50_000;

describeInBrowsers('proxies that are not kind', (name) => {
  const { lasting, passing } = stage();
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
  /** @type {Gateway} that has WebTransport */
  let demo;

  before(async () => {
    site = await lasting(OriginServer.start());
    backend = await lasting(Backend.echo());
    gateway = await lasting(Gateway.serve(behindProxy(site.origin, { echo: backend.address })));
    lively = await lasting(Gateway.serve(behindProxy(site.origin, { echo: backend.address }, { timeouts: 'heartbeat = "2s"\nhold = "2s"' })));
    demo = await lasting(Gateway.demo([site.origin]));
    browser = await lasting(Browser.launch(name, { acceptInsecureCerts: true }));
  });

  /** @param {Parameters<typeof Proxy.start>} how */
  const start = (...how) => passing(Proxy.start(...how));
  /**
   * Transfers at the same time in one page.
   * @param {Proxy} proxy
   * @param {Partial<import('./support/in-page.js').Echo>[]} tasks
   */
  const carry = async ({ url }, tasks) => {
    const { page } = await browser.open(site.origin);
    /** @type {import('./support/in-page.js').Echoed[]} */
    const all = await page.evaluate(
      (source, tasks) => Promise.all(tasks.map((0, eval)(`(${source})`))),
      echo.toString(), tasks.map((task) => ({ module: `${url}/perigee.js`, bytes: BYTES, options: HASTE, ...task })),
    );
    all.forEach(assertWhole);
    return all.map(({ transports }) => transports);
  };

  for (const { name: front, program, file, refusing, buffering } of FRONTS) {
    test(`${front} refuses WebSockets`, async () => {
      const proxy = await start(program, file, { [GATEWAY]: gateway.port }, refusing);
      assert.deepEqual(await carry(proxy, [{}, { transport: 'poll' }]), [['stream'], ['poll']]);
      const [, told] = AT_A_TIME;
      assert.deepEqual(await carry(proxy, told.map((transport) => ({ transport }))), told.map((transport) => [transport]));
    });

    test(`${front} refuses WebSockets and holds replies back`, async () => {
      const proxy = await start(program, file, { [GATEWAY]: gateway.port }, [...refusing, ...buffering]);
      // Each ends where a reply has an end.
      const used = await carry(proxy, [{}, { transports: ['sse', 'poll'] }, { transports: ['htmlfile', 'jsonp'] }]);
      assert.deepEqual(used.map((transports) => transports.at(-1)), ['poll', 'poll', 'jsonp']);
    });

    test(`${front} refuses WebSockets and holds replies back, and WebTransport goes around it`, async () => {
      const proxy = await start(program, file, { [GATEWAY]: demo.port }, [...refusing, ...buffering]);
      assert.deepEqual(await carry(proxy, [{}, { transport: 'webtransport' }]), [['webtransport'], ['webtransport']]);
    });
  }

  test('nginx passes on what fills its buffers, and holds the rest back', async () => {
    const talkative = await passing(Backend.start((socket) => {
      socket.write('.'.repeat(BANNER_BYTES));
      socket.pipe(socket);
    }));
    const talking = await passing(Gateway.serve(behindProxy(site.origin, { echo: talkative.address })));
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
    /** A page that holds a socket open each way, through each proxy to each gateway. @param {readonly string[]} transports */
    const hold = async (transports) => {
      /** @type {{ url: string, transport: string, isLively: boolean }[]} */
      const ways = [];
      for (const { program, file, impatient } of FRONTS) {
        for (const { port } of [gateway, lively]) {
          const { url } = await start(program, file, { [GATEWAY]: port }, impatient);
          ways.push(...transports.map((transport) => ({ url, transport, isLively: port === lively.port })));
        }
      }
      const { page } = await browser.open(site.origin);
      await page.evaluate(open, ways);
      assert.deepEqual(await page.evaluate(say, 'before'), ways.map(() => 'before'));
      const resumes = async () => /** @type {number[]} */ (await page.evaluate(() => (
        /** @type {import('./support/held.js').Held[]} */ (/** @type {any} */ (globalThis).held).map(({ gateway }) => gateway.stats.resumes))));
      return { page, ways, resumes };
    };
    const before = backend.accepted;
    const [common, others] = [await hold(AT_A_TIME[0]), await hold(AT_A_TIME[1])];
    const { accepted } = backend;
    assert.equal(accepted - before, common.ways.length + others.ways.length, 'each socket has one connection');
    for (const { ways, resumes } of [common, others]) {
      // Events are asked for again by the browser itself, and an iframe that is quiet is asked before it is cut.
      const isQuiet = (/** @type {number} */ i) => ways[i].isLively || ['sse', 'htmlfile'].includes(ways[i].transport);
      await until('each was cut twice', async () => (await resumes()).every((count, i) => isQuiet(i) || count >= 2), 60_000);
    }
    for (const { page, ways, resumes } of [common, others]) {
      assert.deepEqual(await page.evaluate(say, 'after'), ways.map(() => 'after'));
      // None, on a machine that always has time for a heartbeat.
      const cut = (await resumes()).map((count, i) => ({ ...ways[i], count })).filter(({ isLively, count }) => isLively && count > 1);
      assert.deepEqual(cut, [], 'a heartbeat that is shorter than the patience of the proxy keeps everything open');
    }
    assert.equal(backend.accepted, accepted, 'each socket has had one connection');
  });
});
