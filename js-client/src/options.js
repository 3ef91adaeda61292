/**
 * The options of a Gateway: one object, documented defaults, unknown names refused.
 *
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {object} Timing
 * @property {number} raceAfterMs a transport that did not answer after this gets a competitor (4,000)
 * @property {number} attemptTimeoutMs a transport that did not answer after this has failed (15,000)
 * @property {number} stepUpAfterMs how long to stay on a lesser transport before a better one is tried (300,000); twice as long after each time in vain
 * @property {number} connectTimeoutMs how long to look for a way to the gateway before the first session gives up with `offline` (30,000)
 * @property {number} backoffMinMs bound of the first delay between attempts (500)
 * @property {number} backoffMaxMs bound of any delay between attempts (30,000)
 * @property {number} upTimeoutMs an uplink POST without an answer after this has failed (30,000); one by form after 10,000 at most
 * @property {number} probeMs a transport that is asked for a sign of life has this time to give one, or four round trips if that is longer (3,000)
 * @property {number} lingerMs how long a session without sockets is kept (30,000)
 * @property {number} windowBytes what the gateway may send on one socket before the application takes it (262,144)
 * @property {number} sendBytes what one socket holds until the gateway delivered it (262,144)
 *
 * @typedef {object} Choices
 * @property {'auto' | Kind} transport
 * @property {readonly Kind[]} transports
 * @property {string | undefined} origin
 * @property {typeof globalThis.fetch} fetch
 * @property {typeof globalThis.WebSocket} WebSocket
 * @property {typeof globalThis.WebTransport} WebTransport
 * @property {Storage | null} storage
 * @property {boolean} surviveReload
 * @property {boolean | string | URL} shared
 *
 * @typedef {Partial<Choices & Timing>} GatewayOptions
 *
 * @typedef {object} Config
 * @property {string} url of the gateway, without a slash at the end
 * @property {'auto' | Kind} transport
 * @property {readonly Kind[]} transports those that can be used here
 * @property {string | undefined} origin
 * @property {typeof globalThis.fetch} fetch
 * @property {typeof globalThis.WebSocket | undefined} WebSocket
 * @property {typeof globalThis.WebTransport | undefined} WebTransport
 * @property {Storage | null} storage
 * @property {Shared | null} shared
 * @property {Timing} timing
 *
 * @typedef {object} Shared the session that all tabs have in common
 * @property {true | string | URL} script of the worker that has it, true for ours
 * @property {GatewayOptions} options what the worker's Gateway is to be like
 * @property {import('./relay.js').News | null} news the last from the worker
 * @property {(request: import('./relay.js').Request) => void} say asks something of it
 * @property {(news: import('./relay.js').News) => void} told is called with them
 */

import { KINDS } from './ladder.js';
import { LEGACY } from './session.js';

/** @type {Readonly<Timing>} */
const TIMING = {
  raceAfterMs: 4000,
  attemptTimeoutMs: 15_000,
  stepUpAfterMs: 300_000,
  connectTimeoutMs: 30_000,
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  upTimeoutMs: 30_000,
  probeMs: 3000,
  lingerMs: 30_000,
  windowBytes: 262_144,
  sendBytes: 262_144,
};
const CHOICES = ['transport', 'transports', 'origin', 'fetch', 'WebSocket', 'WebTransport', 'storage', 'surviveReload', 'shared'];

/**
 * @param {string | URL | undefined} url
 * @param {GatewayOptions} options
 * @returns {Config}
 */
export function configure(url, options) {
  checkOptions(options, [...CHOICES, ...Object.keys(TIMING)]);
  const timing = { ...TIMING };
  for (const name of /** @type {(keyof Timing)[]} */ (Object.keys(TIMING))) {
    const value = options[name] ?? timing[name];
    const valid = name.endsWith('Bytes') ? Number.isSafeInteger(value) && value > 0 : value >= 0;
    if (!valid) throw new TypeError(`${name} cannot be ${value}`);
    timing[name] = value;
  }

  const { WebSocket = globalThis.WebSocket, WebTransport = globalThis.WebTransport } = options;
  const platform = { WebSocket, WebTransport };
  const list = options.transports ?? KINDS;
  const { transport = 'auto' } = options;
  for (const kind of transport === 'auto' ? list : [...list, transport]) checkKind(kind);
  if (transport !== 'auto') checkUsable(transport, platform);
  const transports = list.filter((kind) => usable(kind, platform));
  if (transports.length === 0) throw new TypeError('there is no transport here');

  const base = baseUrl(url);
  const shared = shareWith(options, { ...timing, transport, transports });
  return {
    url: base,
    // A tab that shares leaves the choice to the worker; the others are for where there is no worker.
    transport: shared ? 'auto' : transport,
    transports: shared ? ['port', ...(transport === 'auto' ? transports : [transport])] : transports,
    shared,
    origin: options.origin,
    // Called as a method of something else, a browser's fetch refuses to work.
    fetch: options.fetch ?? ((...request) => globalThis.fetch(...request)),
    ...platform,
    storage: options.storage === undefined ? defaultStorage() : options.storage,
    timing,
  };
}

/**
 * @param {GatewayOptions} options
 * @param {GatewayOptions} rest
 * @returns {Shared | null}
 */
function shareWith({ shared, surviveReload }, rest) {
  if (!shared || !globalThis.SharedWorker) return null;
  if (surviveReload) throw new TypeError('shared and surviveReload exclude each other');
  if (shared === true && new URL(import.meta.url).origin !== location.origin) throw new TypeError('shared needs the URL of a script on this origin');
  return { script: shared, options: rest, news: null, say: () => {}, told: () => {} };
}

/** Refuses names that nobody knows. @param {object} options @param {readonly string[]} known */
export function checkOptions(options, known) {
  for (const name of Object.keys(options)) if (!known.includes(name)) throw new TypeError(`unknown option ${name}`);
}

/** @param {unknown} kind @returns {asserts kind is Kind} */
export function checkKind(kind) {
  if (![...KINDS, ...LEGACY].some((one) => one === kind)) throw new TypeError(`there is no transport ${String(kind)}`);
}

/** @typedef {Pick<Config, 'WebSocket' | 'WebTransport'>} Platform */

/** @param {Kind} kind @param {Platform} platform */
function usable(kind, { WebSocket, WebTransport }) {
  /** @type {Partial<Record<Kind, unknown>>} */
  const needs = {
    websocket: WebSocket, webtransport: WebTransport, sse: globalThis.EventSource,
    htmlfile: globalThis.document, jsonp: globalThis.document,
  };
  return !(kind in needs) || needs[kind] !== undefined;
}

/** @param {Kind} kind @param {Platform} platform */
export function checkUsable(kind, platform) {
  if (!usable(kind, platform)) throw new TypeError(`there is no ${kind} here`);
}

/** @param {string | URL | undefined} url */
function baseUrl(url) {
  const { protocol, origin, pathname } = new URL(url ?? new URL('/', import.meta.url), globalThis.document?.baseURI);
  // A module that came from a file, as in Node, does not say where its gateway is.
  if (!/^https?:$/.test(protocol)) throw new TypeError('no http URL of a gateway');
  return (origin + pathname).replace(/\/+$/, '');
}

/** @returns {Storage | null} */
function defaultStorage() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    // A browser may refuse even to say that there is one.
    return null;
  }
}
