/**
 * STOMP in a page: `perigee/stomp`, or `/perigee/stomp.js` of a gateway.
 */

export { StompClient, Subscription } from './stomp/client.js';
export { StompError } from './stomp/errors.js';
export { StompMessage, Transaction } from './stomp/message.js';
