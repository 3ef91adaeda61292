/**
 * A person on an IRC network. Keeps one connection to one server, and comes back when it is lost; knows who is in the
 * channels; answers what a server wants answered.
 *
 * Invariants: a promise settles once, and at the latest when the connection ends; nothing is sent that a caller's text
 * could make into more than its one line; what a server says cannot make this grow but for members of channels.
 *
 * @typedef {import('./message.js').Message} Message
 * @typedef {import('./channels.js').Channel} Channel
 * @typedef {import('../clients/connection.js').Reach} Reach
 * @typedef {import('../clients/keeper.js').KeptState} IRCState
 *
 * @typedef {object} Identity
 * @property {string} nick
 * @property {string} [username] by default the nick
 * @property {string} [realname] by default the nick
 * @property {string} [password] of the server
 * @property {import('./sasl.js').Login} [sasl] an account; without it no login
 * @property {readonly string[]} [channels] to be in from the start; `#name key` for one with a key
 * @property {readonly string[]} [capabilities] that the application knows how to use, besides ours
 * @property {Readonly<Record<string, string>>} [ctcp] what to answer, such as `{ VERSION: 'my client' }`
 * @property {boolean | import('../clients/connection.js').Patience} [reconnect] by default true
 * @property {number} [timeoutMs] how long the server may take to answer (30,000)
 * @typedef {Reach & Identity} IRCOptions
 * @typedef {import('./network.js').Said} Said
 * @typedef {import('./network.js').IRCEvents} IRCEvents
 */

import { Connection, checkOptions, patienceOf, wayTo } from '../clients/connection.js';
import { Keeper } from '../clients/keeper.js';
import { Emitter } from '../events.js';
import { utf8 } from '../frame.js';
import { Timers } from '../timers.js';
import { CtcpReplies, composeCtcp, parseCtcp } from './ctcp.js';
import { IRCError } from './errors.js';
import { LINE_BYTES, Lines, byteLength, composeMessage, parseMessage, splitText } from './message.js';
import { Network } from './network.js';
import { Registration } from './registration.js';
import { Requests } from './requests.js';

const OPTIONS = [
  'server', 'port', 'gateway', 'service', 'socket', 'nick', 'username', 'realname', 'password', 'sasl', 'channels', 'capabilities', 'ctcp', 'reconnect',
  'timeoutMs',
];
/** Characters of a JOIN of many channels. */
const JOIN_BYTES = 400;
/** A host that is not known is as long as this at most, and so is a user. */
const HOST_BYTES = 63;
const USER_BYTES = 11;
/** Why it is of no use to try again. */
const FATAL = ['password', 'banned', 'sasl', 'invalid', 'too_long', 'denied', 'version', 'protocol'];

export class IRCClient {
  /** @type {Emitter<{ [Name in keyof IRCEvents]: IRCEvents[Name] }>} */
  #events = new Emitter();
  #way;
  #person;
  #more;
  #keeper;
  #requests;
  #ctcp;
  #network = new Network(this.#events);
  /** @type {Connection | null} */
  #connection = null;
  #lines = new Lines();
  /** @type {Registration | null} */
  #registration = null;
  #lastWords = '';
  #quit = '';
  #pings = 0;

  /** @param {IRCOptions} options */
  constructor(options) {
    checkOptions(options, OPTIONS);
    const { nick, username = nick, realname = nick, password, sasl, channels = [], capabilities = [], ctcp = {}, reconnect = true, timeoutMs = 30_000 } = options;
    if (!(timeoutMs > 0)) throw new TypeError(`timeoutMs cannot be ${timeoutMs}`);
    // What cannot be sent is told where it is said.
    for (const param of [nick, username, realname, ...(password === undefined ? [] : [password])]) composeMessage('X', [param]);
    if (/^$|[ :!@*]/.test(nick) || /[ :@]|^$/.test(username)) throw new IRCError('invalid', 'the nick or the username');
    this.#way = wayTo(options, 'irc');
    this.#person = { nick, username, realname, password, sasl };
    this.#more = capabilities;
    this.#keeper = new Keeper({
      open: () => this.#open(),
      drop: () => this.#connection?.abort(new IRCError('closed')),
      leave: () => this.#leave(),
      changed: (state) => this.#events.emit('state', { state }),
      failed: (error) => this.#events.emit('error', { error }),
      isFinal: (error) => FATAL.includes(/** @type {{ code?: string }} */ (error).code ?? ''),
      error: (code, text) => new IRCError(code, code === 'timeout' ? 'registration' : text),
    }, patienceOf(reconnect), timeoutMs);
    this.#requests = new Requests(timeoutMs);
    this.#ctcp = new CtcpReplies(ctcp);
    for (const word of channels) {
      const [name = '', key = ''] = word.split(' ');
      this.#checkChannel(name);
      this.#network.wanted.set(this.#network.support.fold(name), { name, key });
    }
  }

  get state() {
    return this.#keeper.state;
  }

  /** The nick that the server knows us by. */
  get nick() {
    return this.#registration?.nick ?? this.#person.nick;
  }

  /** The account that we are logged in as, or null. */
  get account() {
    return this.#registration?.account ?? null;
  }

  /** The capabilities in use. @returns {ReadonlySet<string>} */
  get capabilities() {
    return this.#registration?.capabilities.enabled ?? new Set();
  }

  /** What the server says of itself, such as `support('NETWORK')`. @param {string} name */
  support(name) {
    return this.#network.support.get(name);
  }

  /** The channels that we are in. */
  get channels() {
    return [...this.#network.channels.all.values()];
  }

  /** @param {string} name */
  channel(name) {
    return this.#network.channels.get(name);
  }

  /** Whether two names are the same to the server. @param {string} one @param {string} other */
  same(one, other) {
    return this.#network.support.fold(one) === this.#network.support.fold(other);
  }

  /**
   * @template {keyof IRCEvents} Name
   * @param {Name} name
   * @param {(event: IRCEvents[Name]) => void} listener
   * @returns {() => void} unsubscribes
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  // --- what an application does ---

  /**
   * Resolves when the server has taken us in, and rejects when it cannot be done now. Once it was done, lost connections
   * are made again until `close()`.
   * @returns {Promise<void>}
   */
  connect() {
    return this.#keeper.connect();
  }

  /**
   * Resolves when the server has let us in and told who is there.
   * @param {string} name
   * @param {string} [key]
   * @returns {Promise<Channel>}
   */
  async join(name, key = '') {
    this.#checkChannel(name);
    const there = this.#network.channels.get(name);
    if (there?.listed) return there;
    composeMessage('JOIN', [name, key || '*']);
    const request = this.#openJoin(name, this.#labels);
    this.#ask(request, 'JOIN', key === '' ? [name] : [name, key]);
    this.#network.wanted.set(this.#network.support.fold(name), { name, key });
    return this.#joined(name, request);
  }

  /** @param {string} name @param {string} [text] */
  async part(name, text = '') {
    this.#checkChannel(name);
    this.#network.wanted.delete(this.#network.support.fold(name));
    const isDone = (/** @type {Message} */ { command, params, source }) => command === 'PART' && this.same(params[0] ?? '', name) && this.#network.isSelf(source);
    await this.#request('PART', text === '' ? [name] : [name, text], name, isDone);
  }

  /**
   * Says something in a channel or to somebody, in as many messages as it takes. Resolves to them as the server echoed
   * them, where it does, and otherwise when they were handed over.
   * @param {string} target
   * @param {string} text
   * @returns {Promise<Said[]>}
   */
  say(target, text) {
    return this.#speak('PRIVMSG', target, text, (piece) => piece);
  }

  /** @param {string} target @param {string} text */
  notice(target, text) {
    return this.#speak('NOTICE', target, text, (piece) => piece);
  }

  /** Does something: `* ada waves`. @param {string} target @param {string} text */
  action(target, text) {
    return this.#speak('PRIVMSG', target, text, (piece) => composeCtcp('ACTION', piece));
  }

  /** Asks a client something by CTCP; its answer is an event `ctcp` with `reply`. @param {string} target @param {string} command @param {string} [text] */
  async ctcp(target, command, text = '') {
    await this.#tell('PRIVMSG', [target, composeCtcp(command, text)]);
  }

  /** @param {string} nick */
  async setNick(nick) {
    const isDone = (/** @type {Message} */ { command, params, source }) => command === 'NICK' && (this.#network.isSelf(source) || params[0] === this.nick) && this.same(params[0] ?? '', nick);
    await this.#request('NICK', [nick], nick, isDone);
    this.#person = { ...this.#person, nick };
  }

  /** @param {string} channel @param {string} text */
  async setTopic(channel, text) {
    await this.#request('TOPIC', [channel, text], channel, ({ command, params, source }) => command === 'TOPIC' && this.same(params[0] ?? '', channel) && this.#network.isSelf(source));
  }

  /** How long the server takes to answer, in milliseconds. */
  async ping() {
    const token = `perigee-${(this.#pings += 1)}`;
    const from = Timers.now();
    await this.#request('PING', [token], token, ({ command, params }) => command === 'PONG' && params.at(-1) === token);
    return Timers.now() - from;
  }

  /**
   * Sends any other message. Resolves when it was handed over.
   * @param {string} command
   * @param {readonly string[]} [params]
   * @param {Readonly<Record<string, string>>} [tags]
   */
  async send(command, params = [], tags = {}) {
    await this.#tell(command, params, tags);
  }

  /**
   * Says goodbye and ends the connection, for good. Resolves when that is done.
   * @param {string} [text]
   * @returns {Promise<void>}
   */
  close(text = '') {
    this.#quit = composeMessage('QUIT', text === '' ? [] : [text]);
    return this.#keeper.close();
  }

  // --- sending ---

  /** @param {string} command @param {readonly string[]} params @param {Readonly<Record<string, string>>} [tags] */
  #tell(command, params, tags = {}) {
    const line = composeMessage(command, params, this.capabilities.has('message-tags') ? tags : {}, this.#network.support.number('LINELEN', LINE_BYTES));
    if (!this.#connection || this.state !== 'connected') throw new IRCError('closed');
    return this.#connection.write(utf8(`${line}\r\n`));
  }

  get #labels() {
    const { capabilities } = this;
    return ['labeled-response', 'batch', 'message-tags'].every((name) => capabilities.has(name));
  }

  /** @param {import('./requests.js').Request} request @param {string} command @param {readonly string[]} params */
  #ask(request, command, params) {
    this.#tell(command, params, request.labelled ? { label: request.label } : {})
      .catch(() => {});
    return request.answer.promise;
  }

  /**
   * @param {string} command
   * @param {readonly string[]} params
   * @param {string} about
   * @param {(reply: Message) => boolean} isDone
   */
  async #request(command, params, about, isDone) {
    // Nothing is open for what cannot be sent.
    composeMessage(command, params, {}, this.#network.support.number('LINELEN', LINE_BYTES));
    if (this.state !== 'connected') throw new IRCError('closed');
    return this.#ask(this.#requests.open(this.#labels, command, about, isDone, this.#refuses(command, about)), command, params);
  }

  /** What an error has to be about to be about this. @param {string} command @param {string} about */
  #refuses(command, about) {
    return (/** @type {Message} */ reply) => {
      if (reply.command === 'FAIL') return reply.params[0] === command;
      return reply.params.slice(1, -1).some((param) => this.same(param, about) || param === command);
    };
  }

  /** @param {string} name @param {boolean} labelled */
  #openJoin(name, labelled) {
    if (this.state !== 'connected') throw new IRCError('closed');
    const isDone = (/** @type {Message} */ { command, params }) => command === '366' && this.same(params[1] ?? '', name);
    return this.#requests.open(labelled, 'JOIN', name, isDone, this.#refuses('JOIN', name));
  }

  /** @param {string} name @param {import('./requests.js').Request} request */
  async #joined(name, request) {
    try {
      await request.answer.promise;
    } catch (error) {
      if (error instanceof IRCError && error.code === 'refused') this.#network.wanted.delete(this.#network.support.fold(name));
      throw error;
    }
    const channel = this.#network.channels.get(name);
    if (!channel) throw new IRCError('refused', `not in ${name}`);
    return channel;
  }

  /** After a new connection, where we were before. */
  #joinWanted() {
    // Keys belong to the first channels of a line.
    const wanted = [...this.#network.wanted.values()].sort((one, other) => Number(other.key !== '') - Number(one.key !== ''));
    /** @type {typeof wanted} */
    let group = [];
    const length = (/** @type {typeof wanted} */ all) => byteLength(all.map(({ name, key }) => `${name},${key},`).join(''));
    const flush = () => {
      if (group.length === 0) return;
      const keys = group.map(({ key }) => key).filter((key) => key !== '');
      for (const { name } of group) {
        this.#joined(name, this.#openJoin(name, false)).catch((error) => this.#events.emit('error', { error }));
      }
      this.#tell('JOIN', [group.map(({ name }) => name).join(','), ...(keys.length > 0 ? [keys.join(',')] : [])]).catch(() => {});
      group = [];
    };
    for (const one of wanted) {
      if (length([...group, one]) > JOIN_BYTES) flush();
      group.push(one);
    }
    flush();
  }

  /**
   * @param {'PRIVMSG' | 'NOTICE'} command
   * @param {string} target
   * @param {string} text
   * @param {(piece: string) => string} wrap
   */
  async #speak(command, target, text, wrap) {
    if (/^$|[ ,]/.test(target)) throw new IRCError('invalid', `the target ${JSON.stringify(target)}`);
    // The server puts our name before it for those who hear it.
    const name = byteLength(`:${this.nick}!@ `) + (byteLength(this.#network.user) || USER_BYTES) + (byteLength(this.#network.host) || HOST_BYTES);
    const room = this.#network.support.number('LINELEN', LINE_BYTES) - name - byteLength(`${command} ${target} :${wrap(' ')}\r\n`);
    if (room < 16) throw new IRCError('too_long', 'the target');
    return Promise.all(splitText(text, room).map((piece) => this.#speakLine(command, target, wrap(piece))));
  }

  /** @param {'PRIVMSG' | 'NOTICE'} command @param {string} target @param {string} text @returns {Promise<Said>} */
  async #speakLine(command, target, text) {
    const echoes = this.capabilities.has('echo-message');
    let echo = null;
    if (this.#labels) {
      echo = await this.#request(command, [target, text], target, (reply) => reply.command === command && this.#network.isSelf(reply.source));
    } else {
      await this.#tell(command, [target, text]);
    }
    if (echo?.command === command) return this.#network.said(echo);
    const said = this.#network.said({ tags: {}, source: { nick: this.nick, user: this.#network.user, host: this.#network.host }, command, params: [target, text] });
    if (!echoes) this.#events.emit('message', said);
    return said;
  }

  // --- the connection ---

  #open() {
    this.#lines = new Lines();
    this.#lastWords = '';
    const length = this.#network.support.number('NICKLEN', this.#network.support.number('MAXNICKLEN', 30));
    const send = (/** @type {string} */ command, /** @type {string[]} */ ...params) => void this.#connection?.write(utf8(`${composeMessage(command, params)}\r\n`));
    const registration = new Registration(this.#person, this.#more, length, send, (error) => this.#connection?.abort(error));
    this.#registration = registration;
    this.#connection = new Connection(this.#way.make(), {
      open: () => registration.begin(),
      bytes: (bytes) => {
        for (const line of this.#lines.push(bytes)) this.#line(line);
      },
      end: (error) => this.#ended(error ?? new IRCError('ended', this.#lastWords)),
    });
  }

  #leave() {
    void this.#connection?.write(utf8(`${this.#quit}\r\n`));
    this.#connection?.finish();
  }

  /** @param {Error} error */
  #ended(error) {
    this.#connection = null;
    this.#network.forget();
    this.#requests.failAll(error);
    this.#keeper.down(error);
  }

  // --- what the server says ---

  /** @param {string} line */
  #line(line) {
    const message = parseMessage(line);
    const registration = this.#registration;
    if (message === null || !this.#connection || !registration) return;
    registration.receive(message);
    // A registration that failed has ended the connection.
    if (!this.#connection) return;
    this.#network.nick = registration.nick;
    const label = this.#network.labelOf(message);
    this.#network.receive(message);
    if (message.command === 'NICK') registration.nick = this.#network.nick;
    this.#answer(message);
    this.#events.emit('line', { message });
    // Settled last, so that what it changed is there.
    if (label === undefined || !this.#isOver(message)) this.#requests.receive(message, label);
    else this.#requests.over(label);
  }

  /** The server has said all it has to say to a request. @param {Message} message */
  #isOver({ command, params }) {
    return command === 'ACK' || (command === 'BATCH' && (params[0] ?? '').startsWith('-'));
  }

  /** @param {Message} message */
  #answer(message) {
    const { command, params } = message;
    if (command === 'PING') void this.#connection?.write(utf8(`${composeMessage('PONG', params.slice(0, 1))}\r\n`));
    if (command === 'ERROR') this.#lastWords = params[0] ?? '';
    if (this.state === 'connecting' && this.#registration?.isDone) {
      this.#keeper.up();
      this.#joinWanted();
    }
    const ctcp = command === 'PRIVMSG' && this.state === 'connected' ? parseCtcp(params[1] ?? '') : null;
    const { own, batch, from } = this.#network.context(message);
    // What is history was answered then, or is of no use now.
    const answer = ctcp === null || ctcp.command === 'ACTION' || own || batch !== null ? null : this.#ctcp.answer(ctcp);
    try {
      if (answer !== null) this.#tell('NOTICE', [from.nick, answer]).catch(() => {});
    } catch {
      // What they sent does not fit into an answer.
    }
  }

  /** @param {string} name */
  #checkChannel(name) {
    if (/^$|[ ,\x07\0\r\n]/.test(name) || !this.#network.support.isChannel(name)) throw new IRCError('invalid', `the channel ${JSON.stringify(name)}`);
  }
}
