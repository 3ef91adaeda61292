/**
 * TCP sockets for web pages: the public names of the client.
 */

export { Gateway } from './gateway.js';
export { PerigeeError } from './errors.js';
export { TCPSocket } from './socket.js';
