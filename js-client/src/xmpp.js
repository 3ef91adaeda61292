/**
 * XMPP in a page, with strophe.js: `perigee/xmpp`, or `/perigee/xmpp.js` of a gateway.
 */

export { XMPPClient } from './xmpp/client.js';
export { XMPPError } from './xmpp/errors.js';
export { Room } from './xmpp/room.js';
export { stropheConnection } from './xmpp/strophe.js';
