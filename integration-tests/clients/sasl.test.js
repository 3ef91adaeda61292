/** Logging in to accounts that a real server has: the page's own client on every transport that Node has, and irc-framework by the front door. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import framework from 'irc-framework';
import websocketTransport from 'irc-framework/src/transports/websocket.js';
import WebSocket from 'ws';
import { Gateway as PageGateway } from '../../js-client/src/index.js';
import { IRCClient, IRCError } from '../../js-client/src/irc.js';
import { Gateway } from '../browser/support/gateway.js';
import { until } from '../browser/support/wait.js';
import { Accounts } from './support/atheme.js';
import { ORIGIN, provideWebSocket } from './support/websocket.js';

const ACCOUNT = 'selene';
const PASSWORD = `sécret,=${'x'.repeat(200)}`;

/** @type {Accounts} */
let server;
/** @type {Gateway} */
let gateway;
/** @type {(() => unknown)[]} */
const ends = [];

before(async () => {
  provideWebSocket();
  server = await Accounts.start();
  gateway = await Gateway.serve(`
[backend.irc]
address = "${server.address}"
service = "irc"
[[allow]]
origins = ["${ORIGIN}"]
to = ["irc"]
`);
  // As a page does it: by asking those that keep the accounts.
  const irc = person({ nick: ACCOUNT });
  await irc.connect();
  await irc.send('PRIVMSG', ['NickServ', `REGISTER ${PASSWORD} selene@page.example`]);
  await until('the account is there', () => irc.account === ACCOUNT);
  await irc.close();
});
after(async () => {
  for (const end of ends.reverse()) await end();
  await gateway?.stop();
  await server?.stop();
});

/** @param {{ nick: string } & object} options @param {'websocket' | 'stream' | 'poll'} [transport] */
function person(options, transport = 'websocket') {
  const way = new PageGateway(gateway.url, { origin: ORIGIN, WebSocket: /** @type {never} */ (WebSocket), transport });
  const irc = new IRCClient({ server: 'irc', gateway: way, reconnect: { minMs: 10, maxMs: 100 }, ...options });
  ends.push(() => way.close(), () => irc.close());
  return irc;
}

for (const transport of /** @type {const} */ (['websocket', 'stream', 'poll'])) {
  test(`${transport}: the right password, and others see the account; it is there again after coming back`, async () => {
    const irc = person({ nick: `own-${transport}`, sasl: { account: ACCOUNT, password: PASSWORD } }, transport);
    const other = person({ nick: `other-${transport}` });
    await Promise.all([irc.connect(), other.connect()]);
    assert.equal(irc.account, ACCOUNT);
    assert.equal(other.account, null);
    const room = await other.join(`#${transport}`);
    await irc.join(`#${transport}`);
    await until('the account is seen', () => [...room.members.values()].some(({ nick, account }) => nick === irc.nick && account === ACCOUNT));

    const states = [];
    irc.on('state', ({ state }) => states.push({ state, account: irc.account }));
    await irc.send('QUIT', ['for a moment']);
    await until('it is back', () => states.at(-1)?.state === 'connected');
    assert.equal(states.at(-1)?.account, ACCOUNT);
    await Promise.all([irc.close(), other.close()]);
  });

  test(`${transport}: a wrong password, and an account that is not there, do not get in`, async () => {
    for (const [account, password] of [[ACCOUNT, `${PASSWORD}x`], [ACCOUNT, ''], ['nobody', PASSWORD]]) {
      const irc = person({ nick: `w-${transport}`, sasl: { account, password } }, transport);
      /** @type {string[]} */
      const commands = [];
      irc.on('line', ({ command }) => commands.push(command));
      await assert.rejects(irc.connect(), (error) => error instanceof IRCError && error.code === 'sasl');
      assert.equal(irc.account, null);
      assert.ok(!commands.includes('001'), `${commands}`);
      await irc.close();
    }
  });
}

test('what the server does not have is not tried in another way', async () => {
  for (const mechanism of /** @type {const} */ (['SCRAM-SHA-256', 'EXTERNAL'])) {
    const irc = person({ nick: 'picky', sasl: { mechanism, account: ACCOUNT, password: PASSWORD } });
    await assert.rejects(irc.connect(), (error) => error instanceof IRCError && error.code === 'sasl' && /mechanism/.test(error.message), mechanism);
    await irc.close();
  }
});

for (const [what, password, expected] of [['the right', PASSWORD, 'loggedin'], ['a wrong', 'wrong', 'sasl failed']]) {
  test(`irc-framework by WebSocket, with ${what} password`, async () => {
    const client = new framework.Client();
    ends.push(() => client.quit());
    /** @type {{ name: string, event: any }[]} */
    const seen = [];
    for (const name of ['loggedin', 'sasl failed', 'registered']) client.on(name, (/** @type {any} */ event) => seen.push({ name, event }));
    client.connect({
      host: '127.0.0.1', port: gateway.port, path: '/irc/irc', tls: false, transport: websocketTransport, websocket_protocol: 'text.ircv3.net',
      nick: 'frame', username: 'frame', gecos: 'frame', auto_reconnect: false, ping_interval: 3600, account: { account: ACCOUNT, password },
    });
    await until('an answer', () => seen.some(({ name }) => name === 'loggedin' || name === 'sasl failed'));
    assert.equal(seen[0]?.name, expected);
    if (expected === 'loggedin') {
      assert.equal(seen[0]?.event.account, ACCOUNT);
      await until('it is in', () => seen.some(({ name }) => name === 'registered'));
    }
  });
}
