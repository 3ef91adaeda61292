// @ts-check
/**
 * The IRC chat: joins the socket, the IRC client and the view.
 *
 * Query parameters, besides those of `page.js`: `backend` (name or host:port), `nick`, `channel`,
 * and `connect`, which connects at once.
 */

import { ChatView } from './chat-view.js';
import { HELP, interpret } from './commands.js';
import { byId, onAltKey, setText } from './dom.js';
import { codeOf, explain } from './errors.js';
import { IrcClient, entry } from './irc-client.js';
import { LineDecoder } from './irc.js';
import { openGateway, openSocket, parseTarget, query } from './page.js';
import { showLink } from './status.js';

/** How often marks of delivery are looked at; the gateway acks within 100 ms. */
const ACK_POLL_MS = 100;
const HISTORY_KEPT = 100;

const { gateway, plug } = openGateway();
showLink(byId('link', HTMLElement), gateway, plug);

const main = byId('chat', HTMLElement);
const form = byId('setup', HTMLFormElement);
const problem = byId('setup-problem', HTMLElement);
const nickField = byId('nick', HTMLInputElement);
const channelField = byId('channel', HTMLInputElement);
const backendField = byId('backend', HTMLInputElement);
const composer = byId('composer', HTMLFormElement);
const input = byId('input', HTMLInputElement);
const ownNick = byId('own-nick', HTMLElement);
const ended = byId('ended', HTMLElement);
const connectButton = byId('connect', HTMLButtonElement);
const reconnectButton = byId('reconnect', HTMLButtonElement);
const sendButton = byId('send', HTMLButtonElement);
const membersToggle = byId('members-toggle', HTMLButtonElement);

const view = new ChatView(
  {
    tabs: byId('tabs', HTMLElement),
    logs: byId('logs', HTMLElement),
    title: byId('title', HTMLElement),
    topic: byId('topic', HTMLElement),
    members: byId('members', HTMLElement),
    count: membersToggle,
  },
  ({ isServer, name }) => {
    input.placeholder = isServer ? '/join #channel' : `Message ${name}`;
    if (main.dataset.phase === 'chat') input.focus();
  },
  (nick) => openQuery(nick),
);

/**
 * One connection to the IRC server, from the first line to the last.
 * @typedef {object} Connection
 * @property {string} target
 * @property {IrcClient} irc
 * @property {import('/perigee.js').TCPSocket} socket
 * @property {boolean} quitting  we asked for the end
 */

/** @type {Connection | null} */
let connection = null;
/** Channels to join (again) after a registration. @type {Set<string>} */
const wanted = new Set();
/** Keys of channels whose buffer closes once we have left. @type {Set<string>} */
const closing = new Set();
/** Own lines the server has not got yet: offset of their last byte, and the element. @type {{ end: number, line: HTMLElement }[]} */
let undelivered = [];
/** Bytes written to the current socket. */
let written = 0;

/** Gives up the attempt to connect. */
let stop = new AbortController();

/** @param {'setup' | 'connecting' | 'chat' | 'ended' | 'reconnecting'} phase */
function enter(phase) {
  main.dataset.phase = phase;
  nickField.disabled = channelField.disabled = backendField.disabled = phase === 'connecting';
  setText(connectButton, phase === 'connecting' ? 'Connecting… Cancel' : 'Connect');
  setText(reconnectButton, phase === 'reconnecting' ? 'Connecting… Cancel' : 'Reconnect');
  ended.hidden = phase !== 'ended' && phase !== 'reconnecting';
  input.disabled = sendButton.disabled = phase !== 'chat';
}

/** Connects from the form, or again after an end; failures are told where the person is. */
async function connect() {
  const again = main.dataset.phase === 'ended';
  const target = backendField.value.trim();
  const parsed = parseTarget(target);
  if ('problem' in parsed) return refuse(again, parsed.problem, '');
  if (!again && !form.reportValidity()) return;
  problem.hidden = true;
  enter(again ? 'reconnecting' : 'connecting');
  stop = new AbortController();
  const { signal } = stop;
  const socket = openSocket(gateway, parsed, signal);
  try {
    const { readable, writable } = await socket.opened;
    await converse(target, socket, readable, writable);
  } catch (error) {
    const { title, advice } = explain(codeOf(error), { target, gateway: gateway.url });
    if (!signal.aborted) refuse(again, title, advice);
    // "Change settings" gives up too, and is in the form by now.
    else if (main.dataset.phase === 'reconnecting') enter('ended');
    else enter('setup');
  }
}

/** @param {boolean} again @param {string} title @param {string} advice */
function refuse(again, title, advice) {
  const part = again ? 'ended' : 'setup-problem';
  setText(byId(`${part}-title`, HTMLElement), title);
  setText(byId(`${part}-advice`, HTMLElement), advice);
  problem.hidden = again;
  enter(again ? 'ended' : 'setup');
  (again ? reconnectButton : connectButton).focus();
}

/**
 * Speaks IRC until the connection ends.
 * @param {string} target
 * @param {import('/perigee.js').TCPSocket} socket
 * @param {ReadableStream<Uint8Array>} readable
 * @param {WritableStream<Uint8Array | ArrayBuffer | string>} writable
 */
async function converse(target, socket, readable, writable) {
  const writer = writable.getWriter();
  const decoder = new LineDecoder();
  const encoder = new TextEncoder();
  written = 0;
  undelivered = [];
  const irc = new IrcClient({
    nick: nickField.value.trim(),
    send: (line) => {
      const bytes = encoder.encode(`${line}\r\n`);
      written += bytes.length;
      // The read loop meets the same end and explains it.
      writer.write(bytes).catch(() => {});
    },
    notify: (notice) => hear(irc, notice),
  });
  const now = { target, irc, socket, quitting: false };
  connection = now;
  view.nameServer(target);
  showNick(irc.nick);
  enter('chat');
  input.focus();
  let code = 'closed';
  try {
    irc.register();
    const reader = readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      for (const line of decoder.push(value)) irc.receive(line);
      // Answers wait for room, so a server that only asks cannot fill the tab.
      await writer.ready;
    }
    writer.close().catch(() => {});
  } catch (error) {
    code = codeOf(error);
  }
  markDelivered();
  finish(now, code);
}

/** @param {Connection} now @param {string} code */
function finish(now, code) {
  if (connection !== now) return;
  connection = null;
  const { title, advice } = now.quitting && code === 'closed'
    ? { title: 'You left the server.', advice: 'Connect again whenever you like.' }
    : explain(code, { target: now.target, gateway: gateway.url });
  const unsure = undelivered.length;
  for (const { line } of undelivered) line.dataset.delivery = 'unknown';
  undelivered = [];
  const doubt = unsure === 0 ? '' : ` ${unsure} of your lines may not have arrived; they are marked.`;
  for (const buffer of view.buffers) {
    if (buffer.isChannel) view.update(buffer, { members: [], left: true });
    view.append(buffer, entry('error', '', title));
  }
  setText(byId('ended-title', HTMLElement), title);
  setText(byId('ended-advice', HTMLElement), advice + doubt);
  ended.classList.toggle('is-clean', code === 'closed');
  enter('ended');
  view.toEnd();
  reconnectButton.focus();
}

/** @param {IrcClient} irc @param {import('./irc-client.js').Notice} notice */
function hear(irc, notice) {
  switch (notice.type) {
    case 'registered':
      showNick(notice.nick);
      for (const channel of wanted) attempt(() => irc.send(['JOIN', channel]));
      return;
    case 'nick':
      showNick(notice.nick);
      nickField.value = notice.nick;
      return;
    case 'entry': {
      const { buffer: name, entry: heard } = notice;
      view.append(name === null ? view.active : view.open(irc.fold(name), name, irc.isChannel(name)), heard);
      return;
    }
    case 'channel': {
      const { channel, change } = notice;
      const buffer = view.open(irc.fold(channel.name), channel.name, true);
      if (change === 'joined') {
        wanted.add(channel.name);
        view.activate(buffer);
      }
      view.update(buffer, { topic: channel.topic, members: ranked(channel), left: !channel.joined });
      if (change !== 'left') return;
      for (const name of wanted) if (irc.fold(name) === buffer.key) wanted.delete(name);
      if (closing.delete(buffer.key)) view.close(buffer);
      return;
    }
    case 'renamed': {
      const buffer = view.find(irc.fold(notice.from));
      if (buffer && !buffer.isServer) view.append(buffer, entry('nick', notice.from, `is now ${notice.to}`));
    }
  }
}

/** @param {import('./irc-client.js').Channel} channel */
function ranked(channel) {
  const rank = /** @param {string} prefix */ (prefix) => (prefix === '' ? 9 : '~&@%+'.indexOf(prefix));
  return [...channel.members.values()].sort((a, b) => rank(a.prefix) - rank(b.prefix) || a.nick.localeCompare(b.nick));
}

/** @param {string} text */
function submit(text) {
  if (!connection) return;
  const { irc } = connection;
  const buffer = view.active;
  const action = interpret(text, buffer);
  switch (action.do) {
    case 'nothing':
      return;
    case 'send':
      attempt(() => action.lines.forEach((line) => irc.send(line)));
      return;
    case 'raw':
      attempt(() => irc.send([action.line]));
      return;
    case 'say':
      if (buffer.left && action.target === buffer.name) {
        view.append(buffer, entry('error', '', `You are not in ${buffer.name}, so nobody would read that. Join it with /join ${buffer.name}`));
        return;
      }
      attempt(() => say(action.target, action.text, action.as));
      return;
    case 'query':
      openQuery(action.target);
      return;
    case 'quit':
      attempt(() => irc.send(['QUIT', action.reason || 'leaving']));
      connection.quitting = true;
      return;
    case 'close':
      if (buffer.isChannel && !buffer.left) {
        // The server's answer still belongs in this buffer, so it is closed when that has come.
        closing.add(buffer.key);
        attempt(() => irc.send(['PART', buffer.name]));
      } else {
        view.close(buffer);
      }
      return;
    case 'clear':
      view.clear(buffer);
      return;
    case 'help':
      for (const [usage, what] of HELP) view.append(buffer, entry('info', '', `${usage}: ${what}`));
      view.append(buffer, entry('info', '', 'Keys: Enter sends, Tab completes a nick, ↑ ↓ earlier lines, Alt ↑ ↓ other buffers, Alt A next unread, Esc back to the line, Alt K cuts the link, Alt U unplugs it, Alt T changes its transport.'));
      return;
    case 'explain':
      view.append(buffer, entry('error', '', action.text));
  }
}

/** @param {string} target @param {string} text @param {'message' | 'action' | 'notice'} as */
function say(target, text, as) {
  if (!connection) return;
  const { irc } = connection;
  const said = irc.say(target, text, as);
  const buffer = view.open(irc.fold(target), target, irc.isChannel(target));
  for (const each of said) {
    const line = view.append(buffer, each);
    line.dataset.delivery = 'pending';
    undelivered.push({ end: written, line });
  }
  if (buffer !== view.active && !irc.isChannel(target)) view.activate(buffer);
}

/** Ticks the own lines whose last byte was written to the server's socket. */
function markDelivered() {
  if (!connection) return;
  const { acked } = connection.socket.stats;
  while (undelivered[0] && undelivered[0].end <= acked) {
    const { line } = undelivered[0];
    line.dataset.delivery = 'delivered';
    undelivered.shift();
  }
}
setInterval(markDelivered, ACK_POLL_MS);

/** Runs what may refuse to become a line, and says why it did. @param {() => void} run */
function attempt(run) {
  try {
    run();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    view.append(view.active, entry('error', '', error.message));
  }
}

/** @param {string} nick */
function openQuery(nick) {
  if (connection) view.activate(view.open(connection.irc.fold(nick), nick, connection.irc.isChannel(nick)));
}

/** @param {string} nick */
function showNick(nick) {
  setText(ownNick, nick);
}

// The composer: sending, history, completion.

/** @type {string[]} */
const history = [];
let recalled = -1;
let draft = '';

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = input.value;
  input.value = '';
  recalled = -1;
  if (text.trim() !== '') history.unshift(text);
  history.length = Math.min(history.length, HISTORY_KEPT);
  submit(text);
});

/** @param {number} by 1 is older */
function recall(by) {
  if (recalled === -1) draft = input.value;
  recalled = Math.max(-1, Math.min(history.length - 1, recalled + by));
  input.value = recalled === -1 ? draft : (history[recalled] ?? '');
  input.setSelectionRange(input.value.length, input.value.length);
}

/** Completes the word before the caret to a nick; false if there is none. */
function complete() {
  const caret = input.selectionStart ?? 0;
  const [word = ''] = /\S+$/.exec(input.value.slice(0, caret)) ?? [];
  const nicks = view.active.members.map((member) => member.nick);
  const found = word && nicks.find((nick) => nick.toLowerCase().startsWith(word.toLowerCase()) && nick !== ownNick.textContent);
  if (!found) return false;
  input.setRangeText(found + (caret === word.length ? ': ' : ' '), caret - word.length, caret, 'end');
  return true;
}

input.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
    event.preventDefault();
    recall(event.key === 'ArrowUp' ? 1 : -1);
  } else if (event.key === 'Tab' && !event.shiftKey && complete()) {
    // Without a nick to complete, Tab moves the focus as everywhere.
    event.preventDefault();
  }
});

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.isComposing) return;
  if (narrow.matches) showMembers('auto');
  if (main.dataset.phase !== 'chat') return;
  if (document.activeElement === input) input.value = '';
  input.focus();
});
onAltKey('ArrowUp', () => view.step(-1));
onAltKey('ArrowDown', () => view.step(1));
onAltKey('KeyA', () => view.stepToUnread());

byId('tabs', HTMLElement).addEventListener('keydown', (event) => {
  const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
  if (by === undefined || event.altKey) return;
  event.preventDefault();
  view.step(by);
  view.active.tab.focus();
});

// The members stand beside the conversation where there is room, and over it where there is not.
const narrow = matchMedia('(max-width: 640px)');
/** @param {'auto' | 'shown' | 'hidden'} choice */
function showMembers(choice) {
  main.dataset.members = choice;
  membersToggle.setAttribute('aria-expanded', String(choice === 'auto' ? !narrow.matches : choice === 'shown'));
}
membersToggle.addEventListener('click', () => showMembers(membersToggle.ariaExpanded === 'true' ? 'hidden' : 'shown'));
narrow.addEventListener('change', () => showMembers('auto'));

/** A fresh start joins what the form says; "Reconnect" joins what we were in. */
function start() {
  wanted.clear();
  for (const name of channelField.value.split(/[\s,]+/)) if (name) wanted.add(/^[#&]/.test(name) ? name : `#${name}`);
  void connect();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (main.dataset.phase === 'connecting') stop.abort();
  else start();
});
reconnectButton.addEventListener('click', () => {
  if (main.dataset.phase === 'reconnecting') stop.abort();
  else void connect();
});
byId('change', HTMLButtonElement).addEventListener('click', () => {
  stop.abort();
  enter('setup');
  nickField.focus();
});

const friendly = ['luna', 'comet', 'vega', 'rigel', 'atlas', 'nova', 'lyra', 'orion', 'ceres', 'juno', 'titan', 'io'];
nickField.value = query.get('nick') ?? `${friendly[Math.floor(Math.random() * friendly.length)]}${Math.floor(Math.random() * 90) + 10}`;
channelField.value = query.get('channel') ?? channelField.value;
backendField.value = query.get('backend') ?? backendField.value;
showMembers('auto');
enter('setup');
if (query.has('connect')) start();
else nickField.focus();
