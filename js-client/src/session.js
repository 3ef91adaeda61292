/**
 * The client's end of a session (docs/protocol.md): frames and the time in; frames, events and the next deadline out.
 * Knows no timers, no transports and no gateway addresses: whoever drives it says which attachments exist.
 *
 * After every input the driver asks, in this order: `changed()` and `pollEvent()` until they are empty, `pollTransmit()`
 * while the uplink has room, then `nextTimeout()`.
 *
 * Invariants: only the newest attachment moves the session; what is not acked is held; nothing is sent beyond a limit;
 * memory is bounded by streams × (send capacity + window) and by the tombstones.
 *
 * @typedef {import('./frame.js').Frame} Frame
 * @typedef {import('./codes.js').Code} Code
 * @typedef {import('./codes.js').EndCode} EndCode
 * @typedef {'websocket' | 'stream' | 'poll'} Kind
 * @typedef {{ type: 'welcome', n: number, first: boolean } | { type: 'late', n: number }
 *   | { type: 'refused', n: number, code: Code, text: string } | { type: 'detach', n: number, why: number }
 *   | { type: 'goaway', afterMs: number, code: Code } | { type: 'dead', n: number }
 *   | { type: 'over', code: EndCode, text: string }} SessionEvent
 * @typedef {{ id: number, frame: Frame, after: number }} Farewell `after`: the last HELLO that was made before it
 * @typedef {object} Attachment
 * @property {number} n
 * @property {Kind} kind
 * @property {boolean} fresh it asked for a new session, so it may end in another one than ours
 * @property {boolean} prompt
 * @property {number} nextStream of its HELLO; Infinity until that was made
 * @property {number} opensBelow the OPEN of every opening stream below this id followed its HELLO
 * @property {boolean} welcomed
 * @property {boolean} dead
 * @property {number} heardAt
 */

import { codeName, codeNumber } from './codes.js';
import { MAX_DATA_BYTES, TOKEN_BYTES, VERSION, Writer, encode, utf8 } from './frame.js';
import { Stream, StreamError } from './stream.js';
import { Tombstones } from './tombstones.js';

export const DETACH_SUPERSEDED = 0;
export const DETACH_ROTATE = 1;
export const DETACH_LEAVING = 3;

/** A HELLO that lists this many streams (28 KiB) still fits into a frame and into a WebSocket message. */
const MAX_STREAMS = 1024;
const MAX_ID = 2 ** 32 - 1;
/** docs/protocol.md section 4: a transport is dead after this many heartbeats of silence. */
const DEAD_HEARTBEATS = 2.2;
/** A DATA frame that carries less than this waits for the next message rather than fill the end of this one. */
const LEAST_DATA_BYTES = 512;
/**
 * A stream that a WELCOME leaves out is over, but why is told by the RESET that follows: the gateway may have ended it in
 * good order while the ack of our end was lost. Only without that RESET it is lost.
 */
const MISSING_MS = 5000;
/**
 * When to ack (docs/protocol.md rule 4): a share of the window, or a delay. On the HTTP transports an ack costs a POST;
 * with polls it rides on the next poll, which comes soon after bytes did, except the ack of an end, which frees the stream.
 * @type {Readonly<Record<Kind, { share: number, delayMs: number, endDelayMs: number }>>}
 */
const ACKS = {
  websocket: { share: 1 / 4, delayMs: 100, endDelayMs: 100 },
  stream: { share: 1 / 2, delayMs: 1000, endDelayMs: 1000 },
  poll: { share: 1 / 2, delayMs: Infinity, endDelayMs: 1000 },
};

export class Session {
  /** @type {string | null} null until the first WELCOME. */
  sid = null;
  token = new Uint8Array(TOKEN_BYTES);
  resumeMs = 0;
  heartbeatMs = 0;
  /** @type {{ code: EndCode, text: string } | null} */
  ended = null;
  stats = { sent: 0, received: 0, acked: 0, delivered: 0, resent: 0 };

  #window;
  #capacity;
  /** @type {Map<number, Stream>} in the order of their ids */
  #streams = new Map();
  #nextStream = 1;
  /** The credit of a new stream, told by the gateway. */
  #initial = 0;
  #tombstones = new Tombstones();

  /** @type {Map<number, Attachment>} */
  #attachments = new Map();
  /** @type {Attachment | null} */
  #newest = null;
  #n = 0;

  /** @type {{ kind: 'socket', n: number } | { kind: 'post', inFlight: boolean } | null} */
  #uplink = null;
  #epoch = 0;
  /** How often an ACK sent a log back. */
  #rewinds = 0;
  /** @type {Farewell[]} Last words about streams that are over. */
  #farewells = [];
  /** @type {Farewell[]} Those in the POST that is in flight. */
  #said = [];
  /** The number of the last HELLO made. */
  #helloed = 0;
  /** @type {number | null} */
  #pong = null;
  /** @type {number | null} */
  #ping = null;
  /** @type {Frame | null} RESET of the session. */
  #last = null;
  /** The id after which the next message starts to carry DATA, so that every stream gets its turn. */
  #turn = 0;

  /** @type {SessionEvent[]} */
  #events = [];
  /** @type {Set<Stream>} */
  #changed = new Set();

  /** @param {{ windowBytes: number, sendBytes: number }} options credit given on each stream; unacked bytes held for each */
  constructor({ windowBytes, sendBytes }) {
    this.#window = windowBytes;
    this.#capacity = sendBytes;
  }

  // --- what there is ---

  get confirmed() {
    return this.sid !== null;
  }

  /** Streams that are not over. */
  get size() {
    return this.#streams.size;
  }

  /** The number of the newest attachment. */
  get newest() {
    return this.#newest?.n ?? 0;
  }

  /** Which way frames go up now. `epoch` changes whenever that does. */
  get uplink() {
    const kind = this.#uplink?.kind ?? null;
    return { kind, n: this.#uplink?.kind === 'socket' ? this.#uplink.n : 0, epoch: this.#epoch };
  }

  /**
   * A stream waits to be opened, but its OPEN could be overtaken by the HELLO of a poll that does not list it:
   * it has to go with a HELLO of its own.
   */
  get wantsAttach() {
    const newest = this.#newest;
    if (newest === null || newest.kind !== 'poll' || this.#uplink?.kind !== 'post') return false;
    for (const stream of this.#streams.values()) {
      if (!stream.opened && !stream.openSent && !this.#mayOpen(stream)) return true;
    }
    return false;
  }

  // --- what the application does ---

  /**
   * @param {string} target
   * @returns {Stream}
   */
  open(target) {
    const stream = new Stream(this.#nextStream, target, this.#capacity, this.#window);
    if (this.ended || this.#streams.size >= MAX_STREAMS || stream.id >= MAX_ID) {
      this.#finish(stream, this.ended?.code ?? 'limit', this.ended?.text ?? 'too many streams');
      return stream;
    }
    this.#nextStream += 1;
    stream.send.grant(this.#initial);
    this.#streams.set(stream.id, stream);
    return stream;
  }

  /**
   * @param {Stream} stream
   * @param {Uint8Array} bytes
   * @returns {number} how many were taken; the rest when the stream changed and has room
   */
  write(stream, bytes) {
    return stream.over ? 0 : stream.send.write(bytes);
  }

  /** No more will be written. @param {Stream} stream */
  finish(stream) {
    if (!stream.over) stream.send.finish();
  }

  /**
   * Bytes for the application, which has them from then on. They can be read even when the stream is over.
   * @param {Stream} stream
   * @param {number} now
   */
  read(stream, now) {
    const bytes = stream.receive.take();
    if (bytes !== null) this.#delivered(stream, bytes.length, now);
    return bytes;
  }

  /** The application was told that nothing more will come. @param {Stream} stream @param {number} now */
  passEnd(stream, now) {
    if (stream.receive.passed || !stream.receive.atEnd) return;
    stream.receive.passed = true;
    this.#delivered(stream, 0, now);
    this.#settle(stream);
  }

  /** The application reads no more; what comes is dropped. @param {Stream} stream @param {number} now */
  discard(stream, now) {
    const waiting = stream.receive.waiting;
    stream.receive.discard();
    this.#delivered(stream, waiting, now);
    this.passEnd(stream, now);
  }

  /**
   * @param {Stream} stream
   * @param {Code} code
   * @param {string} text
   */
  reset(stream, code, text) {
    if (stream.over) return;
    this.#farewell(stream.id, {
      type: 'RESET', stream: stream.id, code: codeNumber(code), ack: stream.receive.ack, text,
    });
    this.#finish(stream, code, text);
  }

  /** Ends the session and says so where that is possible. @param {Code} code @param {string} text */
  end(code, text) {
    if (this.ended) return;
    this.#last = { type: 'RESET', stream: 0, code: codeNumber(code), ack: 0, text };
    this.over(code === 'closed' ? 'aborted' : code, text);
  }

  /** The session is over and there is nobody to tell. @param {EndCode} code @param {string} text */
  over(code, text) {
    if (this.ended) return;
    this.ended = { code, text };
    for (const stream of [...this.#streams.values()]) this.#lose(stream, code, text);
    this.#farewells = [];
    this.#events.push({ type: 'over', code, text });
  }

  // --- attachments ---

  /**
   * A new attachment, from now on the newest.
   * @param {Kind} kind
   * @param {number} now
   * @param {{ prompt?: boolean }} [options] `prompt`: the gateway shall answer a poll at once
   * @returns {number} its number
   */
  attach(kind, now, { prompt = false } = {}) {
    this.#n += 1;
    if (this.#n > MAX_ID) this.over('internal', 'out of attachment numbers');
    const attachment = {
      n: this.#n, kind, fresh: !this.confirmed, prompt, nextStream: Infinity, opensBelow: 0,
      welcomed: false, dead: false, heardAt: now,
    };
    this.#attachments.set(attachment.n, attachment);
    this.#newest = attachment;
    this.#tombstones.attached(now);
    if (kind !== 'websocket' && this.confirmed && this.#uplink?.kind !== 'post') this.#takeUplink({ kind: 'post', inFlight: false });
    return attachment.n;
  }

  /**
   * The first message of an attachment: HELLO, and what fits behind it and does not depend on the answer.
   * @param {number} n
   * @param {number} maxBytes
   */
  hello(n, maxBytes) {
    const writer = new Writer(maxBytes);
    const attachment = this.#attachments.get(n);
    if (attachment === undefined) return writer.bytes();
    const streams = [...this.#streams.values()];
    attachment.nextStream = this.#nextStream;
    this.#helloed = Math.max(this.#helloed, n);
    writer.put({
      type: 'HELLO', version: VERSION, caps: 0, n, next_stream: this.#nextStream, initial: this.#window,
      token: this.token, prompt: attachment.prompt,
      entries: streams.map(({ id, send, receive }) => ({
        stream: id, rn: receive.rn, limit: receive.grant(), base: send.base,
      })),
    });
    attachment.opensBelow = this.#nextStream;
    for (const stream of streams) {
      if (stream.opened) continue;
      if (!this.#putOpen(writer, stream)) {
        attachment.opensBelow = stream.id;
        break;
      }
    }
    // A poll is where acks ride; elsewhere they follow soon enough, when it is known that they arrive.
    if (attachment.kind === 'poll') this.#putAcks(writer);
    return writer.bytes();
  }

  /**
   * An attachment ended. `clean`: as it should (a poll was answered), and another follows.
   * @param {number} n
   * @param {number} now
   * @param {{ clean?: boolean }} [options]
   */
  detached(n, now, { clean = false } = {}) {
    const attachment = this.#attachments.get(n);
    if (attachment === undefined) return;
    this.#attachments.delete(n);
    if (this.#uplink?.kind === 'socket' && this.#uplink.n === n) this.#takeUplink(null);
    // What rode on a poll may be lost.
    if (!clean && attachment.kind === 'poll') this.#ackAgain();
    if (clean || this.#attachments.size > 0) return;
    this.#tombstones.detached(now);
    for (const stream of this.#streams.values()) stream.missingSince = null;
    if (this.#uplink !== null) this.#takeUplink(null);
  }

  // --- input ---

  /**
   * Frames that came on attachment `n`.
   * @param {Frame[]} frames
   * @param {number} n
   * @param {number} now
   */
  receive(frames, n, now) {
    for (const frame of frames) {
      const attachment = this.#attachments.get(n);
      // An attachment that asked for a session and got another one than ours speaks of other streams.
      if (attachment === undefined || this.ended) return;
      attachment.heardAt = now;
      this.#frame(frame, now, attachment, !(this.#uplink?.kind === 'post' && this.#uplink.inFlight));
    }
  }

  /**
   * The reply of the uplink POST that was made in `epoch`.
   * @param {Frame[]} frames
   * @param {number} epoch
   * @param {number} now
   * @returns {boolean} the gateway did not take all of it, so that a part will be sent again
   */
  upDone(frames, epoch, now) {
    const current = epoch === this.#epoch;
    if (current && this.#uplink?.kind === 'post') {
      this.#uplink.inFlight = false;
      this.#said = [];
    }
    const before = this.#rewinds;
    for (const frame of frames) {
      if (this.ended) break;
      this.#frame(frame, now, null, current);
    }
    return this.#rewinds > before;
  }

  /**
   * The uplink POST made in `epoch` failed: it may have been processed or not, so all of it is said again.
   * @param {number} epoch
   */
  upFailed(epoch) {
    if (epoch !== this.#epoch || this.#uplink?.kind !== 'post') return;
    this.#uplink.inFlight = false;
    this.#farewells = [...this.#said, ...this.#farewells];
    this.#said = [];
    this.#startOver();
  }

  /** @param {number} now */
  handleTimeout(now) {
    for (const attachment of this.#attachments.values()) {
      if (!attachment.dead && this.#deadAt(attachment) <= now) {
        attachment.dead = true;
        this.#events.push({ type: 'dead', n: attachment.n });
      }
    }
    for (const stream of [...this.#streams.values()]) {
      if (missingUntil(stream) <= now) this.#lose(stream, 'lost', 'the gateway does not know the stream any more');
    }
  }

  /** Asks the other side for a sign of life. @param {number} t */
  probe(t) {
    this.#ping = t;
  }

  // --- output ---

  /** Streams on which something happened since the last call. */
  changed() {
    const streams = [...this.#changed];
    this.#changed.clear();
    return streams;
  }

  /** @returns {SessionEvent | undefined} */
  pollEvent() {
    return this.#events.shift();
  }

  /**
   * The next message for the uplink in use, or null when there is nothing to say now. To be asked only when the uplink
   * has room: what it returns counts as sent. On a POST uplink one message is in flight until `upDone` or `upFailed`.
   * @param {number} maxBytes
   * @param {number} now
   * @returns {Uint8Array | null}
   */
  pollTransmit(maxBytes, now) {
    const uplink = this.#uplink;
    if (uplink === null) return null;
    if (this.#last !== null) {
      const bytes = encode([this.#last]);
      this.#last = null;
      return bytes;
    }
    if (this.ended || (uplink.kind === 'post' && uplink.inFlight) || !this.#hasDue(now)) return null;
    const writer = new Writer(maxBytes);
    this.#putFarewells(writer, uplink.kind === 'post');
    if (this.#pong !== null) writer.put({ type: 'PONG', t: this.#pong });
    if (this.#ping !== null) writer.put({ type: 'PING', t: this.#ping });
    this.#pong = null;
    this.#ping = null;
    /** @type {Set<number>} */
    const opening = new Set();
    for (const stream of this.#streams.values()) {
      if (!this.#openDue(stream)) continue;
      if (!this.#putOpen(writer, stream)) break;
      opening.add(stream.id);
    }
    this.#putAcks(writer);
    this.#putData(writer, opening);
    if (writer.length === 0) return null;
    if (uplink.kind === 'post') uplink.inFlight = true;
    return writer.bytes();
  }

  /** The session's last message, for a transport that carries no other: RESET of the session. */
  lastWords() {
    const bytes = this.#last === null ? null : encode([this.#last]);
    this.#last = null;
    return bytes;
  }

  /** When `handleTimeout` or `pollTransmit` must be called again if nothing else happens; Infinity for never. */
  nextTimeout() {
    let at = Infinity;
    for (const attachment of this.#attachments.values()) {
      if (!attachment.dead) at = Math.min(at, this.#deadAt(attachment));
    }
    for (const stream of this.#streams.values()) at = Math.min(at, missingUntil(stream));
    if (this.#uplink === null || (this.#uplink.kind === 'post' && this.#uplink.inFlight)) return at;
    for (const stream of this.#streams.values()) at = Math.min(at, this.#ackAt(stream));
    return at;
  }

  // --- frames ---

  /**
   * @param {Frame} frame
   * @param {number} now
   * @param {Attachment | null} attachment null for the reply of a POST
   * @param {boolean} mayRewind nothing is in flight that this frame could not know of
   */
  #frame(frame, now, attachment, mayRewind) {
    switch (frame.type) {
      case 'PAD':
      case 'PONG':
        return;
      case 'PING':
        this.#pong = frame.t;
        return;
      case 'WELCOME':
        if (attachment === null) this.end('protocol', 'WELCOME in the reply of an uplink');
        else this.#welcome(frame, attachment, now);
        return;
      case 'GOAWAY':
        this.#events.push({ type: 'goaway', afterMs: frame.after_ms, code: codeName(frame.code) });
        return;
      case 'DETACH':
        this.#events.push({ type: 'detach', n: frame.n, why: frame.why });
        return;
      case 'HELLO':
      case 'OPEN':
        this.end('protocol', `${frame.type} from a gateway`);
        return;
      case 'RESET':
        if (frame.stream === 0) {
          const code = codeName(frame.code);
          if (attachment !== null && attachment.fresh && !attachment.welcomed) {
            this.#events.push({ type: 'refused', n: attachment.n, code, text: frame.text });
          } else {
            this.over(code, frame.text);
          }
          return;
        }
        break;
      case 'DATA':
      case 'ACK':
      case 'FIN':
      case 'OPENED':
        break;
    }
    const stream = this.#streams.get(frame.stream);
    if (stream === undefined) {
      // ACK and RESET of a stream that is over need no answer.
      const stone = frame.type === 'ACK' || frame.type === 'RESET' ? undefined : this.#tombstones.get(frame.stream, now);
      if (stone && !this.#farewells.some(({ id }) => id === frame.stream)) this.#farewell(frame.stream, stone);
      return;
    }
    try {
      this.#streamFrame(stream, frame, now, mayRewind);
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      this.reset(stream, error.code, error.message);
    }
  }

  /**
   * @param {Stream} stream
   * @param {import('./frame.js').Data | import('./frame.js').Ack | import('./frame.js').Fin
   *   | import('./frame.js').Reset | import('./frame.js').Opened} frame
   * @param {number} now
   * @param {boolean} mayRewind
   */
  #streamFrame(stream, frame, now, mayRewind) {
    this.#changed.add(stream);
    switch (frame.type) {
      case 'DATA': {
        const fresh = stream.receive.data(frame.offset, frame.data);
        if (fresh < 0) stream.gap = true;
        else this.stats.received += fresh;
        if (stream.receive.discarding && fresh > 0) this.#delivered(stream, fresh, now);
        return;
      }
      case 'FIN':
        if (!stream.receive.fin(frame.offset)) stream.gap = true;
        if (stream.receive.discarding) this.passEnd(stream, now);
        return;
      case 'ACK':
        this.#acked(stream, frame.ack);
        stream.send.grant(frame.limit);
        if (frame.rn !== undefined) {
          if (mayRewind && frame.rn < stream.send.next) {
            stream.send.rewind(frame.rn);
            this.#rewinds += 1;
          } else {
            stream.send.skip(frame.rn);
          }
        }
        this.#settle(stream);
        return;
      case 'OPENED':
        stream.reached = frame.reached;
        return;
      case 'RESET': {
        // The final ack of a log that ended well may be all that is missing for a clean end.
        if (frame.ack <= stream.send.sent) this.#acked(stream, frame.ack);
        const code = codeName(frame.code);
        // A gateway that ends a stream in good order while we miss a part of it broke it off.
        if (code === 'closed') this.#lose(stream, 'reset', frame.text);
        else this.#finish(stream, code, frame.text);
        return;
      }
    }
  }

  /**
   * @param {import('./frame.js').Welcome} frame
   * @param {Attachment} attachment
   * @param {number} now
   */
  #welcome(frame, attachment, now) {
    if (frame.n !== attachment.n || attachment.welcomed) return;
    const first = !this.confirmed;
    if (first) {
      if (frame.sid === undefined || frame.token === undefined) {
        this.end('protocol', 'WELCOME of a new session without its name');
        return;
      }
      this.sid = frame.sid;
      this.token = frame.token.slice();
      this.#initial = frame.initial;
      for (const stream of this.#streams.values()) stream.send.grant(frame.initial);
      // The others asked for sessions of their own. Nobody confirms those, so the gateway forgets them.
      for (const other of this.#attachments.values()) if (other !== attachment) this.#attachments.delete(other.n);
      this.#newest = attachment;
    } else if (attachment !== this.#newest) {
      this.#events.push({ type: 'late', n: attachment.n });
      return;
    }
    attachment.welcomed = true;
    this.heartbeatMs = frame.heartbeat_ms;
    this.resumeMs = frame.resume_ms;
    const socket = attachment.kind === 'websocket';
    // With POST, transmission went back to base when the uplink was taken, and what is in flight now is not known yet
    // to the gateway that wrote this WELCOME.
    if (socket) this.#takeUplink({ kind: 'socket', n: attachment.n });
    else if (this.#uplink?.kind !== 'post') this.#takeUplink({ kind: 'post', inFlight: false });
    // A HELLO without a stream said that it is over, so only what ended after it is still to be told.
    this.#farewells = this.#farewells.filter(({ after }) => after >= attachment.n);
    const listed = new Set();
    for (const entry of frame.entries) {
      const stream = this.#streams.get(entry.stream);
      listed.add(entry.stream);
      if (stream === undefined) continue;
      this.#changed.add(stream);
      try {
        if (entry.base > stream.receive.rn) throw new StreamError('lost', 'the gateway no longer has the next bytes');
        stream.send.grant(entry.limit);
        if (socket) {
          stream.send.rewind(entry.rn);
          // What the gateway still holds tells which ack it has seen.
          stream.ackSent = entry.base;
        } else stream.send.skip(entry.rn);
      } catch (error) {
        if (!(error instanceof StreamError)) throw error;
        this.reset(stream, error.code, error.message);
      }
    }
    for (const stream of [...this.#streams.values()]) {
      if (stream.opened && !listed.has(stream.id)) stream.missingSince ??= now;
      else if (!stream.opened && socket) stream.openSent = stream.id < attachment.opensBelow;
    }
    this.#events.push({ type: 'welcome', n: attachment.n, first });
  }

  // --- uplink ---

  /** @param {{ kind: 'socket', n: number } | { kind: 'post', inFlight: boolean } | null} uplink */
  #takeUplink(uplink) {
    this.#uplink = uplink;
    this.#epoch += 1;
    this.#farewells = [...this.#said, ...this.#farewells];
    this.#said = [];
    this.#pong = null;
    this.#ping = null;
    this.#startOver();
  }

  /** Nothing is known of what arrived: everything not acked is to be sent again. */
  #startOver() {
    for (const stream of this.#streams.values()) {
      stream.send.rewind(stream.send.base);
      stream.openSent = false;
    }
    this.#ackAgain();
  }

  #ackAgain() {
    for (const stream of this.#streams.values()) stream.ackSent = -1;
  }

  /** @param {Stream} stream */
  #mayOpen(stream) {
    // The HELLO of the newest attachment may arrive after what is sent elsewhere, and a stream it does not list is over.
    const newest = this.#newest;
    return newest !== null && (newest.welcomed || stream.id < newest.nextStream);
  }

  /** @param {Stream} stream */
  #openDue(stream) {
    return !stream.opened && !stream.openSent && this.#mayOpen(stream);
  }

  /** @param {Stream} stream */
  #dataDue(stream) {
    if (stream.send.ready === 0 && !stream.send.finReady) return false;
    // POSTs and polls can overtake each other, so there OPEN goes with the DATA until it was answered.
    return stream.opened || (this.#uplink?.kind === 'socket' ? stream.openSent : this.#mayOpen(stream));
  }

  /** @param {Stream} stream */
  #ackPending(stream) {
    const { ack } = stream.receive;
    return stream.gap || (ack > 0 && ack > stream.ackSent);
  }

  /** When the stream's ACK is due; Infinity when there is nothing to ack. @param {Stream} stream */
  #ackAt(stream) {
    if (!this.#ackPending(stream)) return Infinity;
    const rule = ACKS[this.#newest?.kind ?? 'websocket'];
    const { ack, window, passed } = stream.receive;
    if (stream.gap || stream.ackSent < 0 || ack - stream.ackSent >= window * rule.share) return -Infinity;
    return (stream.ackSince ?? -Infinity) + (passed ? rule.endDelayMs : rule.delayMs);
  }

  /** @param {number} now */
  #hasDue(now) {
    if (this.#farewells.length > 0 || this.#pong !== null || this.#ping !== null) return true;
    for (const stream of this.#streams.values()) {
      if (this.#openDue(stream) || this.#dataDue(stream) || this.#ackAt(stream) <= now) return true;
    }
    return false;
  }

  /** @param {Writer} writer @param {boolean} keep until it is known that they arrived */
  #putFarewells(writer, keep) {
    while (this.#farewells.length > 0) {
      const [farewell] = this.#farewells;
      if (farewell === undefined || !writer.fits(512)) return;
      writer.put(farewell.frame);
      this.#farewells.shift();
      if (keep) this.#said.push(farewell);
    }
  }

  /** @param {Writer} writer @param {Stream} stream */
  #putOpen(writer, stream) {
    if (!writer.fits(1 + utf8(stream.target).length)) return false;
    writer.put({ type: 'OPEN', stream: stream.id, service: 0, target: stream.target });
    stream.openSent = true;
    return true;
  }

  /** @param {Writer} writer */
  #putAcks(writer) {
    for (const stream of this.#streams.values()) {
      if (!this.#ackPending(stream)) continue;
      if (!writer.fits(24)) return;
      writer.put(this.#ackFrame(stream));
      stream.ackSent = stream.receive.ack;
      stream.ackSince = null;
      stream.gap = false;
    }
  }

  /** @param {Stream} stream @returns {Frame} */
  #ackFrame({ id, receive, gap }) {
    const limit = receive.grant();
    return gap
      ? { type: 'ACK', stream: id, ack: receive.ack, limit, rn: receive.rn }
      : { type: 'ACK', stream: id, ack: receive.ack, limit };
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
        if (!stream.opened && this.#uplink?.kind === 'post' && !opening.has(id)) {
          if (!this.#putOpen(writer, stream)) return;
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
      this.stats.sent += data.length - again;
      this.stats.resent += again;
      writer.put({ type: 'DATA', stream: id, offset, data });
    }
    if (send.finReady) {
      if (!writer.fits(8)) return false;
      writer.put({ type: 'FIN', stream: id, offset: send.written });
      send.takeFin();
    }
    return true;
  }

  // --- ends ---

  /** @param {Stream} stream @param {number} bytes @param {number} now */
  #delivered(stream, bytes, now) {
    this.stats.delivered += bytes;
    if (!stream.over) stream.ackSince ??= now;
  }

  /** @param {Stream} stream @param {number} ack */
  #acked(stream, ack) {
    const before = stream.send.acked;
    stream.send.ack(ack);
    this.stats.acked += stream.send.acked - before;
  }

  /** Both ends of the stream were delivered: it is over. @param {Stream} stream */
  #settle(stream) {
    if (stream.over || !stream.send.done || !stream.receive.passed) return;
    this.#farewell(stream.id, this.#ackFrame(stream));
    this.#finish(stream, 'closed', '');
  }

  /** The gateway has no such stream any more: well, if nothing was missing. @param {Stream} stream @param {EndCode} code @param {string} text */
  #lose(stream, code, text) {
    const whole = stream.send.done && stream.receive.complete;
    this.#finish(stream, whole ? 'closed' : code, whole ? '' : text);
  }

  /** @param {Stream} stream @param {EndCode} code @param {string} text */
  #finish(stream, code, text) {
    stream.over = { code, clean: stream.send.done && stream.receive.complete, text, acked: stream.send.acked };
    stream.send.clear();
    if (this.#streams.delete(stream.id) && code !== 'offline') {
      this.#tombstones.add({
        type: 'RESET', stream: stream.id, code: codeNumber(code), ack: stream.receive.ack, text: '',
      });
    }
    this.#changed.add(stream);
  }

  /** @param {number} id @param {Frame} frame */
  #farewell(id, frame) {
    this.#farewells.push({ id, frame, after: this.#helloed });
    // Only a detached session gets there, and the HELLO that ends that says the same.
    if (this.#farewells.length > MAX_STREAMS) this.#farewells.shift();
  }

  /** @param {Attachment} attachment */
  #deadAt({ kind, welcomed, fresh, heardAt }) {
    const waits = welcomed || (kind === 'poll' && !fresh);
    return waits ? heardAt + this.heartbeatMs * DEAD_HEARTBEATS : Infinity;
  }
}

/** When a stream that the gateway left out counts as lost. @param {Stream} stream */
function missingUntil({ missingSince }) {
  return missingSince === null ? Infinity : missingSince + MISSING_MS;
}
