/** A real IRC server with many IRCv3 capabilities: InspIRCd with a configuration of the test's own. */

import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedPort, connects } from '../../browser/support/backends.js';
import { Process } from '../../browser/support/process.js';
import { until } from '../../browser/support/wait.js';

const PROGRAM = ['/usr/sbin/inspircd', '/usr/bin/inspircd'].find(existsSync);
const MODULES = ['ircv3', 'ircv3_capnotify', 'ircv3_echomessage', 'ircv3_servertime', 'ircv3_batch', 'ircv3_labeledresponse', 'ircv3_ctctags', 'ircv3_msgid', 'cap', 'cgiirc'];
/** What it takes to have accounts, which other programs know. */
const SERVICES = ['spanningtree', 'services_account', 'sasl'];

export class Inspircd {
  #process;
  #folder;

  /** @param {Process} running @param {string} folder @param {number} port @param {number} serverPort */
  constructor(running, folder, port, serverPort) {
    this.#process = running;
    this.#folder = folder;
    this.port = port;
    /** Where other servers come in, and services. */
    this.serverPort = serverPort;
  }

  /**
   * @param {object} [options]
   * @param {string} [options.password] that clients have to give
   * @param {string} [options.webirc] the gateway's password
   * @param {string} [options.services] the name of a server that knows accounts, and its password
   */
  static async start({ password, webirc, services } = {}) {
    if (!PROGRAM) throw new Error('inspircd is not installed; run scripts/need test');
    const folder = await mkdtemp(join(tmpdir(), 'perigee-inspircd-'));
    const port = await closedPort();
    const serverPort = services ? await closedPort() : 0;
    const file = join(folder, 'inspircd.conf');
    await writeFile(file, `
<server name="irc.test.local" description="a server to test with" network="Test" id="001">
<admin name="a" nick="a" email="a@localhost">
<bind address="127.0.0.1" port="${port}" type="clients">
${[...MODULES, ...(services ? SERVICES : [])].map((name) => `<module name="${name}">`).join('\n')}
${services ? `<bind address="127.0.0.1" port="${serverPort}" type="servers">
<link name="${services}" ipaddr="127.0.0.1" allowmask="127.0.0.1/32" port="1" sendpass="${services}" recvpass="${services}">
<uline server="${services}">
<sasl target="${services}">` : ''}
${webirc ? `<cgihost type="webirc" password="${webirc}" mask="127.0.0.1">` : ''}
<connect allow="*" ${password ? `password="${password}"` : ''} timeout="60" fakelag="no" hardsendq="8M" softsendq="8M" recvq="8M" commandrate="1000000" threshold="1000000" localmax="1000" globalmax="1000" resolvehostnames="no" useident="no">
<performance nouserdns="yes" somaxconn="128" quietbursts="yes" timeskipwarn="60s">
<options prefixquit="" noticekills="no" defaultmodes="" moronbanner="no">
<path configdir="${folder}" datadir="${folder}" logdir="${folder}">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="normal" target="${folder}/inspircd.log">
<pid file="${folder}/inspircd.pid">
`);
    await chmod(folder, 0o755);
    const args = ['--nofork', `--config=${file}`, ...(process.getuid?.() === 0 ? ['--runasroot'] : [])];
    const running = new Process(PROGRAM, args);
    const server = new Inspircd(running, folder, port, serverPort);
    try {
      await until('inspircd listens', () => {
        if (running.exit) throw new Error(`inspircd ended: ${running.output}`);
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
