/**
 * Writes what `memory.js` recalls: a few networks per gateway, the newest last.
 *
 * @typedef {import('./memory.js').Known} Known
 * @typedef {import('./options.js').Config} Config
 */

import { REMEMBERED_MS, connection, key, network, read, recall } from './memory.js';

const MAX_NETWORKS = 8;

/** @param {Config} config @param {import('./session.js').Kind} kind what works on this network */
export function remember(config, kind) {
  // A lesser one is not remembered the longer for being used.
  if (recall(config) === kind) return;
  change(config, (known) => ({ ...known, [network()]: [kind, Date.now() + REMEMBERED_MS] }));
}

/** The page is on another network: where networks cannot be told apart, what is known is of the old one. @param {Config} config */
export function moved(config) {
  if (connection() === undefined) change(config, (known) => known);
}

/** @param {Config} config @param {(others: Known) => Known} make */
function change(config, make) {
  /** @type {Known} */
  let others = {};
  try {
    others = { ...read(config) };
  } catch {
    // What is there was not written by us, or cannot be read.
  }
  delete others[network()];
  try {
    const known = Object.entries(make(others)).slice(-MAX_NETWORKS);
    config.storage?.setItem(key(config), JSON.stringify(Object.fromEntries(known)));
  } catch {
    // Full or forbidden: the next page starts from the top.
  }
}
