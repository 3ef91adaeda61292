/**
 * Frames as bytes (docs/protocol.md sections 3 and 4), from one table: decodes all of them, encodes those that a
 * client sends. Knows lengths, stream ids and text; knows nothing of sessions.
 *
 * Invariants: what it returns obeys the table of frames; any input ends in frames or in a FrameError; a decoder holds at
 * most one incomplete frame (64 KiB).
 *
 * @typedef {{ stream: number, rn: number, limit: number, base: number }} Entry
 * @typedef {{ type: 'PAD', len: number }} Pad
 * @typedef {{ type: 'DATA', stream: number, offset: number, data: Uint8Array }} Data
 * @typedef {{ type: 'ACK', stream: number, ack: number, limit: number, rn?: number }} Ack
 * @typedef {{ type: 'FIN', stream: number, offset: number }} Fin
 * @typedef {{ type: 'RESET', stream: number, code: number, ack: number, text: string }} Reset
 * @typedef {{ type: 'PING' | 'PONG', t: number }} Ping
 * @typedef {{ type: 'HELLO', version: number, caps: number, n: number, next_stream: number, initial: number,
 *   token: Uint8Array, prompt: boolean, entries: Entry[] }} Hello
 * @typedef {{ type: 'WELCOME', version: number, caps: number, n: number, heartbeat_ms: number, resume_ms: number,
 *   initial: number, sid?: string, token?: Uint8Array, entries: Entry[] }} Welcome
 * @typedef {{ type: 'GOAWAY', after_ms: number, code: number }} Goaway
 * @typedef {{ type: 'OPEN', stream: number, service: number, target: string }} Open
 * @typedef {{ type: 'OPENED', stream: number, reached: string }} Opened
 * @typedef {{ type: 'DETACH', n: number, why: number }} Detach
 * @typedef {Data | Ack | Fin | Reset | Ping | Hello | Open | Detach} ClientFrame what a client sends
 * @typedef {Pad | Data | Ack | Fin | Reset | Ping | Hello | Welcome | Goaway | Open | Opened | Detach} Frame
 */

import { Fault } from './codes.js';

export const VERSION = 1;
export const MAX_DATA_BYTES = 16384;
export const MAX_TARGET_BYTES = 255;
export const TOKEN_BYTES = 32;
const HEADER_BYTES = 8;
const MAX_TEXT_BYTES = 96;
const ENTRY_BYTES = 28;
/** Offsets stay below this on the wire: above it a JavaScript number skips integers. */
const OFFSET_END = 2 ** 53;
const FLAG_SKIP = 0x80;
const FLAG_PROMPT = 0x01;


/**
 * What a field is: an unsigned integer of so many bytes, a text that fills the frame with as many bytes as these, or one of
 * the kinds that `Body.read` and `Writer.put` explain.
 * @typedef {1 | 2 | 4 | readonly [min: number, max: number] | 'offset' | 'offset?' | 'data' | 'token' | 'sid' | 'count'
 *   | 'entries' | 'pad'} Kind
 */

/** @type {Readonly<Record<Frame['type'], readonly [type: number, on: 'stream' | 'session' | 'either', fields: Readonly<Record<string, Kind>>]>>} */
const LAYOUT = {
  PAD: [0x00, 'session', { len: 'pad' }],
  DATA: [0x01, 'stream', { offset: 'offset', data: 'data' }],
  ACK: [0x02, 'stream', { ack: 'offset', limit: 'offset', rn: 'offset?' }],
  FIN: [0x03, 'stream', { offset: 'offset' }],
  RESET: [0x04, 'either', { code: 2, ack: 'offset', text: [0, MAX_TEXT_BYTES] }],
  PING: [0x05, 'session', { t: 4 }],
  PONG: [0x06, 'session', { t: 4 }],
  HELLO: [0x10, 'session', {
    version: 1, caps: 1, entries: 'count', n: 4, next_stream: 4, initial: 'offset', token: 'token', entry: 'entries',
  }],
  WELCOME: [0x11, 'session', {
    version: 1, caps: 1, entries: 'count', n: 4, heartbeat_ms: 4, resume_ms: 4, initial: 'offset', sid: 'sid', entry: 'entries',
  }],
  GOAWAY: [0x12, 'session', { after_ms: 4, code: 2 }],
  OPEN: [0x13, 'stream', { service: 1, target: [1, MAX_TARGET_BYTES] }],
  OPENED: [0x14, 'stream', { reached: [0, MAX_TARGET_BYTES] }],
  DETACH: [0x15, 'session', { n: 4, why: 1 }],
};
/** @type {Map<number, Frame['type']>} */
const NAMES = new Map();
for (const name of /** @type {Frame['type'][]} */ (Object.keys(LAYOUT))) NAMES.set(LAYOUT[name][0], name);

const utf8Encoder = new TextEncoder();
// A byte order mark is text like any other here; without ignoreBOM it would vanish.
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The peer sent bytes that this version of the protocol does not allow. */
export class FrameError extends /** @type {typeof Fault<'protocol' | 'version'>} */ (Fault) {
  /**
   * @param {string} message
   * @param {'protocol' | 'version'} [code]
   */
  constructor(message, code = 'protocol') {
    super(code, message);
  }
}

/** @param {string} text */
export function utf8(text) {
  return utf8Encoder.encode(text);
}

/** Writes frames one after another into one message of at most `maxBytes`. The caller asks `fits` first. */
export class Writer {
  #bytes;
  #view;
  #max;
  length = 0;

  /** @param {number} maxBytes */
  constructor(maxBytes) {
    this.#max = maxBytes;
    this.#bytes = new Uint8Array(512);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes that still fit. */
  get room() {
    return this.#max - this.length;
  }

  /** @param {number} bodyBytes */
  fits(bodyBytes) {
    return HEADER_BYTES + bodyBytes <= this.room;
  }

  /** The message so far; the writer must not be used after that. */
  bytes() {
    return this.#bytes.subarray(0, this.length);
  }

  /** @param {ClientFrame} frame */
  put(frame) {
    const start = this.length;
    const [type, , fields] = LAYOUT[frame.type];
    this.#uint(1, type);
    this.#uint(1, frame.type === 'HELLO' && frame.prompt ? FLAG_PROMPT : 0);
    this.#uint(2, 0);
    this.#uint(4, 'stream' in frame ? frame.stream : 0);
    const values = /** @type {Readonly<Record<string, unknown>>} */ (/** @type {unknown} */ (frame));
    for (const [name, kind] of Object.entries(fields)) this.#field(kind, values[name], frame);
    this.#view.setUint16(start + 2, this.length - start - HEADER_BYTES);
    if (this.room < 0) throw new RangeError('the message is full');
  }

  /** @param {Kind} kind @param {unknown} value @param {ClientFrame} frame */
  #field(kind, value, frame) {
    if (kind === 'entries' && 'entries' in frame) {
      for (const { stream, rn, limit, base } of frame.entries) {
        this.#uint(4, stream);
        for (const offset of [rn, limit, base]) this.#offset(offset);
      }
    } else if (Array.isArray(value)) {
      this.#uint(2, value.length);
    } else if (typeof value === 'string') {
      // Texts are our own and short, and a target was measured when it was given.
      this.#raw(utf8(value));
    } else if (value instanceof Uint8Array) {
      this.#raw(value);
    } else if (typeof value === 'number') {
      if (typeof kind === 'number') this.#uint(kind, value);
      else this.#offset(value);
    }
  }

  /** @param {1 | 2 | 4} size @param {number} value */
  #uint(size, value) {
    const at = this.#grow(size);
    if (size === 1) this.#view.setUint8(at, value);
    else if (size === 2) this.#view.setUint16(at, value);
    else this.#view.setUint32(at, value);
  }

  /** @param {number} value */
  #offset(value) {
    this.#uint(4, Math.floor(value / 2 ** 32));
    this.#uint(4, value % 2 ** 32);
  }

  /** @param {Uint8Array} bytes */
  #raw(bytes) {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** @param {number} more @returns {number} where to write them */
  #grow(more) {
    const at = this.length;
    this.length += more;
    if (this.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

/**
 * One message of these frames.
 * @param {ClientFrame[]} frames
 */
export function encode(frames) {
  const writer = new Writer(Infinity);
  for (const frame of frames) writer.put(frame);
  return writer.bytes();
}

/**
 * A message that is a whole number of frames. `data` and `token` of the result share its memory.
 * @param {Uint8Array} bytes
 * @returns {Frame[]}
 * @throws {FrameError}
 */
export function decode(bytes) {
  const decoder = new Decoder();
  const frames = decoder.push(bytes);
  if (decoder.pending > 0) throw new FrameError('the last frame is cut');
  return frames;
}

/** Decodes a body that arrives in pieces cut anywhere. After a FrameError it must not be used again. */
export class Decoder {
  /** @type {Uint8Array} What came of a frame that is not whole yet. */
  #rest = new Uint8Array(0);

  /** Bytes of a frame that is not whole yet. */
  get pending() {
    return this.#rest.length;
  }

  /**
   * @param {Uint8Array} chunk
   * @returns {Frame[]}
   * @throws {FrameError}
   */
  push(chunk) {
    let bytes = chunk;
    if (this.#rest.length > 0) {
      bytes = new Uint8Array(this.#rest.length + chunk.length);
      bytes.set(this.#rest);
      bytes.set(chunk, this.#rest.length);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    /** @type {Frame[]} */
    const frames = [];
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + view.getUint16(at + 2);
      if (end > bytes.length) break;
      const frame = parse(view.getUint8(at), view.getUint8(at + 1), view.getUint32(at + 4),
        bytes.subarray(at + HEADER_BYTES, end));
      if (frame) frames.push(frame);
      at = end;
    }
    // A copy, so that a few bytes do not keep a large chunk alive.
    this.#rest = bytes.slice(at);
    return frames;
  }
}

/** Reads a frame's body front to back; reading past its end is an error of the peer. */
class Body {
  #at = 0;
  #bytes;
  #view;
  #count = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left() {
    return this.#bytes.length - this.#at;
  }

  /** The value of a field; undefined for one that is not there. @param {Kind} kind @param {Record<string, unknown>} frame */
  read(kind, frame) {
    switch (kind) {
      case 'offset':
        return this.#offset();
      case 'offset?':
        return this.left > 0 ? this.#offset() : undefined;
      case 'data':
        return this.#rest(1, MAX_DATA_BYTES);
      case 'token':
        return this.#raw(TOKEN_BYTES);
      case 'sid': {
        const length = this.#uint(1);
        if (length === 0) return undefined;
        const sid = decodeText(this.#raw(length));
        frame.token = this.#raw(TOKEN_BYTES);
        return sid;
      }
      case 'count':
        this.#count = this.#uint(2);
        return undefined;
      case 'entries':
        if (this.left !== this.#count * ENTRY_BYTES) throw new FrameError('a frame has a wrong length');
        frame.entries = Array.from({ length: this.#count }, () => this.#entry());
        return undefined;
      case 'pad':
        return this.#raw(this.left).length;
      default:
        return typeof kind === 'number' ? this.#uint(kind) : decodeText(this.#rest(...kind));
    }
  }

  /** @returns {Entry} */
  #entry() {
    const stream = this.#uint(4);
    if (stream === 0) throw new FrameError('an entry of stream 0');
    return { stream, rn: this.#offset(), limit: this.#offset(), base: this.#offset() };
  }

  /** @param {number} count */
  #raw(count) {
    if (count > this.left) throw new FrameError('a frame has a wrong length');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  /** @param {number} min @param {number} max */
  #rest(min, max) {
    if (this.left < min || this.left > max) throw new FrameError('a frame has a wrong length');
    return this.#raw(this.left);
  }

  /** @param {1 | 2 | 4} size */
  #uint(size) {
    const at = this.#at;
    this.#raw(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #offset() {
    const value = this.#uint(4) * 2 ** 32 + this.#uint(4);
    if (value >= OFFSET_END) throw new FrameError('an offset is 2^53 or more');
    return value;
  }
}

/** @param {Uint8Array} bytes */
function decodeText(bytes) {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    throw new FrameError('a text is not UTF-8');
  }
}

/**
 * @param {number} type
 * @param {number} flags
 * @param {number} stream
 * @param {Uint8Array} bytes the body
 * @returns {Frame | null} null for a frame to skip
 */
function parse(type, flags, stream, bytes) {
  const name = NAMES.get(type);
  if (name === undefined) {
    if ((flags & FLAG_SKIP) !== 0) return null;
    throw new FrameError(`unknown type ${type}`);
  }
  const [, on, fields] = LAYOUT[name];
  if (on === 'stream' ? stream === 0 : on === 'session' && stream !== 0) throw new FrameError(`${name} on stream ${stream}`);
  // Told apart before anything else is read: another version may lay the rest out in another way.
  if ('version' in fields && bytes.length > 0 && bytes[0] !== VERSION) throw new FrameError(`version ${bytes[0]}`, 'version');
  const body = new Body(bytes);
  /** @type {Record<string, unknown>} */
  const frame = on === 'session' ? { type: name } : { type: name, stream };
  for (const [field, kind] of Object.entries(fields)) {
    const value = body.read(kind, frame);
    if (value !== undefined) frame[field] = value;
  }
  if (name === 'HELLO') frame.prompt = (flags & FLAG_PROMPT) !== 0;
  if (body.left > 0) throw new FrameError('a frame has a wrong length');
  // The table says the same as the types of the frames, and the vectors hold it to that.
  return /** @type {Frame} */ (/** @type {unknown} */ (frame));
}
