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
 * What a field is: an unsigned integer of so many bytes, of which those of 8 are offsets, a text that fills the frame with as
 * many bytes as these, or one of the kinds that `parse` and `Writer.put` explain.
 * @typedef {1 | 2 | 4 | 8 | readonly [min: number, max: number] | 'offset?' | 'data' | 'token' | 'sid' | 'count'
 *   | 'entries' | 'pad'} Kind
 */

/** @type {Readonly<Record<Frame['type'], readonly [type: number, on: 'stream' | 'session' | 'either', fields: Readonly<Record<string, Kind>>]>>} */
const LAYOUT = {
  PAD: [0x00, 'session', { len: 'pad' }],
  DATA: [0x01, 'stream', { offset: 8, data: 'data' }],
  ACK: [0x02, 'stream', { ack: 8, limit: 8, rn: 'offset?' }],
  FIN: [0x03, 'stream', { offset: 8 }],
  RESET: [0x04, 'either', { code: 2, ack: 8, text: [0, MAX_TEXT_BYTES] }],
  PING: [0x05, 'session', { t: 4 }],
  PONG: [0x06, 'session', { t: 4 }],
  HELLO: [0x10, 'session', {
    version: 1, caps: 1, entries: 'count', n: 4, next_stream: 4, initial: 8, token: 'token', entry: 'entries',
  }],
  WELCOME: [0x11, 'session', {
    version: 1, caps: 1, entries: 'count', n: 4, heartbeat_ms: 4, resume_ms: 4, initial: 8, sid: 'sid', entry: 'entries',
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
  #bytes = new Uint8Array(512);
  #max;
  length = 0;

  /** @param {number} maxBytes */
  constructor(maxBytes) {
    this.#max = maxBytes;
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
    const { length } = this;
    this.length = start + 2;
    this.#uint(2, length - start - HEADER_BYTES);
    this.length = length;
    if (this.room < 0) throw new RangeError('the message is full');
  }

  /** @param {Kind} kind @param {unknown} value @param {ClientFrame} frame */
  #field(kind, value, frame) {
    if (kind === 'entries' && 'entries' in frame) {
      for (const { stream, rn, limit, base } of frame.entries) {
        this.#uint(4, stream);
        for (const offset of [rn, limit, base]) this.#uint(8, offset);
      }
    } else if (Array.isArray(value)) {
      this.#uint(2, value.length);
    } else if (typeof value === 'string') {
      // Texts are our own and short, and a target was measured when it was given.
      this.#raw(utf8(value));
    } else if (value instanceof Uint8Array) {
      this.#raw(value);
    } else if (typeof value === 'number') {
      this.#uint(typeof kind === 'number' ? kind : 8, value);
    }
  }

  /** @param {1 | 2 | 4 | 8} size @param {number} value */
  #uint(size, value) {
    const bytes = new Uint8Array(size);
    let rest = value;
    for (let at = size - 1; at >= 0; at -= 1) {
      // Of a number that is too large for it a byte takes the lowest eight bits.
      bytes[at] = rest;
      rest = Math.floor(rest / 256);
    }
    this.#raw(bytes);
  }

  /** @param {Uint8Array} bytes */
  #raw(bytes) {
    const end = this.length + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(end * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.length);
    this.length = end;
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
    /** @type {Frame[]} */
    const frames = [];
    while (bytes.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + uint(bytes, 2, 2);
      if (end > bytes.length) break;
      const frame = parse(uint(bytes, 0, 1), uint(bytes, 1, 1), uint(bytes, 4, 4), bytes.subarray(HEADER_BYTES, end));
      if (frame) frames.push(frame);
      bytes = bytes.subarray(end);
    }
    // A copy, so that a few bytes do not keep a large chunk alive.
    this.#rest = bytes.slice();
    return frames;
  }
}

/** @param {Uint8Array} bytes @param {number} at @param {number} size */
function uint(bytes, at, size) {
  let value = 0;
  for (const byte of bytes.subarray(at, at + size)) value = value * 256 + byte;
  return value;
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
  /** @type {Record<string, unknown>} */
  const frame = on === 'session' ? { type: name } : { type: name, stream };
  // The body is read front to back; reading past its end is an error of the peer.
  let at = 0;
  let count = 0;
  /** @param {boolean} right */
  const check = (right) => {
    if (!right) throw new FrameError('a frame has a wrong length');
  };
  /** @param {number} size */
  const raw = (size) => {
    at += size;
    check(at <= bytes.length);
    return bytes.subarray(at - size, at);
  };
  /** @param {number} min @param {number} max */
  const rest = (min, max) => {
    const left = bytes.length - at;
    check(left >= min && left <= max);
    return raw(left);
  };
  /** @param {1 | 2 | 4 | 8} size */
  const number = (size) => {
    const value = uint(raw(size), 0, size);
    if (value >= OFFSET_END) throw new FrameError('an offset is 2^53 or more');
    return value;
  };
  /** @returns {Entry} */
  const entry = () => {
    const id = number(4);
    if (id === 0) throw new FrameError('an entry of stream 0');
    return { stream: id, rn: number(8), limit: number(8), base: number(8) };
  };
  /** The value of a field; undefined for one that is not there. @param {Kind} kind */
  const read = (kind) => {
    switch (kind) {
      case 'offset?':
        return at < bytes.length ? number(8) : undefined;
      case 'data':
        return rest(1, MAX_DATA_BYTES);
      case 'token':
        return raw(TOKEN_BYTES);
      case 'sid': {
        const length = number(1);
        if (length === 0) return undefined;
        const sid = decodeText(raw(length));
        frame.token = raw(TOKEN_BYTES);
        return sid;
      }
      case 'count':
        count = number(2);
        return undefined;
      case 'entries':
        check(bytes.length - at === count * ENTRY_BYTES);
        frame.entries = Array.from({ length: count }, entry);
        return undefined;
      case 'pad':
        return rest(0, Infinity).length;
      default:
        return typeof kind === 'number' ? number(kind) : decodeText(rest(...kind));
    }
  };
  for (const [field, kind] of Object.entries(fields)) {
    const value = read(kind);
    if (value !== undefined) frame[field] = value;
  }
  if (name === 'HELLO') frame.prompt = (flags & FLAG_PROMPT) !== 0;
  check(at === bytes.length);
  // The table says the same as the types of the frames, and the vectors hold it to that.
  return /** @type {Frame} */ (/** @type {unknown} */ (frame));
}
