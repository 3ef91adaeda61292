/**
 * Which transport to try next. The choice is pure: a list in order of preference, what failed since it last worked, and
 * what worked last go in; a name comes out. A Ladder remembers what goes in.
 *
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {Readonly<Partial<Record<Kind, number>>>} Failures how often each failed since it last worked
 */

import { recall } from './memory.js';

/** @type {readonly Kind[]} */
export const KINDS = ['websocket', 'webtransport', 'stream', 'sse', 'poll'];

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
 * Full jitter: anything from nothing to a bound that doubles, so that clients cut off together do not come back together.
 * @param {number} failures
 * @param {{ backoffMinMs: number, backoffMaxMs: number }} timing
 * @param {number} [random] 0 ≤ random < 1
 */
export function backoff(failures, { backoffMinMs, backoffMaxMs }, random = Math.random()) {
  return random * Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(failures, 30));
}

/** What a link learned about the transports it can use. */
export class Ladder {
  /** @type {Kind | null} the only one to use */
  forced;
  /** @type {readonly Kind[]} */
  #list;
  /** @type {Kind[]} not in the list for that */
  #heldBack = [];
  /** @type {Partial<Record<Kind, number>>} */
  #failures = {};
  /** @type {Kind | null} */
  #worked;
  /** @type {Set<Kind>} tried since the last pause */
  #tried = new Set();
  #rounds = 0;

  /** @param {import('./options.js').Config} config */
  constructor(config) {
    this.#list = config.transports;
    this.#worked = recall(config);
    this.forced = config.transport === 'auto' ? null : config.transport;
  }

  /** @param {readonly Kind[]} [busy] */
  next(busy = []) {
    return this.forced ?? next(this.#list, this.#failures, this.#worked, busy);
  }

  /** A rung that was not tried since the last pause. */
  nextUntried() {
    if (this.forced !== null) return null;
    return next(this.#list, this.#failures, this.#worked, [...this.#tried]);
  }

  /** A rung to try while `current` works. @param {Kind} current */
  better(current) {
    return this.forced === null ? better(this.#list, this.#failures, current) : null;
  }

  /** @param {Kind} kind */
  trying(kind) {
    this.#tried.add(kind);
  }

  /** @param {Kind} kind */
  worked(kind) {
    this.#failures[kind] = 0;
    this.#worked = kind;
    this.startOver();
    // What a worker knows no gateway knows, and the other way round.
    if (kind === 'port') this.#list = ['port'];
    else this.leave('port');
  }

  /** @param {Kind} kind */
  failed(kind) {
    // Without a network that is no news of this rung.
    if (globalThis.navigator?.onLine === false) return;
    this.#failures[kind] = (this.#failures[kind] ?? 0) + 1;
  }

  /** There is no such rung here. @param {Kind} kind */
  leave(kind) {
    const rest = this.#list.filter((one) => one !== kind);
    // What is held back is better than what does not exist.
    if (rest.length === 0) rest.push(...this.#heldBack.splice(0));
    if (rest.length > 0) this.#list = rest;
  }

  /** Somebody on this network holds it back. @param {Kind} kind */
  holdBack(kind) {
    if (this.#list.length < 2) return;
    this.leave(kind);
    this.#heldBack.push(kind);
  }

  /** There is reason to hope: no pause is due. */
  startOver() {
    this.#rounds = 0;
    this.#tried.clear();
  }

  /** Every rung failed. @returns {number} for how many pauses in a row that is so, this one not counted */
  pause() {
    this.#tried.clear();
    this.#rounds += 1;
    return this.#rounds - 1;
  }
}
