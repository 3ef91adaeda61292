/**
 * The memory of streams that are over (docs/protocol.md rule 8): what to answer when the peer still speaks of one.
 * A stone lasts 60 s of attached time, because while detached nobody could have asked; at most 1,024 are kept.
 *
 * @typedef {import('./frame.js').Reset} Reset
 */

const LIFETIME_MS = 60_000;
const MAX_STONES = 1024;

export class Tombstones {
  /** @type {Map<number, { reset: Reset, until: number }>} oldest first; `until` in attached time */
  #stones = new Map();
  /** Attached time before the present attachment. */
  #past = 0;
  /** @type {number | null} */
  #since = null;
  /** Attached time when it was last looked at. */
  #clock = 0;

  /** @param {number} now */
  attached(now) {
    this.#since ??= now;
  }

  /** @param {number} now */
  detached(now) {
    this.#tick(now);
    this.#past = this.#clock;
    this.#since = null;
  }

  /** @param {Reset} reset */
  add(reset) {
    this.#stones.set(reset.stream, { reset, until: this.#clock + LIFETIME_MS });
    for (const id of this.#stones.keys()) {
      if (this.#stones.size <= MAX_STONES) break;
      this.#stones.delete(id);
    }
  }

  /**
   * @param {number} id
   * @param {number} now
   * @returns {Reset | undefined}
   */
  get(id, now) {
    this.#tick(now);
    for (const [old, { until }] of this.#stones) {
      if (until > this.#clock) break;
      this.#stones.delete(old);
    }
    return this.#stones.get(id)?.reset;
  }

  get size() {
    return this.#stones.size;
  }

  /** @param {number} now */
  #tick(now) {
    if (this.#since !== null) this.#clock = this.#past + now - this.#since;
  }
}
