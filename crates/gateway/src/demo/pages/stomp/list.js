// @ts-check
/**
 * The list of messages and the one that is chosen: shows what it is given, and tells what a person chose.
 *
 * Invariant: a row for each message that it was given, and none for another; all that was received is text.
 */

import { followEnd, formatBytes, formatTime, h, setText } from '../dom.js';
import { formOf, preview, shown } from './body.js';

/** @typedef {import('./store.js').Kept} Kept */

/** @type {Record<import('./store.js').Fate, string>} */
const FATES = { none: '', waiting: 'to be acknowledged', acked: 'acknowledged', refused: 'refused', stale: 'will come again' };

export class MessageList {
  #rows;
  #detail;
  #end;
  /** @type {Map<Kept, { row: HTMLElement, show: () => void }>} */
  #shown = new Map();
  /** @type {Kept | null} */
  #open = null;
  #onChoose;
  #onSettle;

  /**
   * @param {{ rows: HTMLElement, detail: HTMLElement, jump: HTMLElement }} parts
   * @param {() => void} onChoose other messages are marked now
   * @param {(kept: Kept, command: 'ack' | 'nack') => void} onSettle
   */
  constructor({ rows, detail, jump }, onChoose, onSettle) {
    this.#rows = rows;
    this.#detail = detail;
    this.#onChoose = onChoose;
    this.#onSettle = onSettle;
    this.#end = followEnd(rows, () => { jump.hidden = this.#end.atEnd; });
    jump.addEventListener('click', () => {
      this.#end.go();
      jump.hidden = true;
    });
    rows.addEventListener('keydown', (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.#step(by);
    });
  }

  /** The message that is open, if there is one. */
  get open() {
    return this.#open;
  }

  /** @param {readonly Kept[]} kept all that is to be shown, the oldest first */
  show(kept) {
    const wanted = new Set(kept);
    for (const [one, { row }] of this.#shown) {
      if (wanted.has(one)) continue;
      row.remove();
      this.#shown.delete(one);
    }
    /** @type {Element | null} */
    let after = null;
    for (const one of kept) {
      const { row } = this.#shown.get(one) ?? this.#make(one);
      /** @type {Element | null} */
      const next = after === null ? this.#rows.firstElementChild : after.nextElementSibling;
      if (next !== row) this.#rows.insertBefore(row, next);
      after = row;
    }
    this.#end.follow();
    this.refresh();
  }

  /** Shows what became of messages. */
  refresh() {
    for (const { show } of this.#shown.values()) show();
    if (this.#open) this.#showFate(this.#open);
  }

  close() {
    this.#choose(null);
  }

  /** @param {Kept} kept */
  #make(kept) {
    const { message, at, mode } = kept;
    const check = h('input', { type: 'checkbox', 'aria-label': `Mark message ${kept.n + 1}`, 'data-testid': 'mark' });
    check.addEventListener('change', () => {
      kept.chosen = check.checked;
      this.#onChoose();
    });
    const fate = h('span', { class: 'fate', 'data-testid': 'fate' });
    const open = h('button', { type: 'button', class: 'row-open', 'data-testid': 'message' },
      h('span', { class: 'row-head' },
        h('time', { datetime: at.toISOString() }, formatTime(at)), ' ',
        h('bdi', { class: 'row-destination' }, message.destination), ' ',
        h('span', { class: 'row-size' }, formatBytes(message.body.length)), ' ', fate),
      h('bdi', { class: 'row-preview' }, preview(message.body) || '(empty)'));
    open.addEventListener('click', () => this.#choose(kept));
    const row = h('li', { class: 'row', 'data-testid': 'row', 'data-destination': message.destination }, ...(mode === 'auto' ? [] : [check]), open);
    const show = () => {
      setText(fate, FATES[kept.fate]);
      row.dataset.fate = kept.fate;
      row.classList.toggle('is-open', kept === this.#open);
      open.setAttribute('aria-current', String(kept === this.#open));
      check.checked = kept.chosen;
      check.disabled = kept.fate !== 'waiting';
    };
    const made = { row, show };
    this.#shown.set(kept, made);
    return made;
  }

  /** @param {number} by */
  #step(by) {
    const all = [...this.#shown.keys()].sort((one, other) => one.n - other.n);
    const at = this.#open ? all.indexOf(this.#open) : by > 0 ? -1 : all.length;
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    if (!next) return;
    this.#choose(next);
    const { row } = this.#shown.get(next) ?? {};
    row?.scrollIntoView({ block: 'nearest' });
    row?.querySelector('button')?.focus({ preventScroll: true });
  }

  /** @param {Kept | null} kept */
  #choose(kept) {
    this.#open = kept;
    this.#detail.hidden = kept === null;
    this.#detail.replaceChildren(...(kept === null ? [] : this.#describe(kept)));
    this.refresh();
  }

  /** @param {Kept} kept @returns {Node[]} */
  #describe(kept) {
    const { message } = kept;
    const body = h('pre', { class: 'body', tabindex: '0', 'aria-label': 'Body', 'data-testid': 'detail-body' });
    const cut = h('p', { class: 'hint' });
    const show = (/** @type {import('./body.js').Form} */ form) => {
      const what = shown(message.body, form);
      setText(body, what.text);
      body.dataset.form = form;
      setText(cut, what.cut > 0 ? `and ${what.cut.toLocaleString()} ${form === 'hex' ? 'bytes' : 'characters'} more; Export has all of it` : '');
    };
    const best = formOf(message.body, message.contentType);
    const forms = h('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Body as' }, ...(/** @type {const} */ (['text', 'json', 'hex'])).map((form) => {
      const input = h('input', { type: 'radio', name: 'body-form', value: form, 'data-testid': `as-${form}` });
      input.checked = form === best;
      input.addEventListener('change', () => show(form));
      return h('label', {}, input, h('span', {}, { text: 'Text', json: 'JSON', hex: 'Hex' }[form]));
    }));
    show(best);
    const close = h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close this message', 'data-testid': 'detail-close' }, '✕');
    close.addEventListener('click', () => {
      this.#choose(null);
      this.#rows.focus();
    });
    const settle = h('p', { class: 'settle' }, h('span', { class: 'fate' }), ...(/** @type {const} */ (['ack', 'nack'])).map((command) => {
      const button = h('button', { type: 'button', 'data-testid': `detail-${command}` }, command === 'ack' ? 'Ack' : 'Nack');
      button.addEventListener('click', () => this.#onSettle(kept, command));
      return button;
    }));
    return [
      h('header', {}, h('h3', {}, h('bdi', {}, message.destination)), close),
      settle,
      h('table', { class: 'header-table', 'data-testid': 'detail-headers' }, h('caption', { class: 'hidden' }, 'Headers'),
        h('tbody', {}, ...Object.entries(message.headers).map(([name, value]) => h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, value))))),
      h('div', { class: 'body-head' }, h('span', {}, `Body, ${formatBytes(message.body.length)}`), forms),
      body, cut,
    ];
  }

  /** @param {Kept} kept */
  #showFate(kept) {
    const settle = this.#detail.querySelector('.settle');
    if (!(settle instanceof HTMLElement)) return;
    settle.hidden = kept.fate === 'none';
    const word = settle.querySelector('.fate');
    if (word) setText(word, FATES[kept.fate]);
    for (const button of settle.querySelectorAll('button')) button.hidden = kept.fate !== 'waiting';
  }
}
