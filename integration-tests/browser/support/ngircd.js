/** A real IRC server: ngIRCd with a configuration of the test's own. */

import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedPort, connects } from './backends.js';
import { Process } from './process.js';
import { until } from './wait.js';

const PROGRAM = ['/usr/sbin/ngircd', '/usr/local/sbin/ngircd', '/usr/bin/ngircd'].find(existsSync);

export class Ngircd {
  #process;
  #folder;

  /** @param {Process} running @param {string} folder @param {number} port */
  constructor(running, folder, port) {
    this.#process = running;
    this.#folder = folder;
    this.port = port;
  }

  /** Why it cannot run here, or false. In CI that is an error. */
  static get missing() {
    if (PROGRAM) return false;
    if (process.env.CI) throw new Error('ngircd is not installed');
    return 'ngircd is not installed';
  }

  /**
   * @param {object} [options]
   * @param {string} [options.password] that clients have to give
   * @param {string} [options.webirc] the gateway's password
   */
  static async start({ password, webirc } = {}) {
    if (!PROGRAM) throw new Error('ngircd is not installed; run scripts/need test');
    const folder = await mkdtemp(join(tmpdir(), 'perigee-ngircd-'));
    const port = await closedPort();
    const file = join(folder, 'ngircd.conf');
    await writeFile(file, `
[Global]
Name = irc.test.local
Info = a server to test with
Listen = 127.0.0.1
Ports = ${port}
ServerUID = nobody
ServerGID = nogroup
AdminInfo1 = test
MotdPhrase = hello
${password ? `Password = ${password}` : ''}
[Limits]
MaxConnectionsIP = 0
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
${webirc ? `WebircPassword = ${webirc}` : ''}
`);
    // Started by root it becomes another user.
    await chmod(folder, 0o755);
    const running = new Process(/** @type {string} */ (PROGRAM), ['-n', '-f', file]);
    const server = new Ngircd(running, folder, port);
    try {
      await until('ngircd listens', () => {
        if (running.exit) throw new Error(`ngircd ended: ${running.output}`);
        return connects(port);
      });
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  async stop() {
    await this.#process.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
