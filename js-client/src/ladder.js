/**
 * Which transport to try next. Pure: a list in order of preference, what failed since it last worked, and what worked
 * last go in; a name comes out.
 *
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {Readonly<Partial<Record<Kind, number>>>} Failures how often each failed since it last worked
 */

/** @type {readonly Kind[]} */
export const KINDS = ['websocket', 'stream', 'poll'];

/**
 * The rung with the fewest failures; among equals what worked last, then the preferred one. What worked last is forgiven
 * one failure, because a network that comes and goes breaks every transport alike.
 * @param {readonly Kind[]} list
 * @param {Failures} failures
 * @param {Kind | null} worked
 * @param {readonly Kind[]} [busy] rungs that are being tried already
 * @returns {Kind | null}
 */
export function next(list, failures, worked, busy = []) {
  /** @type {Kind | null} */
  let best = null;
  let bestScore = Infinity;
  for (const kind of list) {
    if (busy.includes(kind)) continue;
    const failed = failures[kind] ?? 0;
    // Half a point decides among equals.
    const score = kind === worked ? Math.max(0, failed - 1) - 0.5 : failed;
    if (score < bestScore) {
      best = kind;
      bestScore = score;
    }
  }
  return best;
}

/**
 * The rung to try while `current` works: one that is preferred to it, or null.
 * @param {readonly Kind[]} list
 * @param {Failures} failures
 * @param {Kind} current
 */
export function better(list, failures, current) {
  return next(list.slice(0, Math.max(0, list.indexOf(current))), failures, null);
}

/**
 * How long to wait before better rungs are tried: twice as long after each time it was in vain, at most an hour.
 * @param {number} stepUpAfterMs
 * @param {number} inVain
 */
export function stepUpDelay(stepUpAfterMs, inVain) {
  return Math.min(stepUpAfterMs * 2 ** inVain, Math.max(stepUpAfterMs, 3_600_000));
}

/**
 * Full jitter: anything from nothing to a bound that doubles, so that clients cut off together do not come back together.
 * @param {number} failures
 * @param {{ minMs: number, maxMs: number }} bounds
 * @param {number} random 0 ≤ random < 1
 */
export function backoff(failures, { minMs, maxMs }, random) {
  return random * Math.min(maxMs, minMs * 2 ** Math.min(failures, 30));
}
