/**
 * What goes wrong on XMPP. A connection that cannot be made or breaks is a PerigeeError.
 *
 * @typedef {'invalid' | 'closed' | 'ended' | 'timeout' | 'login' | 'stream' | 'refused'} XMPPErrorCode
 */

/** @type {Readonly<Record<XMPPErrorCode, string>>} */
const MEANING = {
  invalid: 'this cannot be said in XMPP',
  closed: 'there is no connection to a server',
  ended: 'the connection ended',
  timeout: 'the server did not answer in time',
  login: 'the login failed',
  stream: 'the server ended the stream',
  refused: 'it was refused',
};

export class XMPPError extends Error {
  /**
   * @param {XMPPErrorCode} code
   * @param {string} [condition] the name of it in XMPP, such as `not-authorized`
   * @param {string} [text] what the server said besides
   */
  constructor(code, condition = '', text = '') {
    super([MEANING[code], condition, text].filter((part) => part !== '').join(': '));
    this.name = 'XMPPError';
    /** @type {XMPPErrorCode} */
    this.code = code;
    /** Its name in XMPP, or nothing. */
    this.condition = condition;
  }
}
