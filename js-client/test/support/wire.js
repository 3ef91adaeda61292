/** A server that a protocol client connects to: what it says is what the test says. */

import { until } from './wait.js';

export class FakeServer {
  /** @type {FakeConnection[]} */
  connections = [];
  /** The next connections fail with these. @type {Error[]} */
  refusals = [];
  /** @type {(connection: FakeConnection) => void} */
  onConnection = () => {};

  /** What a client's option `socket` is. */
  socket = () => {
    const refusal = this.refusals.shift();
    if (refusal) return { opened: Promise.reject(refusal) };
    const connection = new FakeConnection();
    this.connections.push(connection);
    this.onConnection(connection);
    return connection;
  };

  /** The connection of this number, once it is there. @param {number} [number] @returns {Promise<FakeConnection>} */
  async connection(number = 0) {
    await until(() => this.connections.length > number, `connection ${number}`);
    return /** @type {FakeConnection} */ (this.connections[number]);
  }
}

export class FakeConnection {
  bytes = Buffer.alloc(0);
  /** How the client ended it. @type {'closed' | 'aborted' | null} */
  ended = null;
  /** @type {(bytes: Uint8Array) => void} */
  onBytes = () => {};
  /** @type {ReadableStreamDefaultController<Uint8Array> | null} */
  #down = null;
  #taken = 0;

  constructor() {
    const readable = new ReadableStream({ start: (controller) => void (this.#down = controller), cancel: () => void (this.#down = null) });
    const writable = new WritableStream({
      write: (/** @type {Uint8Array} */ bytes) => {
        this.bytes = Buffer.concat([this.bytes, bytes]);
        this.onBytes(bytes);
      },
      close: () => void (this.ended ??= 'closed'),
      abort: () => void (this.ended ??= 'aborted'),
    });
    this.opened = Promise.resolve({ readable, writable });
  }

  /** @param {string | Uint8Array} text lines of IRC, or bytes */
  say(text) {
    this.#down?.enqueue(typeof text === 'string' ? Buffer.from(`${text}\r\n`) : text);
  }

  /** The server ends it. @param {Error} [error] */
  end(error) {
    if (error) this.#down?.error(error);
    else this.#down?.close();
    this.#down = null;
  }

  get lines() {
    return this.bytes.toString().split('\r\n').slice(0, -1);
  }

  /** Waits for a line after those it was asked for before, and returns it. @param {RegExp} pattern @returns {Promise<string>} */
  async line(pattern) {
    let at = -1;
    await until(() => (at = this.lines.findIndex((line, i) => i >= this.#taken && pattern.test(line))) >= 0, `a line like ${pattern} of ${JSON.stringify(this.lines.slice(this.#taken))}`);
    this.#taken = at + 1;
    return this.lines[at] ?? '';
  }
}
