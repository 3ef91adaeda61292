/** Waiting for a condition, never for time to pass. */

/**
 * Asks until the answer is true-ish, and returns it.
 * @template T
 * @param {string} what for the error
 * @param {() => T | Promise<T>} condition
 * @param {number} [timeoutMs]
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, condition, timeoutMs = 15_000) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const answer = await condition();
    if (answer) return /** @type {NonNullable<T>} */ (answer);
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * Asks until the number stays what it is for `calmMs`, and returns it.
 * @param {string} what
 * @param {() => number | Promise<number>} value
 * @param {{ calmMs?: number, timeoutMs?: number }} [options]
 */
export async function untilCalm(what, value, { calmMs = 750, timeoutMs = 20_000 } = {}) {
  let last = await value();
  let since = performance.now();
  await until(`${what} stays as it is`, async () => {
    const now = await value();
    if (now !== last) [last, since] = [now, performance.now()];
    return performance.now() - since >= calmMs;
  }, timeoutMs);
  return last;
}
