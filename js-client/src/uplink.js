/**
 * The uplink of the transports that only bring frames down: POSTs, one in flight, each repeated after a failure.
 * Knows when to send; what to send and what a failure means for it is the session's business.
 *
 * Invariants: at most one POST in flight; a POST that failed is followed by a pause.
 */

import { backoff } from './ladder.js';
import { Timers } from './timers.js';
import { endOf, exchange } from './transports/http.js';

/** docs/protocol.md section 7: the longest request body. */
const MAX_BODY_BYTES = 131_072;
/** On a slow network long bodies may never arrive in time; no shorter than this they are cut. */
const MIN_BODY_BYTES = 4096;
/** So many failures in a row say that this way up is blocked. */
const BLOCKED_AFTER = 4;

/**
 * @typedef {import('./session.js').Session} Session
 * @typedef {import('./transports/transport.js').End} End
 */

export class Uplink {
  /** When a POST was answered last. */
  answeredAt = 0;

  #config;
  #session;
  #timers;
  #onDone;
  /** @type {AbortController | null} of the POST in flight */
  #flight = null;
  #bodyBytes = MAX_BODY_BYTES;
  /** POSTs in a row that failed or were not taken whole. */
  #setbacks = 0;

  /**
   * @param {import('./options.js').Config} config
   * @param {Session} session
   * @param {Timers} timers where the pause is kept, as `up`
   * @param {(failure: (End & { blocked: boolean }) | null) => void} onDone after each POST
   */
  constructor(config, session, timers, onDone) {
    this.#config = config;
    this.#session = session;
    this.#timers = timers;
    this.#onDone = onDone;
  }

  /** Sends what is due, unless a POST is in flight or a pause is due first. */
  pump() {
    if (this.#flight || this.#timers.has('up')) return;
    const bytes = this.#session.pollTransmit(this.#bodyBytes, Timers.now());
    if (bytes !== null) void this.#post(bytes, this.#session.uplink.epoch);
  }

  /** Gives the POST in flight up. */
  abort() {
    this.#timers.clear('up');
    this.#flight?.abort();
    this.#flight = null;
  }

  /**
   * A last message for a session that ends or leaves. Whether it arrives changes nothing here, so its answer is not
   * waited for; the gateway has its timeouts.
   * @param {Uint8Array} bytes
   */
  sendLast(bytes) {
    const { sid, token } = this.#session;
    if (sid === null) return;
    exchange(this.#config, `${sid}/up`, bytes, { token, keepalive: true }, () => {}).catch(() => {});
  }

  /** @param {Uint8Array} bytes @param {number} epoch */
  async #post(bytes, epoch) {
    const flight = new AbortController();
    this.#flight = flight;
    let late = false;
    const timeout = setTimeout(() => {
      late = true;
      flight.abort();
    }, this.#config.timing.upTimeoutMs);
    /** @type {import('./frame.js').Frame[]} */
    const frames = [];
    /** @type {End | null} */
    let failure = null;
    try {
      const { sid, token } = this.#session;
      const { form } = this.#session.uplink;
      const send = form ? (await import('./transports/form.js')).exchangeByForm : exchange;
      const whole = await send(this.#config, `${sid}/up`, bytes, { token, signal: flight.signal }, (some) => frames.push(...some));
      if (!whole) failure = { code: null, text: 'the reply was cut' };
    } catch (error) {
      failure = endOf(error);
    }
    clearTimeout(timeout);
    if (this.#flight !== flight) return;
    this.#flight = null;
    if (failure === null) {
      this.answeredAt = Timers.now();
      this.#bodyBytes = Math.min(MAX_BODY_BYTES, this.#bodyBytes * 2);
      // A gateway that did not take everything will not do so the sooner for being asked at once.
      if (this.#session.upDone(frames, epoch, Timers.now())) this.#pause();
      else this.#setbacks = 0;
      this.#onDone(null);
      return;
    }
    if (late) this.#bodyBytes = Math.max(MIN_BODY_BYTES, Math.floor(this.#bodyBytes / 2));
    this.#session.upFailed(epoch);
    this.#pause();
    const blocked = this.#setbacks >= BLOCKED_AFTER && epoch === this.#session.uplink.epoch;
    if (blocked) this.#setbacks = 0;
    this.#onDone({ ...failure, blocked });
  }

  #pause() {
    this.#timers.after('up', backoff(this.#setbacks, this.#config.timing));
    this.#setbacks += 1;
  }
}
