/**
 * One connection of a protocol client: what comes is handed on as it comes, and its end is told once.
 *
 * @typedef {object} Wire what a connection rides on: a TCPSocket, or anything of this shape
 * @property {Promise<{ readable: ReadableStream<Uint8Array>, writable: WritableStream<Uint8Array> }>} opened
 * @property {() => Promise<unknown>} [close]
 *
 * @typedef {object} Reach where a client connects to
 * @property {string} server a backend of the gateway by its name, or a host
 * @property {number} [port] of the host
 * @property {import('../gateway.js').Gateway | string | URL} [gateway] by default one for the origin this module was loaded from
 * @property {import('../socket.js').Service} [service] by default the protocol's own; `tunnel` for a backend that has none
 * @property {() => Wire} [socket] another way to the server, instead of those
 */

import { TCPSocket, gatewayOf } from '../socket.js';

/**
 * How to get a connection to the server, and whether the way to it is there just now.
 * @param {Reach} reach
 * @param {import('../socket.js').Service} own the protocol's
 * @returns {{ make: () => Wire, reachable: () => boolean }}
 */
export function wayTo({ server, port, gateway, service, socket }, own) {
  if (socket !== undefined) return { make: socket, reachable: () => true };
  const through = gatewayOf(gateway);
  const options = { gateway: through, service: service ?? own };
  return {
    make: () => (port === undefined ? new TCPSocket(server, options) : new TCPSocket(server, port, options)),
    reachable: () => through.state === 'attached',
  };
}

export class Connection {
  #ended;
  #over = false;
  #wire;
  /** @type {ReadableStreamDefaultReader<Uint8Array> | null} */
  #reader = null;
  /** @type {WritableStreamDefaultWriter<Uint8Array> | null} */
  #writer = null;

  /**
   * @param {Wire} wire
   * @param {object} on
   * @param {() => void} on.open
   * @param {(bytes: Uint8Array) => void} on.bytes
   * @param {(error: Error | null) => void} on.end null: the server closed it in good order; nothing is called after it
   */
  constructor(wire, { open, bytes, end }) {
    this.#ended = end;
    this.#wire = wire;
    void this.#run(open, bytes);
  }

  /**
   * Resolves when the socket has it; how a connection ends is told once, and not here.
   * @param {Uint8Array} bytes
   * @returns {Promise<void>}
   */
  async write(bytes) {
    try {
      await this.#writer?.write(bytes);
    } catch (error) {
      this.#end(asError(error));
    }
  }

  /** Says that nothing more comes from here; the server closes the other direction. */
  finish() {
    this.#writer?.close().catch(() => {});
  }

  /** Gives it up at once. @param {Error} reason */
  abort(reason) {
    this.#end(reason);
  }

  /** @param {() => void} open @param {(bytes: Uint8Array) => void} bytes */
  async #run(open, bytes) {
    try {
      const { readable, writable } = await this.#wire.opened;
      this.#writer = writable.getWriter();
      this.#writer.closed.catch(() => {});
      this.#reader = readable.getReader();
      if (this.#over) return this.#drop();
      open();
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (this.#over) return undefined;
        if (done) return this.#end(null);
        bytes(value);
      }
    } catch (error) {
      return this.#end(asError(error));
    }
  }

  /** @param {Error | null} error */
  #end(error) {
    if (this.#over) return;
    this.#over = true;
    if (error === null) this.finish();
    else this.#drop();
    this.#ended(error);
  }

  #drop() {
    if (this.#writer) this.#writer.abort().catch(() => {});
    else this.#wire.close?.().catch(() => {});
    this.#reader?.cancel().catch(() => {});
  }
}

/** @param {unknown} error */
const asError = (error) => (error instanceof Error ? error : new Error(String(error)));
