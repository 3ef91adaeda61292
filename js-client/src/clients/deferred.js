/**
 * A promise to settle later; settling it again does nothing, and nobody has to listen when it is rejected.
 * @template T
 */
export class Deferred {
  /** @type {(value: T) => void} */
  resolve = () => {};
  /** @type {(reason: Error) => void} */
  reject = () => {};

  constructor() {
    /** @type {Promise<T>} */
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => {});
  }
}
