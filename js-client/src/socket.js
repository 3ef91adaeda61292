/**
 * One TCP connection through a gateway, in the shape of the platform's own streams. Joins a stream of the session to a
 * ReadableStream and a WritableStream.
 *
 * Invariants: `opened` and `closed` settle once; a byte counts as delivered when the application's read got it, because
 * `readable` queues none; what was received before the connection broke can be read before the error is.
 *
 * @typedef {object} SocketOptions
 * @property {Gateway | string | URL} [gateway] by default one Gateway for the origin this module was loaded from
 * @property {AbortSignal} [signal] gives the connection up, whatever state it is in
 * @property {'utf-8'} [encoding] `readable` yields strings
 * @property {Service} [service] what the gateway is to understand of it; `tunnel`, nothing, by default
 * @property {string} [label] what this connection is to the page, so that it is known again after a reload
 *
 * @typedef {(typeof SERVICES)[number]} Service
 * @typedef {Uint8Array | ArrayBuffer | string} Writable
 */

/**
 * @template {Uint8Array | string} Chunk
 * @typedef {object} Opened
 * @property {ReadableStream<Chunk>} readable
 * @property {WritableStream<Writable>} writable
 * @property {string} remoteAddress the host, or the name of the backend
 * @property {number | undefined} remotePort undefined for a backend by name
 */

/**
 * @typedef {SocketOptions & { encoding: 'utf-8' }} TextOptions
 * @typedef {SocketOptions & { encoding?: undefined }} BytesOptions
 * @typedef {Socket<Uint8Array>} TCPSocket
 */

import { PerigeeError, errorCode } from './errors.js';
import { MAX_TARGET_BYTES, utf8 } from './frame.js';
import { Gateway, openStream } from './gateway.js';
import { checkOptions } from './options.js';
import { Session } from './session.js';
import { Timers } from './timers.js';

const OPTIONS = ['gateway', 'signal', 'encoding', 'service', 'label'];
/** By their numbers (docs/protocol.md section 5). */
const SERVICES = /** @type {const} */ (['tunnel', 'irc', 'xmpp', 'stomp']);
/** What a socket has that never had a stream: one of a session that is over. */
const nowhere = new Session({ windowBytes: 0, sendBytes: 0 });
nowhere.over('aborted', '');
const NOTHING = { link: { session: nowhere, state: 'closed', kick: () => {}, listen: () => {} }, stream: nowhere.open('') };
/** @type {Map<string, Gateway>} made for sockets that named none, or a URL */
const shared = new Map();

/**
 * What is to be known of a socket besides its stream, to go on with it in another page.
 * @typedef {{ label: string, encoding: 'utf-8' | undefined, tail: number[], closing: boolean }} About
 */

/**
 * Makes a socket of a stream that is there already; for reload.js, not for applications.
 * @param {Gateway} gateway
 * @param {import('./link.js').Link} link
 * @param {import('./stream.js').Stream} stream
 * @param {About} about
 * @returns {Socket<Uint8Array | string>}
 */
export function adopt(gateway, link, stream, about) {
  const { label, encoding } = about;
  return new Socket(stream.target, { gateway, label, encoding }, undefined, { channel: { link, stream }, about });
}

/** @template {Uint8Array | string} Chunk what `readable` yields */
class Socket {
  /** What the page calls it. */
  label;
  /** @type {ReadableStream<Chunk>} */
  readable;
  /** @type {WritableStream<Writable>} Closing it half-closes the connection; that is done when all of it was delivered. */
  writable;
  /** @type {Promise<Opened<Chunk>>} */
  opened;
  /** @type {Promise<void>} resolves when both ends were closed in good order */
  closed;

  #opened = /** @type {Deferred<Opened<Chunk>>} */ (new Deferred());
  #closed = /** @type {Deferred<void>} */ (new Deferred());
  /** @type {Pick<ReturnType<typeof openStream>, 'stream'> & { link: Pick<import('./link.js').Link, 'session' | 'kick' | 'listen'> & { state: string } }} */
  #channel = NOTHING;
  /** @type {ReadableStreamDefaultController<Chunk> | null} null once it ended */
  #reader = null;
  /** @type {WritableStreamDefaultController | null} null once it ended */
  #writer = null;
  /** @type {Deferred<void> | null} a read waits */
  #wanted = null;
  /** @type {Deferred<void>} the next change on the stream */
  #change = new Deferred();
  /** @type {TextDecoder | null} */
  #decoder;
  /** @type {number[]} the last bytes that were decoded, of which some may be no character yet */
  #tail = [];
  /** Writes that are not in the log yet. */
  #queued = 0;
  /** The application is done with it: nothing it did not write or read yet matters. */
  #closing = false;
  #cancelled = false;
  #stopListening = () => {};

  /**
   * @param {string} host a host, or a backend of the gateway by its name
   * @param {number | SocketOptions} [portOrOptions]
   * @param {SocketOptions} [lastOptions]
   * @param {{ channel: ReturnType<typeof openStream>, about: About }} [before] another socket's, to go on with
   */
  constructor(host, portOrOptions, lastOptions, before) {
    const port = typeof portOrOptions === 'number' ? portOrOptions : undefined;
    const options = (typeof portOrOptions === 'object' ? portOrOptions : lastOptions) ?? {};
    checkOptions(options, OPTIONS);
    const { signal, encoding, service = 'tunnel', label = '' } = options;
    if (encoding !== undefined && encoding !== 'utf-8') throw new TypeError(`unknown encoding ${String(encoding)}`);
    const number = SERVICES.indexOf(service);
    if (number < 0) throw new TypeError(`unknown service ${String(service)}`);
    if (typeof label !== 'string') throw new TypeError('the label is no string');
    const target = targetOf(host, port);
    const gateway = gatewayOf(options.gateway);

    this.label = label;
    this.opened = this.#opened.promise;
    this.closed = this.#closed.promise;
    this.#decoder = encoding === undefined ? null : new TextDecoder(encoding, { ignoreBOM: true });
    this.readable = this.#makeReadable();
    this.writable = this.#makeWritable();
    try {
      if (signal?.aborted) throw new PerigeeError('aborted');
      const refresh = () => this.#refresh();
      this.#channel = before?.channel ?? openStream(gateway, target, refresh);
      const { link, stream } = this.#channel;
      link.listen(stream, refresh);
      if (!before) stream.service = number;
      stream.about = () => ({ label, encoding, tail: this.#tail, closing: this.#closing });
    } catch (error) {
      if (!(error instanceof PerigeeError)) throw error;
      this.#failure = error;
      this.#refresh();
      return;
    }
    if (signal) {
      const abort = () => this.#reset('aborted');
      signal.addEventListener('abort', abort);
      this.#stopListening = () => signal.removeEventListener('abort', abort);
    }
    if (before) this.#goOn(before.about);
  }

  /**
   * Bytes so far; `written` were taken from you, `acked` of those sent were delivered to the server, `delivered` of those
   * received were read. `finished`: `writable` was closed, and all that was written before is in `written`.
   */
  get stats() {
    const { send, receive } = this.#channel.stream;
    return {
      written: send.written, sent: Math.min(send.sent, send.written), acked: send.acked,
      received: receive.rn - (receive.complete ? 1 : 0), delivered: receive.delivered, finished: send.finished,
    };
  }

  /**
   * Delivers what was written, then ends both directions. What was not read by then can still be read.
   * @returns {Promise<void>} `closed`
   */
  close() {
    const { stream } = this.#channel;
    if (this.#closing || stream.over) return this.closed;
    this.#closing = true;
    if (!stream.opened && stream.send.written === 0 && this.#queued === 0) this.#reset('aborted');
    // Only its owner may close a locked stream, but the connection can end under it.
    else if (this.writable.locked) this.#finishWhenWritten();
    // It may be closed already, by its owner or with an error that `closed` tells.
    else this.writable.close().catch(() => {});
    return this.closed;
  }

  // --- the application's end ---

  #makeReadable() {
    // With a queue, bytes would be acked that nobody read.
    return /** @type {ReadableStream<Chunk>} */ (new ReadableStream({
      start: (controller) => {
        this.#reader = controller;
      },
      pull: () => {
        this.#wanted = new Deferred();
        const { promise } = this.#wanted;
        this.#feed();
        return promise;
      },
      cancel: () => {
        this.#cancelled = true;
        this.#reader = null;
        this.#tell((session, stream) => session.discard(stream, Timers.now()));
        this.#refresh();
      },
    }, { highWaterMark: 0 }));
  }

  #makeWritable() {
    return /** @type {WritableStream<Writable>} */ (new WritableStream({
      start: (controller) => {
        this.#writer = controller;
        // An abort waits for the write under way, which may wait for the other side for ever.
        controller.signal?.addEventListener('abort', () => this.#reset('aborted'));
      },
      write: async (chunk) => {
        try {
          await this.#write(chunk);
        } finally {
          this.#queued -= 1;
          this.#finishWhenWritten();
        }
      },
      close: async () => {
        this.#writer = null;
        const { stream } = this.#channel;
        this.#tell((session) => session.finish(stream));
        while (!stream.send.done && !stream.over) await this.#change.promise;
        if (!stream.send.done) throw this.#error();
      },
      abort: () => {
        this.#writer = null;
        this.#reset('aborted');
      },
    }, {
      highWaterMark: 1,
      // Called once for every write, when it is made.
      size: () => {
        this.#queued += 1;
        return 1;
      },
    }));
  }

  /** @param {unknown} chunk */
  async #write(chunk) {
    let bytes;
    try {
      bytes = bytesOf(chunk);
    } catch (error) {
      // The stream is broken for its owner, so it must not look well to the server.
      this.#writer = null;
      this.#reset('aborted');
      throw error;
    }
    const { link, stream } = this.#channel;
    while (bytes.length > 0) {
      if (stream.over) throw this.#error();
      // A page that is loaded again has put the session away as it was.
      if (stream.send.finished || link.state === 'closed') throw new PerigeeError('aborted', 'the socket is closed', stream.send.acked);
      const taken = link.session.write(stream, bytes);
      if (taken > 0) link.kick();
      bytes = bytes.subarray(taken);
      if (bytes.length > 0) await this.#change.promise;
    }
  }

  #finishWhenWritten() {
    if (this.#closing && this.#queued === 0) this.#tell((session, stream) => session.finish(stream));
  }

  /** The stream was another socket's, of which this is known. @param {About} about */
  #goOn({ tail, closing }) {
    const { send, receive } = this.#channel.stream;
    // The characters it had are the other socket's; what is left in the decoder is ours.
    this.#decoder?.decode(Uint8Array.from(tail), { stream: true });
    this.#tail = tail;
    if (receive.discarding) void this.readable.cancel();
    if (closing) void this.close();
    else if (send.finished) this.writable.close().catch(() => {});
    this.#refresh();
  }

  // --- the session's end ---

  /** Something happened on the stream. */
  #refresh() {
    const { link, stream } = this.#channel;
    if (stream.opened) {
      this.#opened.resolve({
        readable: this.readable, writable: this.writable, ...addressOf(stream.reached || stream.target),
      });
    }
    const change = this.#change;
    this.#change = new Deferred();
    change.resolve();
    if (!stream.over && stream.send.done && (this.#closing || this.#cancelled)) this.#reset('closed');
    this.#feed();
    if (!stream.over && stream.receive.discarding && stream.receive.atEnd) link.session.passEnd(stream, Timers.now());
    if (stream.over) this.#finish();
  }

  /** Gives a waiting read what there is, and the end when there is no more. */
  #feed() {
    if (this.#reader === null) return;
    const { link, stream } = this.#channel;
    while (this.#wanted !== null) {
      const bytes = link.session.read(stream, Timers.now());
      if (bytes === null) break;
      link.kick();
      const chunk = this.#decoder === null ? bytes : this.#decoder.decode(bytes, { stream: true });
      if (this.#decoder !== null) this.#tail = [...this.#tail, ...bytes.subarray(-3)].slice(-3);
      // A piece of a character is no chunk yet.
      if (chunk.length === 0) continue;
      this.#reader.enqueue(/** @type {Chunk} */ (chunk));
      this.#wanted.resolve();
      this.#wanted = null;
    }
    if (stream.receive.waiting > 0) return;
    if (stream.receive.atEnd) {
      const rest = this.#decoder?.decode() ?? '';
      if (rest !== '') this.#reader.enqueue(/** @type {Chunk} */ (rest));
      this.#reader.close();
      this.#reader = null;
      link.session.passEnd(stream, Timers.now());
      link.kick();
    } else if (stream.over) {
      if (this.#well()) this.#reader.close();
      else this.#reader.error(this.#error());
      this.#reader = null;
    } else {
      return;
    }
    this.#wanted?.resolve();
    this.#wanted = null;
  }

  /** The stream is over. */
  #finish() {
    const error = this.#error();
    this.#stopListening();
    this.#opened.reject(error);
    if (this.#well()) this.#closed.resolve();
    else this.#closed.reject(error);
    this.#writer?.error(error);
    this.#writer = null;
  }

  /** @param {'aborted' | 'closed'} code */
  #reset(code) {
    this.#tell((session, stream) => session.reset(stream, code, ''));
  }

  /** @param {(session: Session, stream: import('./stream.js').Stream) => void} what */
  #tell(what) {
    const { link, stream } = this.#channel;
    what(link.session, stream);
    link.kick();
  }

  /** It ended as the application wanted. */
  #well() {
    const { over, send } = this.#channel.stream;
    return over?.clean || over?.code === 'closed' || (this.#closing && over?.code === 'aborted' && send.written === 0);
  }

  /** @type {PerigeeError | null} */
  #failure = null;

  /** What the application is told, the same at every place. */
  #error() {
    const { over } = this.#channel.stream;
    if (!over) return new PerigeeError('aborted');
    this.#failure ??= this.#well()
      ? new PerigeeError('aborted', 'the socket is closed', over.acked)
      : new PerigeeError(errorCode(over.code), over.text, over.acked);
    return this.#failure;
  }
}

/**
 * `new TCPSocket('irc', options)` for a backend by name, `new TCPSocket('irc.example.org', 6667, options)` for a host.
 * @type {{
 *   prototype: Socket<Uint8Array>,
 *   new (backend: string, options: TextOptions): Socket<string>,
 *   new (backend: string, options?: BytesOptions): Socket<Uint8Array>,
 *   new (host: string, port: number, options: TextOptions): Socket<string>,
 *   new (host: string, port: number, options?: BytesOptions): Socket<Uint8Array>,
 * }}
 */
export const TCPSocket = Socket;

/**
 * A promise to settle later; settling it again does nothing, and nobody has to listen when it is rejected. For what is made
 * on sockets, too.
 * @template T
 */
export class Deferred {
  /** @type {(value: T) => void} */
  resolve = () => {};
  /** @type {(reason: Error) => void} */
  reject = () => {};

  constructor() {
    /** @type {Promise<T>} */
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => {});
  }
}

/** @param {string} host @param {number | undefined} port */
function targetOf(host, port) {
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536)) throw new TypeError(`${port} is not a port`);
  const bracketed = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
  const target = port === undefined ? host : `${bracketed}:${port}`;
  const { length } = utf8(target);
  if (host === '' || length > MAX_TARGET_BYTES) throw new TypeError('the host is empty or too long');
  return target;
}

/** @param {string} reached */
function addressOf(reached) {
  const match = /^(.*):(\d+)$/.exec(reached);
  if (match === null) return { remoteAddress: reached, remotePort: undefined };
  return { remoteAddress: (match[1] ?? '').replace(/^\[(.*)\]$/, '$1'), remotePort: Number(match[2]) };
}

/** The one that is meant, for what is made on sockets. @param {Gateway | string | URL | undefined} gateway */
export function gatewayOf(gateway) {
  if (gateway instanceof Gateway) return gateway;
  const key = String(gateway ?? '');
  let made = shared.get(key);
  if (made === undefined || made.state === 'closed') {
    made = new Gateway(gateway);
    shared.set(key, made);
  }
  return made;
}

/** @param {unknown} chunk */
function bytesOf(chunk) {
  if (typeof chunk === 'string') return utf8(chunk);
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError('neither bytes nor a string');
}
