/**
 * What an application is told when a connection ends badly.
 *
 * @typedef {Exclude<import('./codes.js').Code, 'closed' | 'rotate'> | 'offline'} ErrorCode
 */

/** @type {Readonly<Record<ErrorCode, string>>} */
const MEANING = {
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
  idle: 'a deadline passed',
  internal: 'the gateway has a fault',
  offline: 'no way to the gateway',
};

/** Why a connection ended. */
export class PerigeeError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} [text] what the gateway said about it
   * @param {number} [acked]
   */
  constructor(code, text = '', acked = 0) {
    super(text === '' ? MEANING[code] : `${MEANING[code]}: ${text}`);
    this.name = 'PerigeeError';
    /** @type {ErrorCode} What happened, from a fixed list (docs/protocol.md section 6) */
    this.code = code;
    /** How many bytes of ours the other side delivered for certain. */
    this.acked = acked;
  }
}

/**
 * @param {import('./codes.js').EndCode} code
 * @returns {ErrorCode}
 */
export function errorCode(code) {
  if (code === 'closed') return 'reset';
  return code === 'rotate' ? 'going_away' : code;
}
