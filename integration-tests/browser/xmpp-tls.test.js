/**
 * TLS between the gateway and a real XMPP server: what has none, or a certificate of somebody else, gets nothing of a
 * login, by WebSocket and by BOSH; and a port of TLS alone is as good as STARTTLS.
 */

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { client as xmppClient, xml } from '@xmpp/client';
import WebSocket from 'ws';
import { Backend } from './support/backends.js';
import { BoshClient } from './support/bosh.js';
import { Gateway } from './support/gateway.js';
import { DOMAIN, PASSWORD, Prosody } from './support/xmpp-servers.js';
import { until } from './support/wait.js';

const TIMEOUT_MS = 60_000;
/** The code of the protocol that says that TLS failed, as a WebSocket has it. */
const TLS_FAILED = 4007;

/** A server as others see it: it is passed on what it gets, which is kept. */
class Overheard {
  /** @type {Backend} */
  backend;
  heard = '';

  /** @param {number} port */
  static async before(port) {
    const place = new Overheard();
    place.backend = await Backend.start((client) => {
      const server = net.connect(port, '127.0.0.1');
      client.on('data', (bytes) => (place.heard += bytes.toString('latin1')));
      client.pipe(server).pipe(client);
      server.on('error', () => client.destroy());
      client.on('close', () => server.destroy());
    });
    return place;
  }
}

/** @type {Prosody} with no TLS on its port for clients */
let plain;
/** @type {Prosody} as it should be */
let secure;
/** @type {Overheard} */
let overheardPlain;
/** @type {Overheard} */
let overheardSecure;
/** @type {Gateway} */
let gateway;

before(async () => {
  globalThis.WebSocket ??= /** @type {any} */ (WebSocket);
  [plain, secure] = await Promise.all([Prosody.start({ starttls: false }), Prosody.start()]);
  [overheardPlain, overheardSecure] = await Promise.all([plain, secure].map(({ port }) => Overheard.before(port)));
  /** @param {string} name @param {string} address @param {string} [keys] @param {string} [xmppKeys] */
  const backend = (name, address, keys = '', xmppKeys = '') => `
    [backend.${name}]
    address = "${address}"
    service = "xmpp"
    ${keys}
    [backend.${name}.xmpp]
    domain = "${DOMAIN}"
    ${xmppKeys}`;
  gateway = await Gateway.serve(`
    ${backend('bare', overheardPlain.backend.address, `tls_ca = "${plain.ca}"`)}
    ${backend('trusting', overheardPlain.backend.address, '', 'starttls = "off"')}
    ${backend('unknown', overheardSecure.backend.address)}
    ${backend('other', overheardSecure.backend.address, `tls_ca = "${plain.ca}"`)}
    ${backend('misnamed', overheardSecure.backend.address, `tls_ca = "${secure.ca}"\ntls_name = "other.test"`)}
    ${backend('right', overheardSecure.backend.address, `tls_ca = "${secure.ca}"`)}
    ${backend('direct', `127.0.0.1:${secure.tlsPort}`, `tls = true\ntls_name = "${DOMAIN}"\ntls_ca = "${secure.ca}"`)}
    [[allow]]
    origins = ["none", "https://page.example"]
    to = ["bare", "trusting", "unknown", "other", "misnamed", "right", "direct"]
  `);
});
after(async () => {
  await gateway?.stop();
  await Promise.all([overheardPlain, overheardSecure].map((one) => one?.backend.stop()));
  await Promise.all([plain, secure].map((one) => one?.stop()));
});

/** @param {string} name @param {string} [password] */
function client(name, password = PASSWORD) {
  const xmpp = xmppClient({ service: `ws://127.0.0.1:${gateway.port}/xmpp/${name}`, domain: DOMAIN, username: 'alice', password });
  xmpp.reconnect.stop();
  xmpp.timeout = TIMEOUT_MS;
  return xmpp;
}

/** Logs in, and has a message to itself come back. @param {string} name */
async function talk(name) {
  const xmpp = client(name);
  xmpp.on('error', () => {});
  /** @type {string[]} */
  const heard = [];
  xmpp.on('stanza', (/** @type {any} */ stanza) => stanza.is('message') && heard.push(stanza.getChildText('body')));
  const me = await xmpp.start();
  await xmpp.send(xml('message', { to: me.toString(), type: 'chat' }, xml('body', {}, 'ä€😀 <&>')));
  await until('it comes back', () => heard.length > 0, TIMEOUT_MS);
  assert.deepEqual(heard, ['ä€😀 <&>']);
  await xmpp.stop();
}

/** Begins a stream by hand, with the login right behind it, and says what comes. @param {string} name */
async function hurried(name) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/xmpp/${name}`, 'xmpp');
  /** @type {string[]} */
  const got = [];
  socket.on('message', (data) => got.push(String(data)));
  const closed = new Promise((resolve) => socket.on('close', resolve));
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  socket.send(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='${DOMAIN}' version='1.0'/>`);
  socket.send(AUTH);
  return { code: await closed, got };
}

const AUTH = `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${Buffer.from(`\0alice\0${PASSWORD}`).toString('base64')}</auth>`;

/** @param {string} name */
function bosh(name) {
  return new BoshClient(`${gateway.url}/xmpp/${name}`, 'https://page.example');
}

const REFUSED = /** @type {const} */ ([
  ['bare', 'a server that knows no STARTTLS', () => overheardPlain],
  ['unknown', 'a certificate of an authority that nobody told of', () => overheardSecure],
  ['other', 'a certificate of another authority than the one that was told', () => overheardSecure],
  ['misnamed', 'a certificate for another name', () => overheardSecure],
]);

for (const [name, what, place] of REFUSED) {
  test(`${what} is refused before the login, by WebSocket and by BOSH`, async () => {
    place().heard = '';
    const xmpp = client(name);
    const failed = new Promise((resolve) => xmpp.on('error', resolve));
    xmpp.start().catch(() => {});
    assert.equal(/** @type {any} */ (await failed).condition, 'remote-connection-failed');
    await xmpp.stop();

    const { code, got } = await hurried(name);
    assert.match(got.join(''), /<stream:error[^>]*><remote-connection-failed /);
    assert.doesNotMatch(got.join(''), /mechanism/);
    assert.equal(code, TLS_FAILED, got.join('\n'));

    const { text, attributes } = await bosh(name).begin(undefined, DOMAIN);
    assert.equal(attributes.type, 'terminate', text);
    assert.equal(attributes.condition, 'remote-connection-failed', text);

    // Three connections, and on each nothing but what is said before TLS.
    assert.equal(place().heard.split('<stream:stream').length - 1, 3);
    assert.doesNotMatch(place().heard, /<auth|alice|jabber:iq/);
    assert.ok(!place().heard.includes(AUTH));
  });
}

test('the server without STARTTLS is one that people could log in to, were they allowed to', async () => {
  overheardPlain.heard = '';
  await talk('trusting');
  assert.match(overheardPlain.heard, /<auth/);
});

test('a certificate of the authority that was told is trusted, and nothing is in the clear', async () => {
  overheardSecure.heard = '';
  await talk('right');
  assert.match(overheardSecure.heard, /<starttls/);
  assert.doesNotMatch(overheardSecure.heard, /<auth|<message/);
});

test('a port of TLS alone, by WebSocket and by BOSH', async () => {
  await talk('direct');
  const session = bosh('direct');
  const { text } = await session.begin(undefined, DOMAIN);
  assert.match(text, /<mechanism>PLAIN<\/mechanism>/);
  assert.doesNotMatch(text, /<starttls/);
  assert.match((await session.request(1, '', AUTH)).text, /<success /);
  await session.request(2, "type='terminate'");
});
