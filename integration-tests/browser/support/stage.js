/**
 * What a suite of tests has running, and what a single test does: kept here as it starts, and stopped in the end, the last
 * that started first.
 *
 * @typedef {{ stop: () => Promise<unknown>, tidy?: () => unknown }} Thing `tidy` is called after each test
 */

import { after, afterEach } from 'node:test';

/** To be called in a suite, before its other hooks. */
export function stage() {
  /** @type {Thing[]} */
  const lasting = [];
  /** @type {Thing[]} */
  const passing = [];
  /** @param {Thing[]} things */
  const keep = (things) => (
    /** @template {Thing} T @param {T | Promise<T>} starting @returns {Promise<T>} */
    async (starting) => {
      const thing = await starting;
      things.push(thing);
      return thing;
    }
  );
  /** @param {Thing[]} things */
  const stop = async (things) => {
    for (const thing of things.splice(0).reverse()) await thing.stop();
  };
  afterEach(async () => {
    for (const thing of [...lasting].reverse()) await thing.tidy?.();
    await stop(passing);
  });
  after(() => stop(lasting));
  return {
    /** For all tests of the suite. */
    lasting: keep(lasting),
    /** For one test. */
    passing: keep(passing),
  };
}
