/** Libraries that know WebSockets or Node's `net` only, unmodified, on a session of the page's client over long-poll, to real servers. */

import assert from 'node:assert/strict';
import Module, { createRequire } from 'node:module';
import { after, test } from 'node:test';
import { Client } from '@stomp/stompjs';
import framework from 'irc-framework';
import websocketTransport from 'irc-framework/src/transports/websocket.js';
import { Gateway as PageGateway } from '../../js-client/src/index.js';
import net from '../../js-client/src/net.js';
import { TCPWebSocket } from '../../js-client/src/websocket.js';
import { Gateway } from '../browser/support/gateway.js';
import { Ngircd } from '../browser/support/ngircd.js';
import { until } from '../browser/support/wait.js';

const ORIGIN = 'https://page.example';
const MESSAGES = 200;
/** @type {(() => unknown)[]} */
const ends = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** @param {Gateway} gateway */
function page(gateway) {
  const way = new PageGateway(gateway.url, { origin: ORIGIN, transport: 'poll' });
  ends.push(() => gateway.stop(), () => way.close());
  return way;
}

test('stompjs, by webSocketFactory', async () => {
  const gateway = await Gateway.demo([ORIGIN]);
  const way = page(gateway);
  const url = `${gateway.url.replace('http', 'ws')}/stomp/stomp`;
  /** @type {string[]} */
  const got = [];
  const client = new Client({
    webSocketFactory: () => /** @type {any} */ (new TCPWebSocket(url, ['v12.stomp', 'v11.stomp', 'v10.stomp'], { gateway: way })),
    reconnectDelay: 0,
  });
  ends.push(() => client.deactivate());
  const errors = [];
  client.onStompError = (frame) => errors.push(frame);
  await new Promise((resolve) => {
    client.onConnect = resolve;
    client.activate();
  });
  client.subscribe('/queue/adaptor', (message) => {
    got.push(message.headers['content-type'] === 'application/x' ? message.binaryBody.join() : message.body);
    message.ack();
  }, { ack: 'client-individual' });
  const expected = [];
  for (let i = 0; i < MESSAGES; i += 1) {
    if (i === 100) way.cut();
    const binary = i % 2 === 1;
    const body = new Uint8Array([i, 0, 255]);
    expected.push(binary ? body.join() : `${i} Grüße: \\ 🛰️`);
    if (binary) client.publish({ destination: '/queue/adaptor', binaryBody: body, headers: { 'content-type': 'application/x' } });
    else client.publish({ destination: '/queue/adaptor', body: `${i} Grüße: \\ 🛰️`, headers: { note: 'a:b' } });
  }
  await until('all messages', () => got.length === MESSAGES, 60_000);
  assert.deepEqual(got, expected);
  assert.deepEqual(errors, []);
  assert.equal(way.transport, 'poll');
  assert.ok(way.stats.resumes >= 1);
});

/** How irc-framework reaches a server: by its own WebSocket, or by its own TCP with ours in place of `net`. */
const WAYS = {
  WebSocket(/** @type {PageGateway} */ way, /** @type {Gateway} */ { port }) {
    globalThis.WebSocket = /** @type {never} */ (TCPWebSocket.with({ gateway: way }));
    return { host: '127.0.0.1', port, path: '/irc/irc', transport: websocketTransport, websocket_protocol: 'text.ircv3.net' };
  },
  net(/** @type {PageGateway} */ way) {
    net.configure({ gateway: way, chunk: (bytes) => Buffer.from(bytes) });
    return { host: '127.0.0.1', port: server.port, transport: netTransport() };
  },
};
/** @type {Ngircd} */
let server;

/** As a bundler puts another module in the place of one of Node's. */
function netTransport() {
  const loader = /** @type {{ _load: (name: string, ...rest: unknown[]) => unknown }} */ (/** @type {unknown} */ (Module));
  const load = loader._load;
  const require = createRequire(import.meta.url);
  // The library has loaded it with Node's own.
  delete require.cache[require.resolve('irc-framework/src/transports/net.js')];
  loader._load = (name, ...rest) => (name === 'net' ? net : load.call(Module, name, ...rest));
  try {
    return require('irc-framework/src/transports/net.js');
  } finally {
    loader._load = load;
  }
}

for (const [name, wayOf] of Object.entries(WAYS)) test(`irc-framework, with its own transport for ${name}`, async () => {
  server = await Ngircd.start();
  const { address, stop } = { address: server.address, stop: server.stop.bind(server) };
  ends.push(stop);
  const gateway = await Gateway.serve(`
[backend.irc]
address = "${address}"
service = "irc"
[backend.irc.irc]
flood_burst = 5000
[[allow]]
origins = ["${ORIGIN}"]
to = ["irc", "${address}"]
networks = ["127.0.0.1/32"]
`);
  const way = page(gateway);
  const reach = wayOf(way, gateway);
  const people = ['ada', 'bob'].map((nick) => {
    const client = new framework.Client();
    /** @type {string[]} */
    const heard = [];
    client.on('privmsg', (/** @type {any} */ event) => heard.push(event.message));
    client.connect({
      ...reach, tls: false,
      nick, username: nick, gecos: nick, auto_reconnect: false, ping_interval: 3600,
    });
    const registered = new Promise((resolve) => client.on('registered', resolve));
    return { client, heard, registered };
  });
  const [ada, bob] = /** @type {[typeof people[0], typeof people[0]]} */ (people);
  for (const { client, registered } of [ada, bob]) {
    await registered;
    const joined = new Promise((resolve) => client.on('userlist', resolve));
    client.join('#adaptor');
    await joined;
  }
  const texts = Array.from({ length: MESSAGES }, (_, i) => `${i} Привет, мир 🛰️`);
  for (const [i, text] of texts.entries()) {
    if (i === 100) way.cut();
    ada.client.say('#adaptor', text);
  }
  await until('all messages', () => bob.heard.length === MESSAGES, 60_000);
  assert.deepEqual(bob.heard, texts);
  assert.ok(way.stats.resumes >= 1);
  const closed = Promise.all([ada, bob].map(({ client }) => new Promise((resolve) => client.on('socket close', resolve))));
  for (const { client } of [ada, bob]) client.quit('bye');
  await closed;
});
