/**
 * Real browsers behind real proxies that run the configurations of config/proxies: every transport, in both directions, and
 * who the gateway takes the client for.
 */

import assert from 'node:assert/strict';
import https from 'node:https';
import { after, afterEach, before, describe, test } from 'node:test';
import { apache } from './support/apache.js';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { caddy } from './support/caddy.js';
import { GATEWAY, assertWhole, behindProxy } from './support/fronts.js';
import { Gateway } from './support/gateway.js';
import { haproxy } from './support/haproxy.js';
import { echo } from './support/in-page.js';
import { nginx } from './support/nginx.js';
import { OriginServer } from './support/origin-server.js';
import { Proxy } from './support/proxy.js';

const TRANSPORTS = /** @type {const} */ (['auto', 'websocket', 'stream', 'poll']);
const BYTES = 2 * 1024 * 1024;

/** What browsers are sent through; the last two in one browser only, since the proxies differ more than the browsers do. */
const FRONTS = /** @type {const} */ ([
  { program: nginx, file: 'nginx.conf', browsers: ['chromium', 'firefox'] },
  { program: haproxy, file: 'haproxy.cfg', browsers: ['chromium', 'firefox'] },
  { program: apache, file: 'apache.conf', browsers: ['chromium'] },
  { program: caddy, file: 'Caddyfile', browsers: ['chromium'] },
]);

describeInBrowsers('proxies', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let gateway;
  before(async () => {
    site = await OriginServer.start();
    backend = await Backend.echo();
    gateway = await Gateway.serve(behindProxy(site.origin, { echo: backend.address }));
    browser = await Browser.launch(name, { acceptInsecureCerts: true });
  });
  after(async () => {
    await browser?.stop();
    await gateway?.stop();
    await backend?.stop();
    await site?.stop();
  });

  for (const { program, file } of FRONTS.filter(({ browsers }) => /** @type {readonly string[]} */ (browsers).includes(name))) {
    describe(file, () => {
      /** @type {Proxy} */
      let proxy;
      before(async () => {
        proxy = await Proxy.start(program, file, { [GATEWAY]: gateway.port });
      });
      after(() => proxy?.stop());
      afterEach(() => browser.tidy());

      for (const transport of TRANSPORTS) {
        test(`${BYTES / 1024 / 1024} MiB there and back over ${transport}`, async () => {
          const { page, log } = await browser.open(site.origin);
          const echoed = await page.evaluate(echo, { module: `${proxy.url}/perigee.js`, transport, bytes: BYTES });
          assertWhole(echoed);
          assert.deepEqual(echoed.transports, [transport === 'auto' ? 'websocket' : transport]);
          assert.equal(echoed.stats.resumes, 0, 'the proxy cut nothing');
          assert.deepEqual(log.entries, []);
        });
      }
    });
  }
});

describe('the client’s address', () => {
  /** @type {Gateway} */
  let gateway;
  before(async () => {
    gateway = await Gateway.serve('trusted_proxies = ["127.0.0.1/32"]');
  });
  after(() => gateway?.stop());

  for (const { program, file } of FRONTS) {
    test(`${file} tells it, whatever the client claims`, async () => {
      const proxy = await Proxy.start(program, file, { [GATEWAY]: gateway.port });
      const from = gateway.log.length;
      for (const claim of /** @type {Record<string, string>[]} */ ([{}, { 'x-forwarded-for': '203.0.113.9' }, { forwarded: 'for=203.0.113.9' }, {
        'x-forwarded-for': '203.0.113.9, 127.0.0.1', forwarded: 'for=203.0.113.9, for=127.0.0.1',
      }])) {
        assert.equal(await refused(proxy.port, claim), 403);
      }
      await proxy.stop();
      const told = [...gateway.log.slice(from).matchAll(/request refused.*client\.addr=(\S+)/g)].map(([, address]) => address);
      assert.deepEqual(told, Array(4).fill(CLIENT));
    });
  }
});

/** Not what the proxy itself has towards the gateway. */
const CLIENT = '127.0.0.2';

/** The status of a request for which there is no rule. @param {number} port @param {Record<string, string>} headers */
function refused(port, headers) {
  return new Promise((resolve, reject) => {
    const request = https.request({
      port, host: '127.0.0.1', localAddress: CLIENT, rejectUnauthorized: false, agent: false, method: 'POST', path: '/perigee/v1/new/poll',
      headers: { origin: 'https://stranger.test', ...headers },
    }, (response) => resolve(response.resume().statusCode));
    request.on('error', reject);
    request.end();
  });
}
