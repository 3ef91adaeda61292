/**
 * What an application is told when a connection ends badly.
 *
 * @typedef {Exclude<import('./codes.js').Code, 'closed' | 'rotate'> | 'offline'} ErrorCode
 */

import { MEANING } from './codes.js';

/** Why a connection ended. */
export class PerigeeError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} [text] what the gateway said about it
   * @param {number} [acked]
   */
  constructor(code, text = '', acked = 0) {
    const meaning = code === 'offline' ? 'no way to the gateway' : MEANING[code];
    super(text === '' ? meaning : `${meaning}: ${text}`);
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
