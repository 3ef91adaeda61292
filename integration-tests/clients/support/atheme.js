/** Real services of IRC, which know accounts: Atheme with a configuration of the test's own, linked to an InspIRCd. */

import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Process } from '../../browser/support/process.js';
import { Inspircd } from './inspircd.js';

const PROGRAM = ['/usr/bin/atheme-services', '/usr/local/bin/atheme-services'].find(existsSync);
const MODULES = ['protocol/inspircd', 'backend/opensex', 'crypto/pbkdf2v2', 'nickserv/main', 'nickserv/register', 'saslserv/main', 'saslserv/plain'];
/** Its name, which is its password, too. */
const NAME = 'services.test.local';

/** A server with accounts: both programs. */
export class Accounts {
  #ircd;
  #services;
  #folder;

  /** @param {Inspircd} ircd @param {Process} services @param {string} folder */
  constructor(ircd, services, folder) {
    this.#ircd = ircd;
    this.#services = services;
    this.#folder = folder;
  }

  static async start() {
    if (!PROGRAM) throw new Error('atheme-services is not installed; run scripts/need test');
    const ircd = await Inspircd.start({ services: NAME });
    const folder = await mkdtemp(join(tmpdir(), 'perigee-atheme-'));
    const file = join(folder, 'atheme.conf');
    const data = join(folder, 'data');
    await mkdir(data);
    const self = (/** @type {string} */ nick) => `{ nick = "${nick}"; user = "${nick}"; host = "${NAME}"; real = "${nick}"; };`;
    await writeFile(file, `
${MODULES.map((name) => `loadmodule "modules/${name}";`).join('\n')}
serverinfo {
  name = "${NAME}"; desc = "accounts"; numeric = "00A"; recontime = 1; netname = "Test"; hidehostsuffix = "users.test.local";
  adminname = "a"; adminemail = "a@test.local"; registeremail = "a@test.local"; auth = none; casemapping = rfc1459;
  loglevel = { error; info; network; }; maxlogins = 100; maxusers = 100; maxnicks = 5; maxfounders = 5; maxchans = 5;
  mdlimit = 30; emaillimit = 100; emailtime = 300; commit_interval = 5;
};
uplink "irc.test.local" { host = "127.0.0.1"; port = ${ircd.serverPort}; send_password = "${NAME}"; receive_password = "${NAME}"; };
nickserv ${self('NickServ')}
saslserv ${self('SaslServ')}
`);
    await chmod(folder, 0o755);
    const services = new Process(PROGRAM, ['-n', '-c', file, '-D', data, '-l', join(folder, 'atheme.log'), '-p', join(folder, 'atheme.pid')]);
    const accounts = new Accounts(ircd, services, folder);
    try {
      await services.says(/finished synching with uplink/);
    } catch (error) {
      await accounts.stop();
      throw error;
    }
    return accounts;
  }

  get address() {
    return this.#ircd.address;
  }

  async stop() {
    await this.#services.stop();
    await this.#ircd.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
