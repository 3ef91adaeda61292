// @ts-check
/**
 * What the chat looks like: buffers with their lines, the list of them, topic and members.
 *
 * It is told what to show and tells which buffer a person chose; it knows nothing of IRC or sockets.
 * Invariants: at most `LINES_KEPT` lines a buffer and `BUFFERS_KEPT` buffers, whatever arrives;
 * received text becomes text nodes only.
 */

import { followEnd, formatTime, h, setText } from './dom.js';

/** @typedef {import('./irc-client.js').Entry} Entry */

const LINES_KEPT = 500;
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
 * @property {() => void} follow  scrolls to the end, if that is where its reader is
 * @property {HTMLButtonElement} tab
 * @property {number} unread
 * @property {boolean} mention
 * @property {string} topic
 * @property {{ nick: string, prefix: string }[]} members
 * @property {boolean} left  we are no longer in it
 */

export class ChatView {
  /** @type {Map<string, Buffer>} */
  #buffers = new Map();
  #parts;
  #onChoose;
  #onQuery;
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
   * @param {(buffer: Buffer) => void} onChoose  a buffer became the active one
   * @param {(nick: string) => void} onQuery     a member was chosen
   */
  constructor(parts, onChoose, onQuery) {
    this.#parts = parts;
    this.#onChoose = onChoose;
    this.#onQuery = onQuery;
    this.#active = this.#make('', 'server', false, true);
    this.activate(this.#active);
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
    this.toEnd();
    buffer.tab.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    this.#onChoose(buffer);
  }

  /** Shows the last line, after what is around the log has changed its size. */
  toEnd() {
    this.#active.log.scrollTop = this.#active.log.scrollHeight;
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
    buffer.log.append(line);
    while (buffer.log.childElementCount > LINES_KEPT) buffer.log.firstElementChild?.remove();
    buffer.follow();
    const spoken = entry.kind === 'message' || entry.kind === 'action' || entry.kind === 'notice';
    if (buffer !== this.#active && spoken && !entry.own) {
      buffer.unread += 1;
      buffer.mention ||= entry.mention;
      this.#showTab(buffer);
    }
    return line;
  }

  /** @param {Buffer} buffer */
  clear(buffer) {
    buffer.log.replaceChildren();
  }

  /**
   * @param {Buffer} buffer
   * @param {{ topic?: string, members?: { nick: string, prefix: string }[], left?: boolean, name?: string }} news
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
    const buffer = { key, name, isChannel, isServer, log, follow: followEnd(log), tab, unread: 0, mention: false, topic: '', members: [], left: false };
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
    setText(line, isServer ? 'Messages of the server' : isChannel ? (left ? 'You are not in this channel' : topic || 'No topic is set') : 'Private conversation');
    line.title = topic;
    const shown = isChannel && !left;
    setText(count, shown ? `${members.length} ${members.length === 1 ? 'person' : 'people'}` : '');
    count.hidden = !shown;
    list.replaceChildren(...(shown ? members.slice(0, MEMBERS_SHOWN) : []).map(({ nick, prefix }) => {
      const button = h('button', { type: 'button', class: 'member', 'data-testid': 'member', 'data-nick': nick, title: `Talk to ${nick} alone` },
        h('span', { class: 'prefix' }, prefix), h('bdi', { class: nickClass(nick) }, nick));
      button.addEventListener('click', () => this.#onQuery(nick));
      return h('li', {}, button);
    }));
  }
}

/** @param {Entry} entry */
function renderLine({ kind, at, nick, text, own, mention }) {
  const spoken = kind === 'message' || kind === 'notice';
  const who = nick ? [h('bdi', { class: `nick ${nickClass(nick)}` }, nick), ' '] : [];
  const line = h('div', { class: `line is-${kind}`, 'data-testid': 'line', 'data-kind': kind, 'data-nick': nick },
    h('time', { datetime: at.toISOString() }, formatTime(at)), ' ',
    ...(spoken ? [...who, h('span', { class: 'text' }, text)] : [h('span', { class: 'text' }, ...who, text)]));
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
