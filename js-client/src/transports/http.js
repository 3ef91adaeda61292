/**
 * POSTs of frames, answered by frames: two transports made of them, and the uplink of all that only bring frames down.
 *
 * All that a page needs where nothing but HTTP works is in this one module.
 */

import { CODES, Fault } from '../codes.js';
import { Decoder, FrameError } from '../frame.js';
import { backoff } from '../ladder.js';
import { need } from '../need.js';
import { LEGACY } from '../session.js';
import { Timers } from '../timers.js';
import { endpoint } from './endpoint.js';

/**
 * @typedef {import('../codes.js').Code} Code
 * @typedef {import('../frame.js').Frame} Frame
 * @typedef {import('../options.js').Config} Config
 * @typedef {import('../session.js').Session} Session
 * @typedef {import('./transport.js').End} End
 */

/** docs/protocol.md section 7: the longest request body. */
const MAX_BODY_BYTES = 131_072;
/** On a slow network long bodies may never arrive in time; no shorter than this they are cut. */
const MIN_BODY_BYTES = 4096;
/** So many failures in a row say that this way up is blocked. */
const BLOCKED_AFTER = 4;
/** A form is not waited for as long as a POST: browsers do not always tell that its reply was lost. What is sent twice counts once. */
const FORM_TIMEOUT_MS = 10_000;

/** Where what opens each transport that is made of requests is. */
export const BY_HTTP = {
  stream: async () => ({ open: openStream }),
  sse: () => need('transports/sse.js', () => import('./sse.js')),
  poll: async () => ({ open: openPoll }),
  htmlfile: () => need('transports/htmlfile.js', () => import('./htmlfile.js')),
  jsonp: () => need('transports/jsonp.js', () => import('./jsonp.js')),
};
/** What some of them need besides. */
export const loadTicket = () => need('transports/ticket.js', () => import('./ticket.js'));
export const loadForm = () => need('transports/form.js', () => import('./form.js'));

/** A request that came to nothing. `code` is null when no gateway said why. */
export class HttpError extends /** @type {typeof Fault<Code | null>} */ (Fault) {}

/** The Authorization of an uplink. @param {Uint8Array} token */
export function bearer(token) {
  const base64 = btoa(String.fromCharCode(...token));
  return `Bearer ${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}

/**
 * Sends frames and hands on those that come back, as they come.
 * @param {Config} config
 * @param {string} path
 * @param {Uint8Array} body
 * @param {{ token?: Uint8Array, signal?: AbortSignal, keepalive?: boolean }} options
 * @param {(frames: Frame[], more?: boolean) => void} onFrames and whether there is the beginning of one more
 * @returns {Promise<boolean>} the reply was a whole number of frames
 * @throws {HttpError | FrameError} or what fetch throws
 */
export async function exchange(config, path, body, { token, signal, keepalive = false }, onFrames) {
  // Without a Content-Type the HELLO of a page on another origin needs no preflight.
  /** @type {Record<string, string>} */
  const headers = {};
  if (token) headers.authorization = bearer(token);
  if (config.origin !== undefined) headers.origin = config.origin;
  const response = await config.fetch(endpoint(config, path), {
    method: 'POST', body: /** @type {Uint8Array<ArrayBuffer>} */ (body), headers, signal: signal ?? null, keepalive,
    // The body carries the token: it must not follow a redirect.
    redirect: 'error', cache: 'no-store',
  });
  if (!response.ok) throw await refusal(response);
  const type = response.headers.get('content-type') ?? '';
  if (!type.startsWith('application/octet-stream') || response.body === null) {
    await response.body?.cancel();
    throw new HttpError(null, 'no gateway answered');
  }
  const decoder = new Decoder();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return decoder.pending === 0;
      const frames = decoder.push(value);
      onFrames(frames, decoder.pending > 0);
    }
  } catch (error) {
    if (error instanceof FrameError) await reader.cancel();
    throw error;
  }
}

/**
 * A transport that is one exchange.
 * @param {Config} config
 * @param {string} path
 * @param {import('./transport.js').Handlers} handlers
 * @param {(whole: boolean) => End | Promise<End>} endOfReply what it means that the reply ended
 * @returns {import('./transport.js').Transport}
 */
function openHttp(config, path, handlers, endOfReply) {
  const controller = new AbortController();
  const { signal } = controller;
  exchange(config, path, handlers.hello(), { signal }, (frames, more) => signal.aborted || handlers.frames(frames, more))
    .then(endOfReply, endOf)
    .then((end) => signal.aborted || handlers.end(end));
  return { room: () => 0, send: () => {}, close: () => controller.abort() };
}

/** One POST whose reply never ends by itself. @type {import('./transport.js').Open} */
const openStream = (config, sid, handlers) => openHttp(config, `${sid}/stream`, handlers, () => ({
  code: null, text: 'the stream ended',
}));

/** One POST and its reply, which the gateway holds until it has something to say. @type {import('./transport.js').Open} */
const openPoll = (config, sid, handlers) => openHttp(config, `${sid}/poll`, handlers, async (whole) => {
  // The application gets its turn first, so that what it takes is acked by the next poll.
  await macrotask();
  return { code: null, text: 'the reply was cut', clean: whole };
});

/** After everything that was to happen at once. Unlike a timer it is not slowed down in a hidden page. */
function macrotask() {
  return /** @type {Promise<void>} */ (new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  }));
}

/**
 * Text from outside as a code, or null.
 * @param {unknown} text
 * @returns {Code | null}
 */
export function parseCode(text) {
  return CODES.find((name) => name === text) ?? null;
}

/**
 * Why the gateway refused. Only its own JSON counts: a proxy's error page says nothing about the session.
 * @param {Response} response
 */
export async function refusal(response) {
  const status = `HTTP ${response.status}`;
  try {
    /** @type {unknown} */
    const body = await response.json();
    if (typeof body === 'object' && body !== null && 'code' in body) {
      const text = 'message' in body ? String(body.message) : status;
      return new HttpError(parseCode(body.code), text);
    }
  } catch {
    // Not JSON, or cut: the status is all there is.
  }
  return new HttpError(null, status);
}

/**
 * What went wrong, as a transport reports it.
 * @param {unknown} error
 * @returns {End}
 */
export function endOf(error) {
  if (error instanceof FrameError) return { code: error.code, text: error.message, broken: true };
  if (error instanceof HttpError) return { code: error.code, text: error.message };
  return { code: null, text: error instanceof Error ? error.message : String(error) };
}

/**
 * The uplink of the transports that only bring frames down: POSTs, one in flight, each repeated after a failure.
 * Knows when to send; what to send and what a failure means for it is the session's business.
 *
 * Invariants: at most one POST in flight; a POST that failed is followed by a pause.
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
   * @param {Config} config
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
    // Where those are in use fetch may not work.
    const byForm = LEGACY.some((kind) => kind === this.#session.uplink.down);
    const { upTimeoutMs } = this.#config.timing;
    let late = false;
    const timeout = setTimeout(() => {
      late = true;
      flight.abort();
    }, byForm ? Math.min(upTimeoutMs, FORM_TIMEOUT_MS) : upTimeoutMs);
    /** @type {Frame[]} */
    const frames = [];
    /** @type {End | null} */
    let failure = null;
    try {
      const { sid, token } = this.#session;
      const send = byForm ? (await loadForm()).exchangeByForm : exchange;
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
