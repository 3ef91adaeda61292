import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeNumber } from '../src/codes.js';
import { decode } from '../src/frame.js';
import { Session } from '../src/session.js';
import { Tombstones } from '../src/tombstones.js';

/**
 * @typedef {import('../src/frame.js').Frame} Frame
 * @typedef {import('../src/session.js').Kind} Kind
 */

const TOKEN = new Uint8Array(32).fill(7);
const WINDOW = 1000;

/** @param {number} n @param {Partial<import('../src/frame.js').Welcome>} [rest] @returns {Frame} */
const welcome = (n, rest = {}) => ({
  type: 'WELCOME', version: 1, caps: 0, n, heartbeat_ms: 1000, resume_ms: 5000, initial: 500, entries: [], ...rest,
});

/** A session that was welcomed. @param {Kind} [kind] */
function attached(kind = 'websocket') {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  const n = session.attach(kind, 0, { prompt: true });
  session.hello(n, 65536);
  session.receive([welcome(n, { sid: 'n1-x', token: TOKEN })], n, 0);
  drain(session);
  // The WELCOME is confirmed.
  if (kind !== 'poll') assert.deepEqual(sent(session, 0), [{ type: 'PING', t: 0 }]);
  session.upDone([], session.uplink.epoch, 0);
  return { session, n };
}

/** An attached session with a stream that is open. @param {Kind} [kind] */
function opened(kind = 'websocket') {
  const { session, n } = attached(kind);
  const stream = session.open('irc');
  sent(session, 0);
  session.receive([{ type: 'OPENED', stream: stream.id, reached: 'irc' }], n, 0);
  if (kind !== 'websocket') session.upDone([], session.uplink.epoch, 0);
  drain(session);
  return { session, n, stream };
}

/** What the session says now. @param {Session} session @param {number} now @param {number} [max] */
function sent(session, now, max = 65536) {
  const bytes = session.pollTransmit(max, now);
  return bytes === null ? [] : decode(bytes);
}

/** @param {Session} session */
function drain(session) {
  /** @type {import('../src/session.js').SessionEvent[]} */
  const events = [];
  for (let event = session.pollEvent(); event; event = session.pollEvent()) events.push(event);
  session.changed();
  return events;
}

/** @param {number} stream @param {number} offset @param {number} length @returns {Frame} */
const data = (stream, offset, length) => ({ type: 'DATA', stream, offset, data: new Uint8Array(length).fill(offset) });

/** @param {readonly Frame[]} frames @param {Frame['type']} type */
const only = (frames, type) => frames.filter((frame) => frame.type === type);

test('HELLO lists what is not over, and OPEN follows it', () => {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  session.open('a');
  session.open('b');
  const n = session.attach('websocket', 0);
  assert.deepEqual(decode(session.hello(n, 65536)), [
    {
      type: 'HELLO', version: 1, caps: 0, n: 1, next_stream: 3, initial: WINDOW, token: new Uint8Array(32), prompt: false,
      entries: [{ stream: 1, rn: 0, limit: WINDOW, base: 0 }, { stream: 2, rn: 0, limit: WINDOW, base: 0 }],
    },
    { type: 'OPEN', stream: 1, service: 0, target: 'a' },
    { type: 'OPEN', stream: 2, service: 0, target: 'b' },
  ]);
  assert.equal(session.pollTransmit(65536, 0), null, 'nothing goes up before WELCOME');
  session.receive([welcome(1, { sid: 'n1-x', token: TOKEN })], 1, 0);
  assert.deepEqual(drain(session), [{ type: 'welcome', n: 1, first: true }]);
  assert.deepEqual(sent(session, 0), [{ type: 'PING', t: 0 }], 'OPEN was heard already, and something has to confirm the WELCOME');
  assert.deepEqual(sent(session, 0), []);
});

test('OPENs that do not fit behind a HELLO come later, in order', () => {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  for (let i = 0; i < 4; i += 1) session.open('x'.repeat(255));
  const n = session.attach('websocket', 0);
  const frames = decode(session.hello(n, 8 + 52 + 4 * 28 + 264 * 2 + 100));
  assert.deepEqual(only(frames, 'OPEN').map((frame) => 'stream' in frame && frame.stream), [1, 2]);
  session.receive([welcome(n, { sid: 'n1-x', token: TOKEN })], n, 0);
  assert.deepEqual(sent(session, 0).map((frame) => 'stream' in frame && frame.stream), [3, 4]);
});

test('credit is never passed, and FIN needs none', () => {
  const { session, n, stream } = opened();
  assert.equal(session.write(stream, new Uint8Array(700)), 700);
  session.finish(stream);
  const [first, ...none] = sent(session, 0);
  assert.ok(first?.type === 'DATA' && first.data.length === 500 && none.length === 0, 'initial is the credit');
  session.receive([{ type: 'ACK', stream: 1, ack: 100, limit: 650 }, { type: 'ACK', stream: 1, ack: 50, limit: 600 }], n, 0);
  assert.deepEqual(sent(session, 0).map((frame) => frame.type === 'DATA' && [frame.offset, frame.data.length]), [[500, 150]], 'merged by max');
  session.receive([{ type: 'ACK', stream: 1, ack: 100, limit: 700 }], n, 0);
  assert.deepEqual(sent(session, 0).map(({ type }) => type), ['DATA', 'FIN']);
  assert.equal(stream.send.base, 100);
});

test('what breaks a rule resets its stream with the code of the rule', () => {
  /** @type {{ name: string, frames: Frame[], code: import('../src/codes.js').Code }[]} */
  const cases = [
    { name: 'more than was granted', frames: [data(1, 0, WINDOW), data(1, WINDOW, 1)], code: 'flow' },
    { name: 'a gap beyond the grant', frames: [data(1, WINDOW, 1)], code: 'flow' },
    { name: 'data beyond FIN', frames: [data(1, 0, 5), { type: 'FIN', stream: 1, offset: 5 }, data(1, 5, 1)], code: 'protocol' },
    { name: 'a FIN that moves', frames: [{ type: 'FIN', stream: 1, offset: 0 }, { type: 'FIN', stream: 1, offset: 1 }], code: 'protocol' },
    { name: 'a FIN below the data', frames: [data(1, 0, 5), { type: 'FIN', stream: 1, offset: 4 }], code: 'protocol' },
    { name: 'an ack of what was not sent', frames: [{ type: 'ACK', stream: 1, ack: 1, limit: 500 }], code: 'protocol' },
    { name: 'an rn of what was not sent', frames: [{ type: 'ACK', stream: 1, ack: 0, limit: 500, rn: 1 }], code: 'protocol' },
  ];
  for (const { name, frames, code } of cases) {
    const { session, n, stream } = opened();
    session.receive(frames, n, 0);
    assert.equal(stream.over?.code, code, name);
    const [reset] = sent(session, 0);
    assert.ok(reset?.type === 'RESET' && reset.code === codeNumber(code) && reset.stream === 1, name);
    assert.equal(session.ended, null, name);
  }
});

test('data is taken once and in order', () => {
  const { session, n, stream } = opened();
  session.receive([data(1, 5, 5)], n, 0);
  assert.equal(stream.receive.rn, 0);
  assert.deepEqual(sent(session, 0), [{ type: 'ACK', stream: 1, ack: 0, limit: WINDOW, rn: 0 }], 'a gap is told at once');
  session.receive([data(1, 0, 5), data(1, 0, 5), data(1, 3, 4), data(1, 5, 5)], n, 0);
  assert.equal(stream.receive.rn, 10);
  const bytes = [];
  for (let part = session.read(stream, 0); part; part = session.read(stream, 0)) bytes.push(...part);
  assert.deepEqual(bytes, [0, 0, 0, 0, 0, 3, 3, 5, 5, 5]);
  assert.equal(session.stats.received, 10);
});

test('when acks are sent', () => {
  /** @type {{ kind: Kind, take: number, at: number }[]} */
  const cases = [
    { kind: 'websocket', take: 249, at: 100 },
    { kind: 'websocket', take: 250, at: 0 },
    { kind: 'stream', take: 499, at: 1000 },
    { kind: 'stream', take: 500, at: 0 },
    { kind: 'poll', take: 499, at: Infinity },
    { kind: 'poll', take: 500, at: 0 },
  ];
  for (const { kind, take, at } of cases) {
    const { session, n, stream } = opened(kind);
    session.receive([data(1, 0, take)], n, 0);
    assert.deepEqual(sent(session, 1e9), [], 'what was not taken is not acked');
    session.read(stream, 0);
    const name = `${kind} ${take}`;
    assert.equal(Math.max(0, Math.min(session.nextTimeout(), 2000)), Math.min(at, 2000), name);
    if (at > 0) assert.deepEqual(sent(session, Math.min(at, 9e9) - 1), [], name);
    if (at < Infinity) {
      assert.deepEqual(sent(session, at), [{ type: 'ACK', stream: 1, ack: take, limit: WINDOW + take }], name);
    } else {
      const next = session.attach('poll', 0);
      assert.deepEqual(only(decode(session.hello(next, 65536)), 'ACK'), [{ type: 'ACK', stream: 1, ack: take, limit: WINDOW + take }], 'on the next poll');
    }
  }
  const { session, n, stream } = opened();
  session.receive([data(1, 0, 3)], n, 0);
  session.read(stream, 0);
  session.write(stream, new Uint8Array(1));
  assert.deepEqual(sent(session, 1).map(({ type }) => type), ['ACK', 'DATA'], 'with anything else that goes that way');
});

test('a stream is over when both ends were acked', () => {
  const { session, n, stream } = opened();
  session.finish(stream);
  sent(session, 0);
  session.receive([{ type: 'ACK', stream: 1, ack: 1, limit: 500 }, data(1, 0, 3), { type: 'FIN', stream: 1, offset: 3 }], n, 0);
  session.passEnd(stream, 0);
  assert.equal(stream.over, null, 'there are bytes to read before the end');
  session.read(stream, 0);
  session.passEnd(stream, 0);
  assert.deepEqual(stream.over, { code: 'closed', clean: true, text: '', acked: 0 });
  assert.deepEqual(sent(session, 0), [{ type: 'ACK', stream: 1, ack: 4, limit: WINDOW + 3 }]);
  session.receive([{ type: 'FIN', stream: 1, offset: 3 }, data(1, 0, 1)], n, 0);
  assert.deepEqual(sent(session, 0), [{ type: 'RESET', stream: 1, code: 0, ack: 4, text: '' }], 'its tombstone answers, once');
  session.receive([{ type: 'RESET', stream: 1, code: 0, ack: 1, text: '' }, { type: 'ACK', stream: 1, ack: 1, limit: 9 }, data(9, 0, 1)], n, 0);
  assert.deepEqual(sent(session, 0), [], 'a RESET, an ACK and what was never open are not answered');
});

test('a RESET tells how far it went', () => {
  const { session, n, stream } = opened();
  session.write(stream, new Uint8Array(10));
  sent(session, 0);
  session.receive([{ type: 'RESET', stream: 1, code: 9, ack: 7, text: 'reset by peer' }], n, 0);
  assert.deepEqual(stream.over, { code: 'reset', clean: false, text: 'reset by peer', acked: 7 });
  const other = opened();
  other.session.receive([{ type: 'RESET', stream: 1, code: 999, ack: 5, text: '' }], other.n, 0);
  assert.deepEqual(other.stream.over, { code: 'internal', clean: false, text: '', acked: 0 }, 'an unknown code, an ack that cannot be');
});

test('a stream that a WELCOME leaves out is lost, unless a RESET says better', () => {
  for (const better of [false, true]) {
    const { session, n, stream } = opened();
    session.finish(stream);
    sent(session, 0);
    session.receive([{ type: 'FIN', stream: 1, offset: 0 }], n, 0);
    session.passEnd(stream, 0);
    session.detached(n, 0);
    const m = session.attach('websocket', 0);
    session.hello(m, 65536);
    session.receive([welcome(m)], m, 0);
    assert.equal(stream.over, null, 'a RESET may follow');
    if (better) {
      session.receive([{ type: 'RESET', stream: 1, code: 0, ack: 1, text: '' }], m, 10);
      assert.deepEqual(stream.over, { code: 'closed', clean: true, text: '', acked: 0 });
    } else {
      sent(session, 10);
      const at = session.nextTimeout();
      assert.ok(at > 0 && at <= 5000);
      session.handleTimeout(5000);
      assert.equal(/** @type {{ code: string } | null} */ (stream.over)?.code, 'lost');
    }
  }
});

test('a gateway that has less than we need lost it', () => {
  const { session, n, stream } = opened();
  session.detached(n, 0);
  const m = session.attach('websocket', 0);
  session.hello(m, 65536);
  session.receive([welcome(m, { entries: [{ stream: 1, rn: 0, limit: 500, base: 1 }] })], m, 0);
  assert.equal(stream.over?.code, 'lost');
});

test('a WELCOME for another attachment than the newest is ignored', () => {
  const { session, n } = opened();
  session.detached(n, 0);
  const a = session.attach('websocket', 0);
  session.hello(a, 65536);
  const b = session.attach('stream', 0);
  session.hello(b, 65536);
  session.receive([welcome(a, { entries: [{ stream: 1, rn: 0, limit: 500, base: 9 }] })], a, 0);
  assert.deepEqual(drain(session), [{ type: 'late', n: a }]);
  session.receive([welcome(77)], b, 0);
  assert.deepEqual(drain(session), []);
});

test('only the session that answered first is ours', () => {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  const stream = session.open('irc');
  const a = session.attach('websocket', 0);
  session.hello(a, 65536);
  const b = session.attach('stream', 0);
  session.hello(b, 65536);
  session.receive([welcome(a, { sid: 'n1-a', token: TOKEN })], a, 0);
  session.receive([welcome(b, { sid: 'n1-b', token: TOKEN }), { type: 'OPENED', stream: 1, reached: 'elsewhere' }], b, 0);
  assert.equal(session.sid, 'n1-a');
  assert.equal(stream.opened, false);
  assert.deepEqual(drain(session), [{ type: 'welcome', n: a, first: true }]);
});

test('uplinks: what is said again after a change and after a failure', () => {
  const { session, n, stream } = opened();
  session.write(stream, new Uint8Array(100));
  sent(session, 0);
  // A stream is attached while the WebSocket may still carry things: POSTs start at base at once.
  const m = session.attach('stream', 0);
  session.hello(m, 65536);
  assert.deepEqual(session.uplink.kind, 'post');
  const again = sent(session, 0);
  assert.deepEqual(again.map((frame) => frame.type === 'DATA' && frame.offset), [0]);
  assert.deepEqual(sent(session, 0), [], 'one POST in flight');
  session.upFailed(session.uplink.epoch);
  assert.equal(sent(session, 0).length, 1, 'once more');
  // The gateway has 60 of them, says the WELCOME that was written before the POST came.
  session.receive([welcome(m, { entries: [{ stream: 1, rn: 60, limit: 500, base: 0 }] })], m, 0);
  assert.equal(stream.send.next, 100, 'no rewind while a POST is in flight');
  assert.equal(session.upDone([{ type: 'ACK', stream: 1, ack: 0, limit: 500, rn: 60 }], session.uplink.epoch, 0), true);
  assert.deepEqual(sent(session, 0).map((frame) => frame.type === 'DATA' && frame.offset), [60], 'the reply knows');
  const { epoch } = session.uplink;
  // A WebSocket takes over when it was welcomed, from where the gateway is.
  const w = session.attach('websocket', 0);
  session.hello(w, 65536);
  assert.equal(session.uplink.kind, 'post');
  session.receive([welcome(w, { entries: [{ stream: 1, rn: 80, limit: 500, base: 0 }] })], w, 0);
  assert.deepEqual(session.uplink.kind, 'socket');
  session.upFailed(epoch);
  assert.deepEqual(sent(session, 0).map((frame) => frame.type === 'DATA' && frame.offset), [80], 'an old POST says nothing any more');
  session.detached(n, 0);
});

test('a poll goes on where the one before it was', () => {
  const { session, n, stream } = opened('poll');
  session.write(stream, new Uint8Array(10));
  assert.equal(sent(session, 0).length, 1);
  const { epoch } = session.uplink;
  const m = session.attach('poll', 0);
  session.hello(m, 65536);
  session.detached(n, 0, { clean: true });
  session.receive([welcome(m, { entries: [{ stream: 1, rn: 0, limit: 500, base: 0 }] })], m, 0);
  assert.equal(session.uplink.epoch, epoch);
  assert.equal(stream.send.next, 10, 'a new poll does not rewind');
  session.detached(m, 0);
  assert.equal(session.uplink.kind, null);
});

test('an OPEN may overtake the HELLO of a poll', () => {
  const { session, n } = attached('poll');
  const m = session.attach('poll', 0);
  const [hello] = decode(session.hello(m, 65536));
  assert.ok(hello?.type === 'HELLO' && hello.next_stream === 1);
  session.detached(n, 0, { clean: true });
  const stream = session.open('late');
  session.write(stream, new Uint8Array(1));
  assert.deepEqual(sent(session, 0).map(({ type }) => type), ['OPEN', 'DATA']);
  session.receive([welcome(m), { type: 'OPENED', stream: 1, reached: 'late' }], m, 0);
  session.handleTimeout(10_000);
  assert.equal(stream.over, null, 'a WELCOME that was written before is no loss');
});

test('DATA goes up with its OPEN until that was answered', () => {
  const { session, n } = attached('stream');
  const stream = session.open('a');
  session.write(stream, new Uint8Array(3));
  assert.deepEqual(sent(session, 0).map(({ type }) => type), ['OPEN', 'DATA']);
  session.write(stream, new Uint8Array(3));
  session.upDone([], session.uplink.epoch, 0);
  assert.deepEqual(sent(session, 0).map(({ type }) => type), ['OPEN', 'DATA']);
  session.upDone([], session.uplink.epoch, 0);
  session.receive([{ type: 'OPENED', stream: 1, reached: 'a' }], n, 0);
  session.write(stream, new Uint8Array(3));
  assert.deepEqual(sent(session, 0).map(({ type }) => type), ['DATA']);
});

test('an OPEN whose POST failed is said again', () => {
  const { session } = attached('stream');
  session.open('a');
  for (let i = 0; i < 2; i += 1) {
    assert.deepEqual(sent(session, 0).map(({ type }) => type), ['OPEN']);
    session.upFailed(session.uplink.epoch);
  }
  assert.equal(sent(session, 0).length, 1);
  session.upDone([], session.uplink.epoch, 0);
  assert.deepEqual(sent(session, 0), [], 'but not one that was heard');
});

test('a WELCOME is confirmed until that was heard', () => {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  const n = session.attach('stream', 0);
  session.hello(n, 65536);
  session.receive([welcome(n, { sid: 'n1-x', token: TOKEN })], n, 0);
  for (let i = 0; i < 2; i += 1) {
    assert.deepEqual(sent(session, 0), [{ type: 'PING', t: 0 }]);
    session.upFailed(session.uplink.epoch);
  }
  session.open('a');
  assert.deepEqual(sent(session, 0).map(({ type }) => type), ['OPEN'], 'anything does');
  session.upDone([], session.uplink.epoch, 0);
  assert.deepEqual(sent(session, 0), []);
});

test('last words are said until they were heard', () => {
  const { session, stream } = opened('stream');
  session.reset(stream, 'aborted', 'enough');
  assert.deepEqual(sent(session, 0), [{ type: 'RESET', stream: 1, code: 10, ack: 0, text: 'enough' }]);
  session.upFailed(session.uplink.epoch);
  assert.equal(only(sent(session, 0), 'RESET').length, 1, 'the POST failed');
  session.upDone([], session.uplink.epoch, 0);
  assert.deepEqual(sent(session, 0), []);

  const other = opened();
  other.session.detached(other.n, 0);
  const m = other.session.attach('websocket', 0);
  other.session.reset(other.stream, 'aborted', '');
  const [hello] = decode(other.session.hello(m, 65536));
  assert.ok(hello?.type === 'HELLO' && hello.entries.length === 0);
  other.session.receive([welcome(m)], m, 0);
  assert.deepEqual(sent(other.session, 0), [], 'the HELLO said it');

  const third = opened();
  third.session.detached(third.n, 0);
  const k = third.session.attach('websocket', 0);
  third.session.hello(k, 65536);
  third.session.reset(third.stream, 'aborted', '');
  third.session.receive([welcome(k, { entries: [{ stream: 1, rn: 0, limit: 500, base: 0 }] })], k, 0);
  assert.equal(only(sent(third.session, 0), 'RESET').length, 1, 'the HELLO listed it');
});

test('a transport that is silent too long is dead', () => {
  const { session, n } = attached();
  assert.equal(session.nextTimeout(), 2200);
  session.receive([{ type: 'PING', t: 1 }], n, 1000);
  assert.deepEqual(sent(session, 1000), [{ type: 'PONG', t: 1 }]);
  session.handleTimeout(3199);
  assert.deepEqual(drain(session), []);
  session.handleTimeout(3200);
  assert.deepEqual(drain(session), [{ type: 'dead', n }]);
  session.handleTimeout(9999);
  assert.deepEqual(drain(session), [], 'said once');
});

test('how long each transport may be silent', () => {
  // Heartbeats as a gateway has them by default; docs/protocol.md section 8 has the times.
  for (const kind of /** @type {readonly Kind[]} */ (['websocket', 'webtransport', 'stream', 'sse', 'poll', 'htmlfile', 'jsonp'])) {
    const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
    const first = session.attach(kind, 0, { prompt: true });
    session.hello(first, 65536);
    session.handleTimeout(100_000);
    assert.deepEqual(drain(session), [], `${kind}: the first attempt has a deadline of its own`);
    session.receive([welcome(first, { sid: 'n1-x', token: TOKEN, heartbeat_ms: 25_000 })], first, 1000);
    // Each reply has an attachment of its own, which is heard when it comes.
    const n = kind === 'poll' ? session.attach(kind, 1000) : first;
    if (kind === 'poll') session.detached(first, 1000, { clean: true });
    drain(session);
    session.handleTimeout(55_999);
    assert.deepEqual(drain(session), [], `${kind} is not given up before its time`);
    assert.ok(session.nextTimeout() < 56_001, `${kind} asks to be looked at`);
    // Whatever comes down is a sign of life, also what jsonp brings when there was nothing to say.
    if (kind !== 'poll') {
      session.receive([{ type: 'PAD', len: 0 }], n, 55_999);
      session.handleTimeout(110_998);
      assert.deepEqual(drain(session), [], `${kind} was heard`);
    }
    // Answers to what went up are none.
    session.upDone([], session.uplink.epoch, 60_000);
    session.handleTimeout(kind === 'poll' ? 56_001 : 111_000);
    assert.deepEqual(drain(session), [{ type: 'dead', n }], `${kind} is given up after 55 s`);
  }
});

test('how a session ends', () => {
  /** @type {{ name: string, frames: Frame[], code: string, says: number | null }[]} */
  const cases = [
    { name: 'RESET of the session', frames: [{ type: 'RESET', stream: 0, code: 15, ack: 0, text: 'bye' }], code: 'going_away', says: null },
    { name: 'HELLO from a gateway', frames: [{ type: 'HELLO', version: 1, caps: 0, n: 1, next_stream: 1, initial: 1, token: TOKEN, prompt: false, entries: [] }], code: 'protocol', says: 1 },
    { name: 'OPEN from a gateway', frames: [{ type: 'OPEN', stream: 2, service: 0, target: 'x' }], code: 'protocol', says: 1 },
  ];
  for (const { name, frames, code, says } of cases) {
    const { session, n, stream } = opened();
    session.receive([...frames, data(1, 0, 1)], n, 0);
    assert.deepEqual(drain(session).map((event) => event.type === 'over' && event.code), [code], name);
    assert.equal(stream.over?.code, code, name);
    assert.equal(stream.receive.rn, 0, 'what comes after is not looked at');
    const last = session.lastWords();
    const [reset] = last === null ? [] : decode(last);
    assert.equal(reset?.type === 'RESET' ? reset.code : null, says, name);
    assert.equal(session.lastWords(), null);
    assert.equal(session.open('x').over?.code, code, 'nothing is opened any more');
  }
});

test('an attempt that is refused is not the end of anything', () => {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  session.open('irc');
  const n = session.attach('websocket', 0);
  session.hello(n, 65536);
  session.receive([{ type: 'RESET', stream: 0, code: 14, ack: 0, text: '' }], n, 0);
  assert.deepEqual(drain(session), [{ type: 'refused', n, code: 'overloaded', text: '' }]);
  assert.equal(session.ended, null);
});

test('there is a bound on streams', () => {
  const session = new Session({ windowBytes: WINDOW, sendBytes: 2000 });
  for (let i = 0; i < 1024; i += 1) assert.equal(session.open('x').over, null);
  assert.equal(session.open('x').over?.code, 'limit');
  const n = session.attach('websocket', 0);
  const [hello] = decode(session.hello(n, 65536));
  assert.ok(hello?.type === 'HELLO' && hello.entries.length === 1024);
});

test('every stream gets its turn', () => {
  const { session, n } = attached();
  const streams = ['a', 'b', 'c'].map((name) => session.open(name));
  sent(session, 0);
  session.receive(streams.flatMap(({ id }) => /** @type {Frame[]} */ ([
    { type: 'OPENED', stream: id, reached: '' }, { type: 'ACK', stream: id, ack: 0, limit: 100_000 },
  ])), n, 0);
  for (const stream of streams) session.write(stream, new Uint8Array(2000));
  const order = [];
  for (let i = 0; i < 4; i += 1) order.push(...sent(session, 0, 1500).map((frame) => 'stream' in frame && frame.stream));
  assert.deepEqual(order.slice(0, 3), [1, 2, 3]);
});

test('tombstones last 60 s of attached time, and are bounded', () => {
  const stones = new Tombstones();
  const reset = (/** @type {number} */ stream) => /** @type {const} */ ({ type: 'RESET', stream, code: 0, ack: 0, text: '' });
  stones.attached(0);
  stones.add(reset(1));
  assert.ok(stones.get(1, 59_999));
  stones.detached(50_000);
  stones.attached(1_000_000);
  assert.ok(stones.get(1, 1_009_999), 'detached time does not count');
  assert.equal(stones.get(1, 1_010_000), undefined);
  for (let i = 2; i < 3000; i += 1) stones.add(reset(i));
  assert.equal(stones.size, 1024);
  assert.ok(stones.get(2999, 1_010_000));
});
