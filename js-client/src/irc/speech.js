/**
 * What is said in channels and to people, in as many messages as it takes; and that each of ours is told to the page once,
 * whether the server gives it back or not.
 *
 * @typedef {import('./network.js').Said} Said
 * @typedef {import('./network.js').IRCEvents} IRCEvents
 */

import { IRCError } from './errors.js';
import { LINE_BYTES, byteLength, splitText } from './message.js';

/** A host that is not known is as long as this at most, and so is a user. */
const HOST_BYTES = 63;
const USER_BYTES = 11;

export class Speech {
  #line;
  #requests;
  #network;
  #events;

  /**
   * @param {import('./line.js').Line} line
   * @param {import('./requests.js').Requests} requests
   * @param {import('./network.js').Network} network
   * @param {import('../events.js').Emitter<{ [Name in keyof IRCEvents]: IRCEvents[Name] }>} events
   */
  constructor(line, requests, network, events) {
    this.#line = line;
    this.#requests = requests;
    this.#network = network;
    this.#events = events;
  }

  /**
   * @param {'PRIVMSG' | 'NOTICE'} command
   * @param {string} target
   * @param {string} text
   * @param {(piece: string) => string} [wrap]
   */
  async say(command, target, text, wrap = (piece) => piece) {
    if (/^$|[ ,]/.test(target)) throw new IRCError('invalid', `the target ${JSON.stringify(target)}`);
    // The server puts our name before it for those who hear it.
    const name = byteLength(`:${this.#line.nick}!@ `) + (byteLength(this.#network.user) || USER_BYTES) + (byteLength(this.#network.host) || HOST_BYTES);
    const room = this.#network.support.number('LINELEN', LINE_BYTES) - name - byteLength(`${command} ${target} :${wrap(' ')}\r\n`);
    if (room < 16) throw new IRCError('too_long', 'the target');
    return Promise.all(splitText(text, room).map((piece) => this.#sayLine(command, target, wrap(piece))));
  }

  /** @param {'PRIVMSG' | 'NOTICE'} command @param {string} target @param {string} text @returns {Promise<Said>} */
  async #sayLine(command, target, text) {
    const echoes = this.#line.capabilities.has('echo-message');
    let echo = null;
    if (this.#line.labels) {
      echo = await this.#requests.ask(command, [target, text], target, (reply) => reply.command === command && this.#network.isSelf(reply.source));
    } else {
      await this.#line.tell(command, [target, text]);
    }
    if (echo?.command === command) return this.#network.said(echo);
    const source = { nick: this.#line.nick, user: this.#network.user, host: this.#network.host };
    const said = this.#network.said({ tags: {}, source, command, params: [target, text] });
    if (!echoes) this.#events.emit('message', said);
    return said;
  }
}
