import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StompClient, StompError } from '../src/stomp.js';
import { PerigeeError } from '../src/errors.js';
import { FrameDecoder, encodeFrame } from '../src/stomp/frame.js';
import { HeartBeat } from '../src/stomp/heartbeat.js';
import { failure } from './support/failure.js';
import { until, within } from './support/wait.js';
import { FakeServer } from './support/wire.js';

/** @typedef {import('../src/stomp/frame.js').Frame} Frame */
/** @typedef {import('../src/stomp/frame.js').Version} Version */
/** @typedef {import('./support/wire.js').FakeConnection} FakeConnection */

const bytes = (/** @type {string} */ text) => new Uint8Array(Buffer.from(text));

/** A broker at the other end of one connection. */
class Broker {
  /** @type {Frame[]} */
  frames = [];
  connection;
  /** @type {Version} */
  version = '1.2';
  /** Answers what asks for a receipt. */
  answers = true;
  #taken = 0;

  /** @param {FakeConnection} connection */
  constructor(connection) {
    this.connection = connection;
    const decoder = new FrameDecoder(1e7);
    // Nothing is escaped before both sides know that they can.
    decoder.version = '1.0';
    connection.onBytes = (chunk) => {
      for (const frame of decoder.push(chunk)) {
        this.frames.push(frame);
        if (frame.command === 'CONNECT') decoder.version = this.version;
        else if (this.answers && frame.headers.receipt) this.say('RECEIPT', { 'receipt-id': frame.headers.receipt });
      }
    };
  }

  /** @param {string} command @param {Record<string, string>} [headers] @param {string | Uint8Array} [body] */
  say(command, headers = {}, body = '') {
    this.connection.say(Buffer.from(encodeFrame(command, headers, typeof body === 'string' ? bytes(body) : body, command === 'CONNECTED' ? '1.0' : this.version)));
  }

  /** The next frame of this kind. @param {string} command @returns {Promise<Frame>} */
  async frame(command) {
    let at = -1;
    await until(() => (at = this.frames.findIndex((frame, i) => i >= this.#taken && frame.command === command)) >= 0, `${command} among ${this.frames.map((frame) => frame.command)}`);
    this.#taken = at + 1;
    return /** @type {Frame} */ (this.frames[at]);
  }

  /** @param {Record<string, string>} [headers] */
  async welcome(headers = {}) {
    const frame = await this.frame('CONNECT');
    this.say('CONNECTED', { version: this.version, ...headers });
    return frame;
  }
}

/** @param {import('node:test').TestContext} t @param {Partial<import('../src/stomp/client.js').StompOptions>} [options] */
function setup(t, options = {}) {
  const server = new FakeServer();
  /** @type {Broker[]} */
  const brokers = [];
  server.onConnection = (connection) => brokers.push(new Broker(connection));
  const stomp = new StompClient({ server: 'broker', socket: server.socket, reconnect: { minMs: 1, maxMs: 5 }, ...options });
  /** @type {Error[]} */
  const errors = [];
  stomp.on('error', ({ error }) => errors.push(error));
  t.after(async () => {
    const closing = stomp.close();
    for (const connection of server.connections) connection.end();
    await closing;
  });
  /** @param {number} number */
  const broker = async (number) => {
    await server.connection(number);
    return /** @type {Broker} */ (brokers[number]);
  };
  return { server, stomp, errors, broker };
}

/** @param {import('node:test').TestContext} t @param {Partial<import('../src/stomp/client.js').StompOptions>} [options] @param {Version} [version] */
async function connected(t, options, version = '1.2') {
  const made = setup(t, options);
  const connecting = made.stomp.connect();
  const broker = await made.broker(0);
  broker.version = version;
  const hello = await broker.welcome();
  await within(connecting, 'connected');
  return { ...made, first: broker, hello };
}

describe('frames', () => {
  for (const version of /** @type {Version[]} */ (['1.0', '1.1', '1.2'])) {
    test(`${version}: what is written is read as what it was, wherever it is cut`, () => {
      const headers = { destination: '/queue/a', note: version === '1.0' ? ' a b ' : version === '1.1' ? 'a:b\\c\nd' : 'a:b\\c\nd\re', [version === '1.0' ? 'ü' : 'ü:']: '' };
      const written = [
        encodeFrame('SEND', headers, bytes('a\0b'), version), bytes('\n\r\n'), encodeFrame('SEND', headers, bytes(''), version),
        bytes('MESSAGE\r\na:1\r\na:2\r\n\r\nbody\0\n'),
      ];
      const whole = Buffer.concat(written);
      for (let at = 0; at <= whole.length; at += 1) {
        const decoder = new FrameDecoder(100);
        decoder.version = version;
        const frames = [...decoder.push(whole.subarray(0, at)), ...decoder.push(whole.subarray(at))];
        assert.deepEqual(frames.map(({ command, body }) => [command, Buffer.from(body).toString()]), [['SEND', 'a\0b'], ['SEND', ''], ['MESSAGE', 'body']], `cut at ${at}`);
        assert.deepEqual({ ...frames[0]?.headers }, { ...headers, 'content-length': '3' });
        assert.deepEqual({ ...frames[2]?.headers }, { a: '1' });
      }
    });
  }

  test('nothing that is written is more than one frame', () => {
    for (const [command, headers, version] of /** @type {[string, Record<string, string>, Version][]} */ ([
      ['SEND\n', {}, '1.2'], ['send', {}, '1.2'], ['SEND', { a: '\0' }, '1.2'], ['SEND', { a: '\r' }, '1.1'], ['SEND', { a: '\n' }, '1.0'],
      ['SEND', { 'a:b': 'x' }, '1.0'], ['SEND', { '': 'x' }, '1.2'], ['CONNECT', { login: 'a\nb' }, '1.2'], ['CONNECT', { login: 'a\0' }, '1.2'],
    ])) assert.throws(() => encodeFrame(command, headers, undefined, version), failure('invalid'), JSON.stringify([command, headers, version]));
  });

  test('a length of one\'s own does not count', () => {
    const [frame] = new FrameDecoder(100).push(encodeFrame('SEND', { 'content-length': '0' }, bytes('abc\0SEND\n\n\0')));
    assert.equal(frame?.body.length, 11);
    assert.equal(frame?.headers['content-length'], '11');
  });

  test('lies and nonsense are refused, and nothing grows without bound', () => {
    for (const [text, code] of /** @type {const} */ ([
      ['MESSAGE\ncontent-length:2\n\nabc\0', 'protocol'], ['MESSAGE\ncontent-length:-1\n\n\0', 'protocol'], ['MESSAGE\ncontent-length:1e3\n\n\0', 'protocol'],
      ['MESSAGE\ncontent-length:1001\n\n', 'too_long'], ['MESSAGE\n\n'.padEnd(1100, 'x'), 'too_long'], ['message\n\n', 'protocol'],
      ['MESSAGE\nno colon\n\n', 'protocol'], ['MESSAGE\na:\\x\n\n', 'protocol'], ['MESSAGE\na:\\\n\n', 'protocol'], ['A'.repeat(70_000), 'too_long'],
    ])) assert.throws(() => new FrameDecoder(1000).push(bytes(text)), failure(code), text.slice(0, 40));
    const decoder = new FrameDecoder(1000);
    decoder.version = '1.1';
    assert.throws(() => decoder.push(bytes('MESSAGE\na:\\r\n\n')), failure('protocol'));
    assert.equal(new FrameDecoder(3).push(bytes('MESSAGE\n__proto__:x\ncontent-length:3\n\n\0\0\0\0'))[0]?.headers.__proto__, 'x');
  });
});

describe('connecting', () => {
  test('says who it is and what it speaks', async (t) => {
    const { stomp, hello } = await connected(t, { login: 'ada', passcode: 'p:w\\d', host: '/', headers: { 'client-id': 'x' }, heartBeat: { outgoingMs: 0, incomingMs: 0 } });
    assert.deepEqual({ ...hello.headers }, { 'accept-version': '1.2,1.1,1.0', host: '/', 'heart-beat': '0,0', login: 'ada', passcode: 'p:w\\d', 'client-id': 'x' });
    assert.deepEqual(stomp.agreed, { version: '1.2', server: '', heartBeat: { outgoingMs: 0, incomingMs: 0 } });
  });

  test('a refusal has the headers of the ERROR, and is not tried again', async (t) => {
    const { server, stomp, broker } = setup(t);
    const connecting = stomp.connect();
    const first = await broker(0);
    await first.frame('CONNECT');
    first.say('ERROR', { message: 'Bad CONNECT', version: '1.2' }, 'Access refused\n');
    await assert.rejects(within(connecting, 'an end'), (error) => {
      assert.ok(failure('refused')(error) && error instanceof StompError);
      assert.equal(error.headers.message, 'Bad CONNECT');
      assert.equal(error.body, 'Access refused\n');
      return true;
    });
    assert.equal(server.connections.length, 1);
    server.refusals.push(new PerigeeError('denied'));
    await assert.rejects(within(stomp.connect(), 'an end'), failure('denied'));
  });

  test('a broker that does not answer, ends, or speaks what was not offered', async (t) => {
    await assert.rejects(within(setup(t, { timeoutMs: 20 }).stomp.connect(), 'an end'), failure('timeout'));
    const { stomp, broker } = setup(t, { versions: ['1.2'] });
    let connecting = stomp.connect();
    (await broker(0)).connection.end();
    await assert.rejects(within(connecting, 'an end'), failure('ended'));
    connecting = stomp.connect();
    const second = await broker(1);
    second.version = '1.0';
    await second.welcome();
    await assert.rejects(within(connecting, 'an end'), failure('protocol'));
  });

  test('mistakes are told where they are made', () => {
    const make = (/** @type {object} */ options) => () => new StompClient({ server: 'a', ...options });
    assert.throws(make({ loggin: 'x' }), TypeError);
    assert.throws(make({ versions: ['2.0'] }), TypeError);
    assert.throws(make({ heartBeat: { outgoingMs: -1 } }), TypeError);
    assert.throws(make({ login: 'a\nb' }), failure('invalid'));
  });
});

describe('messages', () => {
  test('sent, with receipts as promises', async (t) => {
    const { stomp, first } = await connected(t);
    await within(stomp.send('/queue/a:b', 'Grüße', { headers: { priority: 4 } }), 'the receipt');
    const text = await first.frame('SEND');
    assert.equal(Buffer.from(text.body).toString(), 'Grüße');
    assert.deepEqual([text.headers.destination, text.headers.priority, text.headers['content-type']], ['/queue/a:b', '4', 'text/plain;charset=utf-8']);
    await within(stomp.send('/queue/b', new Uint8Array([0, 255, 0]), { contentType: 'image/x', receipt: false }), 'sent');
    const binary = await first.frame('SEND');
    assert.deepEqual([...binary.body], [0, 255, 0]);
    assert.deepEqual({ ...binary.headers }, { destination: '/queue/b', 'content-type': 'image/x', 'content-length': '3' });
  });

  for (const [version, ackHeaders] of /** @type {[Version, Record<string, string>][]} */ ([
    ['1.2', { id: 'the-ack' }], ['1.1', { 'message-id': '7', subscription: 's1' }], ['1.0', { 'message-id': '7', subscription: 's1' }],
  ])) {
    test(`${version}: received and acknowledged`, async (t) => {
      const { stomp, first } = await connected(t, {}, version);
      /** @type {import('../src/stomp.js').StompMessage[]} */
      const got = [];
      const subscription = await within(stomp.subscribe('/queue/a', (message) => got.push(message), { ack: 'client-individual', headers: { selector: 'x' } }), 'subscribed');
      const { headers } = await first.frame('SUBSCRIBE');
      assert.deepEqual([headers.id, headers.destination, headers.ack, headers.selector], [subscription.id, '/queue/a', 'client-individual', 'x']);
      first.say('MESSAGE', { subscription: 's1', 'message-id': '7', destination: '/queue/a', ack: 'the-ack', 'content-type': 'text/x' }, 'Grüße');
      first.say('MESSAGE', { subscription: 'nobody', 'message-id': '8', destination: '/queue/a' }, 'not for us');
      await until(() => got.length > 0, 'the message');
      const [message] = got;
      assert.ok(message);
      assert.deepEqual([message.id, message.destination, message.contentType, message.text], ['7', '/queue/a', 'text/x', 'Grüße']);
      await within(message.ack(), 'acknowledged');
      const ack = { ...(await first.frame('ACK')).headers };
      delete ack.receipt;
      assert.deepEqual(ack, ackHeaders);
      if (version === '1.0') await assert.rejects(message.nack(), failure('invalid'));
      else await within(message.nack(), 'refused');
      await within(subscription.unsubscribe(), 'unsubscribed');
      assert.equal((await first.frame('UNSUBSCRIBE')).headers.id, 's1');
      first.say('MESSAGE', { subscription: 's1', 'message-id': '9', destination: '/queue/a' }, 'late');
      await within(stomp.send('/queue/a', 'x'), 'the receipt');
      assert.equal(got.length, 1);
    });
  }

  test('transactions', async (t) => {
    const { stomp, first } = await connected(t);
    const transaction = await within(stomp.begin(), 'begun');
    assert.equal((await first.frame('BEGIN')).headers.transaction, transaction.id);
    await within(transaction.send('/queue/a', 'one'), 'sent');
    assert.equal((await first.frame('SEND')).headers.transaction, transaction.id);
    await within(transaction.commit(), 'committed');
    assert.equal((await first.frame('COMMIT')).headers.transaction, transaction.id);
    const other = await within(stomp.begin(), 'begun');
    await within(other.abort(), 'aborted');
    assert.equal((await first.frame('ABORT')).headers.transaction, other.id);
  });

  test('after a lost connection the client comes back with its subscriptions; what belongs to the old one is stale', async (t) => {
    const { stomp, first, errors, broker } = await connected(t);
    /** @type {import('../src/stomp.js').StompMessage[]} */
    const got = [];
    await within(stomp.subscribe('/topic/a', (message) => got.push(message), { ack: 'client' }), 'subscribed');
    const dropped = await within(stomp.subscribe('/topic/b', () => {}), 'subscribed');
    await within(dropped.unsubscribe(), 'unsubscribed');
    first.say('MESSAGE', { subscription: 's1', 'message-id': '1', ack: 'a', destination: '/topic/a' }, 'old');
    const transaction = await within(stomp.begin(), 'begun');
    await until(() => got.length === 1, 'the message');
    first.answers = false;
    const sending = stomp.send('/queue/x', 'perhaps');
    await first.frame('SEND');
    first.connection.end(new PerigeeError('lost'));
    await assert.rejects(within(sending, 'an end'), failure('lost'));
    await assert.rejects(stomp.send('/queue/x', 'too early'), failure('closed'));
    const second = await broker(1);
    await second.welcome();
    const { headers } = await second.frame('SUBSCRIBE');
    assert.deepEqual([headers.destination, headers.ack], ['/topic/a', 'client']);
    second.say('MESSAGE', { subscription: headers.id ?? '', 'message-id': '1', ack: 'b', destination: '/topic/a' }, 'again');
    await until(() => got.length === 2, 'the message again');
    await assert.rejects(got[0]?.ack() ?? Promise.resolve(), failure('stale'));
    await assert.rejects(transaction.commit(), failure('stale'));
    await within(got[1]?.ack() ?? Promise.resolve(), 'acknowledged');
    assert.deepEqual(second.frames.map(({ command }) => command), ['CONNECT', 'SUBSCRIBE', 'ACK']);
    assert.deepEqual(errors.map((error) => /** @type {PerigeeError} */ (error).code), ['lost']);
  });

  test('an ERROR rejects what it is about, and a subscription that was refused is not asked for again', async (t) => {
    const { stomp, first, broker } = await connected(t);
    first.answers = false;
    const subscribing = stomp.subscribe('/topic/secret', () => {});
    const { headers } = await first.frame('SUBSCRIBE');
    first.say('ERROR', { 'receipt-id': headers.receipt ?? '', message: 'not allowed' });
    await assert.rejects(within(subscribing, 'an answer'), (error) => failure('refused')(error) && error instanceof StompError && error.headers.message === 'not allowed');
    const second = await broker(1);
    await second.welcome();
    await until(() => stomp.state === 'connected', 'back');
    await within(stomp.send('/queue/a', 'x'), 'the receipt');
    assert.deepEqual(second.frames.map(({ command }) => command), ['CONNECT', 'SEND']);
  });

  test('a goodbye waits for what was sent', async (t) => {
    const { stomp, first } = await connected(t);
    const closing = stomp.close();
    await first.frame('DISCONNECT');
    await within(closing, 'closed');
    assert.equal(stomp.state, 'idle');
    await assert.rejects(stomp.send('/queue/a', 'x'), failure('closed'));
    await assert.rejects(stomp.subscribe('/queue/a', () => {}), failure('closed'));
  });

  test('a goodbye as soon as it is back is the last word', async (t) => {
    const { stomp, first, errors, broker } = await connected(t);
    await within(stomp.subscribe('/topic/a', () => {}), 'subscribed');
    /** @type {Promise<unknown>} */
    let closing = Promise.resolve();
    stomp.on('state', ({ state }) => {
      if (state === 'connected') closing = stomp.close();
    });
    first.connection.end(new PerigeeError('lost'));
    const second = await broker(1);
    await second.welcome();
    await second.frame('DISCONNECT');
    await within(closing, 'closed');
    assert.deepEqual(second.frames.map(({ command }) => command), ['CONNECT', 'DISCONNECT']);
    assert.deepEqual(errors.map((error) => /** @type {PerigeeError} */ (error).code), ['lost']);
  });
});

describe('heart-beats', () => {
  /** @param {[number, number]} ours @param {string | undefined} theirs @param {() => boolean} [reachable] */
  function beating(ours, theirs, reachable = () => true) {
    const seen = { beats: 0, silent: 0 };
    const heartBeat = new HeartBeat(ours, theirs, { beat: () => (seen.beats += 1), silent: () => (seen.silent += 1), reachable });
    return { seen, heartBeat };
  }

  test('what is agreed is the slower of both wishes', () => {
    for (const [ours, theirs, agreed] of /** @type {[[number, number], string | undefined, [number, number]][]} */ ([
      [[100, 200], '150,50', [100, 200]], [[100, 200], '250,350', [350, 250]], [[0, 200], '100,100', [0, 200]], [[100, 0], '100,100', [100, 0]],
      [[100, 200], '0,0', [0, 0]], [[100, 200], undefined, [0, 0]], [[100, 200], 'x,-1', [0, 0]],
    ])) {
      const { heartBeat } = beating(ours, theirs);
      heartBeat.stop();
      assert.deepEqual(heartBeat.agreed, { outgoingMs: agreed[0], incomingMs: agreed[1] }, `${ours} ${theirs}`);
    }
  });

  test('ours are sent, and a broker without any is given up', async (t) => {
    const { heartBeat, seen } = beating([4, 0], '0,4');
    await until(() => seen.beats >= 3, 'beats');
    heartBeat.stop();
    // Timers that come late say nothing, so there is a period that a loaded machine can keep.
    const silence = beating([0, 100], '100,0');
    await until(() => silence.seen.silent === 1, 'silence is noticed', 60_000);
    const { stomp, broker } = setup(t, { heartBeat: { outgoingMs: 5, incomingMs: 100 } });
    const connecting = stomp.connect();
    await (await broker(0)).welcome({ 'heart-beat': '100,5' });
    await within(connecting, 'connected');
    await until(() => stomp.state !== 'connected', 'given up', 60_000);
    const first = await broker(0);
    assert.equal(first.connection.ended, 'aborted');
    assert.match(first.connection.bytes.toString(), /\0\n+$/);
  });

  test('silence says nothing while there is no way to the gateway', async () => {
    let asked = 0;
    const { heartBeat, seen } = beating([0, 5], '5,0', () => {
      asked += 1;
      return false;
    });
    await until(() => asked >= 5, 'several periods');
    heartBeat.stop();
    assert.equal(seen.silent, 0);
  });
});
