// @ts-check
/**
 * The IRC client: joins an IRCClient, what happens on it (`conversation.js`) and what that looks like (`view.js`).
 *
 * Query parameters, besides those of `page.js`: `backend` (name or host:port), `nick`, `channel`,
 * and `connect`, which connects at once.
 */

import { IRCClient, parseMessage } from '/perigee/irc.js';
import { byId, onAltKey, setText } from '../dom.js';
import { codeOf } from '../errors.js';
import { offerBackends } from '../offer.js';
import { openGateway, openSocket, parseTarget, query } from '../page.js';
import { showLink } from '../status.js';
import { HELP, interpret } from './commands.js';
import { composer } from './composer.js';
import { entry, follow } from './conversation.js';
import { Delivery } from './delivery.js';
import { ChatView } from './view.js';
import { explainIRC } from './words.js';

/** How often marks of delivery are looked at; the gateway acks within 100 ms. */
const ACK_POLL_MS = 100;
const KEYS = 'Keys: Enter sends, Tab completes a nick, ↑ ↓ earlier lines, Alt ↑ ↓ other buffers, Alt A next unread, Page Up and Page Down scroll, Esc back to the line, Alt K cuts the link, Alt U unplugs it, Alt T changes its transport.';

/** @typedef {import('./view.js').Buffer} Buffer */
/** @typedef {{ target: string, irc: IRCClient, stop: AbortController }} Connection  one client, from the form to "Change settings" */

const { gateway, plug } = openGateway();
showLink(byId('link', HTMLElement), gateway, plug);

const main = byId('chat', HTMLElement);
const form = byId('setup', HTMLFormElement);
const problem = byId('setup-problem', HTMLElement);
const fields = Object.fromEntries(
  ['nick', 'channel', 'backend', 'realname', 'password', 'account', 'account-password'].map((id) => [id, byId(id, HTMLInputElement)]),
);
const input = byId('input', HTMLInputElement);
const ownNick = byId('own-nick', HTMLElement);
const ended = byId('ended', HTMLElement);
const connectButton = byId('connect', HTMLButtonElement);
const reconnectButton = byId('reconnect', HTMLButtonElement);
const membersToggle = byId('members-toggle', HTMLButtonElement);
const closeButton = byId('close-buffer', HTMLButtonElement);

const view = new ChatView(
  {
    tabs: byId('tabs', HTMLElement), logs: byId('logs', HTMLElement), title: byId('title', HTMLElement), topic: byId('topic', HTMLElement),
    members: byId('members', HTMLElement), count: membersToggle, jump: byId('jump', HTMLElement), close: closeButton,
  },
  ({ isServer, name }) => {
    input.placeholder = isServer ? '/join #channel' : `Message ${name}`;
    if (main.dataset.phase === 'chat') input.focus();
  },
  (nick) => openQuery(nick),
);
const delivery = new Delivery();

/** @type {Connection | null} */
let connection = null;
/** Buffers that close once we have left, by their keys. @type {Set<string>} */
const closing = new Set();

const value = (/** @type {string} */ id) => fields[id]?.value.trim() ?? '';
const where = (/** @type {string} */ target) => ({ target, gateway: gateway.url });

// --- connecting, and what becomes of it ---

/** @param {'setup' | 'connecting' | 'chat'} phase */
function enter(phase) {
  main.dataset.phase = phase;
  for (const field of Object.values(fields)) field.disabled = phase === 'connecting';
  setText(connectButton, phase === 'connecting' ? 'Connecting… Cancel' : 'Connect');
}

/** A client of what the form says; throws what makes it impossible. @param {string} target @param {import('../page.js').Target} parsed */
function makeClient(target, parsed) {
  const stop = new AbortController();
  const [account, accountPassword] = [value('account'), fields['account-password']?.value ?? ''];
  const password = fields.password?.value ?? '';
  // A host that a page names is a tunnel's; a backend with a name has its service, unless the address of this page says otherwise.
  const service = 'host' in parsed || query.get('service') === 'tunnel' ? 'tunnel' : 'irc';
  const channels = value('channel').split(/[\s,]+/).filter(Boolean).map((name) => (/^[#&+!]/.test(name) ? name : `#${name}`));
  const irc = new IRCClient({
    server: target,
    socket: () => delivery.over(openSocket(gateway, parsed, { signal: stop.signal, service })),
    nick: value('nick'), username: 'perigee', realname: value('realname') || 'Perigee', channels: [...new Set(channels)],
    ...(password !== '' && { password }),
    ...(account !== '' && { sasl: { account, password: accountPassword } }),
    ctcp: { VERSION: 'Perigee, the page of its gateway' },
  });
  return { target, irc, stop };
}

/** Connects as the form says; failures are told where the person is. */
async function start() {
  const target = value('backend');
  const parsed = parseTarget(target);
  if ('problem' in parsed) return refuse(parsed.problem, '');
  if (!form.reportValidity()) return;
  problem.hidden = true;
  try {
    connection = makeClient(target, parsed);
  } catch (error) {
    const { title, advice } = explainIRC(error, where(target));
    refuse(title, advice);
    return;
  }
  listen(connection);
  view.nameServer(target);
  enter('connecting');
  const { irc } = connection;
  try {
    await irc.connect();
  } catch (error) {
    if (connection?.irc !== irc) return;
    connection = null;
    const { title, advice } = explainIRC(error, where(target));
    if (codeOf(error) === 'closed') enter('setup');
    else refuse(title, advice);
  }
}

/** @param {string} title @param {string} advice */
function refuse(title, advice) {
  setText(byId('setup-problem-title', HTMLElement), title);
  setText(byId('setup-problem-advice', HTMLElement), advice);
  problem.hidden = false;
  enter('setup');
  connectButton.focus();
}

/** @param {Connection} of */
function listen(of) {
  const { irc, target } = of;
  const isCurrent = () => connection === of;
  irc.on('state', ({ state }) => {
    if (!isCurrent()) return;
    main.dataset.irc = state;
    if (state === 'connected') {
      const first = main.dataset.phase !== 'chat';
      enter('chat');
      if (!ended.hidden) view.append(view.active, entry('info', `Connected to ${target} again.`));
      ended.hidden = true;
      showNick(irc.nick);
      if (first || document.activeElement === document.body) input.focus();
      return;
    }
    if (main.dataset.phase !== 'chat') return;
    delivery.look();
    for (const buffer of view.buffers) if (buffer.isChannel && !buffer.left) view.update(buffer, { members: [], left: true });
    if (state === 'connecting') tellEnd('Connecting again…', '', 'connecting');
    // How it ended follows by an error; without one, we wanted it.
    if (state === 'idle') tellEnd('You left the server.', 'Connect again whenever you like.', 'left');
  });
  irc.on('error', ({ error }) => {
    if (!isCurrent() || codeOf(error) === 'refused') return;
    if (irc.state === 'connected') {
      const { title, advice } = explainIRC(error, where(target));
      view.append(view.active, entry('error', `${title} ${advice}`));
      return;
    }
    const unsure = delivery.end();
    const doubt = unsure === 0 ? '' : ` ${unsure} of your lines may not have arrived; they are marked.`;
    const { title, advice } = explainIRC(error, where(target));
    const again = irc.state === 'waiting';
    for (const buffer of view.buffers) if (buffer.isChannel) view.append(buffer, entry('error', title));
    tellEnd(title, (again ? 'Connecting again in a moment, and joining your channels.' : advice) + doubt, again ? 'waiting' : 'ended');
  });
  follow(irc, {
    tell: (name, what) => isCurrent() && tell(irc, name, what),
    joined: (name) => {
      const buffer = bufferOf(irc, name);
      // Those of a connection that came back do not take the reader away.
      if (!buffer.left) view.activate(buffer);
      view.update(buffer, { left: false });
    },
    left: (name) => {
      const buffer = view.find(keyOf(irc, name));
      if (!buffer) return;
      view.update(buffer, { members: [], left: true });
      if (closing.delete(buffer.key)) view.close(buffer);
    },
    changed: (name) => changed(irc, name),
    renamed: (from, to) => {
      if (irc.same(to, irc.nick)) {
        showNick(to);
        return;
      }
      const buffer = view.find(keyOf(irc, from));
      if (!buffer || buffer.isServer || buffer.isChannel) return;
      view.append(buffer, entry('nick', `is now ${to}`, from));
      view.rename(buffer, keyOf(irc, to), to);
    },
    has: (name) => name !== '' && view.find(keyOf(irc, name)) !== undefined,
  });
}

/** @param {string} title @param {string} advice @param {'waiting' | 'connecting' | 'ended' | 'left'} how */
function tellEnd(title, advice, how) {
  setText(byId('ended-title', HTMLElement), title);
  setText(byId('ended-advice', HTMLElement), advice);
  ended.dataset.how = how;
  ended.hidden = false;
  reconnectButton.hidden = how === 'connecting';
  setText(reconnectButton, how === 'waiting' ? 'Now' : 'Reconnect');
  if (how === 'ended' || how === 'left') reconnectButton.focus();
}

/** Tries again at once, with the same client, so that it comes back to its channels. */
async function reconnect() {
  if (!connection) return;
  const { irc, target } = connection;
  try {
    await irc.connect();
  } catch (error) {
    if (connection?.irc !== irc) return;
    const { title, advice } = explainIRC(error, where(target));
    tellEnd(title, advice, 'ended');
  }
}

/** Gives the connection up, and goes back to the form. */
function change() {
  const before = connection;
  connection = null;
  before?.stop.abort();
  void before?.irc.close();
  ended.hidden = true;
  enter('setup');
  fields.nick?.focus();
}

// --- buffers ---

/** @param {IRCClient} irc @param {string} name */
const isChannel = (irc, name) => name !== '' && (irc.support('CHANTYPES') ?? '#&').includes(name.charAt(0));
/** Equal names have equal keys. @param {IRCClient} irc @param {string} name */
const keyOf = (irc, name) => view.buffers.find((buffer) => !buffer.isServer && irc.same(buffer.name, name))?.key ?? name;
/** @param {IRCClient} irc @param {string} name */
const bufferOf = (irc, name) => view.open(name === '' ? '' : keyOf(irc, name), name, isChannel(irc, name));

/** @param {IRCClient} irc @param {string | null} name @param {import('./conversation.js').Entry} what */
function tell(irc, name, what) {
  const line = view.append(name === null ? view.active : bufferOf(irc, name), what);
  const spoken = what.kind === 'message' || what.kind === 'action' || what.kind === 'notice';
  if (!what.own || !spoken) return;
  // An echo comes from the server, so it has it.
  if (irc.capabilities.has('echo-message')) line.dataset.delivery = 'delivered';
  else delivery.wrote(line);
}

/** Channels whose members changed, to be shown before the next frame: a netsplit changes them a thousand times. @type {Set<string>} */
const stale = new Set();

/** @param {IRCClient} irc @param {string} name */
function changed(irc, name) {
  if (stale.size === 0) {
    setTimeout(() => {
      const names = [...stale];
      stale.clear();
      if (connection?.irc === irc) for (const each of names) showChannel(irc, each);
    });
  }
  stale.add(name);
}

/** @param {IRCClient} irc @param {string} name */
function showChannel(irc, name) {
  const channel = irc.channel(name);
  const buffer = view.find(keyOf(irc, name));
  if (!channel || !buffer) return;
  const [, modes = '', prefixes = ''] = /^\(([^)]*)\)(.*)$/.exec(irc.support('PREFIX') ?? '(ov)@+') ?? [];
  const members = [...channel.members.values()].map(({ nick, modes: held, user, host, account, away }) => ({
    nick, away, rank: held === '' ? modes.length : modes.indexOf(held.charAt(0)), prefix: held === '' ? '' : prefixes.charAt(modes.indexOf(held.charAt(0))),
    about: `${nick}${host ? ` ${user}@${host}` : ''}${account ? `, account ${account}` : ''}`,
  }));
  members.sort((one, other) => one.rank - other.rank || one.nick.localeCompare(other.nick));
  view.update(buffer, { topic: channel.topic?.text ?? '', members, left: false });
}

/** @param {string} nick */
function openQuery(nick) {
  if (connection) view.activate(bufferOf(connection.irc, nick));
}

/** @param {string} nick */
function showNick(nick) {
  setText(ownNick, nick);
  if (fields.nick) fields.nick.value = nick;
}

/** Leaves it where it is a channel that we are in, and closes it then. @param {Buffer} buffer */
function close(buffer) {
  if (!connection || !buffer.isChannel || buffer.left) {
    view.close(buffer);
    return;
  }
  closing.add(buffer.key);
  const { irc } = connection;
  void attempt(async () => {
    try {
      await irc.part(buffer.name);
    } finally {
      closing.delete(buffer.key);
    }
  });
}

// --- what a person types ---

/** @param {string} text @returns {boolean} it is done with, so the line can go */
function submit(text) {
  const buffer = view.active;
  const action = interpret(text, buffer);
  if (action.do === 'clear') {
    view.clear(buffer);
  } else if (action.do === 'help') {
    for (const [usage, what] of HELP) view.append(buffer, entry('info', `${usage}: ${what}`));
    view.append(buffer, entry('info', KEYS));
  } else if (action.do === 'explain') {
    view.append(buffer, entry('error', action.text));
  } else if (action.do === 'close' && (buffer.left || !buffer.isChannel)) {
    view.close(buffer);
  } else if (action.do !== 'nothing' && connection) {
    if (connection.irc.state !== 'connected') {
      view.append(buffer, entry('error', 'There is no connection just now. What you typed is kept; send it when the connection is back.'));
      return false;
    }
    const { irc } = connection;
    void attempt(() => act(irc, action, buffer));
  }
  return true;
}

/** @param {IRCClient} irc @param {import('./commands.js').Action} action @param {Buffer} buffer where it was typed */
async function act(irc, action, buffer) {
  switch (action.do) {
    case 'say': {
      const { target, text, as } = action;
      if (buffer.left && buffer.isChannel && target === buffer.name) {
        view.append(buffer, entry('error', `You are not in ${buffer.name}, so nobody would read that. Join it with /join ${buffer.name}`));
        return;
      }
      if (target !== buffer.name && !isChannel(irc, target)) openQuery(target);
      await (as === 'message' ? irc.say(target, text) : as === 'action' ? irc.action(target, text) : irc.notice(target, text));
      return;
    }
    case 'join':
      await Promise.all(action.channels.map((name) => irc.join(name, action.key)));
      return;
    case 'part':
      await irc.part(action.channel, action.reason);
      return;
    case 'nick':
      await irc.setNick(action.nick);
      return;
    case 'topic': {
      if (action.text !== null) {
        await irc.setTopic(action.channel, action.text);
        return;
      }
      const channel = irc.channel(action.channel);
      if (!channel) return irc.send('TOPIC', [action.channel]);
      const { topic } = channel;
      const by = topic?.by ? ` (set by ${topic.by}${topic.at ? `, ${topic.at.toLocaleString()}` : ''})` : '';
      view.append(buffer, entry('topic', topic ? `The topic of ${channel.name} is: ${topic.text}${by}` : `${channel.name} has no topic.`));
      return;
    }
    case 'names': {
      const channel = irc.channel(action.channel);
      const members = view.find(keyOf(irc, action.channel))?.members ?? [];
      if (!channel) view.append(buffer, entry('error', `You are not in ${action.channel}, so who is there is not known here.`));
      else view.append(buffer, entry('info', `In ${channel.name}: ${members.map(({ prefix, nick }) => prefix + nick).join(', ')}`));
      return;
    }
    case 'send':
      return irc.send(action.command, action.params);
    case 'raw': {
      const message = parseMessage(action.line);
      if (message === null) view.append(buffer, entry('error', 'That is no line of IRC: it begins with a command, such as VERSION.'));
      else await irc.send(message.command, message.params, message.tags);
      return;
    }
    case 'query':
      openQuery(action.target);
      return;
    case 'ping':
      view.append(buffer, entry('info', `The server answered after ${Math.round(await irc.ping())} ms.`));
      return;
    case 'quit':
      await irc.close(action.reason || 'leaving');
      return;
    case 'close':
      close(buffer);
      return;
    default:
  }
}

/** Runs what may fail, and says why it did. @param {() => Promise<void>} run */
async function attempt(run) {
  try {
    await run();
  } catch (error) {
    // What the server refused, it said itself.
    if (codeOf(error) === 'refused' || !connection) return;
    const { title, advice } = explainIRC(error, where(connection.target));
    view.append(view.active, entry('error', `${title} ${advice}`));
  }
}

// --- the page's controls ---

composer({
  form: byId('composer', HTMLFormElement), input, submit,
  nicks: () => view.active.members.map(({ nick }) => nick).filter((nick) => nick !== ownNick.textContent),
});

document.addEventListener('keydown', (event) => {
  if (event.isComposing || main.dataset.phase !== 'chat') return;
  if (event.key === 'Escape') {
    if (narrow.matches) showMembers('auto');
    if (document.activeElement === input) input.value = '';
    input.focus();
  } else if ((event.key === 'PageUp' || event.key === 'PageDown') && document.activeElement === input) {
    event.preventDefault();
    view.page(event.key === 'PageUp' ? -1 : 1);
  }
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) view.seen();
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

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (main.dataset.phase === 'connecting') change();
  else void start();
});
// Browsers keep one password to a form.
byId('login', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  form.requestSubmit();
});
byId('join-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const field = byId('join', HTMLInputElement);
  if (field.value.trim() !== '' && submit(`/join ${field.value}`)) field.value = '';
});
reconnectButton.addEventListener('click', () => void reconnect());
closeButton.addEventListener('click', () => close(view.active));
byId('quit', HTMLButtonElement).addEventListener('click', () => {
  if (connection?.irc.state === 'connected') submit('/quit');
  else change();
});
byId('change', HTMLButtonElement).addEventListener('click', change);
setInterval(() => delivery.look(), ACK_POLL_MS);

const friendly = ['luna', 'comet', 'vega', 'rigel', 'atlas', 'nova', 'lyra', 'orion', 'ceres', 'juno', 'titan', 'io'];
const anyOf = (/** @type {number} */ n) => Math.floor(Math.random() * n);
/** @type {Record<string, string>} */
const initial = { nick: query.get('nick') ?? `${friendly[anyOf(friendly.length)]}${anyOf(90) + 10}`, channel: query.get('channel') ?? '' };
for (const [id, text] of Object.entries(initial)) if (text !== '' && fields[id]) fields[id].value = text;
offerBackends(byId('backend', HTMLInputElement), 'irc', query.get('backend'));
showMembers('auto');
enter('setup');
if (query.has('connect')) void start();
else fields.nick?.focus();
