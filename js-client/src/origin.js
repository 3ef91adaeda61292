/**
 * Why nothing works: a browser tells a page neither that its origin was denied nor that there is no network, so the page
 * asks the one resource that says so. By POST, because a GET of the page's own origin carries no Origin header.
 */

import { endpoint } from './transports/endpoint.js';
import { loadHttp } from './transports/open.js';

/**
 * @param {import('./options.js').Config} config
 * @param {AbortSignal} signal
 * @returns {Promise<{ code: import('./codes.js').Code, text: string } | null>} null when the gateway allows it or is out of reach
 */
export async function askOrigin(config, signal) {
  /** @param {RequestMode} mode */
  const ask = async (mode) => {
    try {
      /** @type {Record<string, string>} */
      const headers = config.origin === undefined ? {} : { origin: config.origin };
      return await config.fetch(endpoint(config, 'origin'), { method: 'POST', mode, headers, signal, cache: 'no-store' });
    } catch {
      return null;
    }
  };
  let response = await ask('cors');
  if (response === null) {
    // Without CORS anything that answers is enough: then the network works and CORS said no. Asked once more, because
    // the network may have come back in between.
    if ((await ask('no-cors')) === null) return null;
    response = await ask('cors');
    if (response === null) return { code: 'denied', text: 'the origin of this page' };
  }
  if (response.ok) return null;
  const { refusal } = await loadHttp();
  const { code, message } = await refusal(response);
  return code === null ? null : { code, text: message };
}
