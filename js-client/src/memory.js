/**
 * Recalls the transport that worked last, per gateway and network. A storage that fails is a storage that remembers
 * nothing. What writes it (`remember.js`) comes once there is something to remember.
 *
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {Record<string, [kind: string, until: number]>} Known by network, the newest last
 */

/**
 * Long enough for those who stay behind a proxy, and no longer, so that a bad hour is not held against a network for ever.
 */
export const REMEMBERED_MS = 86_400_000;

/**
 * What some browsers tell of the network.
 * @returns {EventTarget & { type?: string, effectiveType?: string } | undefined}
 */
export function connection() {
  return /** @type {any} */ (globalThis.navigator)?.connection;
}

/** The network that the page is on, as far as it can be told from others. */
export function network() {
  const it = connection();
  return `${it?.type}/${it?.effectiveType}`;
}

/**
 * @param {import('./options.js').Config} config
 * @returns {Kind | null}
 */
export function recall(config) {
  try {
    const [kind, until] = read(config)[network()] ?? ['', 0];
    const left = until - Date.now();
    return (left > 0 && left <= REMEMBERED_MS && config.transports.find((one) => one === kind)) || null;
  } catch {
    return null;
  }
}

/** @param {import('./options.js').Config} config @returns {Known} */
export function read(config) {
  return JSON.parse(config.storage?.getItem(key(config)) ?? '{}');
}

/** @param {import('./options.js').Config} config */
export function key({ url }) {
  return `perigee:${url}`;
}
