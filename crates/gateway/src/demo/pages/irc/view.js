// @ts-check
/**
 * What the chat looks like: buffers with their lines, the list of them, topic and members.
 *
 * It is told what to show and tells which buffer a person chose; it knows nothing of IRC or sockets.
 * Invariants: at most `LINES_KEPT` lines a buffer and `BUFFERS_KEPT` buffers, whatever arrives;
 * received text becomes text and links, and nothing else (`formatting.js`).
 */

import { followEnd, formatTime, h, setText } from '../dom.js';
import { formatted, stripFormatting } from './formatting.js';

/** @typedef {import('./conversation.js').Entry} Entry */
/** @typedef {{ nick: string, prefix: string, away: boolean, about: string }} Shown a member */

const LINES_KEPT = 1000;
const BUFFERS_KEPT = 80;
const MEMBERS_SHOWN = 500;
const NICK_COLORS = 8;

/**
 * @typedef {object} Buffer
 * @property {string} key   folded name, '' for the server
 * @property {string} name
 * @property {boolean} isChannel
 * @property {boolean} isServer
 * @property {HTMLElement} log
 * @property {ReturnType<typeof followEnd>} end  its reader is there, or further up
 * @property {number} top  how far it was scrolled when it was left
 * @property {string} day  of its last line
 * @property {HTMLElement | null} news  the mark between what was read and what was not
 * @property {HTMLButtonElement} tab
 * @property {number} unread
 * @property {boolean} mention
 * @property {string} topic
 * @property {Shown[]} members
 * @property {boolean} left  we are no longer in it
 */

export class ChatView {
  /** @type {Map<string, Buffer>} */
  #buffers = new Map();
  #parts;
  #onChoose;
  #onQuery;
  #protocol;
  /** @type {Buffer} */
  #active;

  /**
   * @param {object} parts elements of the page
   * @param {HTMLElement} parts.tabs
   * @param {HTMLElement} parts.logs
   * @param {HTMLElement} parts.title
   * @param {HTMLElement} parts.topic
   * @param {HTMLElement} parts.members
   * @param {HTMLElement} parts.count
   * @param {HTMLElement} parts.jump  goes to the end
   * @param {HTMLElement} parts.close  closes the buffer
   * @param {(buffer: Buffer) => void} onChoose  a buffer became the active one
   * @param {(nick: string) => void} onQuery     a member was chosen
   * @param {string} protocol
   */
  constructor(parts, onChoose, onQuery, protocol = 'IRC') {
    this.#parts = parts;
    this.#onChoose = onChoose;
    this.#onQuery = onQuery;
    this.#protocol = protocol;
    this.#active = this.#make('', 'server', false, true);
    this.activate(this.#active);
    parts.jump.addEventListener('click', () => this.toEnd());
  }

  get active() {
    return this.#active;
  }

  get buffers() {
    return [...this.#buffers.values()];
  }

  /** @param {string} key */
  find(key) {
    return this.#buffers.get(key);
  }

  /**
   * The buffer of that name, made if there is none; the server's if there are too many already.
   * @param {string} key
   * @param {string} name
   * @param {boolean} isChannel
   */
  open(key, name, isChannel) {
    const known = this.#buffers.get(key);
    if (known) return known;
    if (this.#buffers.size >= BUFFERS_KEPT) return this.#server;
    return this.#make(key, name, isChannel, false);
  }

  /** @param {Buffer} buffer */
  close(buffer) {
    if (buffer.isServer) return;
    const all = this.buffers;
    const next = all[all.indexOf(buffer) - 1] ?? this.#server;
    this.#buffers.delete(buffer.key);
    buffer.tab.remove();
    buffer.log.remove();
    if (buffer === this.#active) this.activate(next);
  }

  /** @param {string} name of the server, for its buffer */
  nameServer(name) {
    this.#server.name = name;
    this.#showTab(this.#server);
    if (this.#active.isServer) this.#showHead();
  }

  /** @param {Buffer} buffer */
  activate(buffer) {
    const before = this.#active;
    if (before !== buffer) {
      before.top = before.log.scrollTop;
      // Read by now.
      before.news?.remove();
      before.news = null;
    }
    this.#active = buffer;
    buffer.unread = 0;
    buffer.mention = false;
    for (const each of this.#buffers.values()) {
      each.log.hidden = each !== buffer;
      each.tab.setAttribute('aria-selected', String(each === buffer));
      each.tab.tabIndex = each === buffer ? 0 : -1;
    }
    this.#showTab(buffer);
    this.#showHead();
    // Where its reader was; a log that is not shown forgets that.
    if (buffer.end.atEnd) this.toEnd();
    else buffer.log.scrollTop = buffer.top;
    this.#showJump();
    this.#showTotal();
    buffer.tab.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    this.#onChoose(buffer);
  }

  /** Shows the last line. */
  toEnd() {
    this.#active.end.go();
    this.#showJump();
  }

  /** Scrolls as the keys do. @param {-1 | 1} by */
  page(by) {
    const { log } = this.#active;
    log.scrollBy({ top: by * log.clientHeight * 0.9 });
  }

  /** The page is looked at again. */
  seen() {
    this.#active.unread = 0;
    this.#active.mention = false;
    this.#showTab(this.#active);
    this.#showTotal();
  }

  /** The buffer of a person who has another nick now. @param {Buffer} buffer @param {string} key @param {string} name */
  rename(buffer, key, name) {
    if (this.#buffers.has(key) && this.#buffers.get(key) !== buffer) return;
    this.#buffers.delete(buffer.key);
    this.#buffers.set(key, buffer);
    Object.assign(buffer, { key, name });
    for (const element of [buffer.log, buffer.tab]) element.dataset.buffer = name;
    buffer.log.setAttribute('aria-label', name);
    this.#showTab(buffer);
    if (buffer === this.#active) this.activate(buffer);
  }

  /** @param {number} by */
  step(by) {
    const all = this.buffers;
    const next = all[(all.indexOf(this.#active) + by + all.length) % all.length];
    if (next) this.activate(next);
  }

  /** Goes to a buffer with unread lines, those that name us first. */
  stepToUnread() {
    const next = this.buffers.find((b) => b.mention) ?? this.buffers.find((b) => b.unread > 0);
    if (next) this.activate(next);
  }

  /**
   * @param {Buffer} buffer
   * @param {Entry} entry
   * @returns {HTMLElement} the line, for marks that come later
   */
  append(buffer, entry) {
    const line = renderLine(entry);
    const spoken = entry.kind === 'message' || entry.kind === 'action' || entry.kind === 'notice';
    const isUnread = spoken && !entry.own && (buffer !== this.#active || document.hidden);
    if (isUnread && buffer.unread === 0 && buffer.log.childElementCount > 0) {
      buffer.news?.remove();
      buffer.news = h('div', { class: 'mark news', role: 'separator' }, h('span', {}, 'new'));
      buffer.log.append(buffer.news);
    }
    const day = entry.at.toDateString();
    if (day !== buffer.day && buffer.day !== '') buffer.log.append(h('div', { class: 'mark', role: 'separator' }, h('span', {}, entry.at.toLocaleDateString(undefined, { dateStyle: 'full' }))));
    buffer.day = day;
    buffer.log.append(line);
    while (buffer.log.childElementCount > LINES_KEPT) buffer.log.firstElementChild?.remove();
    buffer.end.follow();
    if (isUnread) {
      buffer.unread += 1;
      buffer.mention ||= entry.mention;
      this.#showTab(buffer);
      this.#showTotal();
    }
    return line;
  }

  /** @param {Buffer} buffer */
  clear(buffer) {
    buffer.log.replaceChildren();
  }

  /**
   * @param {Buffer} buffer
   * @param {{ topic?: string, members?: Shown[], left?: boolean, name?: string }} news
   */
  update(buffer, news) {
    Object.assign(buffer, news);
    this.#showTab(buffer);
    if (buffer === this.#active) this.#showHead();
  }

  get #server() {
    const server = this.#buffers.get('');
    if (!server) throw new Error('the server buffer is never closed');
    return server;
  }

  /**
   * @param {string} key
   * @param {string} name
   * @param {boolean} isChannel
   * @param {boolean} isServer
   */
  #make(key, name, isChannel, isServer) {
    const log = h('div', { class: 'log', role: 'log', 'aria-live': 'polite', 'aria-label': name, tabindex: '0', 'data-testid': 'log', 'data-buffer': name, hidden: true });
    const tab = h('button', { type: 'button', role: 'tab', class: 'tab', tabindex: -1, 'aria-controls': this.#parts.logs.id, 'data-testid': 'buffer', 'data-buffer': name });
    /** @type {Buffer} */
    const buffer = { key, name, isChannel, isServer, log, end: followEnd(log, () => this.#showJump()), top: 0, day: '', news: null, tab, unread: 0, mention: false, topic: '', members: [], left: false };
    tab.addEventListener('click', () => this.activate(buffer));
    this.#buffers.set(key, buffer);
    this.#parts.tabs.append(tab);
    this.#parts.logs.append(log);
    this.#showTab(buffer);
    return buffer;
  }

  /** @param {Buffer} buffer */
  #showTab(buffer) {
    const { tab, name, unread, mention, left } = buffer;
    const marks = unread === 0 ? [] : [h('span', { class: 'unread', 'data-testid': 'unread' }, unread > 99 ? '99+' : String(unread), h('span', { class: 'hidden' }, ' unread'))];
    tab.replaceChildren(h('span', { class: 'tab-name' }, name), ...marks);
    tab.classList.toggle('is-mention', mention);
    tab.classList.toggle('is-left', left);
  }

  #showHead() {
    const { name, topic, members, isChannel, isServer, left } = this.#active;
    const { title, topic: line, members: list, count } = this.#parts;
    setText(title, name);
    if (isChannel && !left && topic !== '') line.replaceChildren(...formatted(topic));
    else setText(line, isServer ? 'Messages of the server' : isChannel ? (left ? 'You are not in this channel' : 'No topic is set') : 'Private conversation');
    line.title = stripFormatting(topic);
    this.#parts.close.hidden = isServer;
    setText(this.#parts.close, isChannel && !left ? 'Leave' : 'Close');
    const shown = isChannel && !left;
    setText(count, shown ? `${members.length} ${members.length === 1 ? 'person' : 'people'}` : '');
    count.hidden = !shown;
    const more = shown && members.length > MEMBERS_SHOWN ? [h('li', { class: 'hint' }, `and ${members.length - MEMBERS_SHOWN} more`)] : [];
    list.replaceChildren(...(shown ? members.slice(0, MEMBERS_SHOWN) : []).map(({ nick, prefix, away, about }) => {
      const button = h('button', { type: 'button', class: away ? 'member is-away' : 'member', 'data-testid': 'member', 'data-nick': nick, 'data-prefix': prefix, title: `${about}${away ? ' (away)' : ''} – talk alone` },
        h('span', { class: 'prefix' }, prefix), h('bdi', { class: nickClass(nick) }, nick));
      button.addEventListener('click', () => this.#onQuery(nick));
      return h('li', {}, button);
    }), ...more);
  }

  /** Whoever reads further up is told that there is more below. */
  #showJump() {
    this.#parts.jump.hidden = this.#active.end.atEnd;
  }

  #showTotal() {
    const unread = this.buffers.reduce((sum, buffer) => sum + buffer.unread, 0);
    document.title = `${unread === 0 ? '' : `(${unread}) `}${this.#active.name} · ${this.#protocol} · Perigee`;
  }
}

/** @param {Entry} entry */
function renderLine({ kind, at, nick, text, own, mention }) {
  const spoken = kind === 'message' || kind === 'notice';
  const who = nick ? [h('bdi', { class: `nick ${nickClass(nick)}` }, nick), ' '] : [];
  const line = h('div', { class: `line is-${kind}`, 'data-testid': 'line', 'data-kind': kind, 'data-nick': nick },
    h('time', { datetime: at.toISOString(), title: at.toLocaleString() }, formatTime(at)), ' ',
    ...(spoken ? [...who, h('span', { class: 'text' }, ...formatted(text))] : [h('span', { class: 'text' }, ...who, ...formatted(text))]));
  line.classList.toggle('own', own);
  line.classList.toggle('mention', mention);
  return line;
}

/** The same nick has the same colour in every tab. @param {string} nick */
function nickClass(nick) {
  let hash = 7;
  for (const char of nick.toLowerCase()) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  return `nick-${hash % NICK_COLORS}`;
}
