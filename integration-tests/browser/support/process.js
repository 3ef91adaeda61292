/** A program that a test runs: its lines, its end. */

import { spawn } from 'node:child_process';
import { until } from './wait.js';

/** How long a program may take to end after it was told to. */
const STOP_MS = 12_000;

export class Process {
  #child;
  #lines = '';
  /** @type {Promise<{ code: number | null, signal: string | null }>} */
  ended;
  /** @type {{ code: number | null, signal: string | null } | null} */
  exit = null;

  /** @param {string} program @param {string[]} args @param {Record<string, string>} [env] beyond our own */
  constructor(program, args, env = {}) {
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.#lines += text));
    }
    this.ended = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        this.#lines += `${error.message}\n`;
        resolve((this.exit = { code: null, signal: null }));
      });
      this.#child.on('exit', (code, signal) => resolve((this.exit = { code, signal })));
    });
  }

  /** Everything it said, on both outputs. */
  get output() {
    return this.#lines;
  }

  /**
   * Waits until it says this.
   * @param {RegExp} pattern
   * @param {number} [from] offset in the output
   * @returns {Promise<RegExpExecArray>}
   */
  says(pattern, from = 0) {
    return until(`${this.#child.spawnfile} says ${pattern}`, () => {
      const found = pattern.exec(this.#lines.slice(from));
      if (found === null && this.exit) throw new Error(`${this.#child.spawnfile} ended: ${this.#lines}`);
      return found;
    });
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.#child.kill(signal);
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = 'SIGTERM') {
    if (this.exit) return this.exit;
    this.#child.kill(signal);
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    const exit = await this.ended;
    clearTimeout(late);
    return exit;
  }
}
