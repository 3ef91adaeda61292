/**
 * What goes wrong on IRC. A connection that cannot be made or breaks is a PerigeeError.
 *
 * @typedef {'invalid' | 'too_long' | 'closed' | 'ended' | 'timeout' | 'nick' | 'password' | 'banned' | 'sasl' | 'refused'} IRCErrorCode
 */

/** @type {Readonly<Record<IRCErrorCode, string>>} */
const MEANING = {
  invalid: 'this cannot be a line of IRC',
  too_long: 'this does not fit into a line of IRC',
  closed: 'there is no connection to a server',
  ended: 'the server ended the connection',
  timeout: 'the server did not answer in time',
  nick: 'no nick was free',
  password: 'the server wants another password',
  banned: 'the server does not want this client',
  sasl: 'the login failed',
  refused: 'the server refused',
};

export class IRCError extends Error {
  /**
   * @param {IRCErrorCode} code
   * @param {string} [text] what is to be said besides, such as the server's own words
   * @param {import('./message.js').Message | null} [reply]
   */
  constructor(code, text = '', reply = null) {
    super(text === '' ? MEANING[code] : `${MEANING[code]}: ${text}`);
    this.name = 'IRCError';
    /** @type {IRCErrorCode} */
    this.code = code;
    /** The server's reply that says so: its `command` is the numeric, or `FAIL`. */
    this.reply = reply;
  }
}

/** @param {IRCErrorCode} code @param {import('./message.js').Message} reply */
export const refusal = (code, reply) => new IRCError(code, reply.params.at(-1), reply);
