/** Named deadlines on one clock. Setting a name again moves its deadline. */
export class Timers {
  /** @type {Map<string, number>} */
  #deadlines = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #handle;
  #armedFor = Infinity;
  #onExpired;

  /** @param {(name: string) => void} onExpired */
  constructor(onExpired) {
    this.#onExpired = onExpired;
  }

  /** Milliseconds on a clock that never goes back. */
  static now() {
    return performance.now();
  }

  /** @param {string} name @param {number} at Infinity for never */
  set(name, at) {
    if (at === Infinity) this.#deadlines.delete(name);
    else this.#deadlines.set(name, at);
    this.#arm();
  }

  /** @param {string} name @param {number} ms from now */
  after(name, ms) {
    this.set(name, Timers.now() + ms);
  }

  /** @param {string} name */
  has(name) {
    return this.#deadlines.has(name);
  }

  /** @param {string[]} names */
  clear(...names) {
    for (const name of names) this.set(name, Infinity);
  }

  clearAll() {
    this.clear(...this.#deadlines.keys());
  }

  #arm() {
    const at = Math.min(...this.#deadlines.values());
    if (at === this.#armedFor) return;
    clearTimeout(this.#handle);
    this.#armedFor = at;
    // Longer delays than this overflow setTimeout.
    if (at < Infinity) this.#handle = setTimeout(() => this.#fire(), Math.min(Math.max(0, at - Timers.now()), 2 ** 31 - 1));
  }

  #fire() {
    this.#armedFor = Infinity;
    const now = Timers.now();
    for (const [name, at] of [...this.#deadlines]) {
      // Timers may fire a fraction of a millisecond early.
      if (at > now + 0.5 || this.#deadlines.get(name) !== at) continue;
      this.#deadlines.delete(name);
      this.#onExpired(name);
    }
    this.#arm();
  }
}
