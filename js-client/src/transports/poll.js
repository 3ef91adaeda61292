/** One POST and its reply, which the gateway holds until it has something to say. Brings frames down only. */

import { openHttp } from './http.js';

/** @type {import('./transport.js').Open} */
export const openPoll = (config, sid, handlers) => openHttp(config, `${sid}/poll`, handlers, (whole) => ({
  code: null, text: 'the reply was cut', clean: whole,
}));
