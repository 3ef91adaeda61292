// @ts-check
/**
 * What happens on an IRC network, as lines of buffers: it listens to an IRCClient and tells a view.
 *
 * It knows neither sockets nor the page, and keeps no history.
 *
 * @typedef {import('/perigee/irc.js').IRCClient} IRCClient
 * @typedef {'message' | 'action' | 'notice' | 'join' | 'part' | 'nick' | 'topic' | 'mode' | 'info' | 'error'} EntryKind
 *
 * @typedef {object} Entry one line of a buffer
 * @property {EntryKind} kind
 * @property {Date} at
 * @property {string} nick who did it; '' for the server or this page
 * @property {string} text as it was received, formatting included
 * @property {boolean} own said by us
 * @property {boolean} mention somebody said our nick, or wrote to us alone
 *
 * @typedef {object} View
 * @property {(buffer: string | null, entry: Entry) => void} tell `buffer` is a channel or nick, '' for the server itself, null for wherever the person is who asked
 * @property {(name: string) => void} joined we are in it now
 * @property {(name: string) => void} left we are not in it any more
 * @property {(name: string) => void} changed its topic or members are others now
 * @property {(from: string, to: string) => void} renamed a person, who may be ourselves
 * @property {(name: string) => boolean} has there is a buffer of that name
 */

/** Replies that are told otherwise, or say nothing that a reader needs. */
const SILENT = new Set(['004', '005', '318', '321', '323', '329', '331', '332', '333', '353', '366', '376', '900', '903']);
/** The message of the day, or that there is none. */
const MOTD = new Set(['372', '375', '422']);
/** What the server says of its own accord, besides the events of the client. */
const SPOKEN = new Set(['ERROR', 'FAIL', 'WARN', 'NOTE', 'WALLOPS']);

/** Answers about somebody, in words; the parameters are those behind our nick. @type {Readonly<Record<string, (params: readonly string[]) => string>>} */
const WORDS = {
  301: ([nick, text]) => `${nick} is away: ${text}`,
  311: ([nick, user, host, , name]) => `${nick} is ${user}@${host} (${name})`,
  312: ([nick, server, text]) => `${nick} is on ${server} (${text})`,
  313: ([nick, text]) => `${nick} ${text}`,
  317: ([nick, idle, since]) => `${nick} has been silent for ${duration(Number(idle))}${Number(since) > 0 ? `, here since ${new Date(Number(since) * 1000).toLocaleString()}` : ''}`,
  319: ([nick, channels]) => `${nick} is in ${channels}`,
  322: ([channel, count, topic]) => `${channel}: ${count} ${count === '1' ? 'person' : 'people'}${topic ? `, ${topic}` : ''}`,
  324: ([channel, ...modes]) => `${channel} has the modes ${modes.join(' ')}`,
  330: ([nick, account]) => `${nick} is logged in as ${account}`,
  341: ([nick, channel]) => `You invited ${nick} to ${channel}`,
  671: ([nick, text]) => `${nick} ${text}`,
};

/**
 * @param {IRCClient} irc
 * @param {View} view
 */
export function follow(irc, view) {
  const inChannel = (/** @type {string} */ channel, /** @type {import('/perigee/irc/network.js').Context} */ { from, time, own }, /** @type {EntryKind} */ kind, /** @type {string} */ text, nick = from.nick) =>
    view.tell(channel, { kind, at: time, nick, text, own, mention: false });

  irc.on('message', ({ kind, from, time, own, target, channel, text }) => {
    const isServer = from.host === '' && (from.nick === '' || from.nick.includes('.') || target === '*');
    const alone = channel === null && !own;
    const buffer = channel ?? (isServer ? '' : own ? target : from.nick);
    // Services talk by NOTICE, and a buffer for each of them would be one too many.
    const shown = kind === 'notice' && alone && !isServer && !view.has(buffer) ? '' : buffer;
    const mention = !own && kind !== 'notice' && (alone || mentions(text, irc.nick));
    view.tell(shown, { kind, at: time, nick: isServer ? '' : from.nick, text, own, mention });
  });
  irc.on('ctcp', ({ from, time, own, command, text, reply }) => {
    if (own) return;
    view.tell('', { kind: 'info', at: time, nick: from.nick, text: `${reply ? 'answered' : 'asked for'} ${command}${text ? `: ${text}` : ''}`, own, mention: false });
  });
  irc.on('join', (event) => {
    if (event.own) view.joined(event.channel);
    inChannel(event.channel, event, 'join', 'joined');
  });
  irc.on('part', (event) => {
    inChannel(event.channel, event, 'part', withReason('left', event.text));
    if (event.own) view.left(event.channel);
  });
  irc.on('kick', (event) => {
    const self = irc.same(event.nick, irc.nick);
    inChannel(event.channel, event, 'part', withReason(`was kicked by ${event.from.nick}`, event.text), event.nick);
    if (self) view.left(event.channel);
  });
  irc.on('quit', (event) => {
    for (const channel of event.channels) inChannel(channel, event, 'part', withReason('quit', event.text));
    if (event.channels.length === 0 && view.has(event.from.nick)) inChannel(event.from.nick, event, 'part', withReason('quit', event.text));
  });
  irc.on('nick', (event) => {
    const channels = irc.channels.filter(({ members }) => [...members.values()].some(({ nick }) => nick === event.nick));
    for (const { name } of channels) inChannel(name, event, 'nick', `is now ${event.nick}`);
    if (channels.length === 0 && event.own) inChannel('', event, 'nick', `is now ${event.nick}`);
    view.renamed(event.from.nick, event.nick);
  });
  irc.on('topic', (event) => {
    const { channel, from, topic } = event;
    // A server tells the topic of a channel to who enters it, or asks for it.
    const told = from.nick === '' || from.nick.includes('.');
    if (told && topic !== '') inChannel(channel, event, 'topic', `The topic is: ${topic}`, '');
    if (!told) inChannel(channel, event, 'topic', topic === '' ? 'removed the topic' : `set the topic: ${topic}`);
    view.changed(channel);
  });
  irc.on('mode', (event) => {
    const buffer = irc.channel(event.target) ? event.target : '';
    inChannel(buffer, event, 'mode', `set ${[event.changes, ...event.params].join(' ')}`);
  });
  irc.on('invite', (event) => inChannel('', event, 'info', `invites ${irc.same(event.nick, irc.nick) ? 'you' : event.nick} to ${event.channel}; /join ${event.channel} goes there`));
  irc.on('members', ({ channel }) => view.changed(channel));
  irc.on('line', ({ message }) => {
    const told = inWords(message, irc.state === 'connected');
    if (told === null) return;
    const [, about = ''] = message.params;
    const buffer = told.kind === 'error' && view.has(about) ? about : told.isGreeting ? '' : null;
    const time = new Date(message.tags.time ?? Date.now());
    view.tell(buffer, { kind: told.kind, at: Number.isNaN(time.getTime()) ? new Date() : time, nick: '', text: told.text, own: false, mention: false });
  });
}

/**
 * A reply of the server for people; null if it is none, or is told otherwise.
 * @param {import('/perigee/irc/message.js').Message} message
 * @param {boolean} isRegistered
 * @returns {{ kind: EntryKind, text: string, isGreeting: boolean } | null}
 */
export function inWords({ command, params }, isRegistered) {
  if (SPOKEN.has(command)) return { kind: command === 'ERROR' || command === 'FAIL' ? 'error' : 'info', text: params.slice(command === 'ERROR' ? 0 : -1).join(' '), isGreeting: true };
  if (!/^\d{3}$/.test(command) || SILENT.has(command)) return null;
  // Every server is asked for what it can do besides; that an old one does not know the question is no news.
  if (params[1] === 'CAP') return null;
  const rest = params.slice(1);
  const isError = /^[45]/.test(command) && !MOTD.has(command);
  const isGreeting = command < '300' || MOTD.has(command) || !isRegistered;
  const text = WORDS[command]?.(rest) ?? (isError ? [rest.slice(0, -1).join(' '), rest.at(-1) ?? ''].filter(Boolean).join(': ') : rest.join(' '));
  // A nick that is taken is no failure while another one can be tried.
  return { kind: isError && isRegistered ? 'error' : 'info', text, isGreeting };
}

/**
 * A line of this page's own.
 * @param {EntryKind} kind
 * @param {string} text
 * @param {string} [nick]
 * @returns {Entry}
 */
export function entry(kind, text, nick = '') {
  return { kind, at: new Date(), nick, text, own: false, mention: false };
}

/** @param {string} what @param {string} reason */
function withReason(what, reason) {
  return reason ? `${what} (${reason})` : what;
}

/** Whether a text names somebody, as a word of its own. @param {string} text @param {string} nick */
export function mentions(text, nick) {
  const isWord = (/** @type {string} */ c) => /[\p{L}\p{N}_]/u.test(c);
  const [inText, inNick] = [text.toLowerCase(), nick.toLowerCase()];
  for (let at = inText.indexOf(inNick); at !== -1 && inNick !== ''; at = inText.indexOf(inNick, at + 1)) {
    if (!isWord(inText.charAt(at - 1)) && !isWord(inText.charAt(at + inNick.length))) return true;
  }
  return false;
}

/** @param {number} seconds */
function duration(seconds) {
  const [unit, size] = seconds >= 86_400 ? ['days', 86_400] : seconds >= 3600 ? ['hours', 3600] : seconds >= 60 ? ['minutes', 60] : ['seconds', 1];
  return `${Math.floor(seconds / Number(size)) || 0} ${unit}`;
}
