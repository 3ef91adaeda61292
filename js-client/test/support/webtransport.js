/** A browser's WebTransport whose other end is in this process: no network, but the same promises and streams. */

/**
 * @typedef {object} Peer what the gateway does with a session
 * @property {'granted' | 'refused' | 'never'} answer
 * @property {(bytes: Uint8Array) => void} bytes
 * @property {() => void} end the client has ended its half of the stream, or is gone
 *
 * @typedef {object} Side what the gateway can do to it
 * @property {(bytes: Uint8Array) => void} send
 * @property {() => void} end the gateway's half of the stream
 * @property {(code: number, reason: string) => void} close
 * @property {() => void} destroy without a word
 */

/**
 * @param {(url: URL, side: Side) => Peer} accept
 * @returns {typeof globalThis.WebTransport}
 */
export function webTransportTo(accept) {
  class FakeWebTransport {
    ready;
    closed;
    #peer;
    /** @type {ReadableStreamDefaultController<Uint8Array> | undefined} */
    #down;
    #over = false;
    /** @type {(info: WebTransportCloseInfo) => void} */
    #resolve = () => {};
    /** @type {(error: unknown) => void} */
    #reject = () => {};

    /** @param {string} url */
    constructor(url) {
      this.closed = new Promise((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
      });
      this.closed.catch(() => {});
      this.#peer = accept(new URL(url), {
        // Cut where it hurts: a frame's head is 8 bytes.
        send: (bytes) => {
          if (this.#over) return;
          this.#down?.enqueue(bytes.slice(0, 5));
          if (bytes.length > 5) this.#down?.enqueue(bytes.slice(5));
        },
        end: () => this.#over || this.#down?.close(),
        close: (closeCode, reason) => this.#finish(() => this.#resolve({ closeCode, reason })),
        destroy: () => this.#lose(new Error('the connection is gone')),
      });
      const { answer } = this.#peer;
      this.ready = answer === 'never' ? new Promise(() => {}) : Promise.resolve();
      if (answer === 'refused') {
        const error = new Error('the session was refused');
        this.ready = Promise.reject(error);
        this.ready.catch(() => {});
        this.#reject(error);
      }
    }

    async createBidirectionalStream() {
      const readable = new ReadableStream({ start: (controller) => void (this.#down = controller) });
      const writable = new WritableStream({
        write: (bytes) => (this.#over ? Promise.reject(new Error('the session is closed')) : this.#peer.bytes(bytes)),
        close: () => this.#peer.end(),
      });
      return { readable, writable };
    }

    close() {
      this.#finish(() => this.#resolve({ closeCode: 0, reason: '' }));
    }

    /** @param {unknown} error */
    #lose(error) {
      this.#finish(() => this.#reject(error));
    }

    /** @param {() => void} settle */
    #finish(settle) {
      if (this.#over) return;
      this.#over = true;
      try {
        this.#down?.error(new Error('the session is closed'));
      } catch {
        // It has ended already.
      }
      settle();
      this.#peer.end();
    }
  }
  return /** @type {typeof globalThis.WebTransport} */ (/** @type {unknown} */ (FakeWebTransport));
}
