/**
 * What a client has to say and how much of it now: OPEN, acks, bytes and last words, for the uplink in use. Writes frames;
 * knows no attachments but the newest, and nothing of what comes in but what the session tells it.
 *
 * Invariants: nothing is sent beyond a limit; on a POST uplink one message is in flight, and if that fails all of it is
 * said again; last words are bounded.
 *
 * @typedef {import('./frame.js').ClientFrame} Frame
 * @typedef {import('./session.js').Attachment} Attachment
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {import('./stream.js').Stream} Stream
 * @typedef {{ kind: 'socket', n: number } | { kind: 'post', inFlight: boolean }} Way
 * @typedef {{ id: number, frame: Frame, after: number }} Farewell `after`: the last HELLO that was made before it
 */

import { MAX_DATA_BYTES, Writer, utf8 } from './frame.js';

/** A DATA frame that carries less than this waits for the next message rather than fill the end of this one. */
const LEAST_DATA_BYTES = 512;
/** No RESET or ACK is longer. */
const FAREWELL_BYTES = 106;
const MAX_FAREWELLS = 1024;
const SOCKET = { share: 1 / 4, delayMs: 100, endDelayMs: 100 };
const REPLY = { share: 1 / 2, delayMs: 1000, endDelayMs: 1000 };
/**
 * When to ack (docs/protocol.md rule 4): a share of the window, or a delay. On the HTTP transports an ack costs a POST;
 * with polls it rides on the next poll, which comes soon after bytes did, except the ack of an end, which frees the stream.
 * @type {Readonly<Record<Kind, { share: number, delayMs: number, endDelayMs: number }>>}
 */
const ACKS = {
  websocket: SOCKET,
  webtransport: SOCKET,
  port: SOCKET,
  stream: REPLY,
  sse: REPLY,
  poll: { share: 1 / 2, delayMs: Infinity, endDelayMs: 1000 },
  htmlfile: REPLY,
  jsonp: REPLY,
};

export class Outbox {
  /** @type {Attachment | null} */
  newest = null;
  /** The number of the last HELLO made. */
  helloed = 0;
  /** How often an ACK sent a log back. */
  rewinds = 0;
  /** @type {Map<'PING' | 'PONG', number>} signs of life to give or to ask for */
  signs = new Map();
  /** The gateway has yet to learn that its first WELCOME came; any frame says so, a PING if there is nothing else. */
  confirming = false;
  /** Changes whenever frames go up another way. */
  epoch = 0;

  #streams;
  #stats;
  /** @type {Way | null} */
  #way = null;
  /** @type {Farewell[]} last words about streams that are over */
  #farewells = [];
  /** @type {Farewell[]} those in the POST that is in flight */
  #said = [];
  /** The id after which the next message starts to carry DATA, so that every stream gets its turn. */
  #turn = 0;

  /**
   * @param {Map<number, Stream>} streams those that are not over, in the order of their ids
   * @param {{ sent: number, resent: number }} stats
   */
  constructor(streams, stats) {
    this.#streams = streams;
    this.#stats = stats;
  }

  get way() {
    return this.#way;
  }

  /** A POST is on its way, so that what comes in may not know of what it carries. */
  get busy() {
    return this.#way?.kind === 'post' && this.#way.inFlight;
  }

  /**
   * From now on frames go up this way.
   * @param {Way | null} way
   */
  take(way) {
    this.#way = way;
    this.epoch += 1;
    this.signs.clear();
    this.#startOver();
  }

  /** From now on frames go up by POST. */
  post() {
    if (this.#way?.kind !== 'post') this.take({ kind: 'post', inFlight: false });
  }

  /** The POST made in `epoch` was answered. @param {number} epoch */
  done(epoch) {
    if (!this.#landed(epoch)) return;
    this.#said = [];
    this.confirming = false;
  }

  /** The POST made in `epoch` may have been processed or not. @param {number} epoch */
  failed(epoch) {
    if (this.#landed(epoch)) this.#startOver();
  }

  /** Whether a POST of this way up came to an end. @param {number} epoch */
  #landed(epoch) {
    if (epoch !== this.epoch || this.#way?.kind !== 'post') return false;
    this.#way.inFlight = false;
    return true;
  }

  /** An ACK that rode elsewhere may be lost. */
  ackAgain() {
    for (const stream of this.#streams.values()) stream.ackSent = -1;
  }

  /**
   * Something to say about a stream that is over. Said once, however often it is asked for before it is.
   * @param {number} id
   * @param {Frame} frame
   */
  farewell(id, frame) {
    if (this.#farewells.some((one) => one.id === id)) return;
    this.#farewells.push({ id, frame, after: this.helloed });
    // Only a detached session gets there, and the HELLO that ends that says the same.
    if (this.#farewells.length > MAX_FAREWELLS) this.#farewells.shift();
  }

  /** HELLO `n` was heard: it did not list what was over by then, so that is said. @param {number} n */
  heard(n) {
    this.#farewells = this.#farewells.filter(({ after }) => after >= n);
  }

  /** @param {Stream} stream @returns {Frame} */
  ackFrame({ id, receive, gap }) {
    return { type: 'ACK', stream: id, ack: receive.ack, limit: receive.grant(), rn: gap ? receive.rn : undefined };
  }

  /** When the next ACK is due; Infinity for never. */
  nextTimeout() {
    let at = Infinity;
    if (this.#way !== null && !this.busy) for (const stream of this.#streams.values()) at = Math.min(at, this.#ackAt(stream));
    return at;
  }

  /** @param {number} maxBytes @param {number} now @returns {Uint8Array | null} */
  pollTransmit(maxBytes, now) {
    const way = this.#way;
    if (way === null || this.busy || !this.#hasDue(now)) return null;
    const writer = new Writer(maxBytes);
    this.#putFarewells(writer, way.kind === 'post');
    for (const [type, t] of this.signs) writer.put({ type, t });
    this.signs.clear();
    /** @type {Set<number>} */
    const opening = new Set();
    for (const stream of this.#streams.values()) {
      if (!this.#openDue(stream)) continue;
      if (!this.putOpen(writer, stream)) break;
      opening.add(stream.id);
    }
    this.putAcks(writer);
    this.#putData(writer, opening);
    if (writer.length === 0 && this.confirming) writer.put({ type: 'PING', t: 0 });
    if (writer.length === 0) return null;
    if (way.kind === 'post') way.inFlight = true;
    else this.confirming = false;
    return writer.bytes();
  }

  /** @param {Writer} writer @param {Stream} stream */
  putOpen(writer, stream) {
    if (!writer.fits(1 + utf8(stream.target).length)) return false;
    writer.put({ type: 'OPEN', stream: stream.id, service: stream.service, target: stream.target });
    stream.openSent = true;
    return true;
  }

  /** @param {Writer} writer */
  putAcks(writer) {
    for (const stream of this.#streams.values()) {
      if (!this.#ackPending(stream)) continue;
      if (!writer.fits(24)) return;
      writer.put(this.ackFrame(stream));
      stream.ackSent = stream.receive.ack;
      stream.ackSince = null;
      stream.gap = false;
    }
  }

  /** Nothing is known of what arrived: everything not acked is to be sent again. */
  #startOver() {
    this.#farewells = [...this.#said, ...this.#farewells];
    this.#said = [];
    for (const stream of this.#streams.values()) {
      stream.send.rewind(stream.send.base);
      stream.openSent = false;
    }
    this.ackAgain();
  }

  /** @param {Stream} stream */
  #openDue(stream) {
    return !stream.opened && !stream.openSent;
  }

  /** @param {Stream} stream */
  #dataDue(stream) {
    if (stream.send.ready === 0 && !stream.send.finReady) return false;
    // POSTs and polls can overtake each other, so there OPEN goes with the DATA until it was answered.
    return stream.opened || stream.openSent || this.#way?.kind === 'post';
  }

  /** @param {Stream} stream */
  #ackPending(stream) {
    const { ack } = stream.receive;
    return stream.gap || (ack > 0 && ack > stream.ackSent);
  }

  /** When the stream's ACK is due; Infinity when there is nothing to ack. @param {Stream} stream */
  #ackAt(stream) {
    if (!this.#ackPending(stream)) return Infinity;
    const rule = ACKS[this.newest?.kind ?? 'websocket'];
    const { ack, window, passed } = stream.receive;
    if (stream.gap || stream.ackSent < 0 || ack - stream.ackSent >= window * rule.share) return -Infinity;
    return (stream.ackSince ?? -Infinity) + (passed ? rule.endDelayMs : rule.delayMs);
  }

  /** @param {number} now */
  #hasDue(now) {
    if (this.confirming || this.#farewells.length > 0 || this.signs.size > 0) return true;
    for (const stream of this.#streams.values()) {
      if (this.#openDue(stream) || this.#dataDue(stream) || this.#ackAt(stream) <= now) return true;
    }
    return false;
  }

  /** @param {Writer} writer @param {boolean} keep until it is known that they arrived */
  #putFarewells(writer, keep) {
    while (this.#farewells.length > 0) {
      const [farewell] = this.#farewells;
      if (farewell === undefined || !writer.fits(FAREWELL_BYTES)) return;
      this.#farewells.shift();
      writer.put(farewell.frame);
      if (keep) this.#said.push(farewell);
    }
  }

  /**
   * One DATA frame of each stream in turn while there is room.
   * @param {Writer} writer
   * @param {Set<number>} opening streams whose OPEN is in this message
   */
  #putData(writer, opening) {
    const ids = [...this.#streams.keys()];
    const start = ids.findIndex((id) => id > this.#turn);
    let order = start < 0 ? ids : [...ids.slice(start), ...ids.slice(0, start)];
    while (order.length > 0) {
      /** @type {number[]} */
      const again = [];
      for (const id of order) {
        const stream = this.#streams.get(id);
        if (stream === undefined || !this.#dataDue(stream)) continue;
        if (!stream.opened && this.#way?.kind === 'post' && !opening.has(id)) {
          if (!this.putOpen(writer, stream)) return;
          opening.add(id);
        }
        if (!this.#putLog(writer, stream)) return;
        this.#turn = id;
        again.push(id);
      }
      order = again;
    }
  }

  /** @param {Writer} writer @param {Stream} stream @returns {boolean} false when the message is full */
  #putLog(writer, { id, send }) {
    if (send.ready > 0) {
      const room = writer.room - 16;
      if (room < Math.min(send.ready, LEAST_DATA_BYTES)) return false;
      const { offset, data, again } = send.take(Math.min(MAX_DATA_BYTES, room));
      this.#stats.sent += data.length - again;
      this.#stats.resent += again;
      writer.put({ type: 'DATA', stream: id, offset, data });
    }
    if (send.finReady) {
      if (!writer.fits(8)) return false;
      writer.put({ type: 'FIN', stream: id, offset: send.written });
      send.takeFin();
    }
    return true;
  }
}
