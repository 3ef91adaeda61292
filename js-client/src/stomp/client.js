/**
 * A client of a STOMP broker. Keeps one connection, and comes back with its subscriptions when it is lost.
 *
 * Invariants: a promise resolves when the broker said that it is so, and otherwise rejects, at the latest when the
 * connection ends; what belongs to a connection that is over is never said on another one.
 *
 * @typedef {import('./frame.js').Frame} Frame
 * @typedef {import('./frame.js').Version} Version
 * @typedef {import('./message.js').MoreHeaders} MoreHeaders
 * @typedef {import('./message.js').SendOptions} SendOptions
 * @typedef {import('../clients/connection.js').Reach} Reach
 * @typedef {import('../clients/keeper.js').KeptState} StompState
 *
 * @typedef {object} Settings
 * @property {string} [login]
 * @property {string} [passcode]
 * @property {string} [host] the broker's virtual host; by default `server`
 * @property {readonly Version[]} [versions] by default all
 * @property {{ outgoingMs?: number, incomingMs?: number }} [heartBeat] how often we can say something (120,000: a page in the background may not do it more often) and want to hear something (30,000); 0 for never
 * @property {MoreHeaders} [headers] more of CONNECT
 * @property {boolean | import('../clients/keeper.js').Patience} [reconnect] by default true
 * @property {number} [timeoutMs] how long the broker may take to answer (30,000)
 * @property {number} [maxBodyBytes] of a message (16 MiB)
 * @typedef {Reach & Settings} StompOptions
 *
 * @typedef {(message: StompMessage) => void} Listener
 * @typedef {{ ack?: 'auto' | 'client' | 'client-individual', headers?: MoreHeaders }} SubscribeOptions
 * @typedef {{ id: string, destination: string, options: SubscribeOptions, listener: Listener }} Subscribed
 *
 * @typedef {object} StompEvents
 * @property {{ state: StompState }} state
 * @property {{ error: Error }} error what no promise tells
 */

import { Connection, wayTo } from '../clients/connection.js';
import { Keeper } from '../clients/keeper.js';
import { Emitter } from '../events.js';
import { utf8 } from '../frame.js';
import { checkOptions } from '../options.js';
import { Deferred } from '../socket.js';
import { Timers } from '../timers.js';
import { StompError } from './errors.js';
import { FrameDecoder, encodeFrame } from './frame.js';
import { HeartBeat } from './heartbeat.js';
import { StompMessage, Transaction } from './message.js';

const OPTIONS = [
  'server', 'port', 'gateway', 'service', 'socket', 'login', 'passcode', 'host', 'versions', 'heartBeat', 'headers', 'reconnect', 'timeoutMs', 'maxBodyBytes',
];
/** @type {readonly Version[]} */
const VERSIONS = ['1.2', '1.1', '1.0'];
const LF = utf8('\n');
/** Why it is of no use to try again. */
const FATAL = ['invalid', 'denied', 'version'];

/** A subscription. */
export class Subscription {
  #end;

  /** @param {Subscribed} of @param {() => Promise<void>} end */
  constructor({ id, destination }, end) {
    this.id = id;
    this.destination = destination;
    this.#end = end;
  }

  /** Resolves when no more messages come. */
  unsubscribe() {
    return this.#end();
  }
}

export class StompClient {
  /** @type {Emitter<{ [Name in keyof StompEvents]: StompEvents[Name] }>} */
  #events = new Emitter();
  #way;
  #hello;
  #beats;
  #versions;
  #keeper;
  #timeoutMs;
  #maxBody;
  /** @type {Version} */
  #version = '1.2';
  #serverName = '';
  /** @type {Connection | null} */
  #connection = null;
  #decoder = new FrameDecoder(0);
  /** @type {HeartBeat | null} */
  #heartBeat = null;
  /** @type {Map<string, Subscribed>} */
  #subscriptions = new Map();
  /** @type {Map<string, Deferred<void>>} what the broker is to say by RECEIPT */
  #receipts = new Map();
  /** @type {StompError | null} the broker's ERROR, after which it ends the connection */
  #lastWords = null;
  #ids = 0;
  #timers = new Timers((id) => this.#receipt(id)?.reject(new StompError('timeout', 'RECEIPT')));

  /** @param {StompOptions} options */
  constructor(options) {
    checkOptions(options, OPTIONS);
    const { server, login, passcode, host = server, versions = VERSIONS, heartBeat = {}, headers = {}, reconnect = true } = options;
    const { timeoutMs = 30_000, maxBodyBytes = 16 * 1024 * 1024 } = options;
    const { outgoingMs = 120_000, incomingMs = 30_000 } = heartBeat;
    for (const [name, value] of Object.entries({ timeoutMs, maxBodyBytes, outgoingMs, incomingMs })) {
      if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`${name} cannot be ${value}`);
    }
    for (const version of versions) if (!VERSIONS.includes(version)) throw new TypeError(`unknown version ${String(version)}`);
    this.#beats = /** @type {const} */ ([outgoingMs, incomingMs]);
    this.#versions = versions;
    this.#hello = {
      'accept-version': versions.join(','), host, 'heart-beat': this.#beats.join(','),
      ...(login !== undefined && { login }), ...(passcode !== undefined && { passcode }), ...headers,
    };
    // What cannot be sent is told where it is said.
    encodeFrame('CONNECT', this.#hello);
    this.#way = wayTo(options, 'stomp');
    this.#keeper = new Keeper({
      open: () => this.#open(),
      drop: () => this.#connection?.abort(new StompError('closed')),
      leave: () => this.#leave(),
      changed: (state) => this.#changed(state),
      failed: (error) => this.#events.emit('error', { error }),
      isFinal: (error) => (this.#lastWords !== null && this.state === 'connecting') || FATAL.includes(/** @type {{ code?: string }} */ (error).code ?? ''),
      error: (code, text) => new StompError(code, code === 'timeout' ? 'CONNECTED' : text),
    }, reconnect, timeoutMs);
    this.#timeoutMs = timeoutMs;
    this.#maxBody = maxBodyBytes;
  }

  /** @returns {StompState} */
  get state() {
    return this.#keeper.state;
  }

  /** What was agreed with the broker. */
  get agreed() {
    return { version: this.#version, server: this.#serverName, heartBeat: this.#heartBeat?.agreed ?? { outgoingMs: 0, incomingMs: 0 } };
  }

  /**
   * @template {keyof StompEvents} Name
   * @param {Name} name
   * @param {(event: StompEvents[Name]) => void} listener
   * @returns {() => void} unsubscribes
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  // --- what an application does ---

  /**
   * Resolves when the broker has taken us in, and rejects when it cannot be done now. Once it was done, lost connections
   * are made again until `close()`.
   * @returns {Promise<void>}
   */
  connect() {
    return this.#keeper.connect();
  }

  /**
   * Resolves when the broker has it, or with `receipt: false` when it was handed over.
   * @param {string} destination
   * @param {string | Uint8Array | ArrayBuffer} body
   * @param {SendOptions} [options]
   */
  send(destination, body, { headers = {}, contentType, receipt } = {}) {
    return this.#tell('SEND', { ...headers, ...(contentType !== undefined && { 'content-type': contentType }), destination }, body, receipt);
  }

  /**
   * Resolves when the broker has it. It comes back by itself after the connection was lost; messages that come then may
   * be such as were there before.
   * @param {string} destination
   * @param {Listener} listener
   * @param {SubscribeOptions} [options]
   */
  async subscribe(destination, listener, options = {}) {
    const subscribed = { id: `s${(this.#ids += 1)}`, destination, options, listener };
    this.#subscriptions.set(subscribed.id, subscribed);
    await this.#subscribe(subscribed);
    return new Subscription(subscribed, async () => {
      // After the connection it came with, there is nothing the broker would have to know.
      if (this.#subscriptions.delete(subscribed.id) && this.state === 'connected') await this.#tell('UNSUBSCRIBE', { id: subscribed.id, destination });
    });
  }

  /** Frames that count together or not at all. */
  async begin() {
    const id = `t${(this.#ids += 1)}`;
    await this.#tell('BEGIN', { transaction: id });
    const connection = this.#connection;
    return new Transaction(id, async (...frame) => {
      if (connection !== this.#connection) throw new StompError('stale');
      return this.#tell(...frame);
    });
  }

  /**
   * Says goodbye, so that the broker has all that was sent, and ends the connection for good.
   * @returns {Promise<void>}
   */
  close() {
    return this.#keeper.close();
  }

  // --- sending ---

  /** @type {import('./message.js').Tell} */
  async #tell(command, headers, body, receipt = true) {
    if (!this.#connection || this.state !== 'connected') throw new StompError('closed');
    const id = `r${(this.#ids += 1)}`;
    const type = typeof body === 'string' && headers['content-type'] === undefined && { 'content-type': 'text/plain;charset=utf-8' };
    const bytes = encodeFrame(command, { ...headers, ...type, ...(receipt && { receipt: id }) }, bytesOf(body), this.#version);
    this.#heartBeat?.sent();
    if (!receipt) return this.#connection.write(bytes);
    /** @type {Deferred<void>} */
    const answer = new Deferred();
    this.#receipts.set(id, answer);
    this.#timers.after(id, this.#timeoutMs);
    void this.#connection.write(bytes);
    return answer.promise;
  }

  /** @param {Subscribed} subscribed */
  async #subscribe({ id, destination, options: { ack = 'auto', headers = {} } }) {
    try {
      await this.#tell('SUBSCRIBE', { ...headers, id, destination, ack });
    } catch (error) {
      // Asked for again after a refusal, it would be refused again; what the connection was lost over is another matter.
      if (error instanceof StompError) this.#subscriptions.delete(id);
      throw error;
    }
  }

  /** @param {Connection} connection @param {StompMessage} message @param {'ACK' | 'NACK'} command @param {MoreHeaders} more */
  async #answer(connection, message, command, more) {
    if (connection !== this.#connection) throw new StompError('stale', 'the broker delivers the message again');
    if (command === 'NACK' && this.#version === '1.0') throw new StompError('invalid', 'version 1.0 has no NACK');
    const { headers } = message;
    /** @type {Record<string, string>} */
    const which = this.#version === '1.2' ? { id: headers.ack ?? '' } : { 'message-id': message.id, subscription: headers.subscription ?? '' };
    if (which.id === '') throw new StompError('invalid', 'the message is not to be acknowledged');
    await this.#tell(command, { ...more, ...which }, undefined, more.transaction === undefined);
  }

  // --- the connection ---

  #open() {
    this.#decoder = new FrameDecoder(this.#maxBody);
    this.#version = '1.2';
    this.#lastWords = null;
    const connection = new Connection(this.#way.make(), {
      open: () => void connection.write(encodeFrame('CONNECT', this.#hello)),
      bytes: (bytes) => this.#bytes(connection, bytes),
      end: (error) => this.#ended(error ?? new StompError('ended')),
    });
    this.#connection = connection;
  }

  #leave() {
    this.#tell('DISCONNECT', {}).then(() => this.#connection?.abort(new StompError('closed')), () => {});
  }

  /** @param {Error} cause */
  #ended(cause) {
    this.#connection = null;
    this.#heartBeat?.stop();
    this.#heartBeat = null;
    this.#timers.clearAll();
    for (const answer of this.#receipts.values()) answer.reject(cause);
    this.#receipts.clear();
    this.#keeper.down(this.#lastWords ?? cause);
  }

  /** @param {StompState} state */
  #changed(state) {
    // Nothing comes back by itself after that.
    if (state === 'idle') this.#subscriptions.clear();
    this.#events.emit('state', { state });
  }

  /** @param {string} id */
  #receipt(id) {
    const answer = this.#receipts.get(id);
    this.#receipts.delete(id);
    this.#timers.clear(id);
    return answer;
  }

  // --- what the broker says ---

  /** @param {Connection} connection @param {Uint8Array} bytes */
  #bytes(connection, bytes) {
    this.#heartBeat?.heard();
    try {
      for (const frame of this.#decoder.push(bytes)) if (connection === this.#connection) this.#frame(connection, frame);
    } catch (error) {
      connection.abort(/** @type {Error} */ (error));
    }
  }

  /** @param {Connection} connection @param {Frame} frame */
  #frame(connection, frame) {
    const { command, headers } = frame;
    switch (command) {
      case 'CONNECTED':
        if (this.state === 'connecting') this.#connected(connection, frame);
        break;
      case 'MESSAGE': {
        const subscribed = this.#subscriptions.get(headers.subscription ?? '');
        if (subscribed) this.#deliver(subscribed, new StompMessage(frame, (...answer) => this.#answer(connection, ...answer)));
        break;
      }
      case 'RECEIPT':
        this.#receipt(headers['receipt-id'] ?? '')?.resolve();
        break;
      case 'ERROR': {
        const error = new StompError('refused', headers.message ?? '', frame);
        this.#lastWords = error;
        this.#receipt(headers['receipt-id'] ?? '')?.reject(error);
        // The broker ends the connection now, and one that does not would be of no use.
        connection.abort(error);
        break;
      }
      default:
        throw new StompError('protocol', `a frame ${command}`);
    }
  }

  /** @param {Connection} connection @param {Frame} frame */
  #connected(connection, { headers }) {
    const version = VERSIONS.find((one) => one === (headers.version ?? '1.0'));
    if (!version || !this.#versions.includes(version)) throw new StompError('protocol', `version ${headers.version ?? '1.0'}, which was not offered`);
    this.#version = version;
    this.#decoder.version = version;
    this.#serverName = headers.server ?? '';
    this.#heartBeat = new HeartBeat(this.#beats, headers['heart-beat'], {
      beat: () => void connection.write(LF),
      silent: () => connection.abort(new StompError('silent')),
      reachable: this.#way.reachable,
    });
    if (!this.#keeper.up()) return;
    for (const subscribed of this.#subscriptions.values()) this.#subscribe(subscribed).catch((error) => this.#events.emit('error', { error }));
  }

  /** @param {Subscribed} subscribed @param {StompMessage} message */
  #deliver({ listener }, message) {
    try {
      listener(message);
    } catch (error) {
      // A listener's mistake is the application's to see, and must not stop the connection.
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

/** @param {string | Uint8Array | ArrayBuffer | undefined} body */
function bytesOf(body) {
  if (typeof body === 'string') return utf8(body);
  return body instanceof ArrayBuffer ? new Uint8Array(body) : body;
}
