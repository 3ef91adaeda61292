/**
 * SASL without IO: the server's challenges in, our responses out, as AUTHENTICATE carries them.
 *
 * @typedef {'SCRAM-SHA-256' | 'PLAIN' | 'EXTERNAL'} Mechanism
 *
 * @typedef {object} Login
 * @property {Mechanism} [mechanism] by default the best that the server offers: SCRAM-SHA-256, then PLAIN
 * @property {string} [account]
 * @property {string} [password]
 *
 * @typedef {(challenge: Uint8Array) => Promise<Uint8Array>} Responder throws when the server is not who it should be
 */

import { utf8 } from '../frame.js';
import { IRCError } from './errors.js';

/** One AUTHENTICATE carries so many characters; one that is full is not the last. */
const PIECE = 400;
/** No challenge of a mechanism of ours is anywhere near it. */
const MAX_CHALLENGE = 16_384;
/** More rounds than this are an attack on the page's processor. */
const MAX_ROUNDS = 1_000_000;

/**
 * The mechanisms to try, in this order.
 * @param {Login} login
 * @param {string} offered the capability's value, '' where the server does not say
 * @returns {Mechanism[]}
 */
export function mechanisms({ mechanism }, offered) {
  const known = offered === '' ? null : offered.toUpperCase().split(',');
  /** @type {Mechanism[]} */
  const choice = mechanism === undefined ? ['SCRAM-SHA-256', 'PLAIN'] : [mechanism];
  return choice.filter((name) => {
    // A page that is not secure has no WebCrypto, and nothing to lose by PLAIN that it has not lost.
    if (name === 'SCRAM-SHA-256' && mechanism === undefined && !globalThis.crypto?.subtle) return false;
    return known === null || known.includes(name);
  });
}

/** @param {Mechanism} mechanism @param {Login} login @returns {Responder} */
export function responder(mechanism, { account = '', password = '' }) {
  switch (mechanism) {
    case 'EXTERNAL':
      return async () => utf8(account);
    case 'PLAIN':
      if (`${account}${password}`.includes('\0')) throw new IRCError('invalid', 'the account or its password holds a NUL');
      return async () => utf8(`\0${account}\0${password}`);
    case 'SCRAM-SHA-256':
      return scram(account, password);
    default:
      throw new IRCError('invalid', `there is no mechanism ${String(mechanism)}`);
  }
}

/** What a response is in parameters of AUTHENTICATE. @param {Uint8Array} response */
export function pieces(response) {
  const text = toBase64(response);
  const found = [];
  for (let at = 0; at < text.length; at += PIECE) found.push(text.slice(at, at + PIECE));
  if (text.length % PIECE === 0) found.push('+');
  return found;
}

/** Puts a challenge together. */
export class Challenge {
  #text = '';

  /** @param {string} piece @returns {Uint8Array | null} null while more is to come */
  push(piece) {
    if (piece !== '+') this.#text += piece;
    if (this.#text.length > MAX_CHALLENGE) throw new IRCError('sasl', 'the challenge is too long');
    if (piece.length === PIECE) return null;
    const text = this.#text;
    this.#text = '';
    return fromBase64(text);
  }
}

/**
 * RFC 5802 and 7677, without channel binding: TLS, if there is any, is the gateway's.
 * @param {string} account
 * @param {string} password
 * @param {string} [nonce]
 * @returns {Responder}
 */
export function scram(account, password, nonce = toBase64(crypto.getRandomValues(new Uint8Array(18)))) {
  const { subtle } = crypto;
  if (!subtle) throw new IRCError('sasl', 'SCRAM needs a page from https or localhost');
  const bare = `n=${prepare(account).replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`;
  let step = 0;
  /** @type {Uint8Array} */
  let proof;

  /** @param {Uint8Array} key @param {Uint8Array} data */
  const hmac = async (key, data) => {
    const made = await subtle.importKey('raw', /** @type {BufferSource} */ (key), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
    return new Uint8Array(await subtle.sign('HMAC', made, /** @type {BufferSource} */ (data)));
  };

  /** @param {string} text */
  const first = async (text) => {
    const [, server = '', salt = '', count = ''] = /^r=([^,]*),s=([A-Za-z\d+/=]+),i=(\d{1,9})(?:,.*)?$/s.exec(text) ?? [];
    const rounds = Number(count);
    if (!server.startsWith(nonce) || server.length === nonce.length) throw new IRCError('sasl', 'the server answered another client');
    if (rounds < 4096 || rounds > MAX_ROUNDS) throw new IRCError('sasl', `the server asks for ${rounds} rounds`);
    const key = await subtle.importKey('raw', /** @type {BufferSource} */ (utf8(prepare(password))), 'PBKDF2', false, ['deriveBits']);
    const derivation = { name: 'PBKDF2', hash: 'SHA-256', salt: /** @type {BufferSource} */ (fromBase64(salt)), iterations: rounds };
    const salted = new Uint8Array(await subtle.deriveBits(derivation, key, 256));
    const last = `c=biws,r=${server}`;
    const signed = utf8(`${bare},${text},${last}`);
    const client = await hmac(salted, utf8('Client Key'));
    const stored = new Uint8Array(await subtle.digest('SHA-256', /** @type {BufferSource} */ (client)));
    const signature = await hmac(stored, signed);
    proof = await hmac(await hmac(salted, utf8('Server Key')), signed);
    return utf8(`${last},p=${toBase64(client.map((byte, i) => byte ^ (signature[i] ?? 0)))}`);
  };

  return async (challenge) => {
    step += 1;
    if (step === 1) return utf8(`n,,${bare}`);
    const text = new TextDecoder().decode(challenge);
    if (step === 2) return first(text);
    // Only who knows the password, or what is stored of it, can say this.
    if (step !== 3 || text.split(',')[0] !== `v=${toBase64(proof)}`) throw new IRCError('sasl', 'the server did not prove that it knows the password');
    return new Uint8Array(0);
  };
}

/** What of SASLprep (RFC 4013) a platform can do; servers that keep what they were given agree on ASCII in any case. @param {string} text */
function prepare(text) {
  return text.replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g, ' ').replace(/[\u00ad\u034f\u1806\u180b-\u180d\u200c\u200d\u2060\ufe00-\ufe0f\ufeff]/g, '').normalize('NFKC');
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

/** @param {string} text */
function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    throw new IRCError('sasl', 'the challenge is not base64');
  }
}
