/** The page's own STOMP client, through a gateway to real brokers and the demo's, on every transport that Node has, with cuts. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { Gateway as PageGateway } from '../../js-client/src/index.js';
import { StompClient, StompError } from '../../js-client/src/stomp.js';
import { Gateway } from '../browser/support/gateway.js';
import { until } from '../browser/support/wait.js';
import { rabbitmq } from './support/brokers.js';

const ORIGIN = 'https://page.example';
const LOGIN = { login: 'page', passcode: 'secret:word' };
const MESSAGES = 300;
const sha256 = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex');

/** @type {Awaited<ReturnType<typeof rabbitmq>>} */
let rabbit;
/** @type {Record<string, { gateway: Gateway, backend: string }>} */
const places = {};
/** @type {PageGateway[]} */
const ways = [];

before(async () => {
  const [broker, demo] = await Promise.all([rabbitmq(LOGIN.login, LOGIN.passcode), Gateway.demo([ORIGIN])]);
  rabbit = broker;
  places.demo = { gateway: demo, backend: 'stomp' };
  const gateway = await Gateway.serve(`
[backend.rabbitmq]
address = "${rabbit.address}"
service = "stomp"
[backend.rabbitmq.stomp]
heart_beat = "1s"
[[allow]]
origins = ["${ORIGIN}"]
to = ["rabbitmq"]
`);
  places.rabbitmq = { gateway, backend: 'rabbitmq' };
});
after(async () => {
  for (const way of ways) way.close();
  await Promise.all([places.demo?.gateway.stop(), places.rabbitmq?.gateway.stop(), rabbit?.stop()]);
});

/** @param {string} place @param {import('../../js-client/src/options.js').GatewayOptions} [options] @param {object} [more] */
function client(place, options = {}, more = {}) {
  const { gateway, backend } = /** @type {{ gateway: Gateway, backend: string }} */ (places[place]);
  const way = new PageGateway(gateway.url, { origin: ORIGIN, WebSocket: /** @type {never} */ (WebSocket), ...options });
  ways.push(way);
  const stomp = new StompClient({ server: backend, gateway: way, host: '/', ...LOGIN, reconnect: { minMs: 10, maxMs: 100 }, ...more });
  return { stomp, way };
}

for (const place of ['demo', 'rabbitmq']) {
  describe(place, () => {
    for (const transport of /** @type {const} */ (['websocket', 'stream', 'poll'])) {
      test(`${transport}: ${MESSAGES} messages, text and binary, acknowledged, with cuts`, async () => {
        const { stomp, way } = client(place, { transport });
        await stomp.connect();
        assert.equal(stomp.agreed.version, '1.2');
        const queue = `/queue/${transport}`;
        /** @type {string[]} */
        const got = [];
        const acked = [];
        const subscription = await stomp.subscribe(queue, (message) => {
          got.push(message.contentType === 'application/x' ? `bytes ${message.body.join()}` : message.text);
          acked.push(message.ack());
        }, { ack: 'client-individual' });
        /** @type {string[]} */
        const expected = [];
        const sent = [];
        for (let i = 0; i < MESSAGES; i += 1) {
          if (i % 100 === 50) way.cut();
          const binary = i % 3 === 0;
          const body = binary ? new Uint8Array([i & 255, 0, 255, 10, 0]) : `${i} Grüße 🛰️\n\r`;
          expected.push(binary ? `bytes ${/** @type {Uint8Array} */ (body).join()}` : String(body));
          sent.push(stomp.send(queue, body, binary ? { contentType: 'application/x' } : {}));
          if (i % 20 === 0) await sent.at(-1);
        }
        await Promise.all(sent);
        await until('all messages', () => got.length >= MESSAGES, 60_000);
        await Promise.all(acked);
        assert.deepEqual(got, expected);
        assert.ok(way.stats.resumes >= 1, 'it was cut');
        const big = new Uint8Array(1024 * 1024).map((_, i) => i * 7);
        const one = new Promise((resolve) => void stomp.subscribe('/topic/big', (message) => resolve(sha256(message.body))).then(() => stomp.send('/topic/big', big)));
        assert.equal(await one, sha256(big));
        await subscription.unsubscribe();
        await stomp.close();
        way.close();
      });
    }

    test('transactions: all or nothing', async () => {
      const { stomp } = client(place);
      await stomp.connect();
      /** @type {string[]} */
      const got = [];
      await stomp.subscribe('/queue/transactions', (message) => got.push(message.text));
      const given = await stomp.begin();
      await given.send('/queue/transactions', 'never');
      await given.abort();
      const kept = await stomp.begin();
      await kept.send('/queue/transactions', 'one');
      await kept.send('/queue/transactions', 'two');
      await stomp.send('/queue/transactions', 'before');
      await until('what is outside', () => got.length === 1);
      await kept.commit();
      await until('what is inside', () => got.length === 3);
      assert.deepEqual(got, ['before', 'one', 'two']);
      await stomp.close();
    });

    test('what is not acknowledged comes again, also after the connection was lost', async () => {
      const { stomp } = client(place);
      await stomp.connect();
      /** @type {import('../../js-client/src/stomp.js').StompMessage[]} */
      const got = [];
      await stomp.subscribe('/queue/again', (message) => got.push(message), { ack: 'client-individual' });
      await stomp.send('/queue/again', 'once');
      await until('the message', () => got.length === 1);
      const lost = new Promise((resolve) => stomp.on('error', ({ error }) => resolve(error)));
      // A mistake that makes the broker end the connection: a transaction that there is none of.
      await assert.rejects(stomp.send('/queue/other', 'x', { headers: { transaction: 'none' } }), (error) => error instanceof StompError && error.code === 'refused' && error.headers.message !== '');
      assert.ok((await lost) instanceof StompError);
      await until('it came again', () => got.length === 2, 60_000);
      assert.equal(got[1]?.text, 'once');
      await assert.rejects(got[0]?.ack() ?? Promise.resolve(), (error) => error instanceof StompError && error.code === 'stale');
      await got[1]?.ack();
      await stomp.close();
    });

    for (const version of /** @type {const} */ (['1.1', '1.0'])) {
      test(`version ${version}`, async () => {
        const { stomp } = client(place, {}, { versions: [version] });
        await stomp.connect();
        assert.equal(stomp.agreed.version, version);
        const got = new Promise((resolve) => void stomp.subscribe('/queue/old', async (message) => resolve(message.ack().then(() => message.text)), { ack: 'client' }).then(() => stomp.send('/queue/old', 'Grüße')));
        assert.equal(await got, 'Grüße');
        await stomp.close();
      });
    }
  });
}

test('heart-beats of the broker\'s side, as agreed', async () => {
  const { stomp, way } = client('rabbitmq', {}, { heartBeat: { outgoingMs: 500, incomingMs: 500 } });
  await stomp.connect();
  const { outgoingMs, incomingMs } = stomp.agreed.heartBeat;
  assert.ok(outgoingMs >= 500 && incomingMs >= 500, JSON.stringify(stomp.agreed));
  const { received } = way.stats;
  // Nothing else is said.
  await until('some beats', () => way.stats.received >= received + 2, 60_000);
  assert.equal(stomp.state, 'connected');
  await stomp.close();
});

test('a wrong password is told with what the broker says', async () => {
  const { stomp } = client('rabbitmq', {}, { passcode: 'wrong' });
  await assert.rejects(stomp.connect(), (error) => error instanceof StompError && error.code === 'refused' && /CONNECT|denied|refused/i.test(error.headers.message ?? ''));
});
