/**
 * The one table of codes (docs/protocol.md section 6): RESET frames, WebSocket close codes (4000 + code) and the JSON of
 * HTTP errors all speak of these.
 *
 * @typedef {'closed' | 'protocol' | 'version' | 'denied' | 'refused' | 'timeout' | 'dns' | 'tls' | 'unreachable' | 'reset'
 *   | 'aborted' | 'lost' | 'flow' | 'limit' | 'overloaded' | 'going_away' | 'rotate' | 'idle' | 'internal'} Code
 * @typedef {Code | 'offline'} EndCode how a session can end here; nobody says `offline` over a wire
 */

/** @type {Readonly<Record<Code, string>>} What each means to people, in the order of their numbers. */
export const MEANING = {
  closed: '',
  protocol: 'the protocol was broken',
  version: 'the versions differ',
  denied: 'not allowed',
  refused: 'the server refused',
  timeout: 'the server did not answer',
  dns: 'the server has no address',
  tls: 'no TLS with the server',
  unreachable: 'the server cannot be reached',
  reset: 'the connection was reset',
  aborted: 'given up',
  lost: 'the gateway lost it',
  flow: 'more was sent than was granted',
  limit: 'a limit was reached',
  overloaded: 'no room for more',
  going_away: 'the gateway is stopping',
  rotate: '',
  idle: 'a deadline passed',
  internal: 'the gateway has a fault',
};
export const CODES = /** @type {Code[]} */ (Object.keys(MEANING));

/**
 * What went wrong, with a code.
 * @template {Code | null} [C=Code]
 */
export class Fault extends Error {
  /** @param {C} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** What a worker says to a tab when it found no gateway to say anything. */
export const OFFLINE = 0xffff;

/**
 * The name of a number; what a newer gateway says and this client does not know counts as a fault of the gateway.
 * @param {number} number
 * @returns {Code}
 */
export function codeName(number) {
  return CODES[number] ?? 'internal';
}

/** @param {Code} name */
export function codeNumber(name) {
  return CODES.indexOf(name);
}
