/** STOMP: clients that we did not write, unmodified, through the gateway to brokers that we did not write, and to the demo's. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { Client, ReconnectionTimeMode } from '@stomp/stompjs';
import webstomp from 'webstomp-client';
import { WebSocket } from 'ws';
import { Gateway } from '../browser/support/gateway.js';
import { until } from '../browser/support/wait.js';
import { activemq, rabbitmq } from './support/brokers.js';

const PAGE = 'https://page.example';
const PASSWORD = 'hidden-from-pages';
const TOKEN = 'e5b1f3a2c4d6978812345678';
/** Text of 1 MiB as bytes. */
const MEBIBYTE = 'ü1234567890123\n'.repeat(65536);
const sha256 = (/** @type {string} */ text) => createHash('sha256').update(text).digest('hex');

/** A page's WebSocket: it says where the page is from. */
class PageSocket extends WebSocket {
  /** @param {string} url @param {string[]} protocols */
  constructor(url, protocols) {
    super(url, protocols, { origin: PAGE });
  }
}

/** @type {Awaited<ReturnType<typeof rabbitmq>>} */
let rabbit;
/** @type {Awaited<ReturnType<typeof activemq>>} */
let active;
/** @type {Gateway} */
let gateway;
/** @type {Gateway} */
let demo;
/** @type {string} */
let folder;

before(async () => {
  [rabbit, active, demo] = await Promise.all([rabbitmq('gateway', PASSWORD), activemq('gateway', PASSWORD), Gateway.demo([PAGE])]);
  folder = await mkdtemp(join(tmpdir(), 'perigee-stomp-'));
  const passcode = join(folder, 'passcode');
  await writeFile(passcode, `${PASSWORD}\n`);
  gateway = await Gateway.serve(`
[backend.rabbitmq]
address = "${rabbit.address}"
service = "stomp"
[backend.activemq]
address = "${active.address}"
service = "stomp"
[backend.mapped]
address = "${rabbit.address}"
service = "stomp"
[backend.mapped.stomp]
login = "gateway"
passcode_file = "${passcode}"
[user.alice]
token_sha256 = "${sha256(TOKEN)}"
[[allow]]
origins = ["${PAGE}"]
to = ["rabbitmq", "activemq"]
[[allow]]
name = "console"
origins = ["${PAGE}"]
users = ["alice"]
to = ["mapped"]
stomp_subscribe = ["/topic/*"]
stomp_send = []
`);
});

after(async () => {
  await Promise.all([gateway?.stop(), demo?.stop(), rabbit?.stop(), active?.stop()]);
  if (folder) await rm(folder, { recursive: true });
});

/** @param {Gateway} at @param {string} backend */
const url = (at, backend) => `${at.url.replace('http', 'ws')}/stomp/${backend}`;

/**
 * stompjs, connected.
 * @param {string} brokerURL
 * @param {Partial<ConstructorParameters<typeof Client>[0]>} [options]
 */
async function connect(brokerURL, options = {}) {
  const events = { errors: /** @type {import('@stomp/stompjs').IFrame[]} */ ([]), closes: 0, beats: 0 };
  const client = new Client({
    brokerURL,
    connectHeaders: { login: 'gateway', passcode: PASSWORD },
    webSocketFactory: () => /** @type {any} */ (new PageSocket(brokerURL, ['v12.stomp', 'v11.stomp', 'v10.stomp'])),
    reconnectDelay: 0,
    reconnectTimeMode: ReconnectionTimeMode.LINEAR,
    debug: (line) => {
      if (line.includes('<<< PONG')) events.beats += 1;
    },
    onStompError: (frame) => void events.errors.push(frame),
    onWebSocketClose: () => void (events.closes += 1),
    ...options,
  });
  const connected = new Promise((resolve) => (client.onConnect = resolve));
  client.activate();
  await Promise.race([connected, until('an answer', () => client.connected || events.errors.length || events.closes, 30_000)]);
  return { client, events };
}

/** Sends and waits for the receipt. @param {Client} client @param {import('@stomp/stompjs').IPublishParams} message */
function publish(client, message) {
  const receipt = `receipt-${(receipts += 1)}`;
  return new Promise((resolve) => {
    client.watchForReceipt(receipt, resolve);
    client.publish({ ...message, headers: { ...message.headers, receipt } });
  });
}
let receipts = 0;

/** Subscribes and waits until that is done. @param {Client} client @param {string} destination @param {Record<string, string>} [headers] */
async function subscribe(client, destination, headers = {}) {
  /** @type {import('@stomp/stompjs').IMessage[]} */
  const messages = [];
  const receipt = `receipt-${(receipts += 1)}`;
  const subscribed = new Promise((resolve) => client.watchForReceipt(receipt, resolve));
  const subscription = client.subscribe(destination, (message) => void messages.push(message), { ...headers, receipt });
  await subscribed;
  return { messages, subscription };
}

for (const name of ['rabbitmq', 'activemq', 'demo']) {
  const target = () => (name === 'demo' ? url(demo, 'stomp') : url(gateway, name));

  describe(`stompjs and ${name}`, () => {
    test('a thousand messages arrive in their order', async () => {
      const { client } = await connect(target());
      const { messages } = await subscribe(client, '/topic/many');
      for (let number = 0; number < 1000; number += 1) client.publish({ destination: '/topic/many', body: `${number} ä😀` });
      await until('all messages', () => messages.length === 1000, 30_000);
      assert.deepEqual(messages.map((message) => message.body), Array.from({ length: 1000 }, (_, number) => `${number} ä😀`));
      await client.deactivate();
    });

    test('headers are what they were, with colons, line ends and letters of all kinds', async () => {
      const { client } = await connect(target());
      const { messages } = await subscribe(client, '/topic/headers');
      const headers = { plain: 'yes', odd: 'a:b ä €', lines: 'one\ntwo' };
      client.publish({ destination: '/topic/headers', body: 'x', headers });
      await until('the message', () => messages.length === 1);
      for (const [key, value] of Object.entries(headers)) assert.equal(messages[0].headers[key], value);
      await client.deactivate();
    });

    test('a mebibyte of text and of bytes passes', async () => {
      const { client } = await connect(target());
      const { messages } = await subscribe(client, '/topic/large');
      const text = MEBIBYTE;
      const bytes = new Uint8Array(1024 * 1024).map((_, index) => (index * 7919) >> 3);
      client.publish({ destination: '/topic/large', body: text });
      client.publish({ destination: '/topic/large', binaryBody: bytes, headers: { 'content-type': 'application/octet-stream' } });
      await until('both', () => messages.length === 2, 60_000);
      assert.ok(messages[0].body === text);
      assert.ok(Buffer.from(messages[1].binaryBody).equals(Buffer.from(bytes)));
      await client.deactivate();
    });

    test('a body that is longer than what is held passes, too', async () => {
      const { client } = await connect(target(), { splitLargeFrames: true, maxWebSocketChunkSize: 256 * 1024 });
      const { messages } = await subscribe(client, '/topic/longer');
      client.publish({ destination: '/topic/longer', body: MEBIBYTE.repeat(3) });
      await until('the message', () => messages.length === 1, 60_000);
      assert.ok(messages[0].body === MEBIBYTE.repeat(3));
      await client.deactivate();
    });

    test('frames that are split over several messages are put together', async () => {
      const { client } = await connect(target(), { splitLargeFrames: true, maxWebSocketChunkSize: 1000 });
      const { messages } = await subscribe(client, '/topic/split');
      client.publish({ destination: '/topic/split', body: 'split me '.repeat(2000) });
      await until('the message', () => messages.length === 1);
      assert.equal(messages[0].body, 'split me '.repeat(2000));
      await client.deactivate();
    });

    test('what is not acknowledged comes again, what is refused, too', async () => {
      const first = await connect(target());
      const queue = `/queue/work-${name}`;
      for (const body of ['one', 'two']) await publish(first.client, { destination: queue, body });
      const consumer = await connect(target());
      const got = await subscribe(consumer.client, queue, { ack: 'client-individual' });
      await until('both', () => got.messages.length === 2);
      got.messages[0].ack({ receipt: 'acknowledged' });
      await new Promise((resolve) => consumer.client.watchForReceipt('acknowledged', resolve));
      // Two is left behind by one that goes without a word.
      consumer.client.forceDisconnect();
      const next = await subscribe(first.client, queue, { ack: 'client-individual' });
      await until('the second again', () => next.messages.length === 1);
      assert.equal(next.messages[0].body, 'two');
      next.messages[0].nack(name === 'rabbitmq' ? { requeue: 'false' } : {});
      await first.client.deactivate();
      await consumer.client.deactivate();
    });

    test('a transaction counts when it is committed', async () => {
      const { client } = await connect(target());
      const { messages } = await subscribe(client, `/queue/transactions-${name}`);
      const destination = `/queue/transactions-${name}`;
      const aborted = client.begin();
      client.publish({ destination, body: 'never', headers: { transaction: aborted.id } });
      aborted.abort();
      const committed = client.begin();
      client.publish({ destination, body: 'then', headers: { transaction: committed.id } });
      await publish(client, { destination, body: 'now' });
      await until('what is in no transaction', () => messages.length === 1);
      committed.commit();
      await until('the commit', () => messages.length === 2);
      assert.deepEqual(messages.map((message) => message.body), ['now', 'then']);
      await client.deactivate();
    });

    test('heart-beats come as often as they are wanted', async () => {
      const { client, events } = await connect(target(), { heartbeatIncoming: 1000, heartbeatOutgoing: 1000 });
      await until('two heart-beats', () => events.beats >= 2);
      assert.equal(events.closes, 0);
      await client.deactivate();
    });
  });

  describe(`webstomp-client and ${name}`, () => {
    test('it talks', async () => {
      const client = webstomp.over(/** @type {any} */ (new PageSocket(target(), ['v12.stomp', 'v11.stomp', 'v10.stomp'])), { debug: false });
      await new Promise((resolve, reject) => client.connect({ login: 'gateway', passcode: PASSWORD }, resolve, reject));
      /** @type {import('webstomp-client').Message[]} */
      const messages = [];
      client.subscribe('/topic/webstomp', (message) => void messages.push(message));
      const sends = ['one ä', 'two', MEBIBYTE];
      await until('the subscription', () => {
        client.send('/topic/webstomp', 'there?', {});
        return messages.length > 0;
      });
      for (const body of sends) client.send('/topic/webstomp', body, {});
      await until('all', () => messages.at(-1)?.body === MEBIBYTE, 30_000);
      assert.deepEqual(messages.map((message) => message.body).filter((body) => body !== 'there?'), sends);
      await new Promise((resolve) => client.disconnect(() => resolve(undefined)));
    });
  });
}

for (const name of ['rabbitmq', 'activemq']) {
  test(`stomp.py at ${name} and a page see each other's messages as they are`, async () => {
    const { port } = name === 'rabbitmq' ? rabbit : active;
    const peer = spawn('/usr/bin/python3', [new URL('support/stomp_peer.py', import.meta.url).pathname, `${port}`, 'gateway', PASSWORD, '/topic/to-peer'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    /** @type {any[]} */
    const seen = [];
    createInterface({ input: peer.stdout }).on('line', (line) => void seen.push(JSON.parse(line)));
    await until('the peer', () => seen.length === 1, 30_000);
    const { client } = await connect(url(gateway, name));
    const { messages } = await subscribe(client, '/topic/to-page');
    await until('a message at the peer', () => {
      client.publish({ destination: '/topic/to-peer', body: 'Grüße', headers: { odd: 'a:b\nc' } });
      return seen.length > 1;
    });
    assert.equal(seen[1].body, 'Grüße');
    assert.equal(seen[1].headers.odd, 'a:b\nc');
    peer.stdin.write(`${JSON.stringify({ destination: '/topic/to-page', body: 'zurück', headers: { odd: 'd:e\nf' } })}\n`);
    await until('a message at the page', () => messages.length === 1);
    assert.equal(messages[0].body, 'zurück');
    assert.equal(messages[0].headers.odd, 'd:e\nf');
    await client.deactivate();
    const ended = new Promise((resolve) => peer.on('exit', resolve));
    peer.stdin.end();
    assert.equal(await ended, 0);
  });
}

for (const [name, words] of /** @type {const} */ ([['rabbitmq', /Bad CONNECT/], ['activemq', /user name .* or password is invalid/i]])) {
  test(`a wrong password is refused by ${name}, in its words`, async () => {
    const { client, events } = await connect(url(gateway, name), { connectHeaders: { login: 'gateway', passcode: 'wrong' } });
    await until('the error', () => events.errors.length === 1);
    assert.match(events.errors[0].headers.message, words);
    await client.deactivate();
  });
}

test("a user's token opens a read-only console, and the broker's password stays where it is", async () => {
  /** @type {string[]} */
  const heard = [];
  const watched = (/** @type {string} */ to) => () => {
    const socket = new PageSocket(to, ['v12.stomp']);
    socket.on('message', (bytes) => heard.push(bytes.toString()));
    return /** @type {any} */ (socket);
  };
  const mapped = url(gateway, 'mapped');
  const { client, events } = await connect(mapped, {
    connectHeaders: { login: 'alice', passcode: TOKEN },
    webSocketFactory: watched(mapped),
  });
  const { messages } = await subscribe(client, '/topic/news');
  const source = await connect(url(gateway, 'rabbitmq'));
  source.client.publish({ destination: '/topic/news', body: 'read me' });
  await until('the news', () => messages.length === 1);
  client.publish({ destination: '/topic/news', body: 'not from here' });
  await until('the refusal', () => events.errors.length === 1);
  assert.equal(events.errors[0].headers.message, 'not allowed by this gateway');
  assert.match(events.errors[0].body, /SEND "\/topic\/news"/);
  await until('the end', () => events.closes > 0);
  await gateway.logs(/stomp refused.*alice.*not allowed by this gateway/);
  assert.equal(heard.filter((text) => text.includes(PASSWORD)).length, 0);
  assert.ok(!gateway.log.includes(PASSWORD) && !gateway.log.includes(TOKEN));
  await client.deactivate();
  await source.client.deactivate();
});

test('without a token nothing is opened', async () => {
  for (const connectHeaders of [{}, { login: 'alice', passcode: 'guess' }, { login: 'gateway', passcode: PASSWORD }]) {
    const { client, events } = await connect(url(gateway, 'mapped'), { connectHeaders });
    await until('the refusal', () => events.errors.length === 1);
    assert.equal(events.errors[0].headers.message, 'login or passcode is wrong or missing');
    await client.deactivate();
  }
});

// Last: nothing is left to talk to after it.
test('the end of a broker is told', async () => {
  for (const [name, broker] of /** @type {const} */ ([['rabbitmq', rabbit], ['activemq', active]])) {
    const { client, events } = await connect(url(gateway, name));
    await broker.stop();
    await until(`${name} is gone`, () => events.closes > 0, 30_000);
    await client.deactivate();
  }
});
