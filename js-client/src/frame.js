/**
 * Frames as bytes (docs/protocol.md sections 3 and 4). Knows lengths, stream ids and text; knows nothing of sessions.
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
 * @typedef {Pad | Data | Ack | Fin | Reset | Ping | Hello | Welcome | Goaway | Open | Opened | Detach} Frame
 */

export const VERSION = 1;
export const HEADER_BYTES = 8;
export const MAX_DATA_BYTES = 16384;
export const MAX_TEXT_BYTES = 96;
export const MAX_TARGET_BYTES = 255;
export const TOKEN_BYTES = 32;
export const ENTRY_BYTES = 28;
/** Offsets stay below this on the wire: above it a JavaScript number skips integers. */
export const OFFSET_END = 2 ** 53;

const TYPES = /** @type {const} */ ({
  PAD: 0x00, DATA: 0x01, ACK: 0x02, FIN: 0x03, RESET: 0x04, PING: 0x05, PONG: 0x06,
  HELLO: 0x10, WELCOME: 0x11, GOAWAY: 0x12, OPEN: 0x13, OPENED: 0x14, DETACH: 0x15,
});
const FLAG_SKIP = 0x80;
const FLAG_PROMPT = 0x01;

const utf8Encoder = new TextEncoder();
// A byte order mark is text like any other here; without ignoreBOM it would vanish.
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The peer sent bytes that this version of the protocol does not allow. */
export class FrameError extends Error {
  /**
   * @param {string} message
   * @param {'protocol' | 'version'} [code]
   */
  constructor(message, code = 'protocol') {
    super(message);
    this.name = 'FrameError';
    this.code = code;
  }
}

/**
 * Text as UTF-8, cut at a character when it is longer than a frame may carry.
 * @param {string} text
 * @param {number} [max]
 */
export function utf8(text, max = Infinity) {
  const bytes = utf8Encoder.encode(text);
  if (bytes.length <= max) return bytes;
  let end = max;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}

/** Writes frames one after another into one message of at most `maxBytes`. The caller asks `fits` first. */
export class Writer {
  #bytes;
  #view;
  #length = 0;
  #max;

  /** @param {number} maxBytes */
  constructor(maxBytes) {
    this.#max = maxBytes;
    this.#bytes = new Uint8Array(Math.min(maxBytes, 512));
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length() {
    return this.#length;
  }

  /** Bytes that still fit. */
  get room() {
    return this.#max - this.#length;
  }

  /** @param {number} bodyBytes */
  fits(bodyBytes) {
    return HEADER_BYTES + bodyBytes <= this.room;
  }

  /** The message so far; the writer must not be used after that. */
  bytes() {
    return this.#bytes.subarray(0, this.#length);
  }

  /** @param {Frame} frame */
  put(frame) {
    switch (frame.type) {
      case 'PAD':
        this.#header(TYPES.PAD, 0, frame.len);
        this.#length += frame.len;
        return;
      case 'DATA':
        this.#header(TYPES.DATA, frame.stream, 8 + frame.data.length);
        this.#u64(frame.offset);
        this.#raw(frame.data);
        return;
      case 'ACK':
        this.#header(TYPES.ACK, frame.stream, frame.rn === undefined ? 16 : 24);
        this.#u64(frame.ack);
        this.#u64(frame.limit);
        if (frame.rn !== undefined) this.#u64(frame.rn);
        return;
      case 'FIN':
        this.#header(TYPES.FIN, frame.stream, 8);
        this.#u64(frame.offset);
        return;
      case 'RESET': {
        const text = utf8(frame.text, MAX_TEXT_BYTES);
        this.#header(TYPES.RESET, frame.stream, 10 + text.length);
        this.#u16(frame.code);
        this.#u64(frame.ack);
        this.#raw(text);
        return;
      }
      case 'PING':
      case 'PONG':
        this.#header(TYPES[frame.type], 0, 4);
        this.#u32(frame.t);
        return;
      case 'HELLO':
        this.#header(TYPES.HELLO, 0, helloBytes(frame.entries.length), frame.prompt ? FLAG_PROMPT : 0);
        this.#u8(frame.version);
        this.#u8(frame.caps);
        this.#u16(frame.entries.length);
        this.#u32(frame.n);
        this.#u32(frame.next_stream);
        this.#u64(frame.initial);
        this.#raw(frame.token);
        this.#entries(frame.entries);
        return;
      case 'WELCOME': {
        const sid = utf8(frame.sid ?? '');
        const token = frame.token ?? new Uint8Array(0);
        this.#header(TYPES.WELCOME, 0, 25 + sid.length + token.length + frame.entries.length * ENTRY_BYTES);
        this.#u8(frame.version);
        this.#u8(frame.caps);
        this.#u16(frame.entries.length);
        this.#u32(frame.n);
        this.#u32(frame.heartbeat_ms);
        this.#u32(frame.resume_ms);
        this.#u64(frame.initial);
        this.#u8(sid.length);
        this.#raw(sid);
        this.#raw(token);
        this.#entries(frame.entries);
        return;
      }
      case 'GOAWAY':
        this.#header(TYPES.GOAWAY, 0, 6);
        this.#u32(frame.after_ms);
        this.#u16(frame.code);
        return;
      case 'OPEN': {
        const target = utf8(frame.target);
        this.#header(TYPES.OPEN, frame.stream, 1 + target.length);
        this.#u8(frame.service);
        this.#raw(target);
        return;
      }
      case 'OPENED': {
        const reached = utf8(frame.reached);
        this.#header(TYPES.OPENED, frame.stream, reached.length);
        this.#raw(reached);
        return;
      }
      case 'DETACH':
        this.#header(TYPES.DETACH, 0, 5);
        this.#u32(frame.n);
        this.#u8(frame.why);
        return;
    }
  }

  /** @param {number} type @param {number} stream @param {number} len @param {number} [flags] */
  #header(type, stream, len, flags = 0) {
    this.#reserve(HEADER_BYTES + len);
    this.#u8(type);
    this.#u8(flags);
    this.#u16(len);
    this.#u32(stream);
  }

  /** @param {number} more */
  #reserve(more) {
    const need = this.#length + more;
    if (need > this.#max) throw new RangeError('the message is full');
    if (need <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.min(this.#max, Math.max(need, this.#bytes.length * 2)));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  /** @param {Entry[]} entries */
  #entries(entries) {
    for (const { stream, rn, limit, base } of entries) {
      this.#u32(stream);
      this.#u64(rn);
      this.#u64(limit);
      this.#u64(base);
    }
  }

  /** @param {number} value */
  #u8(value) {
    this.#view.setUint8(this.#length, value);
    this.#length += 1;
  }

  /** @param {number} value */
  #u16(value) {
    this.#view.setUint16(this.#length, value);
    this.#length += 2;
  }

  /** @param {number} value */
  #u32(value) {
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  /** @param {number} value */
  #u64(value) {
    this.#u32(Math.floor(value / 2 ** 32));
    this.#u32(value % 2 ** 32);
  }

  /** @param {Uint8Array} bytes */
  #raw(bytes) {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

/** The length of a HELLO's body. @param {number} entries */
export function helloBytes(entries) {
  return 52 + entries * ENTRY_BYTES;
}

/**
 * One message of these frames.
 * @param {Frame[]} frames
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
  if (decoder.pending > 0) throw new FrameError('the message ends inside a frame');
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
        new Body(bytes.subarray(at + HEADER_BYTES, end)));
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

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left() {
    return this.bytes.length - this.#at;
  }

  /** @param {number} count */
  raw(count) {
    if (count > this.left) throw new FrameError('a frame is too short');
    this.#at += count;
    return this.bytes.subarray(this.#at - count, this.#at);
  }

  u8() {
    this.raw(1);
    return this.view.getUint8(this.#at - 1);
  }

  u16() {
    this.raw(2);
    return this.view.getUint16(this.#at - 2);
  }

  u32() {
    this.raw(4);
    return this.view.getUint32(this.#at - 4);
  }

  offset() {
    const value = this.u32() * 2 ** 32 + this.u32();
    if (value >= OFFSET_END) throw new FrameError('an offset is 2^53 or more');
    return value;
  }

  /** The rest as text. @param {number} min @param {number} max */
  text(min, max) {
    if (this.left < min || this.left > max) throw new FrameError('a text is too short or too long');
    return decodeText(this.raw(this.left));
  }

  version() {
    const version = this.u8();
    // Told apart before anything else is read: another version may lay the rest out in another way.
    if (version !== VERSION) throw new FrameError(`version ${version} is not spoken here`, 'version');
    return version;
  }

  /** @param {number} count */
  entries(count) {
    if (this.left !== count * ENTRY_BYTES) throw new FrameError('the entries do not fill the frame');
    /** @type {Entry[]} */
    const entries = [];
    for (let i = 0; i < count; i += 1) {
      const stream = this.u32();
      if (stream === 0) throw new FrameError('an entry has no stream');
      entries.push({ stream, rn: this.offset(), limit: this.offset(), base: this.offset() });
    }
    return entries;
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
 * @param {Body} body
 * @returns {Frame | null} null for a frame to skip
 */
function parse(type, flags, stream, body) {
  const frame = parseBody(type, flags, stream, body);
  if (frame === null) return null;
  if (body.left > 0) throw new FrameError(`${frame.type} is too long`);
  const due = 'stream' in frame;
  if (due ? stream === 0 && frame.type !== 'RESET' : stream !== 0) {
    throw new FrameError(`${frame.type} on stream ${stream}`);
  }
  return frame;
}

/**
 * @param {number} type
 * @param {number} flags
 * @param {number} stream
 * @param {Body} body
 * @returns {Frame | null}
 */
function parseBody(type, flags, stream, body) {
  switch (type) {
    case TYPES.PAD:
      return { type: 'PAD', len: body.raw(body.left).length };
    case TYPES.DATA: {
      const offset = body.offset();
      if (body.left < 1 || body.left > MAX_DATA_BYTES) throw new FrameError(`DATA of ${body.left} bytes`);
      return { type: 'DATA', stream, offset, data: body.raw(body.left) };
    }
    case TYPES.ACK: {
      const ack = body.offset();
      const limit = body.offset();
      return body.left === 0
        ? { type: 'ACK', stream, ack, limit }
        : { type: 'ACK', stream, ack, limit, rn: body.offset() };
    }
    case TYPES.FIN:
      return { type: 'FIN', stream, offset: body.offset() };
    case TYPES.RESET:
      return { type: 'RESET', stream, code: body.u16(), ack: body.offset(), text: body.text(0, MAX_TEXT_BYTES) };
    case TYPES.PING:
      return { type: 'PING', t: body.u32() };
    case TYPES.PONG:
      return { type: 'PONG', t: body.u32() };
    case TYPES.HELLO: {
      const version = body.version();
      const caps = body.u8();
      const count = body.u16();
      return {
        type: 'HELLO', version, caps, n: body.u32(), next_stream: body.u32(), initial: body.offset(),
        token: body.raw(TOKEN_BYTES), prompt: (flags & FLAG_PROMPT) !== 0, entries: body.entries(count),
      };
    }
    case TYPES.WELCOME: {
      const version = body.version();
      const caps = body.u8();
      const count = body.u16();
      /** @type {Welcome} */
      const frame = {
        type: 'WELCOME', version, caps, n: body.u32(), heartbeat_ms: body.u32(), resume_ms: body.u32(),
        initial: body.offset(), entries: [],
      };
      const sidBytes = body.u8();
      if (sidBytes > 0) {
        frame.sid = decodeText(body.raw(sidBytes));
        frame.token = body.raw(TOKEN_BYTES);
      }
      frame.entries = body.entries(count);
      return frame;
    }
    case TYPES.GOAWAY:
      return { type: 'GOAWAY', after_ms: body.u32(), code: body.u16() };
    case TYPES.OPEN:
      return { type: 'OPEN', stream, service: body.u8(), target: body.text(1, MAX_TARGET_BYTES) };
    case TYPES.OPENED:
      return { type: 'OPENED', stream, reached: body.text(0, MAX_TARGET_BYTES) };
    case TYPES.DETACH:
      return { type: 'DETACH', n: body.u32(), why: body.u8() };
    default:
      if ((flags & FLAG_SKIP) !== 0) return null;
      throw new FrameError(`unknown type ${type}`);
  }
}
