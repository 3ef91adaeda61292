import assert from 'node:assert/strict';

/**
 * What `assert.rejects` and `assert.throws` take: an error of ours with this code, and whatever else is to be so of it.
 * @param {string} code
 * @param {Readonly<Record<string, unknown>>} [more]
 */
export function failure(code, more = {}) {
  /** @param {unknown} error */
  return (error) => {
    assert.ok(error instanceof Error && OURS.includes(error.name), String(error));
    const found = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (error));
    for (const [name, value] of Object.entries({ code, ...more })) assert.equal(found[name], value, `${name} of ${error.message}`);
    return true;
  };
}

const OURS = ['PerigeeError', 'IRCError', 'StompError', 'XMPPError'];
