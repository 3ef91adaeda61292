/** Server-sent events: the browser reads them and, after a cut, asks again by itself for what comes next. Brings frames down only. */

import { endpoint } from './endpoint.js';
import { lazily, loadHttp } from './open.js';

/** @param {typeof import('./http.js')} http @returns {import('./ticket.js').Ask} */
const ask = ({ refusal }) => async (config, path, hello, signal) => {
  /** @type {Record<string, string>} */
  const headers = config.origin === undefined ? {} : { origin: config.origin };
  const response = await config.fetch(endpoint(config, path), {
    method: 'POST', body: /** @type {Uint8Array<ArrayBuffer>} */ (hello), headers, signal, redirect: 'error', cache: 'no-store',
  });
  if (!response.ok) throw await refusal(response);
  return response.json();
};

/** @type {import('./ticket.js').Read} */
const read = ({ path, frames, end }) => {
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
};

export const open = lazily(async () => {
  const http = await loadHttp();
  const { ticketed } = await http.loadTicket();
  return { open: ticketed(http, 'sse', ask(http), read) };
});
