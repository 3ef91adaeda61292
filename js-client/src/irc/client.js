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
 * @property {boolean | import('../clients/keeper.js').Patience} [reconnect] by default true
 * @property {number} [timeoutMs] how long the server may take to answer (30,000)
 * @typedef {Reach & Identity} IRCOptions
 * @typedef {import('./network.js').Said} Said
 * @typedef {import('./network.js').IRCEvents} IRCEvents
 */

import { wayTo } from '../clients/connection.js';
import { Keeper } from '../clients/keeper.js';
import { Emitter } from '../events.js';
import { checkOptions } from '../options.js';
import { Timers } from '../timers.js';
import { CtcpReplies, composeCtcp, parseCtcp } from './ctcp.js';
import { IRCError } from './errors.js';
import { Joining } from './joining.js';
import { Line } from './line.js';
import { composeMessage } from './message.js';
import { Network } from './network.js';
import { Requests } from './requests.js';
import { Speech } from './speech.js';

const OPTIONS = [
  'server', 'port', 'gateway', 'service', 'socket', 'nick', 'username', 'realname', 'password', 'sasl', 'channels', 'capabilities', 'ctcp', 'reconnect',
  'timeoutMs',
];
/** Why it is of no use to try again. */
const FATAL = ['password', 'banned', 'sasl', 'invalid', 'too_long', 'denied', 'version', 'protocol'];

export class IRCClient {
  /** @type {Emitter<{ [Name in keyof IRCEvents]: IRCEvents[Name] }>} */
  #events = new Emitter();
  #keeper;
  #network = new Network(this.#events);
  #line;
  #requests;
  #joining;
  #speech;
  #ctcp;
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
    const way = wayTo(options, 'irc');
    this.#line = new Line({ nick, username, realname, password, sasl }, capabilities, this.#network, {
      message: (message) => this.#heard(message),
      end: (error) => this.#ended(error),
    });
    this.#keeper = new Keeper({
      open: () => this.#line.open(way.make()),
      drop: () => this.#line.drop(),
      leave: () => this.#line.leave(this.#quit),
      changed: (state) => this.#events.emit('state', { state }),
      failed: (error) => this.#events.emit('error', { error }),
      isFinal: (error) => FATAL.includes(/** @type {{ code?: string }} */ (error).code ?? ''),
      error: (code, text) => new IRCError(code, code === 'timeout' ? 'registration' : text),
    }, reconnect, timeoutMs);
    this.#requests = new Requests(this.#line, this.#network, timeoutMs);
    this.#joining = new Joining(this.#line, this.#requests, this.#network);
    this.#speech = new Speech(this.#line, this.#requests, this.#network, this.#events);
    this.#ctcp = new CtcpReplies(ctcp);
    for (const word of channels) {
      const [name = '', key = ''] = word.split(' ');
      this.#joining.want(name, key);
    }
  }

  /** @returns {IRCState} */
  get state() {
    return this.#keeper.state;
  }

  /** The nick that the server knows us by. */
  get nick() {
    return this.#line.nick;
  }

  /** The account that we are logged in as, or null. */
  get account() {
    return this.#line.account;
  }

  /** The capabilities in use. @returns {ReadonlySet<string>} */
  get capabilities() {
    return this.#line.capabilities;
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
    return this.#network.same(one, other);
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
    return this.#joining.join(name, key);
  }

  /** @param {string} name @param {string} [text] */
  async part(name, text = '') {
    await this.#joining.part(name, text);
  }

  /**
   * Says something in a channel or to somebody, in as many messages as it takes. Resolves to them as the server echoed
   * them, where it does, and otherwise when they were handed over.
   * @param {string} target
   * @param {string} text
   * @returns {Promise<Said[]>}
   */
  say(target, text) {
    return this.#speech.say('PRIVMSG', target, text);
  }

  /** @param {string} target @param {string} text */
  notice(target, text) {
    return this.#speech.say('NOTICE', target, text);
  }

  /** Does something: `* ada waves`. @param {string} target @param {string} text */
  action(target, text) {
    return this.#speech.say('PRIVMSG', target, text, (piece) => composeCtcp('ACTION', piece));
  }

  /** Asks a client something by CTCP; its answer is an event `ctcp` with `reply`. @param {string} target @param {string} command @param {string} [text] */
  async ctcp(target, command, text = '') {
    await this.#line.tell('PRIVMSG', [target, composeCtcp(command, text)]);
  }

  /** @param {string} nick */
  async setNick(nick) {
    const isDone = (/** @type {Message} */ { command, params, source }) => command === 'NICK' && (this.#network.isSelf(source) || params[0] === this.nick) && this.same(params[0] ?? '', nick);
    await this.#requests.ask('NICK', [nick], nick, isDone);
    this.#line.person = { ...this.#line.person, nick };
  }

  /** @param {string} channel @param {string} text */
  async setTopic(channel, text) {
    await this.#requests.ask('TOPIC', [channel, text], channel, ({ command, params, source }) => command === 'TOPIC' && this.same(params[0] ?? '', channel) && this.#network.isSelf(source));
  }

  /** How long the server takes to answer, in milliseconds. */
  async ping() {
    const token = `perigee-${(this.#pings += 1)}`;
    const from = Timers.now();
    await this.#requests.ask('PING', [token], token, ({ command, params }) => command === 'PONG' && params.at(-1) === token);
    return Timers.now() - from;
  }

  /**
   * Sends any other message. Resolves when it was handed over.
   * @param {string} command
   * @param {readonly string[]} [params]
   * @param {Readonly<Record<string, string>>} [tags]
   */
  async send(command, params = [], tags = {}) {
    await this.#line.tell(command, params, tags);
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

  // --- what the server says ---

  /** @param {Message} message */
  #heard(message) {
    this.#network.nick = this.#line.nick;
    const label = this.#network.labelOf(message);
    this.#network.receive(message);
    if (message.command === 'NICK') this.#line.renamed(this.#network.nick);
    if (this.state === 'connecting' && this.#line.isUp && this.#keeper.up()) {
      this.#joining.again((error) => this.#events.emit('error', { error }));
    }
    this.#answer(message);
    this.#events.emit('line', { message });
    // Settled last, so that what it changed is there.
    if (label === undefined || !isOver(message)) this.#requests.receive(message, label);
    else this.#requests.over(label);
  }

  /** @param {Message} message */
  #answer(message) {
    const ctcp = message.command === 'PRIVMSG' && this.state === 'connected' ? parseCtcp(message.params[1] ?? '') : null;
    const { own, batch, from } = this.#network.context(message);
    // What is history was answered then, or is of no use now.
    const answer = ctcp === null || ctcp.command === 'ACTION' || own || batch !== null ? null : this.#ctcp.answer(ctcp);
    try {
      if (answer !== null) this.#line.tell('NOTICE', [from.nick, answer]).catch(() => {});
    } catch {
      // What they sent does not fit into an answer.
    }
  }

  /** @param {Error} error */
  #ended(error) {
    this.#network.forget();
    this.#requests.failAll(error);
    this.#keeper.down(error);
  }
}

/** The server has said all it has to say to a request. @param {Message} message */
function isOver({ command, params }) {
  return command === 'ACK' || (command === 'BATCH' && (params[0] ?? '').startsWith('-'));
}
