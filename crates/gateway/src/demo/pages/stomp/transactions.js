// @ts-check
/** The transactions that are open, and which of them takes what is sent. */

import { h, setText } from '../dom.js';

/** @typedef {import('./store.js').Kept} Kept */
/** @typedef {Awaited<ReturnType<import('/perigee/stomp.js').StompClient['begin']>>} Transaction */

/** One of them. */
class Open {
  /** What became of messages in it. @type {Set<Kept>} */
  messages = new Set();
  #count = 0;
  #word;

  /** @param {Transaction} of @param {HTMLElement} word */
  constructor(of, word) {
    this.of = of;
    this.#word = word;
    this.#show();
  }

  /** Something was sent in it. */
  said() {
    this.#count += 1;
    this.#show();
  }

  /** Messages were acknowledged or refused in it. @param {readonly Kept[]} messages */
  settled(messages) {
    for (const kept of messages) this.messages.add(kept);
    this.#count += 1;
    this.#show();
  }

  #show() {
    setText(this.#word, `${this.#count} ${this.#count === 1 ? 'frame' : 'frames'}`);
  }
}

export class Transactions {
  #root;
  #on;
  /** @type {Open | null} */
  #chosen = null;
  #none;

  /**
   * @param {HTMLElement} root
   * @param {{ fail: (error: unknown) => void, undone: (messages: Iterable<Kept>) => void }} on
   */
  constructor(root, on) {
    this.#root = root;
    this.#on = on;
    this.#none = h('input', { type: 'radio', name: 'transaction', checked: true, 'data-testid': 'transaction-none' });
    this.#none.addEventListener('change', () => { this.#chosen = null; });
    root.append(h('label', { class: 'item' }, this.#none, h('span', { class: 'item-name' }, 'None')));
  }

  get chosen() {
    return this.#chosen;
  }

  /** One has begun, and is chosen. @param {Transaction} of */
  add(of) {
    const word = h('span', { class: 'hint' });
    const open = new Open(of, word);
    const radio = h('input', { type: 'radio', name: 'transaction' });
    radio.addEventListener('change', () => { this.#chosen = open; });
    const item = h('div', { class: 'item', 'data-testid': 'transaction' }, h('label', {}, radio, h('span', { class: 'item-name' }, of.id), word));
    const end = async (/** @type {'commit' | 'abort'} */ how) => {
      item.remove();
      if (this.#chosen === open) this.#choose(null);
      try {
        await of[how]();
        if (how === 'abort') this.#on.undone(open.messages);
      } catch (error) {
        this.#on.fail(error);
      }
    };
    for (const how of /** @type {const} */ (['commit', 'abort'])) {
      const button = h('button', { type: 'button', class: how === 'abort' ? 'quiet' : '', 'data-testid': how }, how === 'commit' ? 'Commit' : 'Abort');
      button.addEventListener('click', () => void end(how));
      item.append(button);
    }
    this.#root.append(item);
    radio.checked = true;
    this.#chosen = open;
  }

  /** The connection is over, and so are they. */
  forget() {
    for (const item of this.#root.querySelectorAll('div.item')) item.remove();
    this.#choose(null);
  }

  /** @param {null} chosen */
  #choose(chosen) {
    this.#chosen = chosen;
    this.#none.checked = true;
  }
}
