// @ts-check
/**
 * IRC lines: bytes in, messages out, and back (RFC 1459 §2.3, message tags of IRCv3).
 *
 * Knows nothing of channels, sockets or the page; `irc-client.js` does.
 * Invariants: a line is never longer than `MAX_LINE_BYTES`, whatever arrives; `format` never lets a
 * CR, LF or NUL through, so one call is one line.
 */

/**
 * @typedef {object} Message
 * @property {Map<string, string>} tags
 * @property {string} source  whole prefix, `nick!user@host` or a server's name; '' if there was none
 * @property {string} nick    the part of `source` before `!` or `@`
 * @property {string} command upper case
 * @property {string[]} params
 */

/** Longest line that is kept: 8191 bytes of tags, 512 of message, and room for servers that raise the latter. */
export const MAX_LINE_BYTES = 16384;

/** What a client may send in one line, CR and LF included (RFC 1459 §2.3). */
export const SEND_LINE_BYTES = 512;

/** Cuts a stream of bytes into lines at LF, however the chunks fall. */
export class LineDecoder {
  #held = new Uint8Array(0);
  #skipping = false;

  /**
   * @param {Uint8Array} chunk
   * @returns {string[]} the lines completed by this chunk, without CR and LF; empty ones are left out
   */
  push(chunk) {
    const lines = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const line = this.#take(chunk.subarray(start, end));
      if (line) lines.push(line);
      start = end + 1;
    }
    this.#hold(chunk.subarray(start));
    return lines;
  }

  /** @param {Uint8Array} tail */
  #take(tail) {
    this.#hold(tail);
    const bytes = this.#held;
    const skipped = this.#skipping;
    this.#held = new Uint8Array(0);
    this.#skipping = false;
    if (skipped) return '';
    return decodeText(bytes.at(-1) === 13 ? bytes.subarray(0, -1) : bytes);
  }

  /** @param {Uint8Array} bytes */
  #hold(bytes) {
    if (this.#skipping || bytes.length === 0) return;
    if (this.#held.length + bytes.length > MAX_LINE_BYTES) {
      // A cut line could be read as another command, so an oversize one is dropped as a whole.
      this.#held = new Uint8Array(0);
      this.#skipping = true;
      return;
    }
    const joined = new Uint8Array(this.#held.length + bytes.length);
    joined.set(this.#held);
    joined.set(bytes, this.#held.length);
    this.#held = joined;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
const latin = new TextDecoder('windows-1252');

/**
 * UTF-8, or what old clients send when it is not.
 * @param {Uint8Array} bytes
 */
function decodeText(bytes) {
  try {
    return utf8.decode(bytes);
  } catch {
    return latin.decode(bytes);
  }
}

/** @type {Record<string, string>} */
const TAG_ESCAPES = { ':': ';', s: ' ', '\\': '\\', r: '\r', n: '\n' };

/**
 * @param {string} line
 * @returns {Message | null} null for a line without a command
 */
export function parse(line) {
  let rest = line;
  /** @type {Map<string, string>} */
  const tags = new Map();
  if (rest.startsWith('@')) {
    const [head, tail] = cutAtSpaces(rest.slice(1));
    for (const tag of head.split(';')) {
      const at = tag.indexOf('=');
      const value = at === -1 ? '' : tag.slice(at + 1).replace(/\\(.?)/g, (_, c) => TAG_ESCAPES[c] ?? c);
      tags.set(at === -1 ? tag : tag.slice(0, at), value);
    }
    rest = tail;
  }
  rest = rest.replace(/^ +/, '');
  let source = '';
  if (rest.startsWith(':')) {
    const [head, tail] = cutAtSpaces(rest.slice(1));
    source = head;
    rest = tail;
  }
  const params = [];
  while (rest !== '') {
    if (rest.startsWith(':') && params.length > 0) {
      params.push(rest.slice(1));
      break;
    }
    const [head, tail] = cutAtSpaces(rest);
    params.push(head);
    rest = tail;
  }
  const command = params.shift();
  if (!command) return null;
  return { tags, source, nick: source.split(/[!@]/, 1)[0] ?? '', command: command.toUpperCase(), params };
}

/**
 * @param {string} text
 * @returns {[string, string]}
 */
function cutAtSpaces(text) {
  const at = text.indexOf(' ');
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at).replace(/^ +/, '')];
}

/**
 * One line without its CR LF.
 * @param {string} command
 * @param {...string} params  only the last may be empty, contain a space or start with a colon
 * @throws {RangeError} if the parts do not make one line that means what was asked
 */
export function format(command, ...params) {
  const parts = params.map((param, i) => {
    const plain = param !== '' && !param.includes(' ') && !param.startsWith(':');
    if (plain) return param;
    if (i < params.length - 1) throw new RangeError(`"${param}" can only be the last part of an IRC line`);
    return `:${param}`;
  });
  const line = [command, ...parts].join(' ');
  if (/[\r\n\0]/.test(line)) throw new RangeError('an IRC line cannot contain a line break');
  return line;
}

/**
 * Cuts text into pieces of at most `maxBytes` bytes of UTF-8: at a space if there is one in the last
 * third, never inside a character.
 * @param {string} text
 * @param {number} maxBytes at least 4
 */
export function splitText(text, maxBytes) {
  const encoder = new TextEncoder();
  const room = new Uint8Array(maxBytes);
  const pieces = [];
  let rest = text;
  for (;;) {
    const { read } = encoder.encodeInto(rest, room);
    if (read === rest.length) break;
    const space = rest.lastIndexOf(' ', read);
    const at = space > (read * 2) / 3 ? space : read;
    pieces.push(rest.slice(0, at));
    rest = rest.slice(at === space ? at + 1 : at);
  }
  pieces.push(rest);
  return pieces;
}

/**
 * Text without mIRC colours, styles and other control characters.
 * @param {string} text
 */
export function stripFormatting(text) {
  return text
    .replace(/\x03(?:\d{1,2}(?:,\d{1,2})?)?|\x04(?:[\da-f]{6}(?:,[\da-f]{6})?)?/gi, '')
    .replace(/\t/g, ' ')
    .replace(/[\x00-\x1f\x7f-\x9f]/g, '');
}

/**
 * The form of a nick or channel name that equal names share.
 * @param {string} name
 * @param {string} [mapping] CASEMAPPING of the server
 */
export function fold(name, mapping = 'rfc1459') {
  const lower = name.replace(/[A-Z]+/g, (upper) => upper.toLowerCase());
  if (mapping === 'ascii') return lower;
  const folded = lower.replaceAll('[', '{').replaceAll(']', '}').replaceAll('\\', '|');
  return mapping === 'rfc1459-strict' ? folded : folded.replaceAll('~', '^');
}
