/** Listeners as Node's EventEmitter has them, as far as libraries for its streams use them. */

/** @typedef {(...args: any[]) => void} Listener */

export class EventEmitter {
  /** @type {Map<string, { listener: Listener, once: boolean }[]>} */
  #listeners = new Map();

  /** @param {string} name @param {Listener} listener */
  on(name, listener) {
    return this.#add(name, listener, false, false);
  }

  /** @param {string} name @param {Listener} listener */
  addListener(name, listener) {
    return this.on(name, listener);
  }

  /** @param {string} name @param {Listener} listener */
  once(name, listener) {
    return this.#add(name, listener, true, false);
  }

  /** @param {string} name @param {Listener} listener */
  prependListener(name, listener) {
    return this.#add(name, listener, false, true);
  }

  /** @param {string} name @param {Listener} listener */
  off(name, listener) {
    const all = this.#listeners.get(name) ?? [];
    const at = all.map((one) => one.listener).lastIndexOf(listener);
    if (at >= 0) this.#listeners.set(name, all.filter((_, i) => i !== at));
    return this;
  }

  /** @param {string} name @param {Listener} listener */
  removeListener(name, listener) {
    return this.off(name, listener);
  }

  /** @param {string} [name] */
  removeAllListeners(name) {
    if (name === undefined) this.#listeners.clear();
    else this.#listeners.delete(name);
    return this;
  }

  /** @param {string} name */
  listenerCount(name) {
    return this.#listeners.get(name)?.length ?? 0;
  }

  /** @param {string} name @returns {Listener[]} */
  listeners(name) {
    return (this.#listeners.get(name) ?? []).map(({ listener }) => listener);
  }

  /** Node warns of many; there is nothing to warn here. */
  setMaxListeners() {
    return this;
  }

  /** @param {string} name @param {unknown[]} args */
  emit(name, ...args) {
    const all = [...(this.#listeners.get(name) ?? [])];
    // As in Node, an error that nobody hears is an error of the program.
    if (name === 'error' && all.length === 0) throw args[0];
    for (const { listener, once } of all) {
      if (once) this.off(name, listener);
      listener.apply(this, args);
    }
    return all.length > 0;
  }

  /** @param {string} name @param {Listener} listener @param {boolean} once @param {boolean} first */
  #add(name, listener, once, first) {
    const all = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, first ? [{ listener, once }, ...all] : [...all, { listener, once }]);
    this.added(name);
    return this;
  }

  /** A listener was added. @param {string} name */
  added(name) {
    void name;
  }
}
