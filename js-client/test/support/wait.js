import assert from 'node:assert/strict';

/**
 * Waits until something is so. It looks again each time the event loop comes round, and gives up after `ms`.
 * @param {() => unknown} condition
 * @param {string} what
 * @param {number} [ms]
 */
export async function until(condition, what, ms = 10_000) {
  const deadline = performance.now() + ms;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {string} what
 * @param {number} [ms]
 * @returns {Promise<T>}
 */
export async function within(promise, what, ms = 10_000) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new assert.AssertionError({ message: `waited in vain: ${what}` })), ms);
  });
  try {
    return await Promise.race([promise, /** @type {Promise<never>} */ (late)]);
  } finally {
    clearTimeout(timer);
  }
}

/** All bytes of a stream. @param {ReadableStream<Uint8Array>} readable */
export async function collect(readable) {
  /** @type {Uint8Array[]} */
  const chunks = [];
  for await (const chunk of readable) chunks.push(chunk);
  return Buffer.concat(chunks);
}
