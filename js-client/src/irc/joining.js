/**
 * Being in channels: a join is over when the server has told who is there, and where we were is where we are again after
 * the next connection.
 */

import { IRCError } from './errors.js';
import { byteLength, composeMessage } from './message.js';

/** Characters of a JOIN of many channels. */
const JOIN_BYTES = 400;

export class Joining {
  #line;
  #requests;
  #network;

  /**
   * @param {import('./line.js').Line} line
   * @param {import('./requests.js').Requests} requests
   * @param {import('./network.js').Network} network
   */
  constructor(line, requests, network) {
    this.#line = line;
    this.#requests = requests;
    this.#network = network;
  }

  /** To be joined with the next connection. @param {string} name @param {string} [key] */
  want(name, key = '') {
    this.#check(name);
    this.#network.wanted.set(this.#network.support.fold(name), { name, key });
  }

  /** @param {string} name @param {string} key @returns {Promise<import('./channels.js').Channel>} */
  async join(name, key) {
    this.#check(name);
    const there = this.#network.channels.get(name);
    if (there?.listed) return there;
    composeMessage('JOIN', [name, key || '*']);
    const request = this.#open(name, this.#line.labels);
    this.#requests.send(request, key === '' ? [name] : [name, key]);
    this.want(name, key);
    return this.#joined(name, request);
  }

  /** @param {string} name @param {string} text */
  async part(name, text) {
    this.#check(name);
    this.#network.wanted.delete(this.#network.support.fold(name));
    await this.#requests.ask('PART', text === '' ? [name] : [name, text], name, ({ command, params, source }) => (
      command === 'PART' && this.#network.same(params[0] ?? '', name) && this.#network.isSelf(source)
    ));
  }

  /** After a new connection, where we were before. @param {(error: Error) => void} failed */
  again(failed) {
    // Keys belong to the first channels of a line.
    const wanted = [...this.#network.wanted.values()].sort((one, other) => Number(other.key !== '') - Number(one.key !== ''));
    /** @type {typeof wanted} */
    let group = [];
    const length = (/** @type {typeof wanted} */ all) => byteLength(all.map(({ name, key }) => `${name},${key},`).join(''));
    const flush = () => {
      if (group.length === 0) return;
      const keys = group.map(({ key }) => key).filter((key) => key !== '');
      for (const { name } of group) this.#joined(name, this.#open(name, false)).catch(failed);
      this.#line.tell('JOIN', [group.map(({ name }) => name).join(','), ...(keys.length > 0 ? [keys.join(',')] : [])]).catch(() => {});
      group = [];
    };
    for (const one of wanted) {
      if (length([...group, one]) > JOIN_BYTES) flush();
      group.push(one);
    }
    flush();
  }

  /** @param {string} name @param {boolean} labelled */
  #open(name, labelled) {
    return this.#requests.open(labelled, 'JOIN', name, ({ command, params }) => command === '366' && this.#network.same(params[1] ?? '', name));
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

  /** @param {string} name */
  #check(name) {
    if (/^$|[ ,\x07\0\r\n]/.test(name) || !this.#network.support.isChannel(name)) throw new IRCError('invalid', `the channel ${JSON.stringify(name)}`);
  }
}
