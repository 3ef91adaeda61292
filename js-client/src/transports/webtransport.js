/** One WebTransport session with one stream: frames both ways, as one sequence of bytes. */

import { codeName } from '../codes.js';
import { Decoder, FrameError } from '../frame.js';
import { endpoint } from './endpoint.js';
import { lazily, loadHttp } from './open.js';

/** What may wait to be sent: enough to keep a fast network busy, little enough to switch away from. */
const QUEUE_BYTES = 65_536;

/** How long a gateway may take to end a session whose stream has ended. */
const CLOSE_MS = 2000;

/**
 * What gateways offer, by URL, for as long as the page lives; null where there is no WebTransport.
 * @typedef {{ host?: string, port?: number, hashes?: string[] }} Offer where what is missing is as for HTTP
 * @type {Map<string, Offer | null>}
 */
const offers = new Map();

export const open = lazily(async () => {
  const http = await loadHttp();
  return { open: (config, sid, handlers) => run(http, config, sid, handlers) };
});

/**
 * @param {typeof import('./http.js')} http
 * @param {import('./transport.js').Config} config
 * @param {string} sid
 * @param {import('./transport.js').Handlers} handlers
 * @returns {import('./transport.js').Transport}
 */
function run({ endOf, refusal }, config, sid, handlers) {
  const asking = new AbortController();
  let over = false;
  let queued = 0;
  /** @type {WebTransport | undefined} */
  let session;
  /** @type {Promise<import('./transport.js').End> | undefined} of the session */
  let closed;
  /** @type {WritableStreamDefaultWriter<Uint8Array> | undefined} */
  let writer;

  /** @param {Uint8Array} bytes */
  const send = (bytes) => {
    if (!writer) return;
    queued += bytes.length;
    // One that fails says so where the stream is read, too.
    writer.write(bytes).then(() => (queued -= bytes.length), () => {});
  };
  const close = () => {
    over = true;
    asking.abort();
    if (writer === undefined) return session?.close();
    // The end of a session takes with it what is not sent yet, so the stream ends, and then the gateway ends the session.
    writer.close().catch(() => {});
    const late = setTimeout(() => session?.close(), CLOSE_MS);
    return closed?.then(() => clearTimeout(late));
  };
  /** @param {import('./transport.js').End} end */
  const end = (end) => {
    if (over) return;
    close();
    handlers.end(end);
  };

  /** @returns {Promise<import('./transport.js').End>} */
  const carry = async () => {
    const offer = await ask(config, refusal, asking.signal);
    if (offer === null) return { code: null, text: 'this gateway has no WebTransport', absent: true };
    if (!over) session = connect(config, sid, offer);
    if (session === undefined) return { code: null, text: '' };
    closed = session.closed.then(({ closeCode = 0, reason }) => ({
      code: closeCode >= 4000 && closeCode < 4100 ? codeName(closeCode - 4000) : null, text: reason || `closed with ${closeCode}`,
    }), endOf);
    try {
      await session.ready;
      const stream = await session.createBidirectionalStream();
      if (over) return closed;
      writer = stream.writable.getWriter();
      send(handlers.hello());
      const decoder = new Decoder();
      const reader = stream.readable.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || over) break;
        handlers.frames(decoder.push(value));
      }
    } catch (error) {
      if (error instanceof FrameError) return endOf(error);
      // The gateway may have another certificate by now, or another port.
      if (writer === undefined) offers.delete(config.url);
    }
    // The stream ends before the session, which says why once this half has ended, too.
    writer?.close().catch(() => {});
    return closed;
  };
  carry().catch(endOf).then(end);

  return { room: () => (writer ? Math.max(0, QUEUE_BYTES - queued) : 0), send, close };
}

/** @param {import('./transport.js').Config} config @param {typeof import('./http.js').refusal} refusal @param {AbortSignal} signal */
async function ask(config, refusal, signal) {
  const known = offers.get(config.url);
  if (known !== undefined) return known;
  /** @type {Record<string, string>} */
  const headers = config.origin === undefined ? {} : { origin: config.origin };
  const response = await config.fetch(endpoint(config, 'webtransport'), { headers, signal, cache: 'no-store', redirect: 'error' });
  if (!response.ok && response.status !== 404) throw await refusal(response);
  /** @type {Offer | null} */
  const offer = response.ok ? await response.json() : null;
  offers.set(config.url, offer);
  return offer;
}

/** @param {import('./transport.js').Config} config @param {string} sid @param {Offer} offer */
function connect({ WebTransport, url }, sid, { host, port, hashes }) {
  if (WebTransport === undefined) throw new TypeError('there is no WebTransport here');
  // Nothing stands between the page and this listener: whatever path a proxy gave the gateway is not known there.
  const address = new URL(`/perigee/v1/${sid}/wt`, url.replace(/^http:/, 'https:'));
  if (host !== undefined) address.hostname = host;
  if (port !== undefined) address.port = String(port);
  return new WebTransport(address.href, hashes && {
    serverCertificateHashes: hashes.map((hash) => ({
      algorithm: 'sha-256', value: Uint8Array.from(atob(hash), (character) => character.charCodeAt(0)),
    })),
  });
}
