/**
 * A clock that a test moves: what the client sets a timer for happens when the test has come to it, however long the machine
 * takes meanwhile.
 */

/** @typedef {{ at: number, run: () => void }} Due */

export class Clock {
  /** Milliseconds since it was made. */
  now = 0;
  /** @type {Map<number, Due>} */
  #due = new Map();
  #last = 0;

  /** In place of the clocks and timers of the platform until the test is over. @param {import('node:test').TestContext} t */
  constructor(t) {
    const started = Date.now();
    const before = [globalThis.setTimeout, globalThis.clearTimeout, Date.now, performance.now];
    Object.assign(globalThis, {
      setTimeout: (/** @type {() => void} */ run, /** @type {number} */ ms = 0) => {
        this.#last += 1;
        this.#due.set(this.#last, { at: this.now + Math.max(0, ms), run });
        return this.#last;
      },
      clearTimeout: (/** @type {number} */ id) => void this.#due.delete(id),
    });
    Date.now = () => started + this.now;
    performance.now = () => this.now;
    t.after(() => {
      [globalThis.setTimeout, globalThis.clearTimeout, Date.now, performance.now] = /** @type {any} */ (before);
    });
  }

  /** Moves on, from one timer to the next. @param {number} ms */
  async pass(ms) {
    const end = this.now + ms;
    await settle();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [id, { at, run }] = next;
      this.#due.delete(id);
      this.now = Math.max(this.now, at);
      run();
      await settle();
    }
    this.now = end;
  }

  /** How long until something is due. */
  get next() {
    return Math.min(...[...this.#due.values()].map(({ at }) => at)) - this.now;
  }

  /** @param {number} end @returns {[number, Due] | undefined} */
  #next(end) {
    return [...this.#due].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
  }
}

/** Lets everything happen that needs no time. */
export async function settle() {
  for (let i = 0; i < 10; i += 1) await new Promise((resolve) => void setImmediate(resolve));
}
