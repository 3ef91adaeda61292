/** One POST whose reply never ends by itself. Brings frames down only. */

import { endOf, exchange } from './http.js';

/** @type {import('./transport.js').Open} */
export function openStream(config, sid, handlers) {
  const controller = new AbortController();
  const { signal } = controller;
  /** @param {import('./transport.js').End} end */
  const end = (end) => signal.aborted || handlers.end(end);
  exchange(config, `${sid}/stream`, handlers.hello(), { signal }, (frames) => signal.aborted || handlers.frames(frames))
    .then(() => end({ code: null, text: 'the stream ended' }), (error) => end(endOf(error)));
  return { room: () => 0, send: () => {}, close: () => controller.abort() };
}
