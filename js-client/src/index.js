/**
 * TCP sockets for web pages: the public names of the client.
 */

export { PerigeeError } from './errors.js';
export { Gateway } from './gateway.js';
export { TCPSocket } from './socket.js';
