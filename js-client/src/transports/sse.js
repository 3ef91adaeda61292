/** Server-sent events: the browser reads them and, after a cut, asks again by itself for what comes next. Brings frames down only. */

import { endpoint } from './endpoint.js';
import { refusal } from './http.js';
import { openWithTicket } from './ticket.js';

/** @type {import('./transport.js').Open} */
export const open = (config, sid, handlers) => openWithTicket(config, `${sid}/sse`, handlers, async (path, hello, signal) => {
  /** @type {Record<string, string>} */
  const headers = config.origin === undefined ? {} : { origin: config.origin };
  const response = await config.fetch(endpoint(config, path), {
    method: 'POST', body: /** @type {Uint8Array<ArrayBuffer>} */ (hello), headers, signal, redirect: 'error', cache: 'no-store',
  });
  if (!response.ok) throw await refusal(response);
  return response.json();
}, ({ path, frames, end }) => {
  const source = new EventSource(path(''));
  let cuts = 0;
  source.onmessage = ({ data }) => {
    cuts = 0;
    frames(data);
  };
  source.onerror = () => {
    cuts += 1;
    // It is left to ask again once; what fails after that is a matter of backing off, and of other transports.
    if (source.readyState === source.CLOSED || cuts > 1) end('the events ended');
  };
  return () => source.close();
});
