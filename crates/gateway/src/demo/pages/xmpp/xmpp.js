// @ts-check
/**
 * The XMPP page: joins an XMPPClient, on strophe.js, and the look of the chat.
 *
 * Query parameters, besides those of `page.js`: `backend` (a name), `jid`, and `room` to enter.
 */

import { XMPPClient } from '/perigee/xmpp.js';
import { byId, h, onAltKey, setText } from '../dom.js';
import { composer } from '../irc/composer.js';
import { entry, mentions } from '../irc/conversation.js';
import { ChatView } from '../irc/view.js';
import { backendsOf, offerBackends } from '../offer.js';
import { openGateway, query } from '../page.js';
import { showLink } from '../status.js';
import { HELP, interpret, isAddress } from './commands.js';
import { explainXMPP } from './words.js';

/** @typedef {import('../irc/view.js').Buffer} Buffer */
/** @typedef {{ target: string, xmpp: XMPPClient }} Connection */
/** @typedef {import('/perigee/xmpp/strophe.js').Strophe & { LogLevel: { FATAL: number }, setLogLevel: (level: number) => void }} Strophe */
/** @typedef {{ Strophe: Strophe }} Script strophe.js, which is no module */

/** Messages of before that a room tells. */
const HISTORY = 50;
/** How somebody is, the most reachable first. */
const SHOWS = ['chat', '', 'away', 'xa', 'dnd'];
const WORDS = /** @type {Record<string, string>} */ ({ chat: 'happy to talk', '': 'here', away: 'away', xa: 'away for long', dnd: 'do not disturb', gone: 'not here' });

const { gateway, plug } = openGateway();
showLink(byId('link', HTMLElement), gateway, plug);

const main = byId('chat', HTMLElement);
const form = byId('setup', HTMLFormElement);
const problem = byId('setup-problem', HTMLElement);
const fields = { jid: byId('jid', HTMLInputElement), password: byId('password', HTMLInputElement), backend: byId('backend', HTMLInputElement) };
const input = byId('input', HTMLInputElement);
const ended = byId('ended', HTMLElement);
const connectButton = byId('connect', HTMLButtonElement);
const reconnectButton = byId('reconnect', HTMLButtonElement);
const membersToggle = byId('members-toggle', HTMLButtonElement);
const closeButton = byId('close-buffer', HTMLButtonElement);
const presence = byId('presence', HTMLSelectElement);
const requests = byId('requests', HTMLElement);

const bare = (/** @type {string} */ jid) => jid.replace(/\/.*$/s, '');
const local = (/** @type {string} */ jid) => jid.replace(/@.*$/s, '');
const where = (/** @type {string} */ target) => ({ target, gateway: gateway.url });

/** @type {Connection | null} */
let connection = null;

const view = new ChatView(
  {
    tabs: byId('tabs', HTMLElement), logs: byId('logs', HTMLElement), title: byId('title', HTMLElement), topic: byId('topic', HTMLElement),
    members: byId('members', HTMLElement), count: membersToggle, jump: byId('jump', HTMLElement), close: closeButton,
  },
  (buffer) => {
    input.placeholder = buffer.isServer ? '/join room@rooms.example.org' : `Message ${buffer.name}`;
    if (main.dataset.phase === 'chat') input.focus();
    showNick(buffer);
  },
  (nick) => {
    if (view.active.isChannel) talk(`${view.active.name}/${nick}`);
  },
  'XMPP',
);

// --- connecting, and what becomes of it ---

/** @param {'setup' | 'connecting' | 'chat'} phase */
function enter(phase) {
  main.dataset.phase = phase;
  for (const field of Object.values(fields)) field.disabled = phase === 'connecting';
  setText(connectButton, phase === 'connecting' ? 'Logging in… Cancel' : 'Log in');
}

async function start() {
  const [target, jid] = [fields.backend.value.trim(), fields.jid.value.trim()];
  problem.hidden = true;
  /** @type {XMPPClient} */
  let xmpp;
  try {
    const { Strophe } = /** @type {Script} */ (/** @type {unknown} */ (globalThis));
    // What goes wrong is told on the page, in words.
    Strophe.setLogLevel(Strophe.LogLevel.FATAL);
    xmpp = new XMPPClient({ strophe: Strophe, server: target, gateway, jid, password: fields.password.value });
  } catch (error) {
    refuse(error, target);
    return;
  }
  const of = { target, xmpp };
  connection = of;
  listen(of);
  view.nameServer(bare(jid));
  enter('connecting');
  try {
    await xmpp.connect();
    const room = query.get('room');
    if (room !== null) await attempt(() => join(xmpp, room, ''));
  } catch (error) {
    if (connection === of) refuse(error, target);
  }
}

/** @param {unknown} error @param {string} target */
function refuse(error, target) {
  connection = null;
  const { title, advice } = explainXMPP(error, where(target));
  setText(byId('setup-problem-title', HTMLElement), title);
  setText(byId('setup-problem-advice', HTMLElement), advice);
  problem.hidden = false;
  enter('setup');
  connectButton.focus();
}

/** @param {Connection} of */
function listen(of) {
  const { xmpp, target } = of;
  const isCurrent = () => connection === of;
  xmpp.on('state', ({ state }) => {
    if (!isCurrent()) return;
    if (state === 'connected') {
      const isFirst = main.dataset.phase !== 'chat';
      enter('chat');
      ended.hidden = true;
      showNick(view.active);
      if (isFirst) input.focus();
      return;
    }
    if (main.dataset.phase !== 'chat') return;
    for (const buffer of view.buffers) if (buffer.isChannel && !buffer.left) view.update(buffer, { members: [], left: true });
    showContacts(xmpp);
    if (state === 'connecting') tellEnd('Connecting again…', '', 'connecting');
    if (state === 'idle') tellEnd('You are logged out.', 'Connect again whenever you like.', 'left');
  });
  xmpp.on('error', ({ error }) => {
    if (!isCurrent()) return;
    const { title, advice } = explainXMPP(error, where(target));
    if (xmpp.state === 'connected') {
      view.append(view.active, entry('error', `${title} ${advice}`));
      return;
    }
    const again = xmpp.state === 'waiting';
    tellEnd(title, again ? 'Connecting again in a moment, and entering your rooms.' : advice, again ? 'waiting' : 'ended');
  });
  xmpp.on('message', (said) => isCurrent() && hear(xmpp, said));
  xmpp.on('roster', () => isCurrent() && showContacts(xmpp));
  xmpp.on('presence', ({ contact }) => {
    if (!isCurrent()) return;
    showContacts(xmpp);
    const buffer = view.find(contact.jid);
    if (buffer) view.append(buffer, entry('info', `is ${howIs(contact)}`, contact.name || local(contact.jid)));
  });
  xmpp.on('subscription', ({ from, kind, status }) => {
    if (!isCurrent()) return;
    if (kind === 'subscribe') ask(xmpp, from, status);
    else view.append(view.active, entry('info', { subscribed: `${from} lets you see when they are there.`, unsubscribe: `${from} no longer asks when you are there.`, unsubscribed: `${from} does not let you see when they are there.` }[kind]));
  });
  xmpp.on('room', (event) => isCurrent() && roomChanged(event));
  xmpp.on('subject', ({ room, subject, by }) => {
    if (!isCurrent()) return;
    const buffer = view.open(room.jid, room.jid, true);
    if (subject !== '') view.append(buffer, entry('topic', by === '' ? `The subject is: ${subject}` : `set the subject: ${subject}`, by));
    view.update(buffer, { topic: subject });
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

async function reconnect() {
  if (!connection) return;
  const { xmpp, target } = connection;
  try {
    await xmpp.connect();
  } catch (error) {
    if (connection?.xmpp !== xmpp) return;
    const { title, advice } = explainXMPP(error, where(target));
    tellEnd(title, advice, 'ended');
  }
}

/** Gives the connection up, and goes back to the form. */
function change() {
  const before = connection;
  connection = null;
  void before?.xmpp.close();
  ended.hidden = true;
  enter('setup');
  fields.password.focus();
}

// --- conversations ---

/** @param {XMPPClient} xmpp @param {import('/perigee/xmpp/client.js').Said} said */
function hear(xmpp, { kind, from, to, nick, room, text, time, delayed, own }) {
  if (kind === 'headline') {
    view.append(view.open('', '', false), { ...entry('notice', text, from), at: time });
    return;
  }
  // What somebody says in private from a room is of that occupant, not of the room.
  const other = own ? to : from;
  const name = room ? room.jid : xmpp.rooms.has(bare(other)) ? other : bare(other);
  const buffer = view.open(name, name, room !== null);
  if (kind === 'error') {
    view.append(buffer, entry('error', text === '' ? 'What you said did not arrive.' : `What you said did not arrive: ${text}`));
    return;
  }
  const action = text.startsWith('/me ');
  const who = room ? nick : own ? local(xmpp.jid) : nameOf(xmpp, other);
  const mention = !own && !delayed && (room === null || mentions(text, room.nick));
  const line = view.append(buffer, { kind: action ? 'action' : 'message', at: time, nick: who, text: action ? text.slice(4) : text, own: own || delayed, mention });
  if (own && room) line.dataset.delivery = 'delivered';
}

/** @param {XMPPClient} xmpp @param {string} jid */
function nameOf(xmpp, jid) {
  if (xmpp.rooms.has(bare(jid))) return jid.slice(jid.indexOf('/') + 1);
  return xmpp.contacts.get(bare(jid))?.name || local(jid);
}

/** @param {import('/perigee/xmpp/room.js').RoomEvent} event */
function roomChanged({ room, kind, occupant, own, was, codes, reason }) {
  const buffer = view.open(room.jid, room.jid, true);
  const because = reason === '' ? '' : ` (${reason})`;
  // Those who were there before us are told by the list.
  if (kind === 'join' && (room.isIn || own)) view.append(buffer, entry('join', 'entered', occupant.nick));
  if (kind === 'leave') view.append(buffer, entry('part', `${codes.includes('307') ? 'was sent away' : codes.includes('301') ? 'was banned' : 'left'}${because}`, occupant.nick));
  if (kind === 'nick') view.append(buffer, entry('nick', `is now ${occupant.nick}`, was));
  if (own) showNick(view.active);
  showRoom(room);
}

/** @param {import('/perigee/xmpp/room.js').Room} room */
function showRoom(room) {
  const buffer = view.find(room.jid);
  if (!buffer) return;
  const rank = (/** @type {string} */ role) => ['moderator', 'participant', 'visitor'].indexOf(role);
  const occupants = [...room.occupants.values()].sort((one, other) => rank(one.role) - rank(other.role) || one.nick.localeCompare(other.nick));
  view.update(buffer, {
    left: !room.isIn,
    members: occupants.map(({ nick, role, affiliation, jid, show }) => ({
      nick, prefix: role === 'moderator' ? '@' : role === 'visitor' ? '–' : '', away: show === 'away' || show === 'xa',
      about: [nick, affiliation !== '' && affiliation !== 'none' && affiliation, jid].filter(Boolean).join(', '),
    })),
  });
}

/** @param {Buffer} buffer */
function showNick(buffer) {
  const nick = connection?.xmpp.rooms.get(buffer.name)?.nick;
  setText(byId('own-nick', HTMLElement), nick ?? local(connection?.xmpp.jid ?? ''));
}

/** @param {string} jid */
function talk(jid) {
  view.activate(view.open(jid, jid, false));
}

/** @param {XMPPClient} xmpp @param {string} room @param {string} nick */
async function join(xmpp, room, nick) {
  const entered = await xmpp.join(room, nick || local(xmpp.jid), { history: HISTORY });
  view.activate(view.open(room, room, true));
  showRoom(entered);
}

/** @param {Buffer} buffer */
function close(buffer) {
  const room = connection?.xmpp.rooms.get(buffer.name);
  view.close(buffer);
  if (room && connection?.xmpp.state === 'connected') void attempt(() => /** @type {Connection} */ (connection).xmpp.leave(room.jid));
}

// --- contacts ---

/** @param {import('/perigee/xmpp/roster.js').Contact} contact */
function showOf({ devices }) {
  const shows = [...devices.values()].map(({ show }) => SHOWS.indexOf(show)).filter((at) => at >= 0);
  return shows.length === 0 ? 'gone' : (SHOWS[Math.min(...shows)] ?? '');
}

/** @param {import('/perigee/xmpp/roster.js').Contact} contact */
function howIs(contact) {
  const show = showOf(contact);
  const status = [...contact.devices.values()].find(({ status: text }) => text !== '')?.status ?? '';
  return `${WORDS[show]}${status === '' ? '' : `: ${status}`}`;
}

let stale = false;

/** @param {XMPPClient} xmpp */
function showContacts(xmpp) {
  if (stale) return;
  stale = true;
  // A login tells of everybody, one by one.
  setTimeout(() => {
    stale = false;
    const up = xmpp.state === 'connected';
    const people = [...xmpp.contacts.values()].map((contact) => ({ contact, show: up ? showOf(contact) : 'gone', name: contact.name || contact.jid }));
    people.sort((one, other) => Number(one.show === 'gone') - Number(other.show === 'gone') || one.name.localeCompare(other.name));
    byId('contacts', HTMLElement).replaceChildren(...people.map(({ contact, show, name }) => {
      const button = h('button', { type: 'button', class: 'contact', 'data-testid': 'contact', 'data-jid': contact.jid, 'data-show': show === '' ? 'here' : show, title: `${contact.jid}, ${up ? howIs(contact) : WORDS.gone}` },
        h('span', { class: 'here', 'aria-hidden': 'true' }), h('bdi', {}, name), h('span', { class: 'hidden' }, `, ${WORDS[show] ?? ''}${contact.asked ? ', was asked' : ''}`));
      button.addEventListener('click', () => talk(contact.jid));
      return h('li', {}, button);
    }));
  });
}

/** Somebody wants to see when we are there. @param {XMPPClient} xmpp @param {string} from @param {string} status */
function ask(xmpp, from, status) {
  for (const item of requests.children) if (item instanceof HTMLElement && item.dataset.jid === from) return;
  const item = h('li', { 'data-jid': from, 'data-testid': 'request' }, h('p', {}, h('bdi', {}, from), ` wants to see when you are there.${status === '' ? '' : ` “${status}”`}`));
  for (const [word, may] of /** @type {const} */ ([['Allow', true], ['Refuse', false]])) {
    const button = h('button', { type: 'button', class: may ? '' : 'quiet', 'data-testid': word.toLowerCase() }, word);
    button.addEventListener('click', () => {
      item.remove();
      void attempt(async () => {
        await xmpp.allow(from, may);
        // Who lets somebody see, wants to see in turn.
        if (may && !['to', 'both'].includes(xmpp.contacts.get(from)?.subscription ?? '')) await xmpp.addContact(from);
      });
    });
    item.append(button);
  }
  requests.append(item);
}

// --- what a person types ---

/** @param {string} text @returns {boolean} it is done with, so the line can go */
function submit(text) {
  const buffer = view.active;
  const action = interpret(text, buffer);
  if (action.do === 'clear') view.clear(buffer);
  else if (action.do === 'explain') view.append(buffer, entry('error', action.text));
  else if (action.do === 'close') close(buffer);
  else if (action.do === 'help') for (const [usage, what] of HELP) view.append(buffer, entry('info', `${usage}: ${what}`));
  else if (action.do !== 'nothing' && connection) {
    if (connection.xmpp.state !== 'connected') {
      view.append(buffer, entry('error', 'There is no connection just now. What you typed is kept; send it when the connection is back.'));
      return false;
    }
    const { xmpp } = connection;
    void attempt(() => act(xmpp, action, buffer));
  }
  return true;
}

/** @param {XMPPClient} xmpp @param {import('./commands.js').Action} action @param {Buffer} buffer */
async function act(xmpp, action, buffer) {
  switch (action.do) {
    case 'say':
      if (buffer.isChannel && buffer.left) view.append(buffer, entry('error', `You are not in ${buffer.name}. Enter it with /join ${buffer.name}`));
      else await xmpp.say(buffer.name, action.text);
      return;
    case 'talk':
      return talk(action.jid);
    case 'join':
      return join(xmpp, action.room, action.nick);
    case 'nick':
      await xmpp.join(buffer.name, action.nick);
      return;
    case 'subject':
      return xmpp.setSubject(buffer.name, action.text);
    case 'presence':
      if ([...presence.options].some(({ value }) => value === action.show)) presence.value = action.show;
      return xmpp.setPresence(action);
    case 'add':
      return xmpp.addContact(action.jid, action.name === '' ? {} : { name: action.name });
    case 'remove':
      return xmpp.removeContact(action.jid);
    case 'quit':
      return xmpp.close();
    default:
  }
}

/** Runs what may fail, and says why it did. @param {() => Promise<void>} run */
async function attempt(run) {
  try {
    await run();
  } catch (error) {
    if (!connection) return;
    const { title, advice } = explainXMPP(error, where(connection.target));
    view.append(view.active, entry('error', `${title} ${advice}`));
  }
}

// --- the page's controls ---

composer({
  form: byId('composer', HTMLFormElement), input, submit,
  nicks: () => view.active.members.map(({ nick }) => nick),
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

// The occupants stand beside the conversation where there is room, and over it where there is not.
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
byId('join-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const field = byId('join', HTMLInputElement);
  const jid = field.value.trim();
  if (!isAddress(jid)) {
    view.append(view.active, entry('error', `“${jid}” is no address: write person@example.org or room@rooms.example.org.`));
    return;
  }
  field.value = '';
  if (!connection) return;
  const { xmpp } = connection;
  // Whether it is a room, only it can tell (XEP-0030).
  void attempt(async () => {
    if (xmpp.contacts.has(jid)) return talk(jid);
    const answer = await xmpp.request('get', jid, ['query', { xmlns: 'http://jabber.org/protocol/disco#info' }]).catch(() => null);
    const isRoom = answer !== null && [...answer.getElementsByTagName('identity')].some((identity) => identity.getAttribute('category') === 'conference');
    const service = isRoom ? null : await xmpp.request('get', jid.slice(jid.indexOf('@') + 1), ['query', { xmlns: 'http://jabber.org/protocol/disco#info' }]).catch(() => null);
    const hasRooms = service !== null && [...service.getElementsByTagName('identity')].some((identity) => identity.getAttribute('category') === 'conference');
    if (isRoom || hasRooms) await join(xmpp, jid, '');
    else talk(jid);
  });
});
presence.addEventListener('change', () => {
  if (connection?.xmpp.state === 'connected') void attempt(() => act(/** @type {Connection} */ (connection).xmpp, { do: 'presence', show: presence.value, status: '' }, view.active));
});
reconnectButton.addEventListener('click', () => void reconnect());
closeButton.addEventListener('click', () => close(view.active));
byId('quit', HTMLButtonElement).addEventListener('click', () => {
  if (connection?.xmpp.state === 'connected') submit('/quit');
  else change();
});
byId('change', HTMLButtonElement).addEventListener('click', change);
byId('tabs', HTMLElement).addEventListener('keydown', (event) => {
  const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
  if (by === undefined || event.altKey) return;
  event.preventDefault();
  view.step(by);
  view.active.tab.focus();
});

offerBackends(fields.backend, 'xmpp', query.get('backend'));
const offered = backendsOf('xmpp').find(({ name }) => name === fields.backend.value);
if (offered?.domain) fields.jid.placeholder = `you@${offered.domain}`;
fields.jid.value = query.get('jid') ?? '';
setText(byId('own-origin', HTMLElement), location.origin);
const missing = byId('missing', HTMLElement);
missing.hidden = fields.backend.value !== '';
showMembers('auto');
enter('setup');
if (missing.hidden) (fields.jid.value === '' ? fields.jid : fields.password).focus();
