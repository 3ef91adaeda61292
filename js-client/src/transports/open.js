/**
 * How each transport is opened. What most pages use is there from the start; what few need is fetched when its turn
 * comes, and until then looks like a transport that has not answered yet.
 *
 * @typedef {import('../session.js').Kind} Kind
 * @typedef {import('./transport.js').Open} Open
 */

import { openPoll } from './poll.js';
import { openStream } from './stream.js';
import { openWebSocket } from './websocket.js';

/** @type {Readonly<Record<Kind, Open>>} */
export const OPEN = {
  websocket: openWebSocket,
  webtransport: lazily(async () => (await import('./webtransport.js')).openWebTransport),
  port: lazily(async () => (await import('./port.js')).openPort),
  stream: openStream,
  sse: lazily(async () => (await import('./sse.js')).openSse),
  poll: openPoll,
  htmlfile: lazily(async () => (await import('./htmlfile.js')).openHtmlfile),
  jsonp: lazily(async () => (await import('./jsonp.js')).openJsonp),
};

/**
 * @param {() => Promise<Open>} load
 * @returns {Open}
 */
function lazily(load) {
  return (config, sid, handlers) => {
    let over = false;
    /** @type {import('./transport.js').Transport | undefined} */
    let transport;
    load().then(
      (open) => over || (transport = open(config, sid, handlers)),
      // A module that did not come is a transport that failed.
      (error) => over || handlers.end({ code: null, text: String(error) }),
    );
    return {
      room: () => transport?.room() ?? 0,
      send: (bytes) => transport?.send(bytes),
      close: () => {
        over = true;
        transport?.close();
      },
    };
  };
}
