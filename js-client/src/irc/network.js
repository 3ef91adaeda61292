/**
 * What is known of the network from what the server says: where we are, who else is, what belongs together. Each thing
 * that happens is told as an event, once.
 *
 * @typedef {import('./message.js').Message} Message
 * @typedef {import('./message.js').Source} Source
 *
 * @typedef {object} Batch what messages belong to, such as a netsplit or a channel's history
 * @property {string} type
 * @property {readonly string[]} params
 * @property {Batch | null} parent
 *
 * @typedef {object} Context
 * @property {Source} from
 * @property {Date} time when the server got it, or when it came
 * @property {boolean} own it is from ourselves
 * @property {import('./message.js').Tags} tags
 * @property {Batch | null} batch
 *
 * @typedef {Context & { kind: 'message' | 'notice' | 'action', target: string, channel: string | null, text: string }} Said
 *
 * @typedef {object} IRCEvents
 * @property {{ state: import('./client.js').IRCState }} state
 * @property {Said} message a PRIVMSG, a NOTICE or a CTCP ACTION; ours too, once each
 * @property {Context & { target: string, command: string, text: string, reply: boolean }} ctcp
 * @property {Context & { channel: string }} join
 * @property {Context & { channel: string, text: string }} part
 * @property {Context & { channel: string, nick: string, text: string }} kick `nick` was sent away by `from`
 * @property {Context & { channels: string[], text: string }} quit
 * @property {Context & { nick: string }} nick somebody has another nick
 * @property {Context & { channel: string, topic: string }} topic
 * @property {Context & { target: string, changes: string, params: readonly string[] }} mode
 * @property {Context & { channel: string, nick: string }} invite
 * @property {{ channel: string }} members the list of a channel's members is complete, or changed
 * @property {{ message: Message }} line anything that the server says
 * @property {{ error: Error }} error what no promise tells
 */

import { Channels } from './channels.js';
import { parseCtcp } from './ctcp.js';
import { Support } from './support.js';

/** Batches at a time; of more than these, messages come without. */
const MAX_BATCHES = 64;

export class Network {
  support = new Support();
  channels = new Channels(this.support);
  /** @type {Map<string, { name: string, key: string }>} where we want to be, also after the next connection */
  wanted = new Map();
  /** How the server knows us; user and host are '' until it said. */
  nick = '';
  user = '';
  host = '';

  #events;
  /** @type {Map<string, Batch & { label: string | undefined }>} */
  #batches = new Map();

  /** @param {import('../events.js').Emitter<{ [Name in keyof IRCEvents]: IRCEvents[Name] }>} events */
  constructor(events) {
    this.#events = events;
  }

  /** The connection is over. */
  forget() {
    this.#batches.clear();
    this.channels.all.clear();
  }

  /** The label of what a message is part of. @param {Message} message @returns {string | undefined} */
  labelOf({ command, params, tags }) {
    const ended = command === 'BATCH' && params[0]?.startsWith('-') ? this.#batches.get(params[0].slice(1)) : undefined;
    // A batch within one that is labelled is not the end of it.
    if (ended) return ended.parent === null ? ended.label : undefined;
    return tags.label ?? this.#batches.get(tags.batch ?? '')?.label;
  }

  /** @param {Message} message @returns {Context} */
  context({ tags, source }) {
    const time = new Date(tags.time ?? Date.now());
    const batch = this.#batches.get(tags.batch ?? '');
    return {
      from: source ?? { nick: '', user: '', host: '' },
      time: Number.isNaN(time.getTime()) ? new Date() : time,
      own: this.isSelf(source),
      tags,
      // That one says what it is an answer to, not what it is.
      batch: batch === undefined || batch.type === 'labeled-response' ? null : batch,
    };
  }

  /** @param {Source | null} source */
  isSelf(source) {
    return source !== null && this.same(source.nick, this.nick);
  }

  /** @param {string} one @param {string} other */
  same(one, other) {
    return this.support.fold(one) === this.support.fold(other);
  }

  /** @param {Message} message @returns {Said} */
  said(message) {
    const [target = '', text = ''] = message.params;
    const action = parseCtcp(text);
    const channel = this.support.channelOf(target);
    return {
      ...this.context(message),
      kind: action?.command === 'ACTION' ? 'action' : message.command === 'NOTICE' ? 'notice' : 'message',
      target,
      channel: this.support.isChannel(channel) ? channel : null,
      text: action?.command === 'ACTION' ? action.text : text,
    };
  }

  /** @param {Message} message */
  receive(message) {
    const { command, params } = message;
    const [first = '', second = '', third = '', fourth = ''] = params;
    const context = this.context(message);
    const { from, own } = context;
    const events = this.#events;
    if (own && from.host !== '') this.#isAt(from.user, from.host);

    switch (command) {
      case 'BATCH':
        this.#batch(message);
        break;
      case '005':
        this.support.learn(params.slice(1, -1));
        break;
      case 'PRIVMSG':
      case 'NOTICE': {
        const ctcp = parseCtcp(second);
        if (ctcp === null || ctcp.command === 'ACTION') events.emit('message', this.said(message));
        else events.emit('ctcp', { ...context, ...ctcp, target: first, reply: command === 'NOTICE' });
        break;
      }
      case 'JOIN':
        if (own && !this.wanted.has(this.support.fold(first))) this.wanted.set(this.support.fold(first), { name: first, key: '' });
        this.channels.join(first, from, params.length > 1 ? second : undefined, own);
        events.emit('join', { ...context, channel: first });
        if (!own) events.emit('members', { channel: first });
        break;
      case 'PART':
        if (own) this.wanted.delete(this.support.fold(first));
        this.channels.part(first, from.nick, own);
        events.emit('part', { ...context, channel: first, text: second });
        if (!own) events.emit('members', { channel: first });
        break;
      case 'KICK': {
        const self = this.same(second, this.nick);
        // Who is sent away does not come back by itself.
        if (self) this.wanted.delete(this.support.fold(first));
        this.channels.part(first, second, self);
        events.emit('kick', { ...context, channel: first, nick: second, text: third });
        if (!self) events.emit('members', { channel: first });
        break;
      }
      case 'QUIT': {
        const channels = this.channels.quit(from.nick).map(({ name }) => name);
        events.emit('quit', { ...context, channels, text: first });
        for (const channel of channels) events.emit('members', { channel });
        break;
      }
      case 'NICK': {
        const channels = this.channels.of(from.nick);
        this.channels.rename(from.nick, first);
        if (own) this.nick = first;
        events.emit('nick', { ...context, nick: first });
        for (const { name } of channels) events.emit('members', { channel: name });
        break;
      }
      case 'TOPIC':
        this.#topic(first, second === '' ? null : { text: second, by: from.nick, at: context.time });
        events.emit('topic', { ...context, channel: first, topic: second });
        break;
      case '331':
      case '332':
        this.#topic(second, command === '331' ? null : { text: third, by: '', at: null });
        events.emit('topic', { ...context, channel: second, topic: command === '331' ? '' : third });
        break;
      case '333': {
        const topic = this.channels.get(second)?.topic;
        if (topic) Object.assign(topic, { by: third.split('!')[0], at: new Date(Number(fourth) * 1000) });
        break;
      }
      case '353':
        this.channels.names(third, fourth);
        break;
      case '366':
        if (this.channels.named(second)) events.emit('members', { channel: second });
        break;
      case 'MODE':
        if (this.support.isChannel(first)) {
          this.channels.mode(first, second, params.slice(2));
          events.emit('members', { channel: first });
        }
        events.emit('mode', { ...context, target: first, changes: second, params: params.slice(2) });
        break;
      case 'INVITE':
        events.emit('invite', { ...context, nick: first, channel: second });
        break;
      case 'ACCOUNT':
        this.#changed(from.nick, { account: first === '*' ? null : first });
        break;
      case 'AWAY':
        this.#changed(from.nick, { away: params.length > 0 });
        break;
      case 'CHGHOST':
        if (own) this.#isAt(first, second);
        this.#changed(from.nick, { user: first, host: second });
        break;
      default:
    }
  }

  /** @param {Message} message */
  #batch({ params, tags }) {
    const [word = '', type = '', ...rest] = params;
    const reference = word.slice(1);
    if (word.startsWith('-')) {
      this.#batches.delete(reference);
    } else if (this.#batches.size < MAX_BATCHES) {
      const parent = this.#batches.get(tags.batch ?? '') ?? null;
      this.#batches.set(reference, { type, params: rest, parent, label: tags.label ?? parent?.label });
    }
  }

  /** @param {string} name @param {import('./channels.js').Topic | null} topic */
  #topic(name, topic) {
    const channel = this.channels.get(name);
    if (channel) channel.topic = topic;
  }

  /** @param {string} nick @param {Partial<import('./channels.js').Member>} change */
  #changed(nick, change) {
    this.channels.change(nick, change);
    for (const { name } of this.channels.of(nick)) this.#events.emit('members', { channel: name });
  }

  /** @param {string} user @param {string} host */
  #isAt(user, host) {
    this.user = user;
    this.host = host;
  }
}
