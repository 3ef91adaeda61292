/**
 * Real browsers behind real proxies that are reloaded in the middle, and behind which there are several gateways, one of which
 * dies.
 */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { AT_A_TIME, FRONTS, GATEWAY, assertWhole, behindProxy } from './support/fronts.js';
import { Gateway } from './support/gateway.js';
import { acked, ends, open, say } from './support/held.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';
import { Proxy } from './support/proxy.js';
import { stage } from './support/stage.js';
import { until } from './support/wait.js';

const BYTES = 1024 * 1024;

describeInBrowsers('proxies that start anew', (name) => {
  const { lasting, passing } = stage();
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;

  before(async () => {
    site = await lasting(OriginServer.start());
    browser = await lasting(Browser.launch(name, { acceptInsecureCerts: true }));
  });

  const settings = FRONTS.flatMap((front) => AT_A_TIME.map((transports) => ({ front, transports })));
  for (const { front: { name: front, program, file, nodes, hasty, watchful }, transports } of settings) {
    test(`${front} is reloaded in the middle of transfers (${transports})`, async () => {
      const backend = await passing(Backend.echo());
      const slow = await passing(CuttingProxy.start(backend.port));
      const gateway = await passing(Gateway.serve(behindProxy(site.origin, { echo: `127.0.0.1:${slow.port}` })));
      const proxy = await passing(Proxy.start(program, file, { [GATEWAY]: gateway.port }, hasty));
      const { page } = await browser.open(site.origin);
      slow.rate = BYTES / 16;
      const running = page.evaluate(
        (source, tasks) => Promise.all(tasks.map((0, eval)(`(${source})`))),
        echo.toString(), transports.map((transport) => ({ module: `${proxy.url}/perigee.js`, transport, bytes: BYTES })),
      );
      // A session of which its page has heard nothing yet would be another one after a cut.
      await page.waitForFunction((count) => /** @type {any} */ (globalThis).underWay === count, { polling: 20 }, transports.length);
      await proxy.reload();
      assert.equal(slow.open, transports.length, 'the transfers outlast the processes that carried them');
      slow.rate = Infinity;
      for (const [i, echoed] of /** @type {import('./support/in-page.js').Echoed[]} */ (await running).entries()) {
        assertWhole(echoed);
        assert.deepEqual([...new Set(echoed.transports)], [transports[i]]);
        // The others are made of short replies, or asked for again by the browser itself.
        if (['websocket', 'stream'].includes(transports[i])) assert.ok(echoed.stats.resumes > 0, `${transports[i]} was not cut`);
      }
    });

    test(`${front} sends each session to its gateway, and nobody takes over those of a dead one (${transports})`, async () => {
      const backends = [await passing(Backend.echo()), await passing(Backend.echo())];
      const gateways = await Promise.all(backends.map(({ address }, i) => (
        passing(Gateway.serve(behindProxy(site.origin, { echo: address }, { top: `node = "n${i + 1}"` }))))));
      const ports = { '127.0.0.1:8001': gateways[0].port, '127.0.0.1:8002': gateways[1].port };
      const proxy = await passing(Proxy.start(program, nodes, ports, watchful));
      const { page } = await browser.open(site.origin);
      const ways = [...transports, ...transports].map((transport) => ({ url: proxy.url, transport }));
      await page.evaluate(open, ways);
      // Each poll and each POST is one more request that has to find its gateway.
      for (const word of ['one', 'two', 'three']) assert.deepEqual(await page.evaluate(say, word), ways.map(() => word));
      // A session of which its page heard nothing in time is made anew, and ends with its connection when nobody confirms it.
      const held = () => backends.reduce((sum, { sockets }) => sum + sockets.size, 0);
      await until('each socket has one connection', () => held() === ways.length);
      const [doomed, alive] = backends.map(({ sockets }) => sockets.size);
      assert.ok(doomed > 0 && alive > 0, `${doomed} and ${alive} sessions: each gateway has its share`);
      const { accepted } = backends[1];

      // That what was said is delivered is told a little after it came back.
      await until('all is acked', async () => (await page.evaluate(acked)).every((bytes) => bytes === 11));
      await gateways[0].die();
      const told = () => page.evaluate(ends);
      const isLost = (/** @type {string | null} */ end) => end === 'lost, 11 bytes delivered';
      await until('the sessions of the dead gateway are told as lost', async () => (await told()).filter(isLost).length === doomed, 40_000);
      assert.equal((await told()).filter((end) => end === null).length, alive, 'the others go on');
      assert.deepEqual(await page.evaluate(say, 'four'), (await told()).map((end) => end ?? 'four'));
      assert.equal(backends[1].accepted, accepted, 'nobody took them over');

      await page.evaluate(open, ways);
      assert.deepEqual(await page.evaluate(say, 'anew'), ways.map(() => 'anew'));
      await until('each of them has one connection, too', () => backends[1].sockets.size === alive + ways.length);
    });
  }
});
