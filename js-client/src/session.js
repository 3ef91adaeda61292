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
 * @typedef {'websocket' | 'webtransport' | 'stream' | 'sse' | 'poll' | 'htmlfile' | 'jsonp' | 'port'} Kind `port` leads to a worker that has a session of its own
 * @typedef {{ type: 'welcome', n: number, first: boolean } | { type: 'late', n: number }
 *   | { type: 'refused', n: number, code: Code, text: string } | { type: 'detach', n: number, why: number }
 *   | { type: 'goaway', afterMs: number, code: Code } | { type: 'dead', n: number }
 *   | { type: 'over', code: EndCode, text: string }} SessionEvent
 * @typedef {object} Attachment
 * @property {number} n
 * @property {Kind} kind
 * @property {boolean} fresh it asked for a new session, so it may end in another one than ours
 * @property {boolean} prompt
 * @property {number} opensBelow the OPEN of every opening stream below this id followed its HELLO
 * @property {boolean} welcomed
 * @property {boolean} dead
 * @property {number} heardAt
 *
 * @typedef {object} SessionState what another Session needs to go on where this one is
 * @property {string | null} sid
 * @property {Uint8Array<ArrayBuffer>} token
 * @property {number} resumeMs
 * @property {number} silenceMs
 * @property {number} window
 * @property {number} capacity
 * @property {number} initial
 * @property {number} n the last number of an attachment
 * @property {number} nextStream
 * @property {Stream[]} streams those that are not over, in the order of their ids
 */

import { OFFLINE, codeName, codeNumber } from './codes.js';
import { Tombstones } from './tombstones.js';
import { Stream, StreamError } from './stream.js';
import { TOKEN_BYTES, VERSION, Writer, encode } from './frame.js';
import { Outbox } from './outbox.js';

export const DETACH_SUPERSEDED = 0;
export const DETACH_ROTATE = 1;
export const DETACH_LEAVING = 3;

/** A HELLO that lists this many streams (28 KiB) still fits into a frame and into a WebSocket message. */
const MAX_STREAMS = 1024;
const MAX_ID = 2 ** 32 - 1;
/** docs/protocol.md section 4: a transport is dead after this many heartbeats of silence. */
export const DEAD_HEARTBEATS = 2.2;
/**
 * A stream that a WELCOME leaves out is over, but why is told by the RESET that follows: the gateway may have ended it in
 * good order while the ack of our end was lost. Only without that RESET it is lost.
 */
const MISSING_MS = 5000;

/** Transports of another time, used only where they are named. @type {readonly Kind[]} */
export const LEGACY = ['htmlfile', 'jsonp'];

/** Whether frames go up a transport as well as down. @param {Kind} kind */
export const isSocket = (kind) => ['websocket', 'webtransport', 'port'].includes(kind);

export class Session {
  /** @type {string | null} null until the first WELCOME. */
  sid = null;
  token = new Uint8Array(TOKEN_BYTES);
  /** Credit given on each stream. */
  window;
  /** Unacked bytes held for each stream. */
  capacity;
  /** The credit of a new stream, told by the gateway. */
  initial = 0;
  /** The number of the last attachment. */
  n = 0;
  nextStream = 1;
  resumeMs = 0;
  /** A transport that is silent for longer is dead; 0 when there is no such rule. */
  silenceMs = 0;
  /** @type {{ code: EndCode, text: string } | null} */
  ended = null;
  stats = { sent: 0, received: 0, acked: 0, delivered: 0, resent: 0 };

  /** @type {Map<number, Stream>} in the order of their ids */
  #streams = new Map();
  #tombstones = new Tombstones();

  #outbox = new Outbox(this.#streams, this.stats);
  /** @type {import('./frame.js').Reset | null} of the session */
  #last = null;

  /** @type {Map<number, Attachment>} */
  #attachments = new Map();

  /** @type {SessionEvent[]} */
  #events = [];
  /** @type {Set<Stream>} */
  #changed = new Set();

  /**
   * @param {{ windowBytes: number, sendBytes: number }} options credit given on each stream; unacked bytes held for each
   * @param {Partial<SessionState>} [state] of a session to go on with; then the options are those of that one
   */
  constructor({ windowBytes, sendBytes }, { streams = [], ...rest } = {}) {
    this.window = windowBytes;
    this.capacity = sendBytes;
    Object.assign(this, rest);
    for (const stream of streams) this.#streams.set(stream.id, stream);
  }

  // --- what there is ---

  get confirmed() {
    return this.sid !== null;
  }

  /** Streams that are not over. */
  get size() {
    return this.#streams.size;
  }

  /** Those that are not over, in the order of their ids. */
  get streams() {
    return [...this.#streams.values()];
  }

  /** Which way frames go up now, beside which way down. `epoch` changes whenever the way does. */
  get uplink() {
    const { way, epoch, newest } = this.#outbox;
    return { kind: way?.kind ?? null, n: way?.kind === 'socket' ? way.n : 0, epoch, down: newest?.kind };
  }

  // --- what the application does ---

  /**
   * @param {string} target
   * @returns {Stream}
   */
  open(target) {
    const stream = new Stream(this.nextStream, target, this.capacity, this.window);
    if (this.ended || this.#streams.size >= MAX_STREAMS || stream.id >= MAX_ID) {
      this.#finish(stream, this.ended?.code ?? 'limit', this.ended?.text ?? 'too many streams');
      return stream;
    }
    this.nextStream += 1;
    stream.send.grant(this.initial);
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
    this.#outbox.farewell(stream.id, {
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
    for (const stream of this.streams) this.#lose(stream, code, text);
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
    this.n += 1;
    if (this.n > MAX_ID) this.over('internal', 'too many attachments');
    const attachment = {
      n: this.n, kind, fresh: !this.confirmed, prompt, opensBelow: 0,
      welcomed: false, dead: false, heardAt: now,
    };
    this.#attachments.set(attachment.n, attachment);
    this.#outbox.newest = attachment;
    this.#outbox.confirming = false;
    this.#tombstones.attached(now);
    if (!isSocket(kind) && this.confirmed) this.#outbox.post();
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
    const streams = this.streams;
    this.#outbox.helloed = Math.max(this.#outbox.helloed, n);
    writer.put({
      type: 'HELLO', version: VERSION, caps: 0, n, next_stream: this.nextStream, initial: this.window,
      token: this.token, prompt: attachment.prompt,
      entries: streams.map(({ id, send, receive }) => ({
        stream: id, rn: receive.rn, limit: receive.grant(), base: send.base,
      })),
    });
    attachment.opensBelow = this.nextStream;
    for (const stream of streams) {
      if (stream.opened) continue;
      if (!this.#outbox.putOpen(writer, stream)) {
        attachment.opensBelow = stream.id;
        break;
      }
    }
    // A poll is where acks ride; elsewhere they follow soon enough, when it is known that they arrive.
    if (attachment.kind === 'poll') this.#outbox.putAcks(writer);
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
    if (this.#outbox.way?.kind === 'socket' && this.#outbox.way.n === n) this.#outbox.take(null);
    // What rode on a poll may be lost.
    if (!clean && attachment.kind === 'poll') this.#outbox.ackAgain();
    if (clean || this.#attachments.size > 0) return;
    this.#tombstones.detached(now);
    for (const stream of this.streams) stream.missingSince = null;
    if (this.#outbox.way !== null) this.#outbox.take(null);
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
      this.#frame(frame, now, attachment, !this.#outbox.busy);
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
    const current = epoch === this.#outbox.epoch;
    this.#outbox.done(epoch);
    const before = this.#outbox.rewinds;
    for (const frame of frames) {
      if (this.ended) break;
      this.#frame(frame, now, null, current);
    }
    return this.#outbox.rewinds > before;
  }

  /**
   * The uplink POST made in `epoch` failed: it may have been processed or not, so all of it is said again.
   * @param {number} epoch
   */
  upFailed(epoch) {
    this.#outbox.failed(epoch);
  }

  /** @param {number} now */
  handleTimeout(now) {
    for (const attachment of this.#attachments.values()) {
      if (!attachment.dead && this.#deadAt(attachment) <= now) {
        attachment.dead = true;
        this.#events.push({ type: 'dead', n: attachment.n });
      }
    }
    for (const stream of this.streams) {
      if (missingUntil(stream) <= now) this.#lose(stream, 'lost', 'the gateway does not know it');
    }
  }

  /** Asks the other side for a sign of life. @param {number} t */
  probe(t) {
    this.#outbox.signs.set('PING', t);
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
    return this.ended ? null : this.#outbox.pollTransmit(maxBytes, now);
  }

  /** What is left to say when the session is over: RESET of the session, once, or null. */
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
    for (const stream of this.streams) at = Math.min(at, missingUntil(stream));
    return Math.min(at, this.#outbox.nextTimeout());
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
        this.#outbox.signs.set('PONG', frame.t);
        return;
      case 'WELCOME':
        if (attachment === null) this.end('protocol', 'WELCOME in a wrong place');
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
    }
    const stream = this.#streams.get(frame.stream);
    if (stream === undefined) {
      // ACK and RESET of a stream that is over need no answer.
      const stone = frame.type === 'ACK' || frame.type === 'RESET' ? undefined : this.#tombstones.get(frame.stream, now);
      if (stone) this.#outbox.farewell(frame.stream, stone);
      return;
    }
    this.#checked(stream, () => this.#streamFrame(stream, frame, now, mayRewind));
  }

  /** A stream of which the gateway says what cannot be is reset. @param {Stream} stream @param {() => void} change */
  #checked(stream, change) {
    this.#changed.add(stream);
    try {
      change();
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
            this.#outbox.rewinds += 1;
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
        const code = frame.code === OFFLINE ? 'offline' : codeName(frame.code);
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
        this.end('protocol', 'WELCOME without a session');
        return;
      }
      this.sid = frame.sid;
      this.token = frame.token.slice();
      this.initial = frame.initial;
      for (const stream of this.streams) stream.send.grant(frame.initial);
      // The others asked for sessions of their own. Nobody confirms those, so the gateway forgets them.
      for (const other of this.#attachments.values()) if (other !== attachment) this.#attachments.delete(other.n);
      this.#outbox.newest = attachment;
      // After a poll the next one says it.
      this.#outbox.confirming = attachment.kind !== 'poll';
    } else if (attachment !== this.#outbox.newest) {
      this.#events.push({ type: 'late', n: attachment.n });
      return;
    }
    attachment.welcomed = true;
    this.silenceMs = frame.heartbeat_ms * DEAD_HEARTBEATS;
    this.resumeMs = frame.resume_ms;
    const socket = isSocket(attachment.kind);
    // With POST, transmission went back to base when the uplink was taken, and what is in flight now is not known yet
    // to the gateway that wrote this WELCOME.
    if (socket) this.#outbox.take({ kind: 'socket', n: attachment.n });
    else this.#outbox.post();
    this.#outbox.heard(attachment.n);
    const listed = new Set();
    for (const entry of frame.entries) {
      const stream = this.#streams.get(entry.stream);
      listed.add(entry.stream);
      if (stream === undefined) continue;
      this.#checked(stream, () => {
        if (entry.base > stream.receive.rn) throw new StreamError('lost', 'bytes are missing');
        stream.send.grant(entry.limit);
        if (socket) {
          stream.send.rewind(entry.rn);
          // What the gateway still holds tells which ack it has seen.
          stream.ackSent = entry.base;
        } else stream.send.skip(entry.rn);
      });
    }
    for (const stream of this.streams) {
      if (stream.opened && !listed.has(stream.id)) stream.missingSince ??= now;
      else if (!stream.opened && socket) stream.openSent = stream.id < attachment.opensBelow;
    }
    this.#events.push({ type: 'welcome', n: attachment.n, first });
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
    this.#outbox.farewell(stream.id, this.#outbox.ackFrame(stream));
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

  /** @param {Attachment} attachment */
  #deadAt({ kind, welcomed, fresh, heardAt }) {
    const waits = welcomed || (kind === 'poll' && !fresh);
    return waits && this.silenceMs > 0 ? heardAt + this.silenceMs : Infinity;
  }
}

/** When a stream that the gateway left out counts as lost. @param {Stream} stream */
function missingUntil({ missingSince }) {
  return missingSince === null ? Infinity : missingSince + MISSING_MS;
}
