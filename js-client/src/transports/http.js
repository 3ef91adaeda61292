/**
 * One POST of frames, answered by frames: what stream, poll and uplink have in common. Knows HTTP and nothing of sessions.
 */

import { Fault, parseCode } from '../codes.js';
import { Decoder, FrameError } from '../frame.js';

/**
 * @typedef {import('../codes.js').Code} Code
 * @typedef {import('../frame.js').Frame} Frame
 * @typedef {import('../options.js').Config} Config
 */

/** A request that came to nothing. `code` is null when no gateway said why. */
export class HttpError extends /** @type {typeof Fault<Code | null>} */ (Fault) {}

/**
 * @param {Config} config
 * @param {string} path below /perigee/v1/
 */
export function endpoint(config, path) {
  return `${config.url}/perigee/v1/${path}`;
}

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
 * @param {(frames: Frame[]) => void} onFrames
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
      onFrames(decoder.push(value));
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
 * @param {(whole: boolean) => import('./transport.js').End} endOfReply what it means that the reply ended
 * @returns {import('./transport.js').Transport}
 */
export function openHttp(config, path, handlers, endOfReply) {
  const controller = new AbortController();
  const { signal } = controller;
  exchange(config, path, handlers.hello(), { signal }, (frames) => signal.aborted || handlers.frames(frames))
    .then(endOfReply, endOf)
    .then((end) => signal.aborted || handlers.end(end));
  return { room: () => 0, send: () => {}, close: () => controller.abort() };
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
 * @returns {import('./transport.js').End}
 */
export function endOf(error) {
  if (error instanceof FrameError) return { code: error.code, text: error.message, broken: true };
  if (error instanceof HttpError) return { code: error.code, text: error.message };
  return { code: null, text: error instanceof Error ? error.message : String(error) };
}
