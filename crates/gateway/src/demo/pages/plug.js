// @ts-check
/**
 * A network that can be gone for as long as one likes: the plug between this page and its gateway.
 *
 * `gateway.cut()` breaks one transport, and the next is there before anybody could look. With the
 * plug out every new one fails too, as without a network, until it is put back. The Gateway is not
 * told: it gets a `fetch`, a `WebSocket` and a `WebTransport` that fail.
 */

/** @typedef {import('/perigee.js').Gateway} Gateway */

export class Plug {
  #out = false;
  /** @type {Gateway | null} */
  #gateway = null;

  get out() {
    return this.#out;
  }

  /** What the Gateway is to use in place of the browser's own. */
  get network() {
    /** @type {typeof globalThis.fetch} */
    const fetch = (...request) => (this.#out ? Promise.reject(new TypeError('the plug is out')) : globalThis.fetch(...request));
    const plug = this;
    const WebSocket = class extends globalThis.WebSocket {
      /** @param {string | URL} url @param {string | string[]} [protocols] */
      constructor(url, protocols) {
        if (plug.#out) throw new TypeError('the plug is out');
        super(url, protocols);
      }
    };
    if (!('WebTransport' in globalThis)) return { fetch, WebSocket };
    const WebTransport = class extends globalThis.WebTransport {
      /** @param {string | URL} url @param {WebTransportOptions} [options] */
      constructor(url, options) {
        if (plug.#out) throw new TypeError('the plug is out');
        super(url, options);
      }
    };
    return { fetch, WebSocket, WebTransport };
  }

  /** @param {Gateway} gateway the one that got `network` */
  guard(gateway) {
    this.#gateway = gateway;
    // An attempt that was under way when the plug was pulled may still come through.
    gateway.on('state', ({ state }) => {
      if (this.#out && state === 'attached') gateway.cut();
    });
  }

  pull() {
    this.#out = true;
    this.#gateway?.cut();
  }

  putBack() {
    this.#out = false;
    // What a browser says when its network is back; the client tries at once instead of waiting out its pause.
    globalThis.dispatchEvent(new Event('online'));
  }
}
