/**
 * How each transport is opened. What every page uses is there from the start; what others need is fetched when its turn
 * comes, and until then looks like a transport that has not answered yet.
 *
 * @typedef {import('../session.js').Kind} Kind
 * @typedef {import('./transport.js').Open} Open
 */

import { openWebSocket } from './websocket.js';

export const loadHttp = persistently('http.js', () => import('./http.js'));

/** @type {Readonly<Record<Kind, Open>>} */
export const OPEN = {
  websocket: openWebSocket,
  webtransport: lazily(persistently('webtransport.js', () => import('./webtransport.js')), (module) => module.openWebTransport),
  port: lazily(persistently('port.js', () => import('./port.js')), (module) => module.openPort),
  stream: lazily(loadHttp, (module) => module.openStream),
  sse: lazily(persistently('sse.js', () => import('./sse.js')), (module) => module.openSse),
  poll: lazily(loadHttp, (module) => module.openPoll),
  htmlfile: lazily(persistently('htmlfile.js', () => import('./htmlfile.js')), (module) => module.openHtmlfile),
  jsonp: lazily(persistently('jsonp.js', () => import('./jsonp.js')), (module) => module.openJsonp),
};

/**
 * Loads a module, and once it failed, the next time that it is asked for, loads it by another name: what did not come once
 * under a name never comes under it in some browsers. Bundlers give modules names of their own and see to that themselves.
 * @template Module
 * @param {string} file beside this one
 * @param {() => Promise<Module>} load
 * @returns {() => Promise<Module>}
 */
function persistently(file, load) {
  let failures = 0;
  /** @type {Promise<Module> | null} */
  let loading = null;
  return () => (loading ??= (failures > 0 && import.meta.url.endsWith('/open.js') ? import(/* @vite-ignore */ new URL(`${file}?${failures}`, import.meta.url).href) : load()).catch((error) => {
    loading = null;
    failures += 1;
    throw error;
  }));
}

/**
 * @template Module
 * @param {() => Promise<Module>} load
 * @param {(module: Module) => Open} pick
 * @returns {Open}
 */
function lazily(load, pick) {
  return (config, sid, handlers) => {
    let over = false;
    /** @type {import('./transport.js').Transport | undefined} */
    let transport;
    load().then(
      (module) => over || (transport = pick(module)(config, sid, handlers)),
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
