/**
 * How each transport is opened. What every page uses is there from the start; what others need is fetched when its turn
 * comes, and until then looks like a transport that has not answered yet.
 *
 * @typedef {import('../session.js').Kind} Kind
 * @typedef {import('./transport.js').Open} Open
 */

import { openWebSocket } from './websocket.js';

export const loadHttp = persistently('http', () => import('./http.js'));

/** @type {Readonly<Record<Kind, Open>>} */
export const OPEN = {
  websocket: openWebSocket,
  webtransport: lazily(persistently('webtransport', () => import('./webtransport.js'))),
  port: lazily(persistently('port', () => import('./port.js'))),
  stream: lazily(async () => ({ open: (await loadHttp()).openStream })),
  sse: lazily(persistently('sse', () => import('./sse.js'))),
  poll: lazily(async () => ({ open: (await loadHttp()).openPoll })),
  htmlfile: lazily(persistently('htmlfile', () => import('./htmlfile.js'))),
  jsonp: lazily(persistently('jsonp', () => import('./jsonp.js'))),
};

/**
 * Loads a module, if need be by another name: what did not come once under a name never comes under it in some browsers.
 * Bundlers give modules names of their own, and see to that themselves.
 * @template Module
 * @param {string} name of a file beside this one
 * @param {() => Promise<Module>} load
 * @returns {() => Promise<Module>}
 */
function persistently(name, load) {
  let failures = 0;
  return () => load().catch((error) => {
    const other = import.meta.url.replace(/\/open\.js$/, `/${name}.js?${failures}`);
    if (other === import.meta.url) throw error;
    return import(/* @vite-ignore */ other).catch(() => {
      failures += 1;
      throw error;
    });
  });
}

/**
 * @param {() => Promise<{ open: Open }>} load
 * @returns {Open}
 */
function lazily(load) {
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
