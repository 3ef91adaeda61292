/**
 * Modules that come when there is need of them. One that did not come is asked for by another name the next time: under
 * its own some browsers remember as long as the page lives that it failed. As much they remember of what it imports, so
 * that must have come with the first load, or be needed in its turn (`scripts/size.js` sees to it).
 */

import { backoff } from './ladder.js';

/** @type {Record<string, { failures: number, module?: Promise<any> | undefined }>} what was asked for */
const asked = {};

/**
 * @template Module
 * @param {string} name of the file, as seen from this one
 * @param {() => Promise<Module>} load the same file. Bundlers give modules names of their own, and see to those that fail.
 * @returns {Promise<Module>} always the same one, once it came
 */
export function need(name, load) {
  const it = asked[name] ??= { failures: 0 };
  const other = import.meta.url.replace(/need\.js$/, `${name}?${it.failures}`);
  // A module that is on its way holds up the page that comes after this one (Firefox), and what was cut may be so because
  // this one goes; a fetch holds up nobody.
  return it.module ??= (it.failures && other !== import.meta.url ? fetch(other).catch(() => {}).then(() => import(/* @vite-ignore */ other)) : load()).catch((error) => {
    it.failures += 1;
    it.module = undefined;
    throw error;
  });
}

/**
 * Asks until it comes, or is not wanted any more: for what nobody would ask for again.
 * @template Wanted
 * @param {() => Promise<Wanted>} load
 * @param {import('./options.js').Timing} timing
 * @param {() => boolean} isOver
 * @returns {Promise<Wanted | void>}
 */
export async function insist(load, timing, isOver) {
  for (let failures = 0; !isOver(); failures += 1) {
    try {
      return await load();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, backoff(failures, timing)));
    }
  }
}
