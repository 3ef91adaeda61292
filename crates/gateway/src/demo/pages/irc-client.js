// @ts-check
/**
 * One registration with an IRC server: who we are, which channels we are in, who else is there.
 *
 * Lines go in with `receive` and out through the `send` it was given; what happened is told to
 * `notify`. It knows neither sockets nor the page, and keeps no history.
 */

import { SEND_LINE_BYTES, fold, format, parse, splitText, stripFormatting } from './irc.js';

/**
 * @typedef {'message' | 'action' | 'notice' | 'join' | 'part' | 'nick' | 'topic' | 'mode' | 'info' | 'error'} EntryKind
 * @typedef {object} Entry  one line of a buffer, ready to be shown
 * @property {EntryKind} kind
 * @property {Date} at
 * @property {string} nick      who did it; '' for the server or this page
 * @property {string} text      without formatting codes
 * @property {boolean} own      said by us
 * @property {boolean} mention  somebody said our nick, or wrote to us alone
 *
 * @typedef {object} Channel
 * @property {string} name
 * @property {string} topic
 * @property {boolean} joined
 * @property {boolean} named  the first list of members is complete
 * @property {Map<string, { nick: string, prefix: string }>} members by folded nick
 *
 * @typedef {{ type: 'registered', nick: string }
 *   | { type: 'nick', nick: string }
 *   | { type: 'entry', buffer: string | null, entry: Entry }
 *   | { type: 'channel', channel: Channel, change: 'joined' | 'left' | 'members' | 'topic' }
 *   | { type: 'renamed', from: string, to: string }} Notice
 *   `buffer` is a channel or nick, '' for the server itself, null for wherever the person is who asked;
 *   `renamed` is about a person
 */

/** Nicks that were taken are varied this many times before a person is asked. */
const NICK_ATTEMPTS = 6;

/** Channels and members kept, far beyond what a page can show, so that a hostile server cannot fill the tab. */
const MAX_CHANNELS = 64;
const MAX_MEMBERS = 20000;

/** Replies that say nothing a reader of this page needs. */
const SILENT = new Set(['004', '333', '376', 'CAP', 'PONG', '329']);

/** The message of the day, or that there is none. */
const MOTD = new Set(['372', '375', '422']);

export class IrcClient {
  #send;
  #notify;
  #wanted;
  #attempts = 0;
  #source = '';
  /** @type {Map<string, string>} ISUPPORT */
  #support = new Map();

  /** The nick the server knows us by, or the one asked for. */
  nick;
  registered = false;
  /** @type {Map<string, Channel>} by folded name */
  channels = new Map();

  /**
   * @param {object} options
   * @param {string} options.nick
   * @param {(line: string) => void} options.send  gets a line without CR LF
   * @param {(notice: Notice) => void} options.notify
   */
  constructor({ nick, send, notify }) {
    this.nick = nick;
    this.#wanted = nick;
    this.#send = send;
    this.#notify = notify;
  }

  /** Says who we are; call it once, first. */
  register() {
    // One flight, no waiting: a server without capabilities answers 421 and goes on, one that
    // knows them waits for CAP END, which is already on its way.
    this.#command('CAP', 'REQ', 'server-time');
    this.#command('NICK', this.nick);
    this.#command('USER', 'perigee', '0', '*', 'Perigee demo');
    this.#command('CAP', 'END');
  }

  /** @param {string} name */
  fold(name) {
    return fold(name, this.#support.get('CASEMAPPING') ?? 'rfc1459');
  }

  /** @param {string} name */
  isChannel(name) {
    return name !== '' && (this.#support.get('CHANTYPES') ?? '#&').includes(name.charAt(0));
  }

  /**
   * @param {string[]} parts command and parameters
   * @throws {RangeError} if they do not make one line
   */
  send(parts) {
    const [command = '', ...params] = parts;
    this.#send(format(command, ...params));
  }

  /**
   * Says text to a channel or person, in as many lines as it takes.
   * @param {string} target
   * @param {string} text
   * @param {'message' | 'action' | 'notice'} as
   * @returns {Entry[]} what was said, one entry per line sent
   */
  say(target, text, as) {
    const command = as === 'notice' ? 'NOTICE' : 'PRIVMSG';
    const [open, close] = as === 'action' ? ['\x01ACTION ', '\x01'] : ['', ''];
    // What others receive starts with our source, so that is counted too.
    const source = this.#source || `${this.nick}!perigee@${'x'.repeat(63)}`;
    const overhead = new TextEncoder().encode(`:${source} ${command} ${target} :${open}${close}\r\n`).length;
    return splitText(text, Math.max(64, SEND_LINE_BYTES - overhead)).map((piece) => {
      // Written out, because format() would not mark a single word as the text it is.
      this.#send(`${format(command, target)} :${open}${piece.replace(/[\r\n\0]/g, ' ')}${close}`);
      return { ...entry(as, this.nick, piece), own: true };
    });
  }

  /** @param {string} line as `LineDecoder` gives it */
  receive(line) {
    // A lone CR or a NUL means nothing to us, and would make an answer that repeats it unsendable.
    const m = parse(line.replace(/[\r\0]/g, ''));
    if (!m) return;
    switch (m.command) {
      case 'PING': return this.#command('PONG', ...m.params);
      case '001': return this.#welcome(m);
      case '005': return this.#isupport(m);
      case '432':
      case '433':
      case '436':
      case '437': return this.#nickTaken(m);
      case 'JOIN': return this.#join(m);
      case 'PART': return this.#part(m);
      case 'KICK': return this.#kick(m);
      case 'QUIT': return this.#quit(m);
      case 'NICK': return this.#nickChange(m);
      case 'TOPIC':
      case '332': return this.#topic(m);
      case '353': return this.#names(m);
      case '366': return this.#namesEnd(m);
      case 'MODE': return this.#mode(m);
      case 'PRIVMSG':
      case 'NOTICE': return this.#said(m);
      default: return this.#other(m);
    }
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #other(m) {
    if (SILENT.has(m.command)) return;
    if (!/^\d{3}$/.test(m.command)) {
      this.#tell('', m, 'info', '', [m.command, ...m.params].join(' '));
      return;
    }
    // CAP is asked of every server; that an old one does not know it is no news.
    if (m.params[1] === 'CAP') return;
    // The greeting is the server's own talk; other numerics answer what a person just typed.
    const greeting = m.command < '300' || MOTD.has(m.command);
    this.#tell(greeting ? '' : null, m, m.command >= '400' && !greeting ? 'error' : 'info', '', m.params.slice(1).join(' '));
  }

  /**
   * @param {string | null} buffer
   * @param {import('./irc.js').Message | null} message what it is about; gives the time, if it carries one
   * @param {EntryKind} kind
   * @param {string} nick
   * @param {string} text
   * @param {boolean} [mention]
   */
  #tell(buffer, message, kind, nick, text, mention = false) {
    const stamp = message?.tags.get('time');
    const at = new Date(stamp ?? Date.now());
    const made = entry(kind, nick, text);
    this.#notify({
      type: 'entry',
      buffer,
      entry: {
        ...made,
        at: Number.isNaN(at.getTime()) ? made.at : at,
        own: nick !== '' && this.#isMe(nick),
        mention,
      },
    });
  }

  /** @param {string} command @param {...string} params */
  #command(command, ...params) {
    this.#send(format(command, ...params));
  }

  /** @param {string} nick */
  #isMe(nick) {
    return this.fold(nick) === this.fold(this.nick);
  }

  /** @param {string} name */
  #channel(name) {
    return this.channels.get(this.fold(name));
  }

  /** @param {string} nick channels that person is in */
  #shared(nick) {
    return [...this.channels.values()].filter((channel) => channel.members.has(this.fold(nick)));
  }

  /** @returns {{ modes: string, signs: string }} PREFIX, e.g. `(ov)@+`; a server without ranks sends an empty one */
  #prefixes() {
    const [, modes = '', signs = ''] = /^\((\w*)\)(.*)$/.exec(this.#support.get('PREFIX') ?? '(ov)@+') ?? [];
    return { modes, signs };
  }

  /** @param {Channel} channel @param {string} raw a nick with its prefixes */
  #addMember(channel, raw) {
    const { signs } = this.#prefixes();
    let at = 0;
    while (at < raw.length && signs.includes(raw.charAt(at))) at += 1;
    const nick = raw.slice(at);
    if (nick === '' || channel.members.size >= MAX_MEMBERS) return;
    channel.members.set(this.fold(nick), { nick, prefix: raw.slice(0, Math.min(at, 1)) });
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #welcome(m) {
    this.registered = true;
    this.nick = m.params[0] ?? this.nick;
    this.#tell('', m, 'info', '', m.params.at(-1) ?? '');
    this.#notify({ type: 'registered', nick: this.nick });
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #isupport(m) {
    for (const token of m.params.slice(1, -1)) {
      const [name = '', value = ''] = token.split('=', 2);
      if (this.#support.size < 256) this.#support.set(name, value);
    }
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #nickTaken(m) {
    const refused = m.params[1] ?? this.nick;
    if (this.registered || this.#attempts >= NICK_ATTEMPTS) {
      this.#tell('', m, 'error', '', `${refused}: ${m.params.at(-1)}. Choose another with /nick name.`);
      return;
    }
    this.#attempts += 1;
    // Kept short: many servers cut a nick at nine characters, and a cut one would be the same again.
    const suffix = String(Math.floor(Math.random() * 90) + 10);
    this.nick = `${this.#wanted.slice(0, 7)}${suffix}`;
    this.#tell('', m, 'info', '', `The nick ${refused} cannot be had (${m.params.at(-1)}); trying ${this.nick}.`);
    this.#command('NICK', this.nick);
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #join(m) {
    for (const name of (m.params[0] ?? '').split(',')) {
      if (this.#isMe(m.nick)) {
        if (this.channels.size >= MAX_CHANNELS) continue;
        this.#source = m.source;
        /** @type {Channel} */
        const channel = { name, topic: '', joined: true, named: false, members: new Map() };
        this.channels.set(this.fold(name), channel);
        this.#addMember(channel, m.nick);
        this.#notify({ type: 'channel', channel, change: 'joined' });
        this.#tell(name, m, 'join', m.nick, 'joined');
        continue;
      }
      const channel = this.#channel(name);
      if (!channel) continue;
      this.#addMember(channel, m.nick);
      this.#tell(channel.name, m, 'join', m.nick, 'joined');
      this.#notify({ type: 'channel', channel, change: 'members' });
    }
  }

  /** @param {import('./irc.js').Message} m @param {string} name @param {string} nick who is gone @param {string} text */
  #gone(m, name, nick, text) {
    const channel = this.#channel(name);
    if (!channel) return;
    channel.members.delete(this.fold(nick));
    this.#tell(channel.name, m, 'part', nick, text);
    const me = this.#isMe(nick);
    if (me) {
      channel.joined = false;
      channel.members.clear();
      this.channels.delete(this.fold(name));
    }
    this.#notify({ type: 'channel', channel, change: me ? 'left' : 'members' });
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #part(m) {
    for (const name of (m.params[0] ?? '').split(',')) this.#gone(m, name, m.nick, withReason('left', m.params[1]));
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #kick(m) {
    this.#gone(m, m.params[0] ?? '', m.params[1] ?? '', withReason(`was kicked by ${m.nick}`, m.params[2]));
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #quit(m) {
    for (const channel of this.#shared(m.nick)) this.#gone(m, channel.name, m.nick, withReason('quit', m.params[0]));
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #nickChange(m) {
    const to = m.params[0] ?? '';
    const channels = this.#shared(m.nick);
    const me = this.#isMe(m.nick);
    for (const channel of channels) {
      const was = channel.members.get(this.fold(m.nick));
      channel.members.delete(this.fold(m.nick));
      channel.members.set(this.fold(to), { nick: to, prefix: was?.prefix ?? '' });
      this.#tell(channel.name, m, 'nick', m.nick, `is now ${to}`);
      this.#notify({ type: 'channel', channel, change: 'members' });
    }
    if (me) {
      this.nick = to;
      this.#source = this.#source.replace(/^[^!]*/, to);
      if (channels.length === 0) this.#tell('', m, 'nick', m.nick, `is now ${to}`);
      this.#notify({ type: 'nick', nick: to });
    } else {
      this.#notify({ type: 'renamed', from: m.nick, to });
    }
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #topic(m) {
    // 332 is `me #channel :topic`, TOPIC is `#channel :topic`.
    const [name = '', topic = ''] = m.command === 'TOPIC' ? m.params : m.params.slice(1);
    const channel = this.#channel(name);
    if (!channel) return;
    channel.topic = stripFormatting(topic);
    this.#notify({ type: 'channel', channel, change: 'topic' });
    if (m.command === '332') this.#tell(channel.name, m, 'topic', '', `The topic is: ${topic}`);
    else this.#tell(channel.name, m, 'topic', m.nick, topic ? `set the topic: ${topic}` : 'removed the topic');
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #names(m) {
    const channel = this.#channel(m.params[2] ?? '');
    if (!channel) {
      this.#other(m);
      return;
    }
    for (const raw of (m.params[3] ?? '').split(' ')) this.#addMember(channel, raw);
    this.#notify({ type: 'channel', channel, change: 'members' });
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #namesEnd(m) {
    const channel = this.#channel(m.params[1] ?? '');
    // The first list comes with the join, and is shown beside the channel; a later one was asked for.
    if (channel?.named) this.#tell(channel.name, m, 'info', '', `Here: ${[...channel.members.values()].map((member) => member.prefix + member.nick).join(', ')}`);
    if (channel) channel.named = true;
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #mode(m) {
    const [name = '', changes = '', ...args] = m.params;
    const channel = this.#channel(name);
    const text = `set ${[changes, ...args].join(' ')}`;
    if (!channel) {
      this.#tell('', m, 'mode', m.nick, text);
      return;
    }
    const { modes, signs } = this.#prefixes();
    const [lists = '', always = '', whenSet = ''] = (this.#support.get('CHANMODES') ?? 'beI,k,l').split(',');
    let adding = true;
    for (const letter of changes) {
      if (letter === '+' || letter === '-') {
        adding = letter === '+';
        continue;
      }
      const rank = modes.indexOf(letter);
      const takesArgument = rank !== -1 || (lists + always).includes(letter) || (adding && whenSet.includes(letter));
      const member = takesArgument ? channel.members.get(this.fold(args.shift() ?? '')) : undefined;
      if (rank === -1 || !member) continue;
      const sign = signs.charAt(rank);
      if (adding) member.prefix = sign;
      else if (member.prefix === sign) member.prefix = '';
    }
    this.#tell(channel.name, m, 'mode', m.nick || m.source, text);
    this.#notify({ type: 'channel', channel, change: 'members' });
  }

  /** @type {(m: import('./irc.js').Message) => void} */
  #said(m) {
    const [target = '', body = ''] = m.params;
    const ctcp = /^\x01(\S+) ?(.*?)\x01?$/s.exec(body);
    const toMe = this.#isMe(target);
    const fromServer = !m.source.includes('!');
    // A notice from a person to us alone belongs with what else that person said; the server's goes to the server.
    const buffer = toMe || !this.isChannel(target) ? (fromServer ? '' : m.nick) : target;
    if (ctcp && ctcp[1] !== 'ACTION') {
      this.#tell('', m, 'info', m.nick, `asked for ${ctcp[1]}`);
      return;
    }
    const kind = m.command === 'NOTICE' ? 'notice' : ctcp ? 'action' : 'message';
    const text = ctcp ? (ctcp[2] ?? '') : body;
    const mention = kind !== 'notice' && !this.#isMe(m.nick) && (toMe || mentions(text, this.nick));
    this.#tell(buffer, m, kind, fromServer ? '' : m.nick, text, mention);
  }
}

/**
 * @param {EntryKind} kind
 * @param {string} nick
 * @param {string} text
 * @returns {Entry}
 */
export function entry(kind, nick, text) {
  return { kind, at: new Date(), nick: stripFormatting(nick), text: stripFormatting(text), own: false, mention: false };
}

/** @param {string} what @param {string | undefined} reason */
function withReason(what, reason) {
  return reason ? `${what} (${reason})` : what;
}

/** @param {string} text @param {string} nick */
function mentions(text, nick) {
  const at = text.toLowerCase().indexOf(nick.toLowerCase());
  if (at === -1) return false;
  const isWord = /** @param {string} c */ (c) => /[\p{L}\p{N}_]/u.test(c);
  return !isWord(text.charAt(at - 1)) && !isWord(text.charAt(at + nick.length));
}
