/**
 * The line to a server: one message at a time each way, from a new connection over the registration to its end. Answers
 * PING, and remembers what the last registration came to.
 *
 * @typedef {import('./message.js').Message} Message
 */

import { Connection } from '../clients/connection.js';
import { utf8 } from '../frame.js';
import { IRCError } from './errors.js';
import { LINE_BYTES, Lines, composeMessage, parseMessage } from './message.js';
import { Registration } from './registration.js';

export class Line {
  /** Who we are from the next connection on. */
  person;

  #more;
  #network;
  #on;
  /** @type {Connection | null} */
  #connection = null;
  #lines = new Lines();
  /** @type {Registration | null} */
  #registration = null;
  #lastWords = '';

  /**
   * @param {import('./registration.js').Person} person
   * @param {readonly string[]} capabilities that the application knows how to use, besides ours
   * @param {import('./network.js').Network} network
   * @param {object} on
   * @param {(message: Message) => void} on.message
   * @param {(error: Error) => void} on.end nothing is called after it until the line is opened again
   */
  constructor(person, capabilities, network, on) {
    this.person = person;
    this.#more = capabilities;
    this.#network = network;
    this.#on = on;
  }

  get nick() {
    return this.#registration?.nick ?? this.person.nick;
  }

  /** The account that we are logged in as, or null. */
  get account() {
    return this.#registration?.account ?? null;
  }

  /** The capabilities in use. @returns {ReadonlySet<string>} */
  get capabilities() {
    return this.#registration?.capabilities.enabled ?? new Set();
  }

  /** The server has taken us in. */
  get isUp() {
    return this.#connection !== null && this.#registration !== null && this.#registration.isDone;
  }

  /** Whether what the server answers says what it answers. */
  get labels() {
    const { capabilities } = this;
    return ['labeled-response', 'batch', 'message-tags'].every((name) => capabilities.has(name));
  }

  /** Begins with a new connection. @param {import('../clients/connection.js').Wire} wire */
  open(wire) {
    this.#lines = new Lines();
    this.#lastWords = '';
    const { support } = this.#network;
    const length = support.number('NICKLEN', support.number('MAXNICKLEN', 30));
    const send = (/** @type {string} */ command, /** @type {string[]} */ ...params) => this.#write(composeMessage(command, params));
    const registration = new Registration(this.person, this.#more, length, send, (error) => this.#connection?.abort(error));
    this.#registration = registration;
    this.#connection = new Connection(wire, {
      open: () => registration.begin(),
      bytes: (bytes) => {
        for (const line of this.#lines.push(bytes)) this.#take(line);
      },
      end: (error) => {
        this.#connection = null;
        this.#on.end(error ?? new IRCError('ended', this.#lastWords));
      },
    });
  }

  /** Gives the connection up, at once. */
  drop() {
    this.#connection?.abort(new IRCError('closed'));
  }

  /** Nothing comes after this; the server ends the connection. @param {string} quit */
  leave(quit) {
    this.#write(quit);
    this.#connection?.finish();
  }

  /** We have another nick now. @param {string} nick */
  renamed(nick) {
    if (this.#registration) this.#registration.nick = nick;
  }

  /** What a message is on the line; throws for what cannot be one. @param {string} command @param {readonly string[]} params @param {Readonly<Record<string, string>>} [tags] */
  compose(command, params, tags = {}) {
    return composeMessage(command, params, this.capabilities.has('message-tags') ? tags : {}, this.#network.support.number('LINELEN', LINE_BYTES));
  }

  /** Resolves when it was handed over. @param {string} command @param {readonly string[]} params @param {Readonly<Record<string, string>>} [tags] @returns {Promise<void>} */
  tell(command, params, tags) {
    const line = this.compose(command, params, tags);
    if (!this.#connection || !this.isUp) throw new IRCError('closed');
    return this.#connection.write(utf8(`${line}\r\n`));
  }

  /** @param {string} line */
  #write(line) {
    void this.#connection?.write(utf8(`${line}\r\n`));
  }

  /** @param {string} line */
  #take(line) {
    const message = parseMessage(line);
    const registration = this.#registration;
    if (message === null || !this.#connection || !registration) return;
    registration.receive(message);
    // A registration that failed has ended the connection.
    if (!this.#connection) return;
    const { command, params } = message;
    if (command === 'PING') this.#write(composeMessage('PONG', params.slice(0, 1)));
    if (command === 'ERROR') this.#lastWords = params[0] ?? '';
    this.#on.message(message);
  }
}
