/**
 * How each transport is opened. What every page uses is there from the start; what others need is fetched when its turn
 * comes, and until then looks like a transport that has not answered yet.
 *
 * @typedef {import('../session.js').Kind} Kind
 * @typedef {import('./transport.js').Open} Open
 */

import { need } from '../need.js';
import { openWebSocket } from './websocket.js';

export const loadHttp = () => need('transports/http.js', () => import('./http.js'));

/** @type {Readonly<Record<Kind, Open>>} */
export const OPEN = {
  websocket: openWebSocket,
  webtransport: lazily(() => need('transports/webtransport.js', () => import('./webtransport.js'))),
  port: lazily(() => need('transports/port.js', () => import('./port.js'))),
  stream: byHttp('stream'),
  sse: byHttp('sse'),
  poll: byHttp('poll'),
  htmlfile: byHttp('htmlfile'),
  jsonp: byHttp('jsonp'),
};

/** @param {keyof typeof import('./http.js').BY_HTTP} kind */
function byHttp(kind) {
  return lazily(async () => (await loadHttp()).BY_HTTP[kind]());
}

/**
 * A transport that is opened when what opens it has come.
 * @param {() => Promise<{ open: Open }>} load
 * @returns {Open}
 */
export function lazily(load) {
  return (config, sid, handlers) => {
    let over = false;
    /** @type {import('./transport.js').Transport | undefined} */
    let transport;
    load().then(
      ({ open }) => over || (transport = open(config, sid, handlers)),
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
