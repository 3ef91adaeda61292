/**
 * What the server was asked and did not answer yet. Where it labels its replies they are matched by that, otherwise by
 * what they say; each request knows what ends it.
 *
 * @typedef {import('./message.js').Message} Message
 *
 * @typedef {object} Request
 * @property {string} label
 * @property {boolean} labelled replies carry the label
 * @property {string} command
 * @property {string} about the channel or nick it is about
 * @property {(reply: Message) => boolean} isDone it is answered by this
 * @property {Deferred<Message | null>} answer
 * @property {Message | null} last the last reply to it in a labelled batch
 */

import { Deferred } from '../socket.js';
import { Timers } from '../timers.js';
import { IRCError, refusal } from './errors.js';

/** Numerics above 400 that say nothing of a request. ERR_NOMOTD ends the registration. */
const NO_ERRORS = ['422'];

export class Requests {
  /** @type {Map<string, Request>} by label */
  #open = new Map();
  #labels = 0;
  #line;
  #network;
  #timeoutMs;
  #timers = new Timers((label) => this.#fail(label, new IRCError('timeout', this.#open.get(label)?.command)));

  /**
   * @param {import('./line.js').Line} line
   * @param {import('./network.js').Network} network
   * @param {number} timeoutMs
   */
  constructor(line, network, timeoutMs) {
    this.#line = line;
    this.#network = network;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Asks the server, and resolves to the reply that answers it, if it has words for that.
   * @param {string} command
   * @param {readonly string[]} params
   * @param {string} about
   * @param {(reply: Message) => boolean} isDone
   */
  async ask(command, params, about, isDone) {
    // Nothing is open for what cannot be sent.
    this.#line.compose(command, params);
    const request = this.open(this.#line.labels, command, about, isDone);
    this.send(request, params);
    return request.answer.promise;
  }

  /**
   * @param {boolean} labelled
   * @param {string} command
   * @param {string} about
   * @param {(reply: Message) => boolean} isDone
   */
  open(labelled, command, about, isDone) {
    if (!this.#line.isUp) throw new IRCError('closed');
    const label = `p${(this.#labels += 1)}`;
    /** @type {Request} */
    const request = { label, labelled, command, about, isDone, answer: new Deferred(), last: null };
    this.#open.set(label, request);
    this.#timers.after(label, this.#timeoutMs);
    return request;
  }

  /** @param {Request} request @param {readonly string[]} params */
  send({ command, labelled, label }, params) {
    this.#line.tell(command, params, labelled ? { label } : {}).catch(() => {});
  }

  /** @param {Message} reply @param {string | undefined} label its own or its batch's */
  receive(reply, label) {
    const labelled = this.#open.get(label ?? '');
    // A server that labels its replies does not always label who is in a channel.
    const candidates = labelled ? [labelled] : [...this.#open.values()].filter((one) => !one.labelled || one.command === 'JOIN');
    for (const request of candidates) {
      const refused = labelled ? isError(reply) : isError(reply) && this.#isAbout(request, reply);
      if (refused) this.#fail(request.label, refusal('refused', reply));
      else if (request.isDone(reply)) this.#done(request.label, reply);
      else if (labelled) request.last = reply;
      else continue;
      return;
    }
  }

  /** The server said all it has to say to it: a batch ended, or an ACK came. @param {string} label */
  over(label) {
    const request = this.#open.get(label);
    if (request && request.command !== 'JOIN') this.#done(label, request.last);
  }

  /** @param {Error} error */
  failAll(error) {
    for (const label of [...this.#open.keys()]) this.#fail(label, error);
  }

  /** Where replies have no label: what an error has to be about to be about this. @param {Request} request @param {Message} reply */
  #isAbout({ command, about }, reply) {
    if (reply.command === 'FAIL') return reply.params[0] === command;
    return reply.params.slice(1, -1).some((param) => this.#network.same(param, about) || param === command);
  }

  /** @param {string} label @param {Message | null} reply */
  #done(label, reply) {
    this.#take(label)?.answer.resolve(reply);
  }

  /** @param {string} label @param {Error} error */
  #fail(label, error) {
    this.#take(label)?.answer.reject(error);
  }

  /** @param {string} label */
  #take(label) {
    const request = this.#open.get(label);
    this.#open.delete(label);
    this.#timers.clear(label);
    return request;
  }
}

/** @param {Message} reply */
export function isError({ command }) {
  return command === 'FAIL' || (/^[45]\d\d$/.test(command) && !NO_ERRORS.includes(command));
}
