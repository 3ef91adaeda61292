/**
 * What the client loads only when there is need of it, from a gateway that is away at that very moment, and the next: nothing a
 * page can do is lost to it for that, though some browsers remember of a module that it failed.
 */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { OriginServer } from './support/origin-server.js';

const SOURCE = new URL('../../js-client/src/', import.meta.url);
/** Every module that is loaded so, as the source says. */
const LAZY = readdirSync(SOURCE, { recursive: true }).map(String).filter((file) => file.endsWith('.js')).flatMap((file) => (
  [...readFileSync(new URL(file, SOURCE), 'utf8').matchAll(/\bneed\('([^']+)'/g)].map(([, name]) => `/perigee/${name}`)));
/** It is imported, fetched and imported again before it is fetched and imported for good. */
const FAILURES = 4;
/** A failed attempt is repeated soon. */
const OPTIONS = { backoffMinMs: 20, backoffMaxMs: 200 };

/**
 * Runs in the page: says something on each of these, one after the other, and what came back.
 * @param {{ url: string, kinds: string[], options: object }} task
 */
async function say({ url, kinds, options }) {
  const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
  const heard = [];
  for (const transport of kinds) {
    const gateway = new Gateway(url, { ...options, transport });
    const { readable, writable } = await new TCPSocket('echo', { gateway, encoding: 'utf-8' }).opened;
    await writable.getWriter().write(transport);
    heard.push(`${gateway.transport}: ${(await readable.getReader().read()).value}`);
    gateway.close();
  }
  return heard;
}

describeInBrowsers('modules that do not come at first', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let friend;
  /** @type {OriginServer} */
  let stranger;
  /** @type {Gateway} */
  let demo;
  /** How often each was asked for in vain, over all tests. @type {Set<string>} */
  const failed = new Set();

  before(async () => {
    friend = await OriginServer.start();
    stranger = await OriginServer.start();
    demo = await Gateway.demo([friend.origin]);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await demo?.stop();
    await stranger?.stop();
    await friend?.stop();
  });

  /** A page that has the client, and will get no more modules at the first requests, after each load. @param {string} url */
  const open = async (url) => {
    const { page } = await browser.open(url);
    /** @type {Map<string, number>} */
    let asked = new Map();
    await page.setRequestInterception(true);
    page.on('request', (request) => {
      const { pathname } = new URL(request.url());
      if (request.isNavigationRequest() && request.frame() === page.mainFrame()) asked = new Map();
      const count = (asked.get(pathname) ?? 0) + 1;
      asked.set(pathname, count);
      const answer = () => {
        if (!LAZY.includes(pathname) || count > FAILURES) return request.continue();
        if (count === 1) return request.respond({ status: 503, body: 'not now' });
        failed.add(pathname);
        return request.abort();
      };
      // The page may be gone by then.
      answer().catch(() => {});
    });
    return page;
  };

  test('each transport works', async () => {
    const page = await open(friend.origin);
    const kinds = ['poll', 'stream', 'sse', 'jsonp', 'htmlfile', 'webtransport'];
    const heard = await page.evaluate(say, { url: demo.url, kinds, options: OPTIONS });
    assert.deepEqual(heard, kinds.map((kind) => `${kind}: ${kind}`));
  });

  test('what works is remembered, and the page is watched', async () => {
    const page = await open(friend.origin);
    const remembered = await page.evaluate(async (url, options) => {
      const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
      const gateway = new Gateway(url, { ...options, transports: ['poll'] });
      await new TCPSocket('echo', { gateway }).opened;
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
      let known;
      while (!(known = localStorage.getItem(`perigee:${url}`))) await frame();
      // A page that goes says goodbye, if somebody watches for that.
      dispatchEvent(new PageTransitionEvent('pagehide', { persisted: false }));
      while (gateway.state !== 'idle') await frame();
      return known;
    }, demo.url, OPTIONS);
    assert.match(remembered, /"poll"/);
  });

  test('a page that may not is told so', async () => {
    const page = await open(stranger.origin);
    const code = await page.evaluate(async (url, options) => {
      const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
      const gateway = new Gateway(url, { ...options, transport: 'websocket' });
      return new TCPSocket('echo', { gateway }).opened.then(() => 'opened', (/** @type {{ code: string }} */ { code }) => code);
    }, demo.url, OPTIONS);
    assert.equal(code, 'denied');
  });

  test('a socket survives a reload', async () => {
    const page = await open(friend.origin);
    /** Runs in the page. @param {string} url @param {object} options @param {string} word */
    const goOn = async (url, options, word) => {
      const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
      const gateway = new Gateway(url, { ...options, surviveReload: true });
      const [restored] = await gateway.restored();
      const socket = restored ?? new TCPSocket('echo', { gateway, encoding: 'utf-8' });
      const { readable, writable } = await socket.opened;
      const writer = writable.getWriter();
      await writer.write(word);
      const heard = (await readable.getReader().read()).value;
      return { restored: restored !== undefined, heard };
    };
    assert.deepEqual(await page.evaluate(goOn, demo.url, OPTIONS, 'before'), { restored: false, heard: 'before' });
    await page.reload({ waitUntil: 'load' });
    assert.deepEqual(await page.evaluate(goOn, demo.url, OPTIONS, 'after'), { restored: true, heard: 'after' });
  });

  test('tabs share a session', async () => {
    const page = await open(`${demo.url}/`);
    const heard = await page.evaluate(async (options, failures) => {
      const { Gateway, TCPSocket } = await import(/** @type {string} */ ('/perigee.js'));
      // A connection of its own, which a tab takes rather than none, is not to be had either.
      let left = failures;
      class Away extends WebSocket {
        /** @param {string} url @param {string} protocol */
        constructor(url, protocol) {
          if (left-- > 0) throw new Error('away');
          super(url, protocol);
        }
      }
      const gateway = new Gateway(undefined, { ...options, shared: true, WebSocket: Away, transports: ['websocket'], raceAfterMs: 60_000, attemptTimeoutMs: 60_000 });
      const { readable, writable } = await new TCPSocket('echo', { gateway, encoding: 'utf-8' }).opened;
      await writable.getWriter().write('shared');
      return (await readable.getReader().read()).value;
    }, OPTIONS, FAILURES);
    assert.equal(heard, 'shared');
  });

  test('these were all', () => {
    assert.deepEqual([...failed].sort(), [...new Set(LAZY)].sort());
  });
});
