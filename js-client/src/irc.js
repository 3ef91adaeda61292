/**
 * IRC in a page: `perigee/irc`, or `/perigee/irc.js` of a gateway.
 */

export { IRCClient } from './irc/client.js';
export { IRCError } from './irc/errors.js';
export { composeMessage, parseMessage } from './irc/message.js';
