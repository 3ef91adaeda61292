/**
 * From a new connection to a client that the server knows: capabilities, login, nick. Without IO: messages in, lines out.
 *
 * @typedef {import('./message.js').Message} Message
 * @typedef {(command: string, ...params: string[]) => void} Send
 *
 * @typedef {object} Person
 * @property {string} nick
 * @property {string} username
 * @property {string} realname
 * @property {string | undefined} password of the server
 * @property {import('./sasl.js').Login | undefined} sasl
 */

import { Capabilities } from './capabilities.js';
import { IRCError, refusal } from './errors.js';
import { Challenge, mechanisms, pieces, responder } from './sasl.js';

/** Underscores first; then what nobody has thought of. */
const NICK_TRIES = 6;
/** After so many, the server's proof was among what it said. */
const SCRAM_ANSWERS = 3;

export class Registration {
  nick;
  /** The account that we are logged in as. @type {string | null} */
  account = null;
  capabilities;
  isDone = false;

  #person;
  #send;
  #fail;
  #nicks = 0;
  #nickLength;
  #hasEnded = false;
  /** @type {import('./sasl.js').Mechanism[] | null} to be tried, the first one now; null before the login */
  #mechanisms = null;
  /** @type {import('./sasl.js').Responder | null} */
  #respond = null;
  #challenge = new Challenge();
  #answers = 0;

  /**
   * @param {Person} person
   * @param {Iterable<string>} capabilities that the application knows besides ours
   * @param {number} nickLength that the server took last time
   * @param {Send} send
   * @param {(error: Error) => void} fail
   */
  constructor(person, capabilities, nickLength, send, fail) {
    this.nick = person.nick;
    this.#person = person;
    this.#nickLength = nickLength;
    this.#send = send;
    this.#fail = fail;
    this.capabilities = new Capabilities([...capabilities, ...(person.sasl ? ['sasl'] : [])]);
  }

  begin() {
    const { password, nick, username, realname } = this.#person;
    this.#send('CAP', 'LS', '302');
    if (password !== undefined) this.#send('PASS', password);
    this.#send('NICK', nick);
    this.#send('USER', username, '0', '*', realname);
  }

  /** @param {Message} message */
  receive(message) {
    const { command, params } = message;
    if (command === 'CAP') {
      for (const words of this.capabilities.receive(params)) this.#send('CAP', ...words);
      if (this.capabilities.settled) this.#login();
      return;
    }
    if (command === '900') this.account = params[2] ?? null;
    if (command === '901') this.account = null;
    if (this.isDone) return;
    switch (command) {
      case 'AUTHENTICATE':
        void this.#answer(params[0] ?? '+');
        break;
      case '903':
      case '907':
        if (this.#mechanisms?.[0] === 'SCRAM-SHA-256' && this.#answers < SCRAM_ANSWERS) this.#fail(new IRCError('sasl', 'the server proved nothing'));
        else if (this.#mechanisms !== null) this.#end();
        break;
      case '908':
        if (this.#mechanisms !== null) {
          const [now] = this.#mechanisms;
          this.#mechanisms = [...this.#mechanisms.slice(0, 1), ...mechanisms(this.#person.sasl ?? {}, params[1] ?? '').filter((name) => name !== now)];
        }
        break;
      case '902':
      case '904':
      case '905':
      case '906':
        if (this.#mechanisms === null || this.#hasEnded) break;
        // Another one is tried only where the server had not said which it knows.
        if (this.capabilities.offered.get('sasl') === '' && this.#mechanisms.length > 1) this.#try(this.#mechanisms.slice(1));
        else this.#fail(refusal('sasl', message));
        break;
      case '001':
        if (this.#person.sasl && !this.#hasEnded) return this.#fail(new IRCError('sasl', 'the server has none'));
        this.nick = params[0] ?? this.nick;
        break;
      case '376':
      case '422':
        this.isDone = true;
        break;
      case '433':
      case '436':
      case '437':
        this.#otherNick(message);
        break;
      case '431':
      case '432':
        this.#fail(refusal('nick', message));
        break;
      case '464':
        this.#fail(refusal('password', message));
        break;
      case '465':
      case '466':
        this.#fail(refusal('banned', message));
        break;
      default:
    }
  }

  #login() {
    if (this.#mechanisms !== null || this.#hasEnded) return;
    const { sasl } = this.#person;
    if (!sasl) return this.#end();
    if (!this.capabilities.enabled.has('sasl')) return this.#fail(new IRCError('sasl', 'the server has none'));
    this.#try(mechanisms(sasl, this.capabilities.offered.get('sasl') ?? ''));
  }

  /** @param {import('./sasl.js').Mechanism[]} list */
  #try(list) {
    const [mechanism] = list;
    const { sasl = {} } = this.#person;
    this.#mechanisms = list;
    if (mechanism === undefined) return this.#fail(new IRCError('sasl', 'the server has no mechanism that can be used here'));
    try {
      this.#respond = responder(mechanism, sasl);
      this.#challenge = new Challenge();
      this.#answers = 0;
      this.#send('AUTHENTICATE', mechanism);
    } catch (error) {
      this.#fail(/** @type {Error} */ (error));
    }
  }

  /** @param {string} piece */
  async #answer(piece) {
    const respond = this.#respond;
    try {
      const challenge = this.#challenge.push(piece);
      if (challenge === null || respond === null) return;
      const response = await respond(challenge);
      if (respond !== this.#respond) return;
      this.#answers += 1;
      for (const words of pieces(response)) this.#send('AUTHENTICATE', words);
    } catch (error) {
      this.#fail(error instanceof IRCError ? error : new IRCError('sasl', String(error)));
    }
  }

  #end() {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#send('CAP', 'END');
  }

  /** @param {Message} message */
  #otherNick(message) {
    this.#nicks += 1;
    if (this.#nicks > NICK_TRIES) return this.#fail(refusal('nick', message));
    const tail = this.#nicks <= 2 ? '_'.repeat(this.#nicks) : String(Math.floor(Math.random() * 10_000)).padStart(4, '0');
    this.nick = this.#person.nick.slice(0, this.#nickLength - tail.length) + tail;
    this.#send('NICK', this.nick);
  }
}
