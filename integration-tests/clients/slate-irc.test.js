/** slate-irc, which is given a stream and knows nothing else of networks: unmodified, on a socket of `perigee/net`, to real servers. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import slate from 'slate-irc';
import { Gateway as PageGateway } from '../../js-client/src/index.js';
import net from '../../js-client/src/net.js';
import { Gateway } from '../browser/support/gateway.js';
import { Ngircd } from '../browser/support/ngircd.js';
import { until } from '../browser/support/wait.js';
import { Inspircd } from './support/inspircd.js';

const ORIGIN = 'https://page.example';
const MESSAGES = 100;
const WORDS = ['Grüße aus Köln', 'Привет, мир', '你好，世界', 'مرحبا بالعالم', '🛰️ 👩‍🚀 perigee'];
const CHANNEL = '#slate';

for (const [name, Server] of /** @type {const} */ ([['ngIRCd', Ngircd], ['InspIRCd', Inspircd]])) {
  describe(`slate-irc and ${name}`, () => {
    /** @type {Ngircd | Inspircd} */
    let server;
    /** @type {Gateway} */
    let gateway;
    /** @type {PageGateway} */
    let way;

    before(async () => {
      server = await Server.start({ password: 'sesame' });
      gateway = await Gateway.serve(`
[[allow]]
origins = ["${ORIGIN}"]
to = ["${server.address}"]
networks = ["127.0.0.1/32"]
`);
      way = new PageGateway(gateway.url, { origin: ORIGIN, transport: 'stream' });
      net.configure({ gateway: way, chunk: (bytes) => Buffer.from(bytes) });
    });
    after(async () => {
      way?.close();
      await gateway?.stop();
      await server?.stop();
    });

    /** Somebody who logs in. @param {string} nick @param {string} [password] */
    const person = (nick, password = 'sesame') => {
      const stream = net.connect({ host: '127.0.0.1', port: server.port });
      stream.on('error', () => {});
      const client = slate(/** @type {never} */ (stream));
      /** @type {{ from: string, to: string, message: string }[]} */
      const heard = [];
      const seen = { welcome: '', joined: /** @type {string[]} */ ([]), lines: /** @type {string[]} */ ([]), gone: false };
      client.on('message', (/** @type {any} */ event) => heard.push(event));
      client.on('welcome', (/** @type {string} */ me) => (seen.welcome = me));
      client.on('join', (/** @type {any} */ { nick: who }) => seen.joined.push(who));
      client.on('data', (/** @type {any} */ { string }) => seen.lines.push(string));
      client.on('disconnect', () => (seen.gone = true));
      client.pass(password);
      client.nick(nick);
      client.user(nick, nick);
      return { client, heard, seen };
    };

    test('a wrong password is told, and there is no welcome', async () => {
      const { seen } = person('eve', 'open');
      await until('the end', () => seen.gone);
      assert.equal(seen.welcome, '');
      assert.ok(seen.lines.some((line) => /(^| )(464|ERROR) /.test(line)), seen.lines.join('\n'));
    });

    test(`two people, ${MESSAGES} messages each way in any script, with cuts, and the server goes`, async () => {
      const [ada, bob] = [person('ada'), person('bob')];
      for (const { client, seen } of [ada, bob]) {
        await until('the welcome', () => seen.welcome);
        client.join(CHANNEL);
      }
      assert.deepEqual([ada.seen.welcome, bob.seen.welcome], ['ada', 'bob']);
      await until('ada sees both', () => ada.seen.joined.length === 2);
      /** @type {any[]} */
      const names = await new Promise((resolve) => ada.client.names(CHANNEL, (_, names) => resolve(names)));
      assert.deepEqual(names.map(({ name }) => name).filter(Boolean).sort(), ['ada', 'bob']);

      const said = Array.from({ length: MESSAGES }, (_, i) => `${i} ${WORDS[i % WORDS.length]}`);
      for (const [i, text] of said.entries()) {
        if (i % 40 === 20) way.cut();
        ada.client.send(CHANNEL, text);
        bob.client.send('ada', `${text}!`);
      }
      await until('bob hears all', () => bob.heard.length >= MESSAGES, 60_000);
      await until('ada hears all', () => ada.heard.length >= MESSAGES, 60_000);
      assert.deepEqual(bob.heard.map(({ from, to, message }) => [from, to, message]), said.map((text) => ['ada', CHANNEL, text]));
      assert.deepEqual(ada.heard.map(({ from, to, message }) => [from, to, message]), said.map((text) => ['bob', 'ada', `${text}!`]));
      assert.ok(way.stats.resumes >= 1, 'it was cut');
      assert.equal(way.transport, 'stream');

      bob.client.quit('Grüße');
      await until('bob is gone', () => bob.seen.gone);
      await until('ada sees it', () => ada.seen.lines.some((line) => /^:bob!\S+ QUIT :.*Grüße/.test(line)));
      assert.equal(ada.seen.gone, false);
      await server.stop();
      await until('ada is told', () => ada.seen.gone);
    });
  });
}
