/** The page's own IRC client, through a gateway to real servers, on every transport that Node has, with cuts. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { Gateway as PageGateway } from '../../js-client/src/index.js';
import { IRCClient, IRCError } from '../../js-client/src/irc.js';
import { Gateway } from '../browser/support/gateway.js';
import { Ngircd } from '../browser/support/ngircd.js';
import { until } from '../browser/support/wait.js';
import { Inspircd } from './support/inspircd.js';

const ORIGIN = 'https://chat.example';
const MESSAGES = 200;
const WORDS = ['Grüße aus Köln', 'Привет, мир', '你好，世界', '🛰️ 👩‍🚀 perigee'];

for (const [name, Server] of /** @type {const} */ ([['ngircd', Ngircd], ['inspircd', Inspircd]])) {
  describe(name, () => {
    /** @type {Ngircd | Inspircd} */
    let server;
    /** @type {Gateway} */
    let gateway;
    /** @type {PageGateway[]} */
    const ways = [];
    /** @type {IRCClient[]} */
    const clients = [];

    before(async () => {
      server = await Server.start();
      gateway = await Gateway.serve(`
[backend.irc]
address = "${server.address}"
service = "irc"
[backend.irc.irc]
flood_burst = 5000
[[allow]]
origins = ["${ORIGIN}"]
to = ["irc"]
`);
    });
    after(async () => {
      await Promise.all(clients.map((client) => client.close()));
      for (const way of ways) way.close();
      await gateway?.stop();
      await server?.stop();
    });

    /** @param {string} nick @param {import('../../js-client/src/options.js').GatewayOptions} [options] @param {object} [more] */
    async function person(nick, options = {}, more = {}) {
      const way = new PageGateway(gateway.url, { origin: ORIGIN, WebSocket: /** @type {never} */ (WebSocket), ...options });
      const irc = new IRCClient({ server: 'irc', gateway: way, nick, reconnect: { minMs: 10, maxMs: 100 }, ...more });
      ways.push(way);
      clients.push(irc);
      await irc.connect();
      return { irc, way };
    }

    for (const transport of /** @type {const} */ (['websocket', 'stream', 'poll'])) {
      test(`${transport}: ${MESSAGES} messages each way, with cuts, in order and each once`, async () => {
        const channel = `#${transport}`;
        const [ada, bob] = await Promise.all([person('ada', { transport }), person('bob', { transport: 'websocket' })]);
        await ada.irc.join(channel);
        const room = await bob.irc.join(channel);
        assert.deepEqual([...room.members.values()].map(({ nick }) => nick).sort(), ['ada', 'bob']);
        /** @type {Record<string, string[]>} */
        const heard = { ada: [], bob: [] };
        for (const { irc } of [ada, bob]) irc.on('message', (said) => !said.own && said.channel === channel && heard[irc.nick]?.push(said.text));
        const texts = Array.from({ length: MESSAGES }, (_, i) => `${i} ${WORDS[i % WORDS.length]}`);
        for (const [i, text] of texts.entries()) {
          if (i % 50 === 25) ada.way.cut();
          await Promise.all([ada.irc.say(channel, text), bob.irc.say(channel, text)]);
        }
        await until('all is heard', () => heard.ada?.length === MESSAGES && heard.bob?.length === MESSAGES, 60_000);
        assert.deepEqual(heard, { ada: texts, bob: texts });
        assert.ok(ada.way.stats.resumes >= 1, 'it was cut');
        assert.equal(ada.way.transport, transport);
        await bob.irc.part(channel, 'bye');
        await until('it is seen', () => ada.irc.channel(channel)?.members.size === 1);
        await Promise.all([ada.irc.close('bye'), bob.irc.close()]);
        ada.way.close();
        bob.way.close();
      });
    }

    test('a nick that is taken, long text, a refusal, and coming back where it was', async () => {
      const [{ irc: ada }] = [await person('cleo')];
      const { irc: other, way } = await person('cleo');
      assert.equal(other.nick, 'cleo_');
      await ada.join('#perigee');
      await other.join('#perigee');
      await ada.setTopic('#perigee', 'the nearest point');
      await until('the topic', () => other.channel('#perigee')?.topic?.text === 'the nearest point');
      let text = '';
      other.on('message', (said) => (text += said.text));
      const long = 'Grüße, 🛰️! '.repeat(150);
      await ada.say('#perigee', long);
      // Servers may leave out spaces at the end of a line.
      const bare = (/** @type {string} */ words) => words.replaceAll(' ', '');
      await until('all of it', () => bare(text).length >= bare(long).length);
      assert.equal(bare(text), bare(long));
      assert.ok(await ada.ping() >= 0);
      await assert.rejects(other.setNick('cleo'), (error) => error instanceof IRCError && error.code === 'refused' && error.reply?.command === '433');
      // To the client it is a connection that the server ended.
      const connected = new Promise((resolve) => other.on('state', ({ state }) => state === 'connected' && resolve(state)));
      const back = new Promise((resolve) => ada.on('join', ({ from, channel }) => channel === '#perigee' && /^cleo_/.test(from.nick) && resolve(from)));
      const killed = new Promise((resolve) => other.on('error', ({ error }) => resolve(error)));
      await other.send('QUIT', ['for a moment']);
      assert.ok((await killed) instanceof Error);
      await Promise.all([connected, back]);
      await until('the members', () => other.channel('#perigee')?.members.size === 2);
      assert.equal(way.state, 'attached');
      await Promise.all([ada.close(), other.close()]);
    });

    if (name === 'inspircd') {
      test('what the server offers is used: echo, labels, times', async () => {
        const { irc } = await person('dora');
        for (const capability of ['echo-message', 'labeled-response', 'batch', 'server-time', 'message-tags']) assert.ok(irc.capabilities.has(capability), capability);
        await irc.join('#echo');
        const [said] = await irc.say('#echo', 'hello');
        assert.ok(said?.own && said.tags.time, JSON.stringify(said));
        await assert.rejects(irc.say('nobody-here', 'x'), (error) => error instanceof IRCError && error.reply?.command === '401');
        await irc.close();
      });
    }
  });
}

test('a server that wants a password', async () => {
  const server = await Ngircd.start({ password: 'secret' });
  const gateway = await Gateway.serve(`[backend.irc]\naddress = "${server.address}"\nservice = "irc"\n[[allow]]\norigins = ["${ORIGIN}"]\nto = ["irc"]\n`);
  const way = new PageGateway(gateway.url, { origin: ORIGIN, transport: 'stream' });
  try {
    const wrong = new IRCClient({ server: 'irc', gateway: way, nick: 'ada', password: 'other' });
    await assert.rejects(wrong.connect(), (error) => error instanceof IRCError && ['password', 'ended'].includes(error.code));
    const right = new IRCClient({ server: 'irc', gateway: way, nick: 'ada', password: 'secret' });
    await right.connect();
    await right.close();
    const nowhere = new IRCClient({ server: 'none', gateway: way, nick: 'ada' });
    await assert.rejects(nowhere.connect(), { name: 'PerigeeError', code: 'denied' });
  } finally {
    way.close();
    await gateway.stop();
    await server.stop();
  }
});
