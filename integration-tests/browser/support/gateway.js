/** The gateway under test: `perigee demo` or `perigee serve` with a configuration of the test's own. */

import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Process } from './process.js';

const TARGET = new URL('../../../target/', import.meta.url);

/** The binary: PERIGEE_BIN, or what cargo built last in this repository. */
function binary() {
  const given = process.env.PERIGEE_BIN;
  const found = (given ? [given] : ['debug', 'release'].map((profile) => new URL(`${profile}/perigee`, TARGET).pathname)).find(existsSync);
  if (found) return found;
  throw new Error(given ? `PERIGEE_BIN: there is no ${given}` : 'no gateway to test; run "cargo build" first or set PERIGEE_BIN');
}

export class Gateway {
  #process;
  #folder;
  #config;
  #listener;
  port;

  /** @param {Process} running @param {number} port @param {string | null} folder @param {string | null} config @param {string} [listener] */
  constructor(running, port, folder, config, listener = '') {
    this.#process = running;
    this.#folder = folder;
    this.#config = config;
    this.#listener = listener;
    this.port = port;
  }

  /** The demo, its pages and servers. @param {string[]} [origins] that may use it besides its own */
  static async demo(origins = []) {
    const running = new Process(binary(), ['demo', '--listen', '127.0.0.1:0', ...origins.flatMap((origin) => ['--origin', origin])]);
    const [, port] = await ready(running, /open http:\/\/localhost:(\d+)/);
    return new Gateway(running, Number(port), null, null);
  }

  /**
   * A gateway with these backends and rules.
   * @param {string} config TOML without a listener
   * @param {string} [listener] keys of the listener besides its address
   * @param {number} [port] one that is free
   */
  static async serve(config, listener = '', port = 0) {
    const folder = await mkdtemp(join(tmpdir(), 'perigee-gateway-'));
    const gateway = new Gateway(await serve(folder, config, port, listener), 0, folder, config, listener);
    gateway.port = await portOf(gateway.#process);
    return gateway;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get log() {
    return this.#process.output;
  }

  /** Waits until the log has it. @param {RegExp} pattern @param {number} [from] */
  logs(pattern, from) {
    return this.#process.says(pattern, from);
  }

  /** Kills it, so that it has no time to say goodbye, and starts another one at the same address. */
  async crash() {
    if (this.#folder === null || this.#config === null) throw new Error('only a gateway with a configuration can start again');
    await this.#process.stop('SIGKILL');
    this.#process = await serve(this.#folder, this.#config, this.port, this.#listener);
    await portOf(this.#process);
  }

  /** Kills it, for good. */
  async die() {
    await this.#process.stop('SIGKILL');
  }

  async stop() {
    const exit = await this.#process.stop();
    if (this.#folder) await rm(this.#folder, { recursive: true });
    return exit;
  }
}

/** @param {string} folder @param {string} config @param {number} port @param {string} listener */
async function serve(folder, config, port, listener) {
  const file = join(folder, 'perigee.toml');
  await writeFile(file, `${config}\n[[listener]]\naddress = "127.0.0.1:${port}"\n${listener}\n`);
  return new Process(binary(), ['serve', '--config', file]);
}

/** @param {Process} running */
async function portOf(running) {
  const [, port] = await ready(running, /ready.*127\.0\.0\.1:(\d+)/);
  return Number(port);
}

/** @param {Process} running @param {RegExp} pattern */
async function ready(running, pattern) {
  try {
    return await running.says(pattern);
  } catch (error) {
    await running.stop('SIGKILL');
    throw error;
  }
}
