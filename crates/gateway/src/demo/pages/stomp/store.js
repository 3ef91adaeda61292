// @ts-check
/**
 * The messages that came, the last of them: so many and so many bytes, and what became of each.
 *
 * Invariants: never more than `LIMITS`, but for one message that is larger than all of it; what was kept last goes last.
 *
 * @typedef {import('/perigee/stomp.js').StompMessage} StompMessage
 * @typedef {'auto' | 'client' | 'client-individual'} AckMode
 * @typedef {'none' | 'waiting' | 'acked' | 'refused' | 'stale'} Fate `none`: it needs no acknowledgement; `stale`: the broker delivers it again
 *
 * @typedef {object} Kept
 * @property {number} n how many came before it
 * @property {Date} at
 * @property {StompMessage} message
 * @property {string} subscription its id on this connection
 * @property {AckMode} mode
 * @property {Fate} fate
 * @property {boolean} chosen
 */

export const LIMITS = { messages: 500, bytes: 16 * 1024 * 1024 };

export class Store {
  /** @type {Kept[]} the oldest first */
  kept = [];
  /** Messages that ever came. */
  total = 0;
  #bytes = 0;
  #limits;

  /** @param {typeof LIMITS} [limits] */
  constructor(limits = LIMITS) {
    this.#limits = limits;
  }

  /** Messages that came and are not kept any more, for want of room. */
  get dropped() {
    return this.total - this.kept.length - this.#cleared;
  }

  #cleared = 0;

  /** @param {StompMessage} message @param {AckMode} mode @param {Date} [at] */
  add(message, mode, at = new Date()) {
    /** @type {Kept} */
    const kept = { n: this.total, at, message, subscription: message.headers.subscription ?? '', mode, fate: mode === 'auto' ? 'none' : 'waiting', chosen: false };
    this.total += 1;
    this.kept.push(kept);
    this.#bytes += message.body.length;
    while (this.kept.length > 1 && (this.kept.length > this.#limits.messages || this.#bytes > this.#limits.bytes)) {
      this.#bytes -= this.kept.shift()?.message.body.length ?? 0;
    }
    return kept;
  }

  clear() {
    this.#cleared += this.kept.length;
    this.kept = [];
    this.#bytes = 0;
  }

  /** What a word is in: destination, headers or body. @param {string} word */
  matching(word) {
    const wanted = word.trim().toLowerCase();
    if (wanted === '') return this.kept;
    return this.kept.filter((kept) => textToSearch(kept).includes(wanted));
  }

  /** It was acknowledged or refused; with mode `client`, so are all before it of its subscription. @param {Kept} kept @param {'acked' | 'refused'} fate */
  settle(kept, fate) {
    for (const each of this.kept) {
      const before = kept.mode === 'client' && each.subscription === kept.subscription && each.n < kept.n;
      if ((each === kept || before) && each.fate === 'waiting') Object.assign(each, { fate, chosen: false });
    }
    if (kept.fate === 'waiting') Object.assign(kept, { fate, chosen: false });
  }

  /** The transaction is given up, so what was said in it was not said. @param {Iterable<Kept>} of */
  unsettle(of) {
    for (const kept of of) if (kept.fate === 'acked' || kept.fate === 'refused') kept.fate = 'waiting';
  }

  /** The connection is over: nothing of it can be acknowledged any more. */
  expire() {
    for (const kept of this.kept) if (kept.fate === 'waiting') Object.assign(kept, { fate: 'stale', chosen: false });
  }
}

/** @type {WeakMap<Kept, string>} */
const searchable = new WeakMap();

/** @param {Kept} kept */
function textToSearch(kept) {
  let text = searchable.get(kept);
  if (text === undefined) {
    const { headers, body } = kept.message;
    text = `${Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join('\n')}\n${new TextDecoder().decode(body.subarray(0, 64 * 1024))}`.toLowerCase();
    searchable.set(kept, text);
  }
  return text;
}
