/**
 * Real browsers behind real proxies that run the configurations of config/proxies: every transport, in both directions, and
 * who the gateway takes the client for.
 */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { apache } from './support/apache.js';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { caddy } from './support/caddy.js';
import { certify } from './support/certificate.js';
import { ALL_TRANSPORTS, GATEWAY, FRONTS as RESTARTED, assertWhole, behindProxy } from './support/fronts.js';
import { Gateway } from './support/gateway.js';
import { haproxy, haproxyTcp } from './support/haproxy.js';
import { echo } from './support/in-page.js';
import { nginx, nginxTcp } from './support/nginx.js';
import { OriginServer } from './support/origin-server.js';
import { Proxy } from './support/proxy.js';

const BYTES = 2 * 1024 * 1024;

/**
 * What browsers are sent through; some in one browser only, since the proxies differ more than the browsers do.
 * @typedef {{ program: import('./support/proxy.js').Program, file: string, browsers: readonly string[], tcp: boolean }} Front
 * @type {readonly Front[]}
 */
const FRONTS = [
  { program: nginx, file: 'nginx.conf', browsers: ['chromium', 'firefox'], tcp: false },
  { program: haproxy, file: 'haproxy.cfg', browsers: ['chromium', 'firefox'], tcp: false },
  { program: apache, file: 'apache.conf', browsers: ['chromium'], tcp: false },
  { program: caddy, file: 'Caddyfile', browsers: ['chromium'], tcp: false },
  { program: haproxyTcp, file: 'haproxy-tcp.cfg', browsers: ['chromium'], tcp: true },
  { program: nginxTcp, file: 'nginx-tcp.conf', browsers: ['firefox'], tcp: true },
];

/** Two gateways with the same rules: one that is told in a header who the client is, and one with TLS that is told by PROXY. */
class Gateways {
  /** @param {string} folder @param {Gateway} http @param {Gateway} tcp */
  constructor(folder, http, tcp) {
    this.folder = folder;
    this.http = http;
    this.tcp = tcp;
  }

  /** @param {string} config */
  static async start(config) {
    const folder = await mkdtemp(join(tmpdir(), 'perigee-tls-'));
    const { chain, key } = await certify(folder);
    const listener = `tls_certificate = "${chain}"\ntls_key = "${key}"\nproxy_protocol = true`;
    return new Gateways(folder, await Gateway.serve(config), await Gateway.serve(config, listener));
  }

  /** @param {Front} front @param {import('./support/proxy.js').Changes} [changes] */
  async behind({ program, file, tcp }, changes) {
    const gateway = tcp ? this.tcp : this.http;
    const proxy = await Proxy.start(program, file, { [tcp ? '127.0.0.1:8443' : GATEWAY]: gateway.port }, changes);
    return { gateway, proxy };
  }

  async stop() {
    await this.http.stop();
    await this.tcp.stop();
    await rm(this.folder, { recursive: true });
  }
}

describeInBrowsers('proxies', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend} */
  let backend;
  /** @type {Gateways} */
  let gateways;
  before(async () => {
    site = await OriginServer.start();
    backend = await Backend.echo();
    gateways = await Gateways.start(behindProxy(site.origin, { echo: backend.address }));
    browser = await Browser.launch(name, { acceptInsecureCerts: true });
  });
  after(async () => {
    await browser?.stop();
    await gateways?.stop();
    await backend?.stop();
    await site?.stop();
  });

  for (const front of FRONTS.filter(({ browsers }) => browsers.includes(name))) {
    describe(front.file, () => {
      /** @type {Proxy} */
      let proxy;
      before(async () => {
        ({ proxy } = await gateways.behind(front));
      });
      after(() => proxy?.stop());
      afterEach(() => browser.tidy());

      for (const transport of /** @type {const} */ (['auto', ...ALL_TRANSPORTS])) {
        test(`${BYTES / 1024 / 1024} MiB there and back over ${transport}`, async () => {
          const { page, log } = await browser.open(site.origin);
          const echoed = await page.evaluate(echo, { module: `${proxy.url}/perigee.js`, transport, bytes: BYTES });
          assertWhole(echoed);
          assert.deepEqual(echoed.transports, [transport === 'auto' ? 'websocket' : transport]);
          assert.equal(echoed.stats.resumes, 0, 'the proxy cut nothing');
          // Firefox says so of a frame that is taken away while it loads.
          assert.deepEqual(log.entries.filter((entry) => !entry.includes('Browsing context already closed')), []);
        });
      }
    });
  }
});

describe('the files that are shipped', () => {
  const config = new URL('../../config/', import.meta.url);
  const files = readdirSync(new URL('proxies/', config));
  /** @param {string} key */
  const seconds = (key) => Number(readFileSync(new URL('perigee.toml', config), 'utf8').match(new RegExp(`^#${key} = "(\\d+)s"$`, 'm'))?.[1]);

  test('each is in the documentation and is started by a test', () => {
    const documented = readFileSync(new URL('../docs/proxies.md', config), 'utf8').matchAll(/\]\(\.\.\/config\/proxies\/([^)]+)\)/g);
    assert.deepEqual([...documented].map(([, file]) => file).sort(), files);
    assert.deepEqual([...FRONTS.map(({ file }) => file), ...RESTARTED.map(({ nodes }) => nodes)].sort(), files);
  });

  test('each is more patient than the gateway is silent, and lets go of a connection before the gateway does', () => {
    const silence = Math.max(seconds('heartbeat'), seconds('hold'));
    const idle = seconds('http_idle');
    assert.ok(silence > 0 && idle > 0);
    for (const file of files) {
      const text = readFileSync(new URL(`proxies/${file}`, config), 'utf8').replaceAll(/^\s*#.*$/gm, '');
      /** @param {RegExp} pattern */
      const all = (pattern) => [...text.matchAll(pattern)].map(([, number]) => Number(number));
      const patience = all(/\b(?:proxy_(?:read_|send_)?timeout|timeout (?:client|server|tunnel)|read_timeout|write_timeout|[^\w]timeout)[ =]+(\d+)/g);
      assert.ok(patience.length > 0 && patience.every((number) => number > silence), `${file}: ${patience}`);
      const kept = all(/\b(?:keepalive_timeout|keepalive|ttl)[ =]+(\d+)s/g);
      assert.ok(kept.every((number) => number < idle), `${file}: ${kept}`);
    }
  });
});

/** Not what the proxy itself has towards the gateway. */
const CLIENT = '127.0.0.2';
const CLAIMED = '203.0.113.9';
/** What a client may say of itself. @type {Record<string, string>[]} */
const CLAIMS = [
  {},
  { 'x-forwarded-for': CLAIMED },
  { 'x-forwarded-for': `${CLAIMED}, 127.0.0.1` },
  { forwarded: `for=${CLAIMED}` },
  { forwarded: `for=${CLAIMED}, for=127.0.0.1;by="` },
];

describe('the client’s address', () => {
  /** @type {Gateways} */
  let gateways;
  before(async () => {
    gateways = await Gateways.start('trusted_proxies = ["127.0.0.1/32"]');
  });
  after(() => gateways?.stop());

  for (const front of FRONTS) {
    test(`${front.file} tells it, whatever the client claims`, async () => {
      const { proxy, gateway } = await gateways.behind(front);
      await assertTold(proxy, gateway);
    });
  }

  const [inNginx, inHaproxy] = FRONTS;
  for (const { what, front, changes } of /** @type {{ what: string, front: Front, changes: import('./support/proxy.js').Changes }[]} */ ([
    { what: 'nginx', front: inNginx, changes: [['X-Forwarded-For $remote_addr', 'X-Forwarded-For $proxy_add_x_forwarded_for']] },
    { what: 'HAProxy', front: inHaproxy, changes: [['set-header X-Forwarded-For', 'add-header X-Forwarded-For']] },
  ])) {
    test(`${what} may as well append to X-Forwarded-For`, async () => {
      const { proxy, gateway } = await gateways.behind(front, changes);
      await assertTold(proxy, gateway);
    });
  }

  for (const { what, front, changes } of /** @type {{ what: string, front: Front, changes: import('./support/proxy.js').Changes }[]} */ ([
    {
      what: 'nginx',
      front: inNginx,
      changes: [['proxy_set_header X-Forwarded-For $remote_addr;', ''], ['Forwarded ""', 'Forwarded "$http_forwarded, for=$remote_addr"']],
    },
    {
      what: 'HAProxy',
      front: inHaproxy,
      changes: [['http-request set-header X-Forwarded-For %[src]', ''], ['del-header Forwarded', 'add-header Forwarded for=%[src]']],
    },
  ])) {
    test(`${what} may as well append to Forwarded`, async () => {
      const gateway = await Gateway.serve('trusted_proxies = ["127.0.0.1/32"]\nforwarded_header = "forwarded"');
      const proxy = await Proxy.start(front.program, front.file, { [GATEWAY]: gateway.port }, changes);
      await assertTold(proxy, gateway);
      await gateway.stop();
    });
  }
});

/** The gateway's log has the client's own address for each claim. @param {Proxy} proxy @param {Gateway} gateway */
async function assertTold(proxy, gateway) {
  const from = gateway.log.length;
  for (const claim of CLAIMS) assert.equal(await refused(proxy.port, claim), 403);
  await proxy.stop();
  const told = [...gateway.log.slice(from).matchAll(/request refused.*client\.addr=(\S+)/g)].map(([, address]) => address);
  assert.deepEqual(told, CLAIMS.map(() => CLIENT));
}

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
