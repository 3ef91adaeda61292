/**
 * What was asked and is to be answered: none is waited for longer than the connection lasts.
 */

import { Deferred } from '../socket.js';
import { XMPPError } from './errors.js';

export class Answers {
  /** @type {Set<Deferred<any>>} */
  #pending = new Set();
  #timeoutMs;

  /** @param {number} timeoutMs */
  constructor(timeoutMs) {
    this.#timeoutMs = timeoutMs;
  }

  /**
   * An answer that comes, or does not: then the promise is rejected when the connection ends.
   * @template T
   * @param {(answer: Deferred<T>) => void} begin
   * @param {() => void} [end]
   * @returns {Promise<T>}
   */
  async wait(begin, end = () => {}) {
    /** @type {Deferred<T>} */
    const answer = new Deferred();
    this.#pending.add(answer);
    try {
      begin(answer);
      return await answer.promise;
    } finally {
      this.#pending.delete(answer);
      end();
    }
  }

  /** One that the server may not take forever over. @template T @param {Promise<T>} promise @returns {Promise<T>} */
  within(promise) {
    return this.wait((answer) => {
      const late = setTimeout(() => answer.reject(new XMPPError('timeout')), this.#timeoutMs);
      answer.promise.catch(() => {}).finally(() => clearTimeout(late));
      promise.then(answer.resolve, answer.reject);
    });
  }

  /** The connection is over. @param {Error} error */
  failAll(error) {
    for (const answer of this.#pending) answer.reject(error);
  }
}
