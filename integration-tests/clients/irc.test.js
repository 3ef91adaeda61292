/**
 * IRC clients that were not written for us, through the front door /irc/<backend> to real servers: irc-framework, which
 * is the engine of Kiwi IRC and The Lounge, and a bare WebSocket in each of the ways that the specification knows.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import net from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import framework from 'irc-framework';
import websocketTransport from 'irc-framework/src/transports/websocket.js';
import WebSocket from 'ws';
import { Gateway } from '../browser/support/gateway.js';
import { Ngircd } from '../browser/support/ngircd.js';
import { until } from '../browser/support/wait.js';
import { Gateway as PerigeeGateway, TCPSocket } from '../../js-client/src/index.js';
import { Inspircd } from './support/inspircd.js';
import { ORIGIN, provideWebSocket } from './support/websocket.js';

const MESSAGES = 1000;
const SCRIPTS = ['Grüße aus Köln', 'Привет, мир', '你好，世界', 'مرحبا بالعالم', '🛰️ 👩‍🚀 perigee'];
/** Who the clients are, as a proxy tells it. */
const HOST = '192.0.2.77';

provideWebSocket({ 'X-Forwarded-For': HOST });

/** @type {string} */
let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'perigee-irc-'));
  await writeFile(join(folder, 'webirc'), 'trusted\n');
});
after(() => rm(folder, { recursive: true }));

/** A gateway in front of a server. @param {{ address: string }} server */
const gatewayTo = (server) => Gateway.serve(`
trusted_proxies = ["127.0.0.1"]
[backend.irc]
address = "${server.address}"
service = "irc"
[backend.irc.irc]
webirc_password_file = "${folder}/webirc"
resolve_hosts = false
flood_burst = 5000
quit_message = "left the page"
[[allow]]
origins = ["${ORIGIN}"]
to = ["irc"]
`);

/** irc-framework, and what it saw. */
class Person {
  client = new framework.Client();
  /** @type {{ nick: string, target: string, message: string }[]} */
  heard = [];
  /** @type {string[]} */
  lines = [];
  closed = false;

  /** @param {Gateway} gateway @param {string} nick @param {object} [more] */
  constructor(gateway, nick, more = {}) {
    this.client.on('privmsg', (/** @type {any} */ event) => this.heard.push(event));
    this.client.on('raw', (/** @type {any} */ event) => event.from_server && this.lines.push(event.line));
    this.client.on('socket close', () => (this.closed = true));
    this.client.connect({
      host: '127.0.0.1', port: gateway.port, path: '/irc/irc', tls: false,
      transport: websocketTransport, websocket_protocol: 'text.ircv3.net',
      nick, username: nick, gecos: nick, auto_reconnect: false, ping_interval: 3600, ...more,
    });
  }

  /** @param {Gateway} gateway @param {string} nick @param {string} channel */
  static async join(gateway, nick, channel) {
    const person = new Person(gateway, nick);
    await person.sees(/ 001 /);
    person.client.join(channel);
    await person.sees(new RegExp(` 366 ${nick} ${channel} `));
    return person;
  }

  /** @param {RegExp} pattern @param {number} [from] */
  sees(pattern, from = 0) {
    return until(`a line like ${pattern}`, () => {
      const found = this.lines.slice(from).find((line) => pattern.test(line));
      if (found === undefined && this.closed) throw new Error(`closed before ${pattern}: ${this.lines.join('\n')}`);
      return found;
    });
  }

  /** @param {number} count */
  async hears(count) {
    await until(`${count} messages`, () => this.heard.length >= count);
    return this.heard.map(({ message }) => message);
  }

  async leave() {
    this.client.quit('bye');
    await until('the connection ends', () => this.closed);
  }
}

/** A page with perigee.js. */
class Perigee {
  text = '';
  #gateway;
  #socket;
  #writer;

  /** @param {Gateway} gateway @param {string} nick */
  constructor(gateway, nick) {
    this.#gateway = new PerigeeGateway(gateway.url, { origin: ORIGIN, transport: 'websocket' });
    this.#socket = new TCPSocket('irc', { gateway: this.#gateway, service: 'irc', encoding: 'utf-8' });
    this.#writer = this.#socket.writable.getWriter();
    this.say(`NICK ${nick}\r\nUSER ${nick} 0 * :${nick}`);
    const keep = new WritableStream({ write: (/** @type {string} */ text) => void (this.text += text) });
    this.ended = this.#socket.readable.pipeTo(keep).catch(() => {});
  }

  /** @param {string} line */
  say(line) {
    void this.#writer.write(`${line}\r\n`);
  }

  /** @param {RegExp} pattern */
  sees(pattern) {
    return until(`text like ${pattern}`, () => pattern.test(this.text));
  }

  async leave() {
    await this.#writer.close();
    await this.ended;
    this.#gateway.close();
  }
}

/** A client without a gateway, which says bytes. */
class Plain {
  text = Buffer.alloc(0);
  #socket;

  /** @param {number} port @param {string} nick */
  constructor(port, nick) {
    this.#socket = net.connect(port, '127.0.0.1', () => this.say(`NICK ${nick}\r\nUSER ${nick} 0 * :${nick}\r\n`));
    this.#socket.on('error', () => {});
    this.#socket.on('data', (bytes) => {
      this.text = Buffer.concat([this.text, bytes]);
      const ping = /^PING (.*)\r\n/m.exec(bytes.toString('latin1'));
      if (ping) this.say(`PONG ${ping[1]}\r\n`);
    });
  }

  /** @param {string | Buffer} bytes */
  say(bytes) {
    this.#socket.write(bytes);
  }

  /** @param {string} text */
  sees(text) {
    return until(`the bytes of ${text}`, () => this.text.includes(text));
  }

  stop() {
    this.#socket.destroy();
  }
}

/** A WebSocket that is used by hand. @param {Gateway} gateway @param {string[]} protocols */
async function bare(gateway, protocols) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/irc/irc`, protocols, { origin: ORIGIN });
  /** @type {{ text: string, binary: boolean }[]} */
  const got = [];
  socket.on('message', (data, binary) => got.push({ text: String(data), binary }));
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  return { socket, got };
}

describe('IRC in the demo', () => {
  /** @type {Gateway} */
  let gateway;
  before(async () => void (gateway = await Gateway.demo([ORIGIN])));
  after(() => gateway?.stop());

  test('works without a line of configuration, for clients of both kinds', async () => {
    const luna = await Person.join(gateway, 'luna', '#demo');
    const page = new Perigee(gateway, 'vega');
    await page.sees(/ 001 vega /);
    page.say('JOIN #demo');
    await page.sees(/ 366 vega #demo /);
    page.say(`PRIVMSG #demo :${SCRIPTS[1]}`);
    assert.deepEqual(await luna.hears(1), [SCRIPTS[1]]);
    luna.client.say('#demo', SCRIPTS[2]);
    await page.sees(new RegExp(`PRIVMSG #demo :${SCRIPTS[2]}`));
    page.say('WEBIRC a b c 192.0.2.1');
    await page.sees(/FAIL WEBIRC NOT_ALLOWED/);
    await page.leave();
    await luna.sees(/:vega!\S+ QUIT /);
    await luna.leave();
  });
});

const SERVERS = /** @type {const} */ ([['ngIRCd', Ngircd], ['InspIRCd', Inspircd]]);
for (const [name, Server] of SERVERS) {
  describe(`IRC over WebSocket with ${name}`, () => {
    /** @type {Ngircd | Inspircd} */
    let server;
    /** @type {Gateway} */
    let gateway;
    before(async () => {
      server = await Server.start({ webirc: 'trusted' });
      gateway = await gatewayTo(server);
    });
    after(async () => {
      await gateway?.stop();
      await server?.stop();
    });

    test('two people talk in any script, a thousand messages each way', async () => {
      const luna = await Person.join(gateway, 'luna', '#talk');
      const vega = await Person.join(gateway, 'vega', '#talk');
      const want = Array.from({ length: MESSAGES }, (_, i) => `${i} ${SCRIPTS[i % SCRIPTS.length]}`);
      for (const text of want) {
        luna.client.say('#talk', text);
        vega.client.say('#talk', `${text}!`);
      }
      const others = (/** @type {Person} */ person, /** @type {string} */ nick) => person.heard.filter((one) => one.nick === nick).map(({ message }) => message);
      await until('vega heard all', () => others(vega, 'luna').length >= MESSAGES);
      await until('luna heard all', () => others(luna, 'vega').length >= MESSAGES);
      assert.deepEqual(others(vega, 'luna'), want);
      assert.deepEqual(others(luna, 'vega'), want.map((text) => `${text}!`));
      await luna.leave();
      await vega.sees(/^(@\S+ )?:luna!\S+ QUIT :.*bye/);
      await vega.leave();
    });

    test('the server knows whose client it is', async () => {
      const luna = await Person.join(gateway, 'luna1', '#who');
      luna.client.whois('luna1');
      const line = await luna.sees(/ 311 /);
      assert.match(line, new RegExp(` 311 luna1 luna1 \\S+ ${HOST.replaceAll('.', '\\.')} \\* `));
      await luna.leave();
    });

    test('what is not UTF-8 is read as Latin-1, and a client that has bytes gets the bytes', async () => {
      const old = new Plain(server.port, 'old');
      await old.sees(' 001 ');
      const luna = await Person.join(gateway, 'luna2', '#old');
      const { socket, got } = await bare(gateway, ['binary.ircv3.net']);
      socket.send('NICK bytes');
      socket.send('USER bytes 0 * :x');
      await until('a welcome, or a PING before it', () => {
        const ping = got.find(({ text }) => text.startsWith('PING'));
        if (ping) socket.send(ping.text.replace('PING', 'PONG'));
        return got.some(({ text }) => / 001 /.test(text));
      });
      socket.send('JOIN #old');
      await until('bytes is in', () => got.some(({ text }) => / 366 /.test(text)));
      old.say('JOIN #old\r\n');
      await old.sees(' 366 ');
      /** @type {Buffer[]} */
      const raw = [];
      socket.on('message', (data) => raw.push(/** @type {Buffer} */ (data)));
      old.say(Buffer.from('PRIVMSG #old :Gr\xfc\xdfe\r\n', 'latin1'));
      assert.deepEqual(await luna.hears(1), ['Grüße']);
      await until('the bytes', () => raw.some((data) => data.includes(Buffer.from('Gr\xfc\xdfe', 'latin1'))));
      assert.ok(got.every(({ binary }) => binary));
      luna.client.say('#old', 'Grüße zurück');
      await old.sees('Grüße zurück');
      socket.close();
      await luna.sees(/^(@\S+ )?:bytes!\S+ QUIT :.*left the page/);
      await luna.leave();
      old.stop();
    });

    test('a client that says nothing of its way is spoken to in text', async () => {
      const { socket, got } = await bare(gateway, []);
      assert.equal(socket.protocol, '');
      socket.send('NICK plain');
      socket.send('USER plain 0 * :x');
      await until('something is said', () => got.length > 0);
      assert.ok(got.every(({ binary, text }) => !binary && !/[\r\n]/.test(text)));
      socket.close();
      const both = await bare(gateway, ['binary.ircv3.net', 'text.ircv3.net']);
      assert.equal(both.socket.protocol, 'binary.ircv3.net');
      both.socket.close();
      await assert.rejects(bare(gateway, ['soap']), /400/);
    });

    test('a page that goes without a word is said to have left', async () => {
      const luna = await Person.join(gateway, 'luna3', '#leave');
      const vega = await Person.join(gateway, 'vega3', '#leave');
      vega.client.connection.transport.socket.terminate();
      const line = await luna.sees(/^(@\S+ )?:vega3!\S+ QUIT /);
      assert.match(line, /left the page/);
      await luna.leave();
    });

    test('injected and oversize lines are refused, and the client goes on', async () => {
      const luna = await Person.join(gateway, 'luna4', '#evil');
      const vega = await Person.join(gateway, 'vega4', '#evil');
      const socket = vega.client.connection.transport.socket;
      socket.send('PRIVMSG #evil :one\r\nQUIT :two');
      socket.send(`PRIVMSG #evil :${'x'.repeat(600)}`);
      socket.send('WEBIRC trusted perigee root.example 192.0.2.1');
      socket.send('PRIVMSG #evil :three');
      await vega.sees(/FAIL \* INVALID_LINE/);
      await vega.sees(/ 417 \* /);
      await vega.sees(/FAIL WEBIRC NOT_ALLOWED/);
      assert.deepEqual(await luna.hears(1), ['three']);
      await vega.leave();
      await luna.leave();
    });

    test('a wrong password, and a server that ends', async () => {
      const closed = await Server.start({ webirc: 'trusted', password: 'sesame' });
      const door = await gatewayTo(closed);
      try {
        const wrong = new Person(door, 'eve', { password: 'open' });
        await until('the end', () => wrong.closed);
        assert.ok(wrong.lines.some((line) => / 464 |(^| )ERROR :/.test(line)), wrong.lines.join('\n'));
        assert.ok(!wrong.lines.some((line) => / 001 /.test(line)));
        const right = new Person(door, 'luna', { password: 'sesame' });
        await right.sees(/ 001 /);
        await closed.stop();
        await until('the end', () => right.closed);
      } finally {
        await door.stop();
      }
    });
  });
}
