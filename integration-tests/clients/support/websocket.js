/** WebSocket as a browser has it, where Node has none that sends an Origin. */

import WebSocket from 'ws';

/** The page that the tests' clients are on. */
export const ORIGIN = 'https://chat.example';

/**
 * Gives the clients of this process a WebSocket.
 * @param {Record<string, string>} [headers] what a proxy in front of the gateway would add
 */
export function provideWebSocket(headers = {}) {
  globalThis.WebSocket = /** @type {never} */ (class extends WebSocket {
    /** @param {string | URL} url @param {string | string[]} [protocols] */
    constructor(url, protocols) {
      super(url, protocols ?? [], { origin: ORIGIN, headers });
    }
  });
}
