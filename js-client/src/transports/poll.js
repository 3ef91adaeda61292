/** One POST and its reply, which the gateway holds until it has something to say. Brings frames down only. */

import { endOf, exchange } from './http.js';

/** @type {import('./transport.js').Open} */
export function openPoll(config, sid, handlers) {
  const controller = new AbortController();
  const { signal } = controller;
  /** @param {import('./transport.js').End} end */
  const end = (end) => signal.aborted || handlers.end(end);
  exchange(config, `${sid}/poll`, handlers.hello(), { signal }, (frames) => signal.aborted || handlers.frames(frames))
    .then((whole) => end({ code: null, text: whole ? '' : 'the reply was cut', clean: whole }), (error) => end(endOf(error)));
  return { room: () => 0, send: () => {}, close: () => controller.abort() };
}
