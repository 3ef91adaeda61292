/**
 * Remembers the transport that worked last, per gateway, for as long as the storage lives. A storage that fails is a
 * storage that remembers nothing.
 *
 * @typedef {import('./session.js').Kind} Kind
 */

/**
 * @param {import('./options.js').Config} config
 * @returns {Kind | null}
 */
export function recall({ storage, url, transports }) {
  try {
    const value = storage?.getItem(key(url));
    return transports.find((kind) => kind === value) ?? null;
  } catch {
    return null;
  }
}

/**
 * @param {import('./options.js').Config} config
 * @param {Kind} kind
 */
export function remember({ storage, url }, kind) {
  try {
    storage?.setItem(key(url), kind);
  } catch {
    // Full or forbidden: the next page starts from the top.
  }
}

/** @param {string} url */
function key(url) {
  return `perigee:${url}`;
}
