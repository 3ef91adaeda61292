/**
 * Frames of STOMP 1.0, 1.1 and 1.2 as bytes. What is written is one frame, whatever its parts hold.
 *
 * @typedef {'1.0' | '1.1' | '1.2'} Version
 * @typedef {Readonly<Record<string, string>>} Headers without a prototype when they come from a broker
 *
 * @typedef {object} Frame
 * @property {string} command
 * @property {Headers} headers of one that is there twice, the first
 * @property {Uint8Array} body
 */

import { utf8 } from '../frame.js';
import { StompError } from './errors.js';

/** A broker's headers are nowhere near it. */
const MAX_HEAD = 64 * 1024;
const LF = 10;
const EMPTY = new Uint8Array(0);

/** @type {Record<string, string>} */
const ESCAPES = { '\\': '\\\\', '\n': '\\n', ':': '\\c', '\r': '\\r' };
/** @type {Record<string, string>} */
const UNESCAPES = { '\\': '\\', n: '\n', c: ':', r: '\r' };

/**
 * @param {string} command
 * @param {Readonly<Record<string, string | number | boolean>>} headers
 * @param {Uint8Array} body
 * @param {Version} version
 */
export function encodeFrame(command, headers = {}, body = EMPTY, version = '1.2') {
  // Nothing is escaped before both sides know that they can.
  const plain = version === '1.0' || command === 'CONNECT';
  const escape = (/** @type {string} */ text) => {
    const forbidden = plain ? /[\0\r\n]/ : version === '1.1' ? /[\0\r]/ : /\0/;
    if (forbidden.test(text)) throw new StompError('invalid', `a header of ${command} holds what version ${version} cannot say`);
    return plain ? text : text.replace(/[\\\n:\r]/g, (char) => ESCAPES[char] ?? char);
  };
  if (!/^[A-Z]+$/.test(command)) throw new StompError('invalid', `the command ${JSON.stringify(command)}`);
  let head = `${command}\n`;
  for (const [name, value] of Object.entries(headers)) {
    // How long the body is, is not to be said otherwise.
    if (name === 'content-length') continue;
    if (name === '' || (plain && name.includes(':'))) throw new StompError('invalid', `the header ${JSON.stringify(name)}`);
    head += `${escape(name)}:${escape(String(value))}\n`;
  }
  if (body.length > 0) head += `content-length:${body.length}\n`;
  const start = utf8(`${head}\n`);
  const bytes = new Uint8Array(start.length + body.length + 1);
  bytes.set(start);
  bytes.set(body, start.length);
  return bytes;
}

/** Bytes in, frames out. */
export class FrameDecoder {
  /** @type {Version} what the headers are escaped as */
  version = '1.2';

  #maxBody;
  /** @type {Uint8Array[]} of the part that is not whole yet */
  #pieces = [];
  #length = 0;
  /** The last bytes of a head, to see its empty line in. */
  #tail = '';
  /** @type {{ command: string, headers: Record<string, string>, length: number | null } | null} */
  #head = null;

  /** @param {number} maxBody bytes of a body */
  constructor(maxBody) {
    this.#maxBody = maxBody;
  }

  /** Part of a frame has come. */
  get isInside() {
    return this.#head !== null || this.#length > 0;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {Frame[]} throws a StompError for what is none
   */
  push(bytes) {
    const frames = [];
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#head === null) {
        rest = this.#readHead(rest);
        continue;
      }
      const { command, headers, length } = this.#head;
      // A body without a length ends with a NUL; one with it is followed by it.
      const end = length === null ? rest.indexOf(0) : length - this.#length;
      const has = end >= 0 && end < rest.length;
      this.#add(has ? rest.subarray(0, end) : rest, this.#maxBody);
      if (!has) return frames;
      if (rest[end] !== 0) throw new StompError('protocol', `the body of ${command} is longer than it says`);
      rest = rest.subarray(end + 1);
      frames.push({ command, headers, body: this.#take() });
      this.#head = null;
    }
    return frames;
  }

  /** @param {Uint8Array} bytes @returns {Uint8Array} what is behind it */
  #readHead(bytes) {
    let at = 0;
    // Line ends between frames are heart-beats.
    if (this.#length === 0) while (bytes[at] === LF || bytes[at] === 13) at += 1;
    const from = at;
    for (; at < bytes.length; at += 1) {
      const byte = bytes[at] ?? 0;
      if (byte === 13) continue;
      this.#tail = byte === LF ? `${this.#tail}n` : '';
      if (this.#tail !== 'nn') continue;
      this.#add(bytes.subarray(from, at), MAX_HEAD);
      this.#tail = '';
      this.#head = this.#parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.#take()));
      return bytes.subarray(at + 1);
    }
    this.#add(bytes.subarray(from), MAX_HEAD);
    return EMPTY;
  }

  /** @param {string} text */
  #parse(text) {
    const [command = '', ...lines] = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
    if (!/^[A-Z]+$/.test(command)) throw new StompError('protocol', 'a frame without a command');
    /** @type {Record<string, string>} */
    const headers = Object.create(null);
    for (const line of lines) {
      if (line === '') continue;
      const at = line.indexOf(':');
      if (at < 0) throw new StompError('protocol', `a header of ${command} has no colon`);
      const plain = command === 'CONNECTED' || this.version === '1.0';
      const name = plain ? line.slice(0, at) : this.#unescape(line.slice(0, at));
      headers[name] ??= plain ? line.slice(at + 1) : this.#unescape(line.slice(at + 1));
    }
    const said = headers['content-length'];
    if (said === undefined) return { command, headers, length: null };
    const length = /^ *\d{1,15} *$/.test(said) ? Number(said) : NaN;
    if (Number.isNaN(length)) throw new StompError('protocol', `content-length is ${JSON.stringify(said)}`);
    if (length > this.#maxBody) throw new StompError('too_long', `a body of ${length} bytes`);
    return { command, headers, length };
  }

  /** @param {string} text */
  #unescape(text) {
    return text.replace(/\\(.?)/gs, (_, char) => {
      const meant = UNESCAPES[char];
      if (meant === undefined || (char === 'r' && this.version === '1.1')) throw new StompError('protocol', 'a header with an escape that is none');
      return meant;
    });
  }

  /** @param {Uint8Array} bytes @param {number} limit */
  #add(bytes, limit) {
    this.#length += bytes.length;
    if (this.#length > limit) throw new StompError('too_long', `more than ${limit} bytes`);
    // What comes next in the caller's buffer is the caller's.
    if (bytes.length > 0) this.#pieces.push(bytes.slice());
  }

  #take() {
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [];
    this.#length = 0;
    return whole;
  }
}
