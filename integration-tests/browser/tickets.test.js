/**
 * The transports that read with a ticket, in real browsers: events, pages in an iframe and script tags bring random bytes
 * there and back, from the gateway's own page and from one of another origin, also while connections are cut.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';

/** Several pages of an iframe, and some dozens of scripts. */
const BYTES = 2 * 1024 * 1024;
const KINDS = /** @type {const} */ (['sse', 'htmlfile', 'jsonp']);

describeInBrowsers('with a ticket', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let friend;
  /** @type {CuttingProxy} */
  let proxy;
  /** @type {Gateway} */
  let demo;

  before(async () => {
    friend = await OriginServer.start();
    proxy = await CuttingProxy.start();
    demo = await Gateway.demo([friend.origin, proxy.url]);
    proxy.aim(demo.port);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await proxy?.stop();
    await demo?.stop();
    await friend?.stop();
  });
  afterEach(async () => {
    proxy.calm();
    await browser.tidy();
  });

  for (const transport of KINDS) {
    for (const own of [true, false]) {
      test(`${transport} from ${own ? 'the page of the gateway' : 'a page of another origin'}`, async () => {
        const { page, log } = await browser.open(own ? demo.url : friend.origin);
        const echoed = await page.evaluate(echo, { module: `${demo.url}/perigee.js`, gateway: demo.url, bytes: BYTES, transport });
        assert.equal(echoed.received, BYTES);
        assert.equal(echoed.receivedHash, echoed.sentHash);
        assert.deepEqual(echoed.transports, [transport]);
        assert.equal(echoed.stats.resumes, 0, 'nothing was cut');
        // Firefox calls a request failed whose iframe is taken away, which is how the last page ends.
        assert.deepEqual(log.entries.filter((entry) => !entry.includes('Browsing context already closed')), []);
        await demo.logs(new RegExp(`stream closed.*transports=${transport} .*code=closed`));
      });
    }

    // There only silence may tell, and that takes longer than connections live here.
    if (transport === 'htmlfile') continue;
    test(`${transport} while connections are cut`, async () => {
      const { page } = await browser.open(friend.origin);
      await page.evaluate((module) => import(module).then(() => {}), `${proxy.url}/perigee.js`);
      const before = proxy.cuts;
      proxy.rate = 1024 * 1024;
      proxy.storm(700);
      const echoed = await page.evaluate(echo, { module: `${proxy.url}/perigee.js`, gateway: proxy.url, bytes: BYTES, transport });
      proxy.rate = Infinity;
      assert.equal(echoed.received, BYTES);
      assert.equal(echoed.receivedHash, echoed.sentHash);
      assert.ok(proxy.cuts - before >= 3, `only ${proxy.cuts - before} cuts`);
    });
  }

  test('htmlfile that is cut goes on long before the gateway would have to speak', async () => {
    const backend = await Backend.echo();
    const gateway = await Gateway.serve(`
      [timeouts]
      heartbeat = "5min"
      peer_dead = "15min"
      [legacy]
      htmlfile = true
      [backend.echo]
      address = "${backend.address}"
      [[allow]]
      origins = ["${friend.origin}"]
      to = ["echo"]
    `);
    // Its own, because a browser keeps connections to the other one.
    const line = await CuttingProxy.start(gateway.port);
    try {
      const { page } = await browser.open(friend.origin);
      await page.evaluate(async (url) => {
        const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
        const gateway = new Gateway(url, { transport: 'htmlfile', probeMs: 500 });
        const socket = new TCPSocket('echo', { gateway, encoding: 'utf-8' });
        const { readable, writable } = await socket.opened;
        const [reader, writer] = [readable.getReader(), writable.getWriter()];
        Object.assign(globalThis, {
          say: async (/** @type {string} */ word) => {
            await writer.write(word);
            let heard = '';
            while (heard.length < word.length) heard += (await reader.read()).value;
            return heard;
          },
        });
      }, line.url);
      const say = (/** @type {string} */ word) => page.evaluate((word) => /** @type {any} */ (globalThis).say(word), word);
      for (const word of ['one', 'two']) {
        assert.equal(await say(word), word);
        line.cut();
      }
      assert.equal(await say('three'), 'three');
      assert.equal(backend.accepted, 1, 'it was one connection all the time');
    } finally {
      await line.stop();
      await gateway.stop();
      await backend.stop();
    }
  });
});
