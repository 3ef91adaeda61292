/** One POST whose reply never ends by itself. Brings frames down only. */

import { openHttp } from './http.js';

/** @type {import('./transport.js').Open} */
export const openStream = (config, sid, handlers) => openHttp(config, `${sid}/stream`, handlers, () => ({
  code: null, text: 'the stream ended',
}));
