/**
 * What looks like a WebSocket and rides on a session: `perigee/websocket`, or `/perigee/websocket.js` of a gateway.
 * Libraries that take a WebSocket get every transport and resumption by it.
 *
 * It takes the URLs of the gateway's own WebSockets (`wss://gateway.example.org/stomp/broker`), so that it can stand in
 * the place of the platform's.
 *
 * @typedef {import('./websocket/framing.js').FramingName} FramingName
 * @typedef {import('./socket.js').Service} Service
 *
 * @typedef {object} WebSocketOptions
 * @property {import('./gateway.js').Gateway | string | URL} [gateway] by default the one that the URL names
 * @property {Service} [service] by default what the URL's path says
 * @property {FramingName} [framing] what a message is; by default what the service's libraries expect
 */

import { codeNumber } from './codes.js';
import { PerigeeError } from './errors.js';
import { utf8 } from './frame.js';
import { checkOptions } from './options.js';
import { TCPSocket, gatewayOf } from './socket.js';
import { framingOf } from './websocket/framing.js';

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** How each service is a WebSocket: its framing, and the subprotocols in the order in which they are chosen. */
const SERVICES = /** @type {const} */ ({
  tunnel: { path: 'ws', framing: 'chunks', protocols: [] },
  irc: { path: 'irc', framing: 'lines', protocols: ['text.ircv3.net', 'binary.ircv3.net'] },
  xmpp: { path: 'xmpp', framing: 'stanzas', protocols: ['xmpp'] },
  stomp: { path: 'stomp', framing: 'frames', protocols: ['v12.stomp', 'v11.stomp', 'v10.stomp'] },
});
const OPTIONS = ['gateway', 'service', 'framing'];

/** Where the platform has none, as Node 20. */
class OwnCloseEvent extends Event {
  /** @param {string} type @param {{ wasClean: boolean, code: number, reason: string }} init */
  constructor(type, { wasClean, code, reason }) {
    super(type);
    this.wasClean = wasClean;
    this.code = code;
    this.reason = reason;
  }
}
/** @type {new (type: string, init: { wasClean: boolean, code: number, reason: string }) => Event} */
const CloseEvent = globalThis.CloseEvent ?? OwnCloseEvent;

export class TCPWebSocket extends EventTarget {
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSING = CLOSING;
  static CLOSED = CLOSED;
  CONNECTING = CONNECTING;
  OPEN = OPEN;
  CLOSING = CLOSING;
  CLOSED = CLOSED;

  /** @type {((event: Event) => void) | null} */
  onopen = null;
  /** @type {((event: MessageEvent) => void) | null} */
  onmessage = null;
  /** @type {((event: Event) => void) | null} */
  onerror = null;
  /** @type {((event: CloseEvent) => void) | null} */
  onclose = null;
  url;
  protocol = '';
  extensions = '';

  #readyState = CONNECTING;
  /** @type {'blob' | 'arraybuffer'} */
  #binaryType = 'blob';
  #buffered = 0;
  #socket;
  #framing;
  /** @type {WritableStreamDefaultWriter<import('./socket.js').Writable> | null} */
  #writer = null;
  #controller = new AbortController();
  /** Writes in their order: a Blob's bytes come later. @type {Promise<unknown>} */
  #sending = Promise.resolve();
  /** What `close()` said. */
  #reason = { code: 1005, reason: '' };

  /**
   * @param {string | URL} url `wss://gateway/stomp/broker`, or a backend's name
   * @param {string | readonly string[]} [protocols]
   * @param {WebSocketOptions} [options]
   */
  constructor(url, protocols = [], options = {}) {
    super();
    checkOptions(options, OPTIONS);
    const offered = typeof protocols === 'string' ? [protocols] : [...protocols];
    if (new Set(offered).size !== offered.length || offered.some((one) => !/^[!#$%&'*+.^_`|~\w-]+$/.test(one))) {
      throw new DOMException('the subprotocols are repeated, or are none', 'SyntaxError');
    }
    const { gateway, target, service } = placeOf(String(url), options);
    const how = SERVICES[service];
    this.url = String(url);
    /** @type {readonly string[]} */
    const known = how.protocols;
    const chosen = known.length === 0 ? offered[0] : known.find((one) => offered.includes(one));
    if (offered.length > 0 && chosen === undefined) throw new DOMException(`none of the subprotocols is of ${service}`, 'SyntaxError');
    this.protocol = chosen ?? '';
    this.#framing = framingOf(options.framing ?? how.framing, this.protocol);
    const [host, port] = target;
    const to = { gateway, service, signal: this.#controller.signal };
    this.#socket = port === undefined ? new TCPSocket(host, to) : new TCPSocket(host, port, to);
    void this.#run();
  }

  /**
   * A class for libraries that make their WebSocket themselves, with these options.
   * @param {WebSocketOptions} options
   */
  static with(options) {
    return class extends TCPWebSocket {
      /** @param {string | URL} url @param {string | readonly string[]} [protocols] */
      constructor(url, protocols) {
        super(url, protocols, options);
      }
    };
  }

  get readyState() {
    return this.#readyState;
  }

  /** Bytes that were sent and that the socket did not take yet. */
  get bufferedAmount() {
    return this.#buffered;
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(type) {
    // As the platform's: what it does not know changes nothing.
    if (type === 'blob' || type === 'arraybuffer') this.#binaryType = type;
  }

  /** @param {string | ArrayBuffer | ArrayBufferView | Blob} data */
  send(data) {
    if (this.#readyState === CONNECTING) throw new DOMException('it is not open yet', 'InvalidStateError');
    const blob = data instanceof Blob ? data : null;
    const bytes = blob ? null : bytesOf(data);
    const size = blob?.size ?? bytes?.length ?? 0;
    this.#buffered += size;
    // What is sent after the end goes nowhere, as with the platform's.
    if (this.#readyState !== OPEN) return;
    const writer = this.#writer;
    const framing = this.#framing;
    if (bytes) {
      const message = framing.send(bytes);
      this.#sending = this.#sending.then(() => writer?.write(message));
    } else {
      this.#sending = this.#sending.then(async () => writer?.write(framing.send(new Uint8Array(await /** @type {Blob} */ (blob).arrayBuffer()))));
    }
    this.#sending = this.#sending.then(() => void (this.#buffered -= size));
    this.#sending.catch(() => {});
  }

  /** @param {number} [code] @param {string} [reason] */
  close(code, reason = '') {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException(`the code ${code} is not for pages`, 'InvalidAccessError');
    if (utf8(reason).length > 123) throw new DOMException('the reason is too long', 'SyntaxError');
    if (this.#readyState === CLOSING || this.#readyState === CLOSED) return;
    const wasOpen = this.#readyState === OPEN;
    this.#readyState = CLOSING;
    if (!wasOpen) {
      this.#controller.abort();
      return;
    }
    this.#reason = { code: code ?? 1005, reason };
    // What was sent is delivered first.
    this.#sending.then(() => this.#socket.close()).catch(() => {});
  }

  async #run() {
    /** @type {unknown} */
    let failure = null;
    try {
      const { readable, writable } = await this.#socket.opened;
      this.#writer = writable.getWriter();
      this.#writer.closed.catch(() => {});
      if (this.#readyState === CONNECTING) {
        this.#readyState = OPEN;
        this.#emit(new Event('open'));
      }
      const reader = readable.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        for (const message of this.#framing.receive(value)) this.#message(message);
      }
      // The server is done, so it is over for a WebSocket, which knows no half of it.
      this.#readyState = CLOSING;
      await this.#sending.catch(() => {});
      await this.#socket.close();
    } catch (error) {
      failure = error;
      this.#controller.abort();
    }
    this.#end(failure);
  }

  /** @param {unknown} failure */
  #end(failure) {
    const asked = this.#readyState === CLOSING && this.#reason.code !== 1005 ? this.#reason : null;
    this.#readyState = CLOSED;
    if (failure === null) {
      this.#emit(new CloseEvent('close', { wasClean: true, ...(asked ?? { code: 1000, reason: '' }) }));
      return;
    }
    const { code, message } = failure instanceof PerigeeError ? failure : { code: 'protocol', message: String(failure) };
    this.#emit(new Event('error'));
    // As the gateway's own WebSockets end; where there is no gateway, as those without a server.
    const number = code === 'offline' || code === 'aborted' ? 1006 : 4000 + codeNumber(/** @type {import('./codes.js').Code} */ (code));
    this.#emit(new CloseEvent('close', { wasClean: false, code: number, reason: message }));
  }

  /** @param {string | Uint8Array} message */
  #message(message) {
    if (this.#readyState !== OPEN) return;
    const binary = () => {
      const { buffer } = /** @type {Uint8Array<ArrayBuffer>} */ (message).slice();
      return this.#binaryType === 'blob' ? new Blob([buffer]) : buffer;
    };
    this.#emit(new MessageEvent('message', { data: typeof message === 'string' ? message : binary() }));
  }

  /** @param {Event} event */
  #emit(event) {
    const handler = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this))[`on${event.type}`];
    if (typeof handler === 'function') this.addEventListener(event.type, /** @type {EventListener} */ (handler), { once: true });
    this.dispatchEvent(event);
  }
}

/**
 * @param {string} url
 * @param {WebSocketOptions} options
 * @returns {{ gateway: import('./gateway.js').Gateway, target: [string, number?], service: keyof typeof SERVICES }}
 */
function placeOf(url, { gateway, service }) {
  const named = /^([a-z]+):\/\//i.test(url);
  /** @type {keyof typeof SERVICES} */
  let found = 'tunnel';
  let name = url;
  let base;
  if (named) {
    const { protocol, host, pathname } = new URL(url);
    const [, prefix = '', path, rest = ''] = /^(.*)\/(ws|irc|xmpp|stomp)\/([^/]+)$/.exec(pathname) ?? [];
    const match = Object.entries(SERVICES).find(([, one]) => one.path === path);
    if (!match || !/^(wss?|https?):$/.test(protocol)) throw new DOMException(`${url} is no WebSocket of a gateway: /ws/, /irc/, /xmpp/ or /stomp/ and a backend`, 'SyntaxError');
    found = /** @type {keyof typeof SERVICES} */ (match[0]);
    name = decodeURIComponent(rest);
    base = `${protocol.replace(/^ws/, 'http')}//${host}${prefix}`;
  }
  const chosen = service ?? found;
  if (!Object.hasOwn(SERVICES, chosen)) throw new TypeError(`the service ${String(chosen)} is none for this`);
  const [, host, port] = /^(.+):(\d+)$/.exec(name) ?? [null, name];
  return {
    gateway: gatewayOf(gateway ?? base),
    target: port === undefined ? [host ?? name] : [(host ?? '').replace(/^\[(.*)\]$/, '$1'), Number(port)],
    service: /** @type {keyof typeof SERVICES} */ (chosen),
  };
}

/** @param {unknown} data */
function bytesOf(data) {
  // Not the caller's buffer: it may change before it is written.
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return utf8(String(data));
}
