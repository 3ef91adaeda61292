/**
 * What looks like Node's `net` and rides on a session, for libraries that are bundled for a page: `perigee/net`.
 *
 * It has `connect`, `createConnection`, `Socket` as a stream with events, `isIP` and its kin. There are no servers, and
 * TLS is the gateway's: a backend whose configuration says `tls` is reached by this module like any other.
 *
 * @typedef {object} NetOptions
 * @property {string} [host] a host, or without `port` a backend of the gateway by its name
 * @property {number | string} [port]
 * @property {string} [path] a backend of the gateway by its name, in place of a Unix socket
 * @property {AbortSignal} [signal]
 * @property {boolean} [allowHalfOpen] false: when the server has ended its direction we end ours
 *
 * @typedef {object} Setup
 * @property {import('./gateway.js').Gateway | string | URL} [gateway] of all sockets that are made from now on
 * @property {(bytes: Uint8Array) => unknown} [chunk] makes what `data` hands over, such as `(bytes) => Buffer.from(bytes)`
 *
 * @typedef {string | Uint8Array | ArrayBuffer} Data
 * @typedef {(error?: Error | null) => void} Callback
 * @typedef {{ write(chunk: any): boolean, end(): unknown, once(name: string, listener: () => void): unknown }} Sink
 */

import { PerigeeError } from './errors.js';
import { EventEmitter } from './net/emitter.js';
import { utf8 } from './frame.js';
import { checkOptions } from './options.js';
import { TCPSocket } from './socket.js';
import { Timers } from './timers.js';

/** More than this in the socket's hands and `write` says that it is enough, as in Node. */
const HIGH_WATER = 16 * 1024;
/** @type {Required<Omit<Setup, 'gateway'>> & Pick<Setup, 'gateway'>} */
let setup = { chunk: (bytes) => bytes };
/** What Node's libraries look for in an error. @type {Readonly<Record<string, string>>} */
const ERRNO = {
  refused: 'ECONNREFUSED', timeout: 'ETIMEDOUT', dns: 'ENOTFOUND', unreachable: 'EHOSTUNREACH', reset: 'ECONNRESET', lost: 'ECONNRESET',
  denied: 'EACCES', aborted: 'ECONNABORTED', offline: 'ENETUNREACH', idle: 'ETIMEDOUT',
};

/** What libraries cannot say, because they do not know of a gateway. @param {Setup} options */
export function configure(options) {
  checkOptions(options, ['gateway', 'chunk']);
  setup = { ...setup, ...options };
}

export class Socket extends EventEmitter {
  connecting = false;
  destroyed = false;
  readable = true;
  writable = true;
  bytesRead = 0;
  bytesWritten = 0;
  /** @type {string | undefined} */
  remoteAddress;
  /** @type {number | undefined} */
  remotePort;
  remoteFamily = 'IPv4';
  readableEnded = false;
  writableEnded = false;
  writableFinished = false;

  #allowHalfOpen;
  /** @type {TCPSocket | null} */
  #socket = null;
  /** @type {WritableStreamDefaultWriter<import('./socket.js').Writable> | null} */
  #writer = null;
  #controller = new AbortController();
  #waiting = 0;
  #isFull = false;
  /** @type {boolean | null} as Node's `readableFlowing`: null before anybody listens */
  #flowing = null;
  /** @type {(() => void) | null} */
  #resume = null;
  /** @type {TextDecoder | null} */
  #decoder = null;
  #idleMs = 0;
  #timers = new Timers(() => this.emit('timeout'));
  #hasFailed = false;
  #isClosed = false;

  /** @param {{ allowHalfOpen?: boolean }} [options] */
  constructor({ allowHalfOpen = false } = {}) {
    super();
    this.#allowHalfOpen = allowHalfOpen;
  }

  /**
   * `connect(options)`, `connect(port, host)` or `connect(backend)`.
   * @param {...unknown} args with a listener for `connect` at the end, if any
   */
  connect(...args) {
    const { options, listener } = argumentsOf(args);
    const { host = 'localhost', port, path, signal, allowHalfOpen } = options;
    if (this.#socket) throw new Error('the socket is connected already');
    if (allowHalfOpen !== undefined) this.#allowHalfOpen = allowHalfOpen;
    if (listener) this.once('connect', listener);
    signal?.addEventListener('abort', () => this.destroy(new PerigeeError('aborted')), { once: true });
    const to = { ...(setup.gateway !== undefined && { gateway: setup.gateway }), signal: this.#controller.signal };
    this.connecting = true;
    this.#socket = path === undefined && port !== undefined ? new TCPSocket(host, Number(port), to) : new TCPSocket(path ?? host, to);
    this.#writer = this.#socket.writable.getWriter();
    this.#writer.closed.catch(() => {});
    void this.#run(this.#socket);
    if (signal?.aborted) this.destroy(new PerigeeError('aborted'));
    return this;
  }

  get pending() {
    return !this.#socket || this.connecting;
  }

  get readyState() {
    if (this.connecting) return 'opening';
    if (!this.#socket || this.destroyed) return 'closed';
    if (this.readable && this.writable) return 'open';
    return this.readable ? 'readOnly' : this.writable ? 'writeOnly' : 'closed';
  }

  get writableLength() {
    return this.#waiting;
  }

  get bufferSize() {
    return this.#waiting;
  }

  get writableHighWaterMark() {
    return HIGH_WATER;
  }

  get writableNeedDrain() {
    return this.#isFull;
  }

  get readableFlowing() {
    return this.#flowing;
  }

  /** @param {Data} data @param {string | Callback} [encoding] UTF-8, if any @param {Callback} [callback] @returns {boolean} whether more may come at once */
  write(data, encoding, callback) {
    const done = typeof encoding === 'function' ? encoding : callback;
    if (typeof encoding === 'string' && !/^utf-?8$/i.test(encoding)) throw new TypeError(`the encoding ${encoding} is not known here`);
    const bytes = bytesOf(data);
    if (!this.#writer || this.writableEnded || this.destroyed) {
      const error = Object.assign(new Error(this.writableEnded ? 'write after end' : 'the socket is closed'), { code: this.writableEnded ? 'ERR_STREAM_WRITE_AFTER_END' : 'EPIPE' });
      queueMicrotask(() => done?.(error));
      this.destroy(error);
      return false;
    }
    this.#waiting += bytes.length;
    this.bytesWritten += bytes.length;
    this.#isFull ||= this.#waiting >= HIGH_WATER;
    this.#touch();
    this.#writer.write(bytes).then(() => {
      this.#waiting -= bytes.length;
      this.#touch();
      done?.();
      if (!this.#isFull || this.#waiting > 0 || this.destroyed) return;
      this.#isFull = false;
      this.emit('drain');
    }, (error) => {
      done?.(withErrno(error));
      this.#fail(error);
    });
    return !this.#isFull;
  }

  /** Ends our direction when all was delivered. @param {Data | Callback} [data] @param {string | Callback} [encoding] @param {Callback} [callback] */
  end(data, encoding, callback) {
    const done = [data, encoding, callback].find((one) => typeof one === 'function');
    if (done) this.once('finish', /** @type {() => void} */ (done));
    if (data !== undefined && data !== null && typeof data !== 'function') this.write(data, typeof encoding === 'string' ? encoding : undefined);
    if (this.writableEnded || this.destroyed) return this;
    this.writableEnded = true;
    this.writable = false;
    this.#writer?.close().then(() => {
      this.writableFinished = true;
      this.emit('finish');
      this.#closeIfDone();
    }, (error) => this.#fail(error));
    return this;
  }

  /** Ends it when all was delivered. */
  destroySoon() {
    if (!this.writableEnded) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /** Gives it up at once. @param {Error} [error] */
  destroy(error) {
    if (this.destroyed) return this;
    this.destroyed = true;
    this.connecting = false;
    this.readable = false;
    this.writable = false;
    this.#hasFailed = error !== undefined;
    this.#timers.clearAll();
    this.#controller.abort();
    this.#resume?.();
    queueMicrotask(() => {
      try {
        if (error !== undefined) this.emit('error', withErrno(error));
      } finally {
        this.#emitClose();
      }
    });
    return this;
  }

  /** Breaks it off; here that is what `destroy` does. */
  resetAndDestroy() {
    return this.destroy();
  }

  pause() {
    this.#flowing = false;
    return this;
  }

  resume() {
    this.#flowing = true;
    this.#resume?.();
    return this;
  }

  isPaused() {
    return this.#flowing === false;
  }

  /** @param {string} [encoding] */
  setEncoding(encoding = 'utf8') {
    if (!/^utf-?8$/i.test(encoding)) throw new TypeError(`the encoding ${encoding} is not known here`);
    this.#decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return this;
  }

  /** Emits `timeout` when nothing happened for so long. @param {number} ms @param {() => void} [listener] */
  setTimeout(ms, listener) {
    this.#idleMs = ms;
    if (listener && ms > 0) this.once('timeout', listener);
    this.#touch();
    return this;
  }

  /** The gateway's sockets have it always. */
  setNoDelay() {
    return this;
  }

  /** A session has heart-beats of its own. */
  setKeepAlive() {
    return this;
  }

  /** A page does not end by itself. */
  ref() {
    return this;
  }

  unref() {
    return this;
  }

  address() {
    return {};
  }

  /** @template {Sink} To @param {To} to @param {{ end?: boolean }} [options] */
  pipe(to, { end = true } = {}) {
    this.on('data', (chunk) => {
      if (to.write(chunk) !== false) return;
      this.pause();
      to.once('drain', () => this.resume());
    });
    if (end) this.once('end', () => to.end());
    return to;
  }

  async *[Symbol.asyncIterator]() {
    /** @type {unknown[]} */
    const chunks = [];
    /** @type {unknown} */
    let failure = null;
    let isOver = false;
    let wake = () => {};
    this.on('data', (chunk) => {
      chunks.push(chunk);
      this.pause();
      wake();
    });
    this.on('error', (error) => {
      failure = error;
    });
    this.once('close', () => {
      isOver = true;
      wake();
    });
    try {
      for (;;) {
        if (chunks.length > 0) yield chunks.shift();
        else if (failure !== null) throw failure;
        else if (isOver) return;
        else {
          const woken = new Promise((resolve) => (wake = () => resolve(undefined)));
          this.resume();
          await woken;
        }
      }
    } finally {
      this.destroy();
    }
  }

  /** @override @param {string} name */
  added(name) {
    if (name === 'data' && this.#flowing === null) this.resume();
  }

  /** @param {TCPSocket} socket */
  async #run(socket) {
    try {
      const { readable, remoteAddress, remotePort } = await socket.opened;
      if (this.destroyed) return;
      this.connecting = false;
      this.remoteAddress = remoteAddress;
      this.remotePort = remotePort;
      this.#touch();
      this.emit('connect');
      this.emit('ready');
      const reader = readable.getReader();
      for (;;) {
        // What is not read holds the server back.
        while (!this.#flowing && !this.destroyed) await new Promise((resolve) => (this.#resume = () => resolve(undefined)));
        const { done, value } = await reader.read();
        if (this.destroyed) return;
        // It may have been paused while a read waited.
        while (!this.#flowing && !this.destroyed) await new Promise((resolve) => (this.#resume = () => resolve(undefined)));
        if (this.destroyed) return;
        if (done) break;
        this.#data(value);
      }
      const rest = this.#decoder?.decode() ?? '';
      if (rest !== '') this.emit('data', rest);
      this.readable = false;
      this.readableEnded = true;
      this.emit('end');
      if (!this.#allowHalfOpen) this.end();
      this.#closeIfDone();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {Uint8Array} bytes */
  #data(bytes) {
    this.bytesRead += bytes.length;
    this.#touch();
    const chunk = this.#decoder ? this.#decoder.decode(bytes, { stream: true }) : setup.chunk(bytes);
    if (chunk !== '') this.emit('data', chunk);
  }

  /** @param {unknown} error */
  #fail(error) {
    if (!this.destroyed) this.destroy(error instanceof Error ? error : new Error(String(error)));
  }

  #closeIfDone() {
    if (!this.readableEnded || !this.writableFinished || this.destroyed) return;
    this.destroyed = true;
    this.#timers.clearAll();
    queueMicrotask(() => this.#emitClose());
  }

  #emitClose() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.emit('close', this.#hasFailed);
  }

  #touch() {
    if (this.#idleMs > 0 && !this.destroyed) this.#timers.after('idle', this.#idleMs);
    else this.#timers.clearAll();
  }
}

/** @param {...unknown} args as of `Socket.connect` */
export function connect(...args) {
  return new Socket().connect(...args);
}

export const createConnection = connect;

/** As Node's: anything may be asked about. @param {unknown} text @returns {0 | 4 | 6} */
export function isIP(text) {
  return isIPv4(text) ? 4 : isIPv6(text) ? 6 : 0;
}

/** @param {unknown} text */
export function isIPv4(text) {
  return /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/.test(String(text));
}

/** @param {unknown} asked */
export function isIPv6(asked) {
  const text = String(asked);
  if (!text.includes(':') || /[^\da-f:.%]/i.test(text.replace(/%.*$/s, ''))) return false;
  try {
    return new URL(`http://[${text.replace(/%.+$/s, '')}]`).hostname !== '';
  } catch {
    return false;
  }
}

export default { configure, connect, createConnection, isIP, isIPv4, isIPv6, Socket, Stream: Socket };

/** @param {unknown[]} args @returns {{ options: NetOptions, listener: (() => void) | undefined }} */
function argumentsOf(args) {
  const last = args.at(-1);
  const listener = typeof last === 'function' ? /** @type {() => void} */ (last) : undefined;
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) return { options: first, listener };
  if (typeof first === 'number' || /^\d+$/.test(String(first))) {
    return { options: { port: Number(first), ...(typeof second === 'string' && { host: second }) }, listener };
  }
  return { options: { path: String(first) }, listener };
}

/** @param {Error} error */
function withErrno(error) {
  const code = error instanceof PerigeeError ? ERRNO[error.code] ?? 'EPROTO' : undefined;
  return code === undefined ? error : Object.assign(new Error(error.message, { cause: error }), { code });
}

/** @param {unknown} data */
function bytesOf(data) {
  if (typeof data === 'string') return utf8(data);
  // Not the caller's buffer: it may change before it is written.
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  throw new TypeError('neither bytes nor a string');
}
