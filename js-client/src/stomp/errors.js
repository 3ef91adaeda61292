/**
 * What goes wrong with STOMP. A connection that cannot be made or breaks is a PerigeeError.
 *
 * @typedef {'invalid' | 'too_long' | 'protocol' | 'closed' | 'ended' | 'timeout' | 'silent' | 'stale' | 'refused'} StompErrorCode
 */

/** @type {Readonly<Record<StompErrorCode, string>>} */
const MEANING = {
  invalid: 'this cannot be a frame of STOMP',
  too_long: 'a frame is too long',
  protocol: 'the broker broke the protocol',
  closed: 'there is no connection to a broker',
  ended: 'the broker ended the connection',
  timeout: 'the broker did not answer in time',
  silent: 'the broker sent no heart-beat',
  stale: 'this belongs to a connection that is over',
  refused: 'the broker refused',
};

/** @type {Readonly<Record<string, string>>} */
const NONE = Object.freeze(Object.create(null));

export class StompError extends Error {
  /**
   * @param {StompErrorCode} code
   * @param {string} [text]
   * @param {import('./frame.js').Frame | null} [frame] the broker's ERROR
   */
  constructor(code, text = '', frame = null) {
    super(text === '' ? MEANING[code] : `${MEANING[code]}: ${text}`);
    this.name = 'StompError';
    /** @type {StompErrorCode} */
    this.code = code;
    /** Those of the broker's ERROR. */
    this.headers = frame?.headers ?? NONE;
    /** What it says besides. */
    this.body = frame === null ? '' : new TextDecoder().decode(frame.body);
  }
}
