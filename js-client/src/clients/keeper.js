/**
 * Keeps a connection for a protocol client: makes it when it is asked to, makes it again when it is lost, and tells each
 * of it once.
 *
 * @typedef {'idle' | 'connecting' | 'connected' | 'waiting'} KeptState
 * @typedef {{ minMs?: number, maxMs?: number, attempts?: number }} Patience the shape of what `reconnect` may say
 *
 * @typedef {object} Kept what a client does for it
 * @property {() => void} open begins to connect; `up` or `down` follows
 * @property {() => void} drop gives up what `open` began, at once; `down` follows
 * @property {() => void} leave ends a connection that is up, in good order; `down` follows
 * @property {(state: KeptState) => void} changed
 * @property {(error: Error) => void} failed what no promise tells
 * @property {(error: Error) => boolean} isFinal whether it is of no use to try again
 * @property {(code: 'closed' | 'timeout', text?: string) => Error} error
 */

import { backoff } from '../ladder.js';
import { Deferred } from '../socket.js';
import { Timers } from '../timers.js';

/** How long a server may take to let go of who said goodbye. */
const LEAVE_MS = 5000;

export class Keeper {
  #kept;
  #patience;
  #timeoutMs;
  /** @type {KeptState} */
  #state = 'idle';
  /** @type {Deferred<void> | null} */
  #connecting = null;
  /** @type {Deferred<void> | null} */
  #closing = null;
  #failures = 0;
  #since = 0;
  #late = false;
  /** The client was asked to open the connection that is under way. */
  #isBegun = false;
  #timers = new Timers((name) => this.#due(name));

  /**
   * @param {Kept} kept
   * @param {boolean | Patience} reconnect
   * @param {number} timeoutMs for a connection to be up
   */
  constructor(kept, reconnect, timeoutMs) {
    this.#kept = kept;
    this.#patience = patienceOf(reconnect);
    this.#timeoutMs = timeoutMs;
  }

  get state() {
    return this.#state;
  }

  /** @returns {Promise<void>} */
  connect() {
    if (this.#closing) return Promise.reject(this.#kept.error('closed', 'close() is under way'));
    if (this.#state === 'connected') return Promise.resolve();
    const { promise } = (this.#connecting ??= new Deferred());
    if (this.#state === 'idle' || this.#state === 'waiting') this.#open();
    return promise;
  }

  /** @returns {Promise<void>} */
  close() {
    if (this.#closing) return this.#closing.promise;
    if (this.#state === 'idle') return Promise.resolve();
    if (this.#state === 'waiting') {
      this.#rest(this.#kept.error('closed'));
      return Promise.resolve();
    }
    this.#closing = new Deferred();
    const { promise } = this.#closing;
    if (this.#state === 'connected') {
      this.#timers.after('leave', LEAVE_MS);
      this.#kept.leave();
    } else if (this.#isBegun) {
      this.#kept.drop();
    }
    return promise;
  }

  /** The server has taken us in. @returns {boolean} whether to go on: whoever hears of it may be content, and close it */
  up() {
    if (this.#state !== 'connecting' || this.#closing) return false;
    this.#timers.clearAll();
    this.#since = Timers.now();
    this.#setState('connected');
    this.#connecting?.resolve();
    this.#connecting = null;
    return this.state === 'connected' && !this.#closing;
  }

  /** The connection is over. @param {Error} reason */
  down(reason) {
    if (this.#state !== 'connecting' && this.#state !== 'connected') return;
    const error = this.#late ? this.#kept.error('timeout') : reason;
    this.#late = false;
    this.#timers.clearAll();
    // Who held for long has not failed.
    if (this.#state === 'connected' && Timers.now() - this.#since >= this.#patience.maxMs) this.#failures = 0;
    // Whoever asked for a connection is told, and decides what next.
    if (this.#closing || this.#connecting || this.#kept.isFinal(error) || this.#failures >= this.#patience.attempts) {
      this.#rest(error);
      return;
    }
    const { minMs, maxMs } = this.#patience;
    this.#timers.after('again', backoff(this.#failures, { backoffMinMs: minMs, backoffMaxMs: maxMs }));
    this.#failures += 1;
    this.#setState('waiting');
    this.#kept.failed(error);
  }

  #open() {
    this.#timers.clearAll();
    this.#timers.after('late', this.#timeoutMs);
    this.#isBegun = false;
    this.#setState('connecting');
    // Whoever heard of it may have closed it.
    if (this.#closing) {
      this.down(this.#kept.error('closed'));
      return;
    }
    this.#isBegun = true;
    try {
      this.#kept.open();
    } catch (error) {
      this.down(/** @type {Error} */ (error));
    }
  }

  /** There is no connection, and none will be made. @param {Error} error */
  #rest(error) {
    const { connecting, closing } = { connecting: this.#connecting, closing: this.#closing };
    // An attempt to come back fails here, too: for good.
    const isNews = this.#state !== 'waiting' && !connecting && !closing;
    this.#timers.clearAll();
    this.#connecting = null;
    this.#closing = null;
    this.#failures = 0;
    this.#setState('idle');
    connecting?.reject(closing ? this.#kept.error('closed') : error);
    closing?.resolve();
    if (isNews) this.#kept.failed(error);
  }

  /** @param {string} name */
  #due(name) {
    if (name === 'again') {
      this.#open();
      return;
    }
    this.#late = name === 'late';
    this.#kept.drop();
  }

  /** @param {KeptState} state */
  #setState(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#kept.changed(state);
  }
}

/**
 * @param {boolean | Patience} patience
 * @returns {Required<Patience>}
 */
function patienceOf(patience) {
  const { minMs = 1000, maxMs = 60_000, attempts = Infinity } = typeof patience === 'object' ? patience : {};
  if (!(minMs >= 0 && maxMs >= minMs && attempts >= 0)) throw new TypeError('reconnect has a number that cannot be');
  return { minMs, maxMs, attempts: patience === false ? 0 : attempts };
}
