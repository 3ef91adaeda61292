/** Real XMPP servers, Prosody and ejabberd, with a certificate of the test's own authority: nobody talks to them without TLS. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { closedPort, connects } from './backends.js';
import { Process } from './process.js';
import { until } from './wait.js';

export const DOMAIN = 'xmpp.test';
export const ROOMS = `rooms.${DOMAIN}`;
export const PASSWORD = 'sécret & <more>';
export const USERS = ['alice', 'bob', 'carol', 'dave'];
/** A server takes seconds to start where others start, too. */
const START_MS = 60_000;

const openssl = (/** @type {string[]} */ args) => promisify(execFile)('openssl', args);

/**
 * An authority, and a certificate of the domain.
 * @param {string} folder where they are put
 */
export async function certifyDomain(folder, domain = DOMAIN) {
  const [ca, caKey, request, chain, key, extensions] = ['ca.pem', 'ca.key', 'server.csr', 'server.crt', 'server.key', 'server.ext']
    .map((name) => join(folder, name));
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl(['req', '-x509', ...ec, '-days', '2', '-subj', '/CN=test authority', '-addext', 'basicConstraints=critical,CA:TRUE',
    '-addext', 'keyUsage=critical,keyCertSign', '-keyout', caKey, '-out', ca]);
  await openssl(['req', ...ec, '-subj', `/CN=${domain}`, '-keyout', key, '-out', request]);
  await writeFile(extensions, `subjectAltName=DNS:${domain},DNS:rooms.${domain}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n`);
  await openssl(['x509', '-req', '-in', request, '-CA', ca, '-CAkey', caKey, '-CAcreateserial', '-days', '2', '-extfile', extensions, '-out', chain]);
  return { ca, chain, key };
}

/** What both have in common. */
class XmppServer {
  #begin;
  #process;
  #folder;

  /**
   * @param {() => Process} begin
   * @param {string} folder
   * @param {{ port: number, httpPort: number, ca: string }} places
   */
  constructor(begin, folder, { port, httpPort, ca }) {
    this.#begin = begin;
    this.#process = begin();
    this.#folder = folder;
    this.port = port;
    /** Where its own BOSH is. */
    this.httpPort = httpPort;
    this.ca = ca;
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  get log() {
    return this.#process.output;
  }

  /** Whether it takes clients. @returns {Promise<boolean>} */
  async isReady() {
    return connects(this.port);
  }

  /** Ends it, and has it come back at the same place with what it keeps. @param {() => Promise<void>} between */
  async restart(between) {
    await this.#process.stop();
    await between();
    this.#process = this.#begin();
    await this.untilReady();
  }

  async untilReady() {
    try {
      await until('the server is ready', () => {
        if (this.#process.exit) throw new Error(`the server ended: ${this.#process.output}`);
        return this.isReady();
      }, START_MS);
    } catch (error) {
      await this.stop();
      throw error;
    }
    return this;
  }

  async stop() {
    await this.#process.stop();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** The program that is installed; what is missing is an error, never a test left out. @param {string[]} places @param {string} name */
function program(places, name) {
  const found = places.find(existsSync);
  if (found) return found;
  throw new Error(`${name} is not installed; "make test" installs it`);
}

export class Prosody extends XmppServer {
  /** The port of TLS from the first byte. */
  tlsPort = 0;

  /**
   * @param {object} [options]
   * @param {boolean} [options.starttls] whether its port for clients knows it, and wants it
   */
  static async start({ starttls = true } = {}) {
    const prosody = program(['/usr/bin/prosody', '/usr/local/bin/prosody'], 'prosody');
    const folder = await mkdtemp(join(tmpdir(), 'perigee-prosody-'));
    const { ca, chain, key } = await certifyDomain(folder);
    const [port, httpPort, tlsPort] = [await closedPort(), await closedPort(), await closedPort()];
    const accounts = join(folder, 'data', DOMAIN.replaceAll('.', '%2e'), 'accounts');
    await mkdir(accounts, { recursive: true });
    for (const user of USERS) await writeFile(join(accounts, `${user}.dat`), `return { ["password"] = ${JSON.stringify(PASSWORD)} };\n`);
    const config = join(folder, 'prosody.cfg.lua');
    await writeFile(config, `
run_as_root = true
daemonize = false
pidfile = "${folder}/prosody.pid"
data_path = "${folder}/data"
log = { info = "*console" }
interfaces = { "127.0.0.1" }
c2s_ports = { ${port} }
c2s_direct_tls_ports = { ${tlsPort} }
http_interfaces = { "127.0.0.1" }
http_ports = { ${httpPort} }
https_ports = { }
http_default_host = "${DOMAIN}"
modules_enabled = { "roster", "saslauth", ${starttls ? '"tls", ' : ''}"disco", "ping", "smacks", "carbons", "bosh", "posix" }
modules_disabled = { "s2s"${starttls ? '' : ', "tls"'} }
ssl = { key = "${key}", certificate = "${chain}" }
c2s_require_encryption = ${starttls}
allow_unencrypted_plain_auth = ${!starttls}
consider_bosh_secure = true
cross_domain_bosh = true
authentication = "internal_plain"
VirtualHost "${DOMAIN}"
Component "${ROOMS}" "muc"
  muc_room_locking = false
`);
    const server = new Prosody(() => new Process(prosody, ['--config', config, '-F']), folder, { port, httpPort, ca });
    server.tlsPort = tlsPort;
    await server.untilReady();
    return server;
  }

  async isReady() {
    return await connects(this.port) && await connects(this.httpPort) && await connects(this.tlsPort);
  }
}

export class Ejabberd extends XmppServer {
  static async start() {
    const erl = program(['/usr/bin/erl', '/usr/local/bin/erl'], 'ejabberd (with erl)');
    const ebin = await ejabberdFolder();
    const folder = await mkdtemp(join(tmpdir(), 'perigee-ejabberd-'));
    const { ca, chain, key } = await certifyDomain(folder);
    const port = await closedPort();
    const config = join(folder, 'ejabberd.yml');
    await writeFile(config, `
hosts: ["${DOMAIN}"]
loglevel: warning
auth_method: [internal]
auth_password_format: scram
certfiles: ["${chain}", "${key}"]
listen:
  - {port: ${port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, starttls_required: true, shaper: none, access: all}
modules:
  mod_disco: {}
  mod_ping: {}
  mod_roster: {}
  mod_stream_mgmt: {}
  mod_carboncopy: {}
  mod_muc: {host: "${ROOMS}"}
`);
    const register = USERS.map((user) => `ejabberd_auth:try_register(<<"${user}">>, <<"${DOMAIN}">>, <<${Buffer.from(PASSWORD).join(',')}>>)`);
    // No node of a cluster: it needs no port mapper, which would outlive it.
    const begin = () => new Process(erl, ['+K', 'true', '-noinput', '-pa', ebin, '-mnesia', 'dir', JSON.stringify(join(folder, 'db')),
      '-ejabberd', 'config', JSON.stringify(config), 'log_path', JSON.stringify(join(folder, 'ejabberd.log')), '-s', 'ejabberd',
      '-eval', `ejabberd:start(), [true = lists:member(R, [ok, {error, exists}]) || R <- [${register.join(', ')}]], io:format("registered~n").`],
    { HOME: folder, EJABBERD_CONFIG_PATH: config });
    const server = new Ejabberd(begin, folder, { port, httpPort: 0, ca });
    await server.untilReady();
    return server;
  }

  async isReady() {
    return this.log.includes('registered') && await connects(this.port);
  }
}

/** Where Debian has it: the version is in the name. */
async function ejabberdFolder() {
  const { stdout } = await promisify(execFile)('sh', ['-c', 'ls -d /usr/lib/*/ejabberd-*/ebin /usr/lib/ejabberd-*/ebin 2>/dev/null || true']);
  return program(stdout.split('\n').filter(Boolean), 'ejabberd');
}
