// @ts-check
/**
 * The screen of the console: what was sent and what came back, as text or hex, with offsets.
 *
 * It shows bytes it is given and knows no socket.
 * Invariant: at most `BYTES_KEPT` bytes and `BLOCKS_KEPT` blocks are kept and shown; the oldest go
 * first, and a line says so.
 */

import { breakPoint, formatOffset, hexRows, splitControls, textRows } from './bytes.js';
import { followEnd, h } from './dom.js';

/** @typedef {'in' | 'out'} Direction */
/** @typedef {{ element: HTMLElement, direction: Direction | null, offset: number, bytes: Uint8Array, stale: boolean }} Block  direction null: a remark */

const BYTES_KEPT = 64 * 1024;
const BLOCKS_KEPT = 1500;
/** An open block is redrawn as a whole when bytes join it, so it is closed at this size. */
const BLOCK_BYTES = 2048;

export class Terminal {
  #root;
  #follow;
  /** @type {Block[]} */
  #blocks = [];
  #held = 0;
  #dropped = 0;
  #scheduled = false;
  /** @type {'text' | 'hex'} */
  #view = 'text';
  #earlier = h('p', { class: 'earlier', hidden: true });

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    this.#follow = followEnd(root).follow;
    root.append(this.#earlier);
    let width = this.#width();
    new ResizeObserver(() => {
      if (this.#view === 'hex' && width !== this.#width()) this.#redraw();
      width = this.#width();
    }).observe(root);
  }

  /** @param {'text' | 'hex'} view */
  show(view) {
    this.#view = view;
    this.#redraw();
  }

  /**
   * @param {Direction} direction
   * @param {number} offset of the first byte in that direction's log
   * @param {Uint8Array} bytes
   */
  add(direction, offset, bytes) {
    // In pieces, so that a big chunk is trimmed like many small ones, and none of its buffer is kept.
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) this.#join(direction, offset + at, bytes.slice(at, at + BLOCK_BYTES));
    this.#trim();
    this.#schedule();
  }

  /** @param {Direction} direction @param {number} offset @param {Uint8Array} bytes */
  #join(direction, offset, bytes) {
    const last = this.#blocks.at(-1);
    if (last && last.direction === direction && last.offset + last.bytes.length === offset && last.bytes.length < BLOCK_BYTES) {
      const joined = new Uint8Array(last.bytes.length + bytes.length);
      joined.set(last.bytes);
      joined.set(bytes, last.bytes.length);
      last.bytes = joined;
      last.stale = true;
      this.#held += bytes.length;
    } else {
      this.#push(direction, offset, bytes);
    }
    this.#close();
  }

  /**
   * A line of this page's own.
   * @param {string} text
   * @param {'plain' | 'bad' | 'good'} [tone]
   */
  remark(text, tone = 'plain') {
    const block = this.#push(null, 0, new Uint8Array(0));
    block.stale = false;
    block.element.className = `remark ${tone}`;
    block.element.dataset.testid = 'remark';
    block.element.textContent = text;
    this.#trim();
    this.#schedule();
  }

  clear() {
    for (const { element } of this.#blocks) element.remove();
    this.#blocks = [];
    this.#held = 0;
    this.#dropped = 0;
    this.#earlier.hidden = true;
  }

  /** @param {Direction | null} direction @param {number} offset @param {Uint8Array} bytes */
  #push(direction, offset, bytes) {
    const element = h('div', direction ? { class: `block ${direction}`, 'data-testid': `block-${direction}` } : {});
    const block = { element, direction, offset, bytes, stale: true };
    this.#blocks.push(block);
    this.#held += bytes.length;
    return block;
  }

  /** Starts a new block where a long one may be cut, so that a line or character stays whole. */
  #close() {
    const last = this.#blocks.at(-1);
    if (!last?.direction || last.bytes.length < BLOCK_BYTES) return;
    const at = breakPoint(last.bytes);
    if (at === last.bytes.length) return;
    const rest = last.bytes.slice(at);
    last.bytes = last.bytes.slice(0, at);
    this.#held -= rest.length;
    this.#push(last.direction, last.offset + at, rest);
  }

  #trim() {
    while (this.#held > BYTES_KEPT || this.#blocks.length > BLOCKS_KEPT) {
      const first = this.#blocks.shift();
      if (!first) return;
      this.#held -= first.bytes.length;
      this.#dropped += first.bytes.length;
      first.element.remove();
    }
  }

  /** Many chunks may come between two pictures; each block is drawn once for all of them. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden page gets no animation frames, and is drawn when it is seen again.
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #redraw() {
    for (const block of this.#blocks) block.stale = block.direction !== null;
    this.#schedule();
  }

  #draw() {
    const width = this.#width();
    for (const block of this.#blocks) {
      if (block.stale) {
        const rows = this.#view === 'hex' ? hexRows(block.bytes, block.offset, width) : textRows(block.bytes, block.offset);
        block.element.replaceChildren(...rows.map((row) => this.#row(row)));
        block.stale = false;
      }
      if (!block.element.isConnected) this.#root.append(block.element);
    }
    this.#earlier.hidden = this.#dropped === 0;
    this.#earlier.textContent = `${this.#dropped.toLocaleString('en')} earlier bytes are no longer shown`;
    this.#follow();
  }

  /** @param {import('./bytes.js').Row} row */
  #row({ offset, text, ascii }) {
    const shown = splitControls(text).map((part) => (part.control ? h('span', { class: 'control' }, part.text) : part.text));
    const parts = [h('span', { class: 'offset' }, formatOffset(offset)), h('span', { class: 'bytes' }, ...shown)];
    if (this.#view === 'hex') parts.push(h('span', { class: 'ascii' }, ascii));
    return h('div', { class: 'row' }, ...parts);
  }

  /** Bytes a row of hex: 16, or 8 where those do not fit. */
  #width() {
    return this.#root.clientWidth >= 620 ? 16 : 8;
  }
}
