/**
 * What a page has for IRC, XMPP, STOMP and MQTT, on every transport that browsers have, to real servers: logged in, joined, and
 * talking while connections are cut, with nothing lost, repeated or out of order.
 */

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { rabbitmq } from '../clients/support/brokers.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { certify, hashOf } from './support/certificate.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { Ngircd } from './support/ngircd.js';
import { OriginServer } from './support/origin-server.js';
import { DOMAIN, PASSWORD, Prosody, ROOMS } from './support/xmpp-servers.js';
import { until } from './support/wait.js';

const TRANSPORTS = /** @type {const} */ (['websocket', 'webtransport', 'stream', 'sse', 'poll', 'htmlfile', 'jsonp']);
const MESSAGES = 60;
const CUTS = 2;
/** A page waits for servers, and the test for the page. */
const PAGE_MS = 90_000;
const LOGIN = { login: 'tester', passcode: 'secret', host: '/' };

/** @type {Ngircd} */
let ircd;
/** @type {Prosody} */
let prosody;
/** @type {Awaited<ReturnType<typeof rabbitmq>>} */
let broker;
/** @type {Gateway} */
let gateway;
/** @type {CuttingProxy} */
let proxy;
/** @type {OriginServer} */
let site;
/** @type {string} */
let folder;
/** @type {string} of the certificate, for WebTransport */
let hash;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'perigee-protocols-'));
  [ircd, prosody, broker, site] = await Promise.all([Ngircd.start(), Prosody.start(), rabbitmq(LOGIN.login, LOGIN.passcode), OriginServer.start()]);
  const certificate = await certify(folder);
  hash = await hashOf(certificate.chain);
  gateway = await Gateway.serve(`
    [legacy]
    htmlfile = true
    jsonp = true
    [backend.irc]
    address = "${ircd.address}"
    service = "irc"
    [backend.irc.irc]
    flood_burst = 5000
    [backend.xmpp]
    address = "${prosody.address}"
    tls_ca = "${prosody.ca}"
    service = "xmpp"
    [backend.xmpp.xmpp]
    domain = "${DOMAIN}"
    [backend.stomp]
    address = "${broker.address}"
    service = "stomp"
    [backend.mqtt]
    address = "${broker.mqtt}"
    [[allow]]
    origins = ["${site.origin}"]
    to = ["irc", "xmpp", "stomp", "mqtt"]
  `, `
    [[listener]]
    address = "127.0.0.1:0"
    tls_certificate = "${certificate.chain}"
    tls_key = "${certificate.key}"
    webtransport = true
  `);
  proxy = await CuttingProxy.start(gateway.port);
  site.scripts['mqtt.js'] = await readFile(new URL('node_modules/mqtt/dist/mqtt.min.js', import.meta.url), 'utf8');
  site.scripts['strophe.js'] = await readFile(new URL('node_modules/strophe.js/dist/strophe.umd.min.js', import.meta.url), 'utf8');
});
after(async () => {
  await proxy?.stop();
  await Promise.all([gateway, site, ircd, prosody, broker].map((one) => one?.stop()));
  await rm(folder, { recursive: true, force: true });
});

/**
 * Runs in the page: says things in a channel, in a room and to a queue at once, and hears them again.
 * @param {{ url: string, transport: string, messages: number, rooms: string, jid: string, password: string, login: object, hash: string }} task
 */
async function talk({ url, transport, messages, rooms, jid, password, login, hash }) {
  const [{ Gateway }, { IRCClient }, { XMPPClient }, { StompClient }] = await Promise.all(
    ['perigee.js', 'perigee/irc.js', 'perigee/xmpp.js', 'perigee/stomp.js'].map((name) => import(`${url}/${name}`)),
  );
  const page = /** @type {any} */ (globalThis);
  // As if an authority that the browser knows had signed the certificate.
  const value = Uint8Array.from(atob(hash), (character) => character.charCodeAt(0));
  page.WebTransport = class extends (page.PlainWebTransport ??= page.WebTransport) {
    /** @param {string} address @param {object} options */
    constructor(address, options) {
      super(address, { ...options, serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
    }
  };
  const gateway = new Gateway(url, { transport, probeMs: 500 });
  const said = Array.from({ length: messages }, (_, n) => `${n} ä€😀 <&>'"`);
  /** @type {Record<string, string[]>} */
  const heard = { irc: [], xmpp: [], stomp: [] };
  /** @type {string[]} */
  const errors = [];
  Object.assign(page, { heard, gateway });
  const [ada, bob] = ['ada', 'bob'].map((nick) => new IRCClient({ server: 'irc', gateway, nick: `${nick}-${transport}`.slice(0, 9) }));
  const xmpp = new XMPPClient({ strophe: page.Strophe, server: 'xmpp', gateway, jid, password });
  const stomp = new StompClient({ server: 'stomp', gateway, ...login });
  for (const [name, client] of Object.entries({ ada, bob, xmpp, stomp })) {
    client.on('error', (/** @type {{ error: Error }} */ { error }) => errors.push(`${name}: ${error.name}: ${error.message}`));
  }
  bob.on('message', (/** @type {any} */ { own, channel, text }) => !own && channel && heard.irc?.push(text));
  xmpp.on('message', (/** @type {any} */ { kind, text }) => kind === 'room' && heard.xmpp?.push(text));

  await Promise.all([ada, bob, xmpp, stomp].map((client) => client.connect()));
  const room = `${transport}@${rooms}`;
  await Promise.all([ada.join(`#${transport}`), bob.join(`#${transport}`), xmpp.join(room, 'tester'),
    stomp.subscribe(`/queue/${transport}`, async (/** @type {any} */ message) => {
      heard.stomp?.push(message.text);
      await message.ack();
    }, { ack: 'client-individual' })]);
  const speak = async (/** @type {(text: string, n: number) => Promise<unknown>} */ say) => {
    // A few at a time, as from a page that does not wait for each.
    for (let n = 0; n < messages; n += 10) await Promise.all(said.slice(n, n + 10).map((text, m) => say(text, n + m)));
  };
  await Promise.all([
    speak((text) => ada.say(`#${transport}`, text)),
    speak((text) => xmpp.say(room, text)),
    speak(async (text, n) => {
      // Nobody but the page can cut what is no TCP.
      if (transport === 'webtransport' && n % 20 === 5) gateway.cut();
      await stomp.send(`/queue/${transport}`, text);
    }),
  ]);
  while (Object.values(heard).some(({ length }) => length < messages)) await new Promise((resolve) => setTimeout(resolve, 20));
  const { stats } = gateway;
  const used = gateway.transport;
  await Promise.all([ada, bob, xmpp, stomp].map((client) => client.close()));
  gateway.close();
  return { heard, errors, stats, used };
}

/**
 * Runs in the page: mqtt.js, which knows WebSockets, to a broker that knows TCP.
 * @param {{ url: string, messages: number, username: string, password: string, topic: string }} task
 */
async function publish({ url, messages, username, password, topic }) {
  const [{ Gateway }, { TCPWebSocket }] = await Promise.all(['perigee.js', 'perigee/websocket.js'].map((name) => import(`${url}/${name}`)));
  const gateway = new Gateway(url, { transport: 'poll' });
  const { mqtt } = /** @type {any} */ (globalThis);
  const client = await mqtt.connectAsync(`${url.replace('http', 'ws')}/ws/mqtt`, {
    username, password, reconnectPeriod: 0,
    createWebsocket: (/** @type {string} */ address, /** @type {string[]} */ protocols) => Object.assign(new TCPWebSocket(address, protocols, { gateway }), { binaryType: 'arraybuffer' }),
  });
  /** @type {string[]} */
  const heard = [];
  const all = new Promise((resolve) => client.on('message', (/** @type {string} */ _, /** @type {Uint8Array} */ body) => {
    if (heard.push(new TextDecoder().decode(body)) === messages) resolve(undefined);
  }));
  await client.subscribeAsync(topic, { qos: 1 });
  const said = Array.from({ length: messages }, (_, n) => `${n} ä€😀`);
  for (const [n, text] of said.entries()) {
    if (n % 20 === 10) gateway.cut();
    await client.publishAsync(topic, text, { qos: 1 });
  }
  await all;
  await client.endAsync();
  gateway.close();
  return { said, heard, resumes: gateway.stats.resumes };
}

describeInBrowsers('IRC, XMPP and STOMP in a page', (name) => {
  /** @type {Browser} */
  let browser;

  before(async () => {
    browser = await Browser.launch(name);
  });
  after(() => browser?.stop());
  afterEach(() => browser.tidy());

  for (const transport of TRANSPORTS) {
    test(`${transport}: ${MESSAGES} messages each, with cuts`, async () => {
      const { page } = await browser.open(site.origin);
      page.setDefaultTimeout(PAGE_MS);
      await page.addScriptTag({ url: `${site.origin}/strophe.js` });
      const talking = page.evaluate(talk, {
        url: proxy.url, transport, messages: MESSAGES, rooms: ROOMS, jid: `alice@${DOMAIN}`, password: PASSWORD, login: LOGIN, hash,
      });
      talking.catch(() => {});
      const cuts = proxy.cuts;
      // Each when more was heard than at the one before.
      for (let cut = 0; cut < CUTS; cut += 1) {
        const enough = ((cut + 1) * MESSAGES) / (CUTS + 2);
        await Promise.race([talking, until('they talk', () => page.evaluate((enough) => {
          const { heard } = /** @type {{ heard?: Record<string, string[]> }} */ (globalThis);
          return heard !== undefined && Object.values(heard).some(({ length }) => length >= enough);
        }, enough), PAGE_MS)]);
        proxy.cut();
      }
      const { heard, errors, stats, used } = await talking;
      const said = Array.from({ length: MESSAGES }, (_, n) => `${n} ä€😀 <&>'"`);
      assert.deepEqual(heard, { irc: said, xmpp: said, stomp: said });
      assert.deepEqual(errors, [], 'to the clients nothing happened');
      assert.equal(used, transport);
      if (transport === 'webtransport') assert.ok(stats.resumes >= 3, `${stats.resumes} resumes`);
      else assert.ok(proxy.cuts - cuts >= CUTS, `${proxy.cuts - cuts} cuts`);
    });
  }

  test('mqtt.js, with cuts', async () => {
    const { page } = await browser.open(site.origin);
    page.setDefaultTimeout(PAGE_MS);
    await page.addScriptTag({ url: `${site.origin}/mqtt.js` });
    const { said, heard, resumes } = await page.evaluate(publish, {
      url: gateway.url, messages: MESSAGES, username: LOGIN.login, password: LOGIN.passcode, topic: `perigee/${name}`,
    });
    assert.deepEqual(heard, said);
    assert.ok(resumes >= 3, `${resumes} resumes`);
  });
});
