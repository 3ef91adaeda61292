/**
 * One IRC message: a line read as one, and a message written as one line. Nothing that is composed can be more than the
 * line it is meant to be, whatever its parts hold.
 *
 * @typedef {object} Source
 * @property {string} nick or the name of a server
 * @property {string} user
 * @property {string} host
 *
 * @typedef {Readonly<Record<string, string>>} Tags without a prototype, so any key is a tag or undefined
 *
 * @typedef {object} Message
 * @property {Tags} tags
 * @property {Source | null} source
 * @property {string} command in upper case, or three digits
 * @property {readonly string[]} params
 */

import { utf8 } from '../frame.js';
import { IRCError } from './errors.js';

/** What a line may be long without its tags, CR LF included, unless the server says otherwise. */
export const LINE_BYTES = 512;
/** What the tags of a client may be, with the `@` and the space. */
const TAG_BYTES = 4096;
/** What a server's line may be: its tags, and more than any sends behind them. */
const SERVER_LINE_BYTES = 8191 + 16 * 1024;

/** @type {Record<string, string>} */
const ESCAPES = { ';': '\\:', ' ': '\\s', '\\': '\\\\', '\r': '\\r', '\n': '\\n' };
/** @type {Record<string, string>} */
const UNESCAPES = { ':': ';', s: ' ', r: '\r', n: '\n' };

/**
 * Reads a line without its end; null if it is none.
 * @param {string} line
 * @returns {Message | null}
 */
export function parseMessage(line) {
  if (/[\0\r\n]/.test(line)) return null;
  const match = /^(?:@([^ ]+) +)?(?::([^ ]+) +)?([A-Za-z]+|\d{3})(?: +(.*))?$/s.exec(line);
  if (match === null) return null;
  const [, tags = '', source, command = '', rest = ''] = match;
  return { tags: parseTags(tags), source: source === undefined ? null : parseSource(source), command: command.toUpperCase(), params: parseParams(rest) };
}

/** @param {string} text */
function parseTags(text) {
  /** @type {Record<string, string>} */
  const tags = Object.create(null);
  for (const tag of text.split(';')) {
    const at = tag.indexOf('=');
    const key = at < 0 ? tag : tag.slice(0, at);
    // Of a key that is there twice the last one counts.
    if (key !== '') tags[key] = at < 0 ? '' : tag.slice(at + 1).replace(/\\(.?)/gs, (_, char) => UNESCAPES[char] ?? char);
  }
  return tags;
}

/** @param {string} text @returns {Source} */
function parseSource(text) {
  const [, nick = '', user = '', host = ''] = /^([^!@]*)(?:!([^@]*))?(?:@(.*))?$/s.exec(text) ?? [];
  return { nick, user, host };
}

/** @param {string} rest */
function parseParams(rest) {
  const at = rest.startsWith(':') ? 0 : rest.indexOf(' :') + 1;
  const hasLast = at > 0 || rest.startsWith(':');
  const params = (hasLast ? rest.slice(0, at) : rest).split(' ').filter((param) => param !== '');
  return hasLast ? [...params, rest.slice(at + 1)] : params;
}

/**
 * Writes a line, without its end.
 * @param {string} command
 * @param {readonly string[]} [params] only the last may be empty, hold spaces or start with a colon
 * @param {Readonly<Record<string, string>>} [tags]
 * @param {number} [lineBytes] what the server takes, without tags and with CR LF
 */
export function composeMessage(command, params = [], tags = {}, lineBytes = LINE_BYTES) {
  if (!/^(?:[A-Za-z]+|\d{3})$/.test(command)) throw new IRCError('invalid', `the command ${JSON.stringify(command)}`);
  let line = command.toUpperCase();
  for (const [i, param] of params.entries()) {
    const last = i === params.length - 1;
    if (typeof param !== 'string' || /[\0\r\n]/.test(param)) throw new IRCError('invalid', `parameter ${i + 1} of ${line} holds a line end or a NUL`);
    const middle = param !== '' && !param.startsWith(':') && !param.includes(' ');
    if (!middle && !last) throw new IRCError('invalid', `parameter ${i + 1} of ${command.toUpperCase()} is empty, holds a space or starts with a colon`);
    line += middle ? ` ${param}` : ` :${param}`;
  }
  if (byteLength(line) + 2 > lineBytes) throw new IRCError('too_long', `more than ${lineBytes} bytes`);
  const words = Object.entries(tags).map(([key, value]) => {
    if (!/^\+?(?:[\w.-]+\/)?[A-Za-z\d-]+$/.test(key)) throw new IRCError('invalid', `the tag ${JSON.stringify(key)}`);
    if (value.includes('\0')) throw new IRCError('invalid', `the tag ${key} holds a NUL`);
    return value === '' ? key : `${key}=${value.replace(/[; \\\r\n]/g, (char) => ESCAPES[char] ?? char)}`;
  });
  if (words.length === 0) return line;
  const tagged = `@${words.join(';')} `;
  if (byteLength(tagged) > TAG_BYTES) throw new IRCError('too_long', `more than ${TAG_BYTES} bytes of tags`);
  return tagged + line;
}

/** @param {string} text */
export const byteLength = (text) => utf8(text).length;

/**
 * Text as lines of at most so many bytes, broken at its own line ends, at spaces where there are some, and within no
 * character.
 * @param {string} text
 * @param {number} bytes at least 4
 */
export function splitText(text, bytes) {
  return text.split(/\r\n|\r|\n/).filter((line) => line !== '').flatMap((line) => {
    const pieces = [];
    let piece = '';
    let length = 0;
    for (const char of line) {
      const size = byteLength(char);
      if (length + size > bytes) {
        const space = piece.lastIndexOf(' ');
        // A word that is long in itself is broken; so is a line whose only space is far back.
        const keep = space > piece.length / 2 ? space + 1 : piece.length;
        pieces.push(piece.slice(0, keep));
        piece = piece.slice(keep);
        length = byteLength(piece);
      }
      piece += char;
      length += size;
    }
    return [...pieces, piece];
  });
}

/** Bytes in, lines out. A line that is too long is left out, so that a server without line ends fills no memory. */
export class Lines {
  #held = new Uint8Array(0);
  #skipping = false;
  #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  // What servers without UTF-8 mostly mean.
  #older = new TextDecoder('windows-1252');

  /** @param {Uint8Array} bytes @returns {string[]} */
  push(bytes) {
    const lines = [];
    let from = 0;
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
      const line = this.#text(this.#take(bytes.subarray(from, at)));
      if (line !== '') lines.push(line);
      this.#skipping = false;
      from = at + 1;
    }
    this.#held = this.#take(bytes.subarray(from));
    return lines;
  }

  /** What is held, and this. @param {Uint8Array} bytes */
  #take(bytes) {
    const held = this.#held;
    this.#held = new Uint8Array(0);
    if (this.#skipping || held.length + bytes.length > SERVER_LINE_BYTES) {
      this.#skipping = true;
      return new Uint8Array(0);
    }
    const both = new Uint8Array(held.length + bytes.length);
    both.set(held);
    both.set(bytes, held.length);
    return both;
  }

  /** @param {Uint8Array} bytes */
  #text(bytes) {
    const line = bytes.at(-1) === 13 ? bytes.subarray(0, -1) : bytes;
    try {
      return this.#utf8.decode(line);
    } catch {
      return this.#older.decode(line);
    }
  }
}
