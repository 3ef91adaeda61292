/**
 * A stream of XML as over TCP, and the messages that RFC 7395 makes of it: its header is an `<open/>`, its end a
 * `<close/>`, and what is between are elements that stand for themselves.
 */

import { utf8 } from '../frame.js';

/** An element of the server may be as long as this: more than the gateway lets pass. */
const MAX_LENGTH = 4 * 1024 * 1024;
const FRAMING = 'urn:ietf:params:xml:ns:xmpp-framing';
const CLIENT = 'jabber:client';
const STREAM = 'http://etherx.jabber.org/streams';
const CDATA = '<![CDATA[';
/** What a header and an `<open/>` have in common. */
const SHARED = ['from', 'to', 'id', 'version', 'xml:lang'];
/** To the letter as strophe.js knows it. */
const CLOSE = `<close xmlns="${FRAMING}" />`;

/** Cuts what the server sends. Throws for what cannot be a stream of XMPP. */
export class Stanzas {
  #decoder = new TextDecoder('utf-8', { fatal: true });
  /** What belongs to no message yet. */
  #text = '';
  /** So far it was looked at. */
  #at = 0;
  /** Elements that are open, the stream's own among them. */
  #depth = 0;
  /** The namespaces of the stream's header. @type {Map<string, string>} */
  #namespaces = new Map();

  /** @param {Uint8Array} bytes @returns {string[]} */
  push(bytes) {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    /** @type {string[]} */
    const messages = [];
    for (;;) {
      const message = this.#next();
      if (message === null) break;
      if (message !== '') messages.push(message);
    }
    if (this.#text.length > MAX_LENGTH) throw new Error('a stanza is too long');
    return messages;
  }

  /** The next message; nothing when there was something else, and null when more is needed. @returns {string | null} */
  #next() {
    if (this.#depth <= 1) {
      // Spaces between stanzas say nothing.
      this.#text = this.#text.slice(this.#at).trimStart();
      this.#at = 0;
    }
    const from = this.#text.indexOf('<', this.#at);
    if (this.#depth <= 1 && this.#text !== '' && from !== 0) throw new Error('text outside of stanzas');
    if (from < 0) {
      this.#at = this.#text.length;
      return null;
    }
    this.#at = from;
    if (this.#text[from + 1] === '!') return this.#skip(CDATA, ']]>', from);
    if (this.#text[from + 1] === '?') return this.#skip('<?xml', '?>', from);
    const end = tagEnd(this.#text, from);
    if (end < 0) return null;
    this.#at = end + 1;
    return this.#tag(this.#text.slice(from, end + 1));
  }

  /** Passes what is no tag. @param {string} begin @param {string} end @param {number} from */
  #skip(begin, end, from) {
    const here = this.#text.slice(from, from + begin.length);
    if (!begin.startsWith(here)) throw new Error('XML that XMPP does not have');
    const found = this.#text.indexOf(end, from);
    if (here !== begin || found < 0) return null;
    // Characters are inside of a stanza, and a declaration is outside.
    if ((begin === CDATA) !== this.#depth > 1) throw new Error('XML that XMPP does not have');
    this.#at = found + end.length;
    return '';
  }

  /** @param {string} tag with its brackets */
  #tag(tag) {
    const isEnd = tag.startsWith('</');
    const isEmpty = tag.endsWith('/>');
    if (isEnd) {
      if (this.#depth === 0) throw new Error('an end of nothing');
      this.#depth -= 1;
      if (this.#depth === 0) return CLOSE;
    } else if (this.#depth === 0 || (this.#depth === 1 && tag.startsWith('<stream:stream'))) {
      // Another one comes after a login.
      this.#depth = 1;
      return this.#header(tag);
    } else if (!isEmpty) {
      this.#depth += 1;
    }
    return this.#depth === 1 ? this.#standalone(this.#text.slice(0, this.#at)) : '';
  }

  /** @param {string} tag */
  #header(tag) {
    const all = attributes(tag);
    this.#namespaces = new Map([...all].filter(([name]) => /^xmlns(:|$)/.test(name)));
    return `<open xmlns='${FRAMING}'${written(all, SHARED)}/>`;
  }

  /** An element with what it needs of the header. @param {string} element */
  #standalone(element) {
    const begin = element.slice(0, tagEnd(element, 0));
    const own = attributes(begin);
    const missing = [...this.#namespaces.keys()].filter((name) => !own.has(name) && (name === 'xmlns' || element.includes(`${name.slice(6)}:`)));
    const name = /^<[^\s/>]+/.exec(begin)?.[0].length ?? 1;
    return element.slice(0, name) + written(this.#namespaces, missing) + element.slice(name);
  }
}

/** What a message of a page is on the stream. @param {Uint8Array} message @returns {Uint8Array} */
export function streamed(message) {
  // Long ones are stanzas, and need not be looked at.
  const begin = message.length < 4096 ? new TextDecoder().decode(message).trim() : '';
  if (!begin.includes(FRAMING)) return message;
  if (/^<close[\s/>]/.test(begin)) return utf8('</stream:stream>');
  if (!/^<open[\s/>]/.test(begin)) return message;
  return utf8(`<?xml version='1.0'?><stream:stream xmlns='${CLIENT}' xmlns:stream='${STREAM}'${written(attributes(begin), SHARED)}>`);
}

/** Where the tag that begins here ends, or -1. @param {string} text @param {number} from */
function tagEnd(text, from) {
  let quote = '';
  for (let at = from + 1; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === '>') return at;
  }
  return -1;
}

/** Those of a start tag, with their quotes. @param {string} tag @returns {Map<string, string>} */
function attributes(tag) {
  return new Map([...tag.matchAll(/\s([\w:.-]+)\s*=\s*("[^"]*"|'[^']*')/g)].map(([, name = '', value = '']) => [name, value]));
}

/** @param {ReadonlyMap<string, string>} all @param {readonly string[]} names */
const written = (all, names) => names.filter((name) => all.has(name)).map((name) => ` ${name}=${all.get(name)}`).join('');
