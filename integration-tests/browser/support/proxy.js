/**
 * A real proxy in front of gateways, with TLS, in the foreground on a port of its own, and with the configuration that this
 * repository ships: what differs is written as pairs of a line that is there and what stands in its place.
 *
 * @typedef {readonly (readonly [there: string, instead: string])[]} Changes
 *
 * @typedef {object} Program what the proxies differ in
 * @property {readonly string[]} executables where it may be
 * @property {(place: Place) => Changes} changes where it listens and what it writes
 * @property {(file: string) => string[]} args
 * @property {(place: Place) => Record<string, string>} [env] beyond that of the test
 * @property {{ signal: NodeJS.Signals, retired: RegExp }} [reload] and what it says when a process of before has ended
 *
 * @typedef {object} Place what a proxy finds on this machine
 * @property {string} folder of its own, to be written by any user
 * @property {number} port to listen on
 * @property {import('./certificate.js').Certificate} certificate
 */

import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedPort, connects } from './backends.js';
import { certify } from './certificate.js';
import { Process } from './process.js';
import { until } from './wait.js';

const SHIPPED = new URL('../../../config/proxies/', import.meta.url);

export class Proxy {
  #program;
  #process;
  #place;
  #file;
  #text;

  /** @param {Program} program @param {Process} running @param {Place} place @param {string} file @param {string} text */
  constructor(program, running, place, file, text) {
    this.#program = program;
    this.#process = running;
    this.#place = place;
    this.#file = file;
    this.#text = text;
  }

  /**
   * @param {Program} program
   * @param {string} shipped name in config/proxies
   * @param {Readonly<Record<string, number>>} gateways their ports here, by their addresses there
   * @param {Changes} [changes] what this test wants otherwise
   */
  static async start(program, shipped, gateways, changes = []) {
    const executable = program.executables.find(existsSync);
    if (executable === undefined) throw new Error(`${program.executables[0]} is missing; run scripts/need test`);
    const folder = await mkdtemp(join(tmpdir(), 'perigee-proxy-'));
    // Started by root it becomes another user.
    await chmod(folder, 0o755);
    const place = { folder, port: await closedPort(), certificate: await certify(folder) };
    const file = join(folder, shipped);
    const addresses = Object.entries(gateways).map(([there, port]) => /** @type {const} */ ([there, `127.0.0.1:${port}`]));
    const text = change(await readFile(new URL(shipped, SHIPPED), 'utf8'), [...program.changes(place), ...addresses, ...changes]);
    await writeFile(file, text);
    const running = new Process(executable, program.args(file), program.env?.(place));
    const proxy = new Proxy(program, running, place, file, text);
    try {
      await until(`${executable} listens`, () => {
        if (running.exit) throw new Error(`${executable} ended: ${running.output}`);
        return connects(place.port);
      });
    } catch (error) {
      await proxy.stop();
      throw error;
    }
    return proxy;
  }

  get url() {
    return `https://127.0.0.1:${this.#place.port}`;
  }

  get port() {
    return this.#place.port;
  }

  get output() {
    return this.#process.output;
  }

  /** Has it read its configuration again, and waits until a process of before has ended. @param {Changes} [changes] */
  async reload(changes = []) {
    const { reload } = this.#program;
    if (reload === undefined) throw new Error(`how ${this.#program.executables[0]} reloads is not known here`);
    const from = this.output.length;
    await writeFile(this.#file, change(this.#text, changes));
    this.#process.signal(reload.signal);
    await this.#process.says(reload.retired, from);
  }

  async stop() {
    await this.#process.stop();
    await rm(this.#place.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/**
 * A text with something else in some places; each has to be there.
 * @param {string} text
 * @param {Changes} changes
 */
function change(text, changes) {
  for (const [there, instead] of changes) {
    if (!text.includes(there)) throw new Error(`${JSON.stringify(there)} is not in ${text}`);
    text = text.replaceAll(there, () => instead);
  }
  return text;
}
