/**
 * The public face of a connection to one gateway: options, state, counters, events. The work is done by a Link, of which
 * there is one at a time for new sockets; one that drains finishes its own beside it.
 *
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {import('./options.js').GatewayOptions} GatewayOptions
 * @typedef {import('./errors.js').ErrorCode} ErrorCode
 * @typedef {ReturnType<typeof import('./socket.js').adopt>} AnySocket
 * @typedef {'idle' | 'connecting' | 'attached' | 'detached' | 'closed'} GatewayState
 *
 * @typedef {object} GatewayEvents
 * @property {{ state: GatewayState }} state
 * @property {{ from: Kind | null, to: Kind, reason: string }} transport another transport is in use
 * @property {{ reason: string }} detach the transport broke; the client is looking for another one
 * @property {{ transport: Kind, afterMs: number }} resume it found one; nothing was lost
 * @property {{ afterMs: number, code: string }} goaway the gateway asks to attach again, or is stopping
 * @property {{ code: ErrorCode }} lost the session is gone, and its sockets with it
 *
 * @typedef {object} GatewayStats
 * @property {number} sent bytes transmitted, each counted once
 * @property {number} received
 * @property {number} acked bytes the gateway delivered
 * @property {number} delivered bytes the application took
 * @property {number} resent bytes transmitted once more
 * @property {number} attaches uses of a transport, each poll being one
 * @property {number} resumes recoveries after the transport broke
 */

import { Link } from './link.js';
import { Emitter } from './events.js';
import { checkKind, checkUsable, configure } from './options.js';
import { PerigeeError } from './errors.js';
import { insist, need } from './need.js';

/**
 * Opens a stream on a gateway; for TCPSocket, not for applications.
 * @type {(gateway: Gateway, target: string, listener: () => void) => { link: Link, stream: import('./stream.js').Stream }}
 */
export let openStream;

export class Gateway {
  static {
    openStream = (gateway, target, listener) => gateway.#open(target, listener);
  }

  #config;
  /** @type {Emitter<{ [Name in keyof GatewayEvents]: GatewayEvents[Name] }>} */
  #events = new Emitter();
  /** @type {Link | null} the one for new sockets */
  #link = null;
  /** @type {Set<Link>} */
  #links = new Set();
  #closed = false;
  /** @type {GatewayState} */
  #state = 'idle';
  /** @type {GatewayStats} of links that are over */
  #past = { sent: 0, received: 0, acked: 0, delivered: 0, resent: 0, attaches: 0, resumes: 0 };
  /** @type {Promise<{ claim: () => AnySocket[] } | void>} the sockets of the page before this one */
  #restored = Promise.resolve();

  /**
   * @param {string | URL} [url] base URL of the gateway; by default the origin this module was loaded from
   * @param {GatewayOptions} [options]
   */
  constructor(url, options = {}) {
    this.#config = configure(url, options);
    const { shared } = this.#config;
    if (shared) shared.told = ({ name, event }) => this.#tell(name, event);
    if (!options.surviveReload) return;
    this.#restored = insist(async () => {
      const { restore } = await need('reload.js', () => import('./reload.js'));
      return restore(this, this.#links, (state, goneMs) => {
        const link = this.#makeLink(state, goneMs);
        if (this.#closed) link.close();
        else this.#link ??= link;
        return link;
      });
    }, this.#config.timing, () => this.#closed);
  }

  get url() {
    return this.#config.url;
  }

  get state() {
    return this.#state;
  }

  /** The transport in use, or null. @returns {Kind | null} */
  get transport() {
    const transport = this.#link?.transport ?? null;
    return transport === 'port' ? this.#config.shared?.news?.transport ?? null : transport;
  }

  /** @returns {GatewayStats} */
  get stats() {
    const sum = { ...this.#past };
    for (const link of this.#links) addTo(sum, link);
    return { ...sum, ...this.#config.shared?.news?.stats };
  }

  /**
   * @template {keyof GatewayEvents} Name
   * @param {Name} name
   * @param {(event: GatewayEvents[Name]) => void} listener
   * @returns {() => void} unsubscribes
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  /**
   * Uses this transport from now on, without a pause in the streams; `auto` gives the choice back.
   * @param {'auto' | Kind} transport
   */
  use(transport) {
    if (transport !== 'auto') {
      checkKind(transport);
      checkUsable(transport, this.#config);
    }
    const { shared } = this.#config;
    if (shared) {
      shared.say({ use: transport });
      return;
    }
    this.#config = { ...this.#config, transport };
    for (const link of this.#links) link.use(transport === 'auto' ? null : transport);
  }

  /**
   * The sockets that were open when this page was loaded again, with option `surviveReload`. They are closed if they are
   * not asked for soon.
   * @returns {Promise<AnySocket[]>}
   */
  async restored() {
    const restored = await this.#restored;
    return restored ? restored.claim() : [];
  }

  /** Breaks the transport in use as a network would. The client recovers by itself. */
  cut() {
    if (this.#link?.transport === 'port') this.#config.shared?.say({ cut: true });
    else this.#link?.cut();
  }

  /** Ends the session and all its sockets, for good. Does nothing the second time. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    for (const link of [...this.#links]) link.close();
    this.#setState('closed');
  }

  /** @param {string} target @param {() => void} listener */
  #open(target, listener) {
    if (this.#closed) throw new PerigeeError('aborted', 'the gateway is closed');
    if (this.#link === null || this.#link.draining) this.#link = this.#makeLink();
    return { link: this.#link, stream: this.#link.open(target, listener) };
  }

  /** @param {import('./session.js').SessionState} [state] of a session to go on with @param {number} [goneMs] */
  #makeLink(state, goneMs) {
    /** @type {Link} */
    const link = new Link(this.#config, (name, event) => {
      // A link that drains is nobody's concern but its sockets'.
      if (this.#link !== link) return;
      // Of a session in a worker the worker tells.
      if (link.transport === 'port') return;
      if ('to' in event) this.#config = { ...this.#config, shared: null };
      this.#tell(name, event);
    }, (code) => {
      addTo(this.#past, link);
      this.#links.delete(link);
      if (this.#link === link) {
        this.#link = null;
        this.#setState('idle');
      }
      if (link.session.confirmed && code !== 'closed') this.#events.emit('lost', { code });
    }, state, goneMs);
    this.#links.add(link);
    this.#setState('connecting');
    return link;
  }

  /** @template {keyof GatewayEvents} Name @param {Name} name @param {GatewayEvents[Name]} event */
  #tell(name, event) {
    if ('state' in event) this.#setState(event.state);
    else this.#events.emit(name, event);
  }

  /** @param {GatewayState} state */
  #setState(state) {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    this.#events.emit('state', { state });
  }
}

/** @param {GatewayStats} sum @param {Link} link */
function addTo(sum, link) {
  const counts = { ...link.session.stats, attaches: link.attaches, resumes: link.resumes };
  for (const key of /** @type {(keyof GatewayStats)[]} */ (Object.keys(counts))) sum[key] += counts[key];
}
