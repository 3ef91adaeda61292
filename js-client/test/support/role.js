/**
 * The gateway's end of one session, small and slow: what docs/protocol.md asks of a gateway and no more. It keeps every
 * byte of both logs, so that a test can look at all of history. Knows no clock and no transport.
 *
 * @typedef {import('../../src/frame.js').Frame} Frame
 */

import assert from 'node:assert/strict';
import { MAX_DATA_BYTES } from '../../src/frame.js';

const CLOSED = 0;
const PROTOCOL = 1;
const FLOW = 12;
const LOST = 11;

class RoleStream {
  opened = false;
  service = 0;
  // what the client sends
  received = Buffer.alloc(0);
  rn = 0;
  delivered = 0;
  /** @type {number | null} */
  finIn = null;
  passed = false;
  granted;
  ackSent = 0;
  // what the backend sends
  out = Buffer.alloc(0);
  base = 0;
  next = 0;
  sent = 0;
  limit = 0;
  finOut = false;
  finSent = false;

  /** @param {number} id @param {string} target @param {number} limit @param {number} window */
  constructor(id, target, limit, window) {
    this.id = id;
    this.target = target;
    this.limit = limit;
    this.window = window;
    this.granted = window;
  }

  get ack() {
    return this.delivered + (this.passed ? 1 : 0);
  }

  get end() {
    return this.out.length + (this.finOut ? 1 : 0);
  }
}

export class Role {
  /** @type {Map<number, RoleStream>} */
  streams = new Map();
  /** @type {Map<number, { code: number, ack: number }>} */
  over = new Map();
  n = 0;
  /** @type {{ code: number } | null} */
  ended = null;
  /** Bytes of DATA that came more than once. */
  repeated = 0;
  /** DATA frames that came before bytes that were missing. */
  gaps = 0;
  helloes = 0;
  /** @type {Frame[]} PING, PONG and DETACH */
  heard = [];

  /** @type {Frame[]} control frames for the downlink */
  #queue = [];
  /** @type {Map<number, Frame[]>} last frames of attachments that are not the downlink */
  #last = new Map();
  #initial = 0;
  #floor = 1;
  /** @type {Set<number>} listed while opening, OPEN to come */
  #awaited = new Set();

  /**
   * @param {{ sid: string, token: Uint8Array, window?: number, heartbeatMs?: number, resumeMs?: number,
   *   onOpen?: (stream: RoleStream, role: Role) => void, onData?: (stream: RoleStream, role: Role) => void }} options
   */
  constructor({ sid, token, window = 65536, heartbeatMs = 25000, resumeMs = 120000, onOpen, onData }) {
    this.sid = sid;
    this.token = token;
    this.window = window;
    this.heartbeatMs = heartbeatMs;
    this.resumeMs = resumeMs;
    this.onOpen = onOpen ?? ((stream) => this.opened(stream.id));
    this.onData = onData ?? ((stream) => this.deliver(stream.id, stream.rn));
  }

  /** Frames of one message or body; `n` is the attachment it came on, if any. @param {Frame[]} frames */
  receive(frames) {
    for (const frame of frames) this.#frame(frame);
  }

  /** The frames to send on attachment `n` now. @param {number} n @param {number} [maxData] */
  transmit(n, maxData = 65536) {
    const last = this.#last.get(n);
    if (last !== undefined) {
      this.#last.delete(n);
      return last;
    }
    if (n !== this.n) return [];
    const frames = this.#queue;
    this.#queue = [];
    if (this.ended) return frames;
    let room = maxData;
    for (const stream of this.streams.values()) {
      if (stream.ack > stream.ackSent) frames.push(this.#ack(stream, false));
      if (!stream.opened) continue;
      while (room > 0 && stream.next < Math.min(stream.out.length, stream.limit)) {
        const count = Math.min(MAX_DATA_BYTES, room, Math.min(stream.out.length, stream.limit) - stream.next);
        frames.push({ type: 'DATA', stream: stream.id, offset: stream.next, data: stream.out.subarray(stream.next, stream.next + count) });
        stream.next += count;
        room -= count;
      }
      if (stream.finOut && stream.next === stream.out.length) {
        frames.push({ type: 'FIN', stream: stream.id, offset: stream.out.length });
        stream.next = stream.end;
      }
      stream.sent = Math.max(stream.sent, stream.next);
    }
    return frames;
  }

  /** The reply of an uplink POST that carried these frames. @param {Frame[]} frames @returns {Frame[]} */
  reply(frames) {
    const named = new Set(frames.flatMap((frame) => ('stream' in frame ? [frame.stream] : [])));
    return [...named].flatMap((id) => {
      const stream = this.streams.get(id);
      return stream === undefined ? [] : [this.#ack(stream, true)];
    });
  }

  // --- the backend ---

  /** @param {number} id */
  opened(id) {
    const stream = this.streams.get(id);
    if (stream === undefined || stream.opened) return;
    stream.opened = true;
    this.#queue.push({ type: 'OPENED', stream: id, reached: stream.target });
  }

  /** @param {number} id @param {Uint8Array} bytes */
  write(id, bytes) {
    const stream = this.streams.get(id);
    if (stream !== undefined && !stream.finOut) stream.out = Buffer.concat([stream.out, bytes]);
  }

  /** @param {number} id */
  finish(id) {
    const stream = this.streams.get(id);
    if (stream !== undefined) stream.finOut = true;
  }

  /** The backend took everything below `offset`. @param {number} id @param {number} offset */
  deliver(id, offset) {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.delivered = Math.max(stream.delivered, Math.min(offset, stream.received.length));
    if (stream.finIn !== null && stream.delivered === stream.finIn) stream.passed = true;
    this.#settle(stream);
  }

  /** @param {number} id @param {number} code @param {string} [text] */
  reset(id, code, text = '') {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.#queue.push({ type: 'RESET', stream: id, code, ack: stream.ack, text });
    this.#finish(stream, code);
  }

  /** @param {Frame} frame */
  say(frame) {
    this.#queue.push(frame);
  }

  // --- frames ---

  /** @param {Frame} frame */
  #frame(frame) {
    if (this.ended) return;
    if (frame.type === 'HELLO') {
      this.#hello(frame);
      return;
    }
    if (frame.type === 'PING') {
      this.heard.push(frame);
      this.#queue.push({ type: 'PONG', t: frame.t });
      return;
    }
    if (frame.type === 'PONG' || frame.type === 'DETACH') this.heard.push(frame);
    if (!('stream' in frame)) return;
    if (frame.stream === 0 && frame.type === 'RESET') {
      this.ended = { code: frame.code };
      return;
    }
    if (frame.type === 'OPEN') {
      this.#open(frame);
      return;
    }
    const stream = this.streams.get(frame.stream);
    if (stream === undefined) {
      const over = this.over.get(frame.stream);
      if (over && (frame.type === 'DATA' || frame.type === 'FIN')) {
        this.#queue.push({ type: 'RESET', stream: frame.stream, code: over.code, ack: over.ack, text: '' });
      }
      return;
    }
    switch (frame.type) {
      case 'DATA': {
        const end = frame.offset + frame.data.length;
        if (stream.finIn !== null && end > stream.finIn) return this.reset(stream.id, PROTOCOL, 'data beyond the end');
        if (end > stream.granted) return this.reset(stream.id, FLOW, 'too much');
        if (frame.offset > stream.rn) {
          this.gaps += 1;
          this.#queue.push(this.#ack(stream, true));
          return;
        }
        this.repeated += Math.min(end, stream.rn) - frame.offset;
        if (end <= stream.rn) return;
        stream.received = Buffer.concat([stream.received, frame.data.subarray(stream.rn - frame.offset)]);
        stream.rn = end;
        this.onData(stream, this);
        return;
      }
      case 'FIN':
        if (stream.finIn !== null ? stream.finIn !== frame.offset : frame.offset < stream.rn) {
          return this.reset(stream.id, PROTOCOL, 'the end moved');
        }
        if (frame.offset > stream.rn) {
          this.gaps += 1;
          this.#queue.push(this.#ack(stream, true));
          return;
        }
        stream.finIn = frame.offset;
        stream.rn = frame.offset + 1;
        this.onData(stream, this);
        return;
      case 'ACK':
        if (frame.ack > stream.sent) return this.reset(stream.id, PROTOCOL, 'ack of bytes not sent');
        stream.base = Math.max(stream.base, frame.ack);
        stream.next = Math.max(stream.next, stream.base);
        stream.limit = Math.max(stream.limit, frame.limit);
        this.#settle(stream);
        return;
      case 'RESET':
        this.#finish(stream, frame.code);
        return;
      default:
        throw new assert.AssertionError({ message: `a client sent ${frame.type}` });
    }
  }

  /** @param {import('../../src/frame.js').Hello} frame */
  #hello(frame) {
    this.helloes += 1;
    if (frame.n <= this.n) {
      this.#last.set(frame.n, [{ type: 'DETACH', n: frame.n, why: 0 }]);
      return;
    }
    if (this.n > 0) this.#last.set(this.n, [{ type: 'DETACH', n: this.n, why: 0 }]);
    const first = this.n === 0;
    this.n = frame.n;
    this.#initial = frame.initial;
    this.#floor = Math.max(this.#floor, frame.next_stream);
    const listed = new Map(frame.entries.map((entry) => [entry.stream, entry]));
    /** @type {Frame[]} */
    const after = [];
    for (const stream of [...this.streams.values()]) {
      const entry = listed.get(stream.id);
      if (entry === undefined && stream.id >= frame.next_stream) {
        // Opened by a request that overtook this HELLO.
        stream.next = stream.base;
        if (stream.opened) after.push({ type: 'OPENED', stream: stream.id, reached: stream.target });
      } else if (entry === undefined) {
        this.#finish(stream, CLOSED);
      } else if (entry.base > stream.rn || entry.rn > stream.sent) {
        after.push({ type: 'RESET', stream: stream.id, code: LOST, ack: stream.ack, text: '' });
        this.#finish(stream, LOST);
      } else {
        stream.next = Math.max(entry.rn, stream.base);
        stream.limit = Math.max(stream.limit, entry.limit);
        // What the client still holds tells which ack it has seen.
        stream.ackSent = entry.base;
      }
    }
    this.#awaited.clear();
    for (const id of listed.keys()) {
      const over = this.over.get(id);
      if (over) after.push({ type: 'RESET', stream: id, code: over.code, ack: over.ack, text: '' });
      else if (!this.streams.has(id)) this.#awaited.add(id);
    }
    this.#queue = [{
      type: 'WELCOME', version: 1, caps: 0, n: frame.n, heartbeat_ms: this.heartbeatMs, resume_ms: this.resumeMs,
      initial: this.window, ...(first ? { sid: this.sid, token: this.token } : {}),
      entries: [...this.streams.values()].map((stream) => {
        stream.granted = stream.delivered + stream.window;
        return { stream: stream.id, rn: stream.rn, limit: stream.granted, base: stream.base };
      }),
    }, ...after];
  }

  /** @param {import('../../src/frame.js').Open} frame */
  #open(frame) {
    const known = this.streams.get(frame.stream);
    const over = this.over.get(frame.stream);
    if (known) {
      if (known.opened) this.#queue.push({ type: 'OPENED', stream: known.id, reached: known.target });
    } else if (over || (frame.stream < this.#floor && !this.#awaited.has(frame.stream))) {
      this.#queue.push({ type: 'RESET', stream: frame.stream, code: over?.code ?? LOST, ack: over?.ack ?? 0, text: '' });
    } else {
      assert.ok([...this.#awaited].every((id) => id >= frame.stream || this.streams.has(id)), 'a lower id was to be opened first');
      const stream = new RoleStream(frame.stream, frame.target, this.#initial, this.window);
      stream.service = frame.service;
      this.#floor = Math.max(this.#floor, frame.stream + 1);
      this.#awaited.delete(frame.stream);
      this.streams.set(stream.id, stream);
      this.onOpen(stream, this);
    }
  }

  /** @param {RoleStream} stream @param {boolean} withRn @returns {Frame} */
  #ack(stream, withRn) {
    stream.granted = stream.delivered + stream.window;
    stream.ackSent = stream.ack;
    const frame = /** @type {const} */ ({ type: 'ACK', stream: stream.id, ack: stream.ack, limit: stream.granted });
    return withRn ? { ...frame, rn: stream.rn } : frame;
  }

  /** @param {RoleStream} stream */
  #settle(stream) {
    if (!stream.passed || !stream.finOut || stream.base !== stream.end) return;
    // The client has yet to hear that its end was delivered.
    this.#queue.push(this.#ack(stream, false));
    this.#finish(stream, CLOSED);
  }

  /** @param {RoleStream} stream @param {number} code */
  #finish(stream, code) {
    this.finished.set(stream.id, stream);
    this.over.set(stream.id, { code, ack: stream.ack });
    this.streams.delete(stream.id);
  }

  /** @type {Map<number, RoleStream>} streams that are over, for a look back */
  finished = new Map();

  /** A stream, over or not. @param {number} id */
  find(id) {
    return this.streams.get(id) ?? this.finished.get(id);
  }
}
