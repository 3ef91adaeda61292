/**
 * A person on XMPP, with strophe.js on a session for what it can (login, resource, stream management): the roster,
 * presence, messages and rooms, and coming back when the connection is lost.
 *
 * Invariants: a promise settles once, and at the latest when the connection ends; what a server says cannot make this
 * grow but for people of the roster and of rooms.
 *
 * @typedef {import('./element.js').Shape} Shape
 * @typedef {import('./roster.js').Contact} Contact
 * @typedef {import('./room.js').Room} Room
 * @typedef {import('./room.js').RoomEvent} RoomEvent
 * @typedef {import('../clients/keeper.js').KeptState} XMPPState
 *
 * @typedef {object} Said
 * @property {'chat' | 'room' | 'headline' | 'error'} kind
 * @property {string} from a full address; in a room that of the occupant
 * @property {string} to
 * @property {string} nick who said it in a room
 * @property {Room | null} room
 * @property {string} text
 * @property {Date} time when it was said, if that was before
 * @property {boolean} delayed it was said before
 * @property {boolean} own
 * @property {string} id
 * @property {Element} stanza
 *
 * @typedef {object} XMPPEvents
 * @property {{ state: XMPPState }} state
 * @property {{ error: Error }} error what no promise tells
 * @property {Said} message ours, too, once each
 * @property {{ contacts: ReadonlyMap<string, Contact> }} roster
 * @property {{ contact: Contact, device: string }} presence
 * @property {{ from: string, kind: 'subscribe' | 'subscribed' | 'unsubscribe' | 'unsubscribed', status: string }} subscription
 * @property {RoomEvent} room
 * @property {{ room: Room, subject: string, by: string }} subject
 *
 * @typedef {object} XMPPPerson
 * @property {import('./strophe.js').Strophe} strophe the object of this name that strophe.js exports
 * @property {string} jid `ada@example.org`, or with a resource
 * @property {string} password
 * @property {boolean} [resume] whether a stream that is lost is resumed (XEP-0198) where the server can; by default true
 * @property {boolean | import('../clients/keeper.js').Patience} [reconnect] by default true
 * @property {number} [timeoutMs] how long the server may take to answer (30,000)
 * @typedef {import('./strophe.js').StropheReach & XMPPPerson} XMPPOptions
 */

import { Keeper } from '../clients/keeper.js';
import { Emitter } from '../events.js';
import { checkOptions } from '../options.js';
import { Answers } from './answers.js';
import { attribute, bare, build, childOf, errorOf, resource, textOf } from './element.js';
import { XMPPError } from './errors.js';
import { Rooms } from './rooms.js';
import { ROSTER, Roster, rosterOf } from './roster.js';
import { XMPPStream } from './stream.js';
import { forgetStale } from './strophe.js';

const OPTIONS = ['strophe', 'server', 'port', 'gateway', 'service', 'jid', 'password', 'resume', 'reconnect', 'timeoutMs'];
/** Why it is of no use to try again. */
const FATAL = ['login', 'denied', 'version', 'protocol'];
const FATAL_CONDITIONS = ['conflict', 'host-unknown', 'not-authorized', 'policy-violation'];
const SUBSCRIPTIONS = /** @type {const} */ (['subscribe', 'subscribed', 'unsubscribe', 'unsubscribed']);

export class XMPPClient {
  /** @type {Emitter<{ [Name in keyof XMPPEvents]: XMPPEvents[Name] }>} */
  #events = new Emitter();
  #strophe;
  #stream;
  #keeper;
  #answers;
  #rooms;
  #roster = new Roster();
  #timeoutMs;
  #ids = 0;

  /** @param {XMPPOptions} options */
  constructor(options) {
    checkOptions(options, OPTIONS);
    const { strophe, jid, reconnect = true, timeoutMs = 30_000 } = options;
    if (typeof strophe?.Connection !== 'function') throw new TypeError('strophe is to be the object of that name that strophe.js exports');
    if (!(timeoutMs > 0)) throw new TypeError(`timeoutMs cannot be ${timeoutMs}`);
    if (!/^[^@/\s]+@[^@/\s]+(\/.+)?$/.test(jid)) throw new XMPPError('invalid', '', `the address ${JSON.stringify(jid)}`);
    this.#strophe = strophe;
    this.#timeoutMs = timeoutMs;
    this.#answers = new Answers(timeoutMs);
    this.#rooms = new Rooms((shape) => this.send(shape), this.#answers, this.#events);
    this.#stream = new XMPPStream(options, { welcome: () => void this.#welcomed(), end: (error) => this.#ended(error) });
    this.#keeper = new Keeper({
      open: () => this.#stream.open(),
      drop: () => this.#stream.drop(),
      leave: () => this.#stream.connection.disconnect(),
      changed: (state) => this.#events.emit('state', { state }),
      failed: (error) => this.#events.emit('error', { error }),
      isFinal: (error) => FATAL.includes(/** @type {{ code?: string }} */ (error).code ?? '') || (error instanceof XMPPError && FATAL_CONDITIONS.includes(error.condition)),
      error: (code) => new XMPPError(code),
    }, reconnect, timeoutMs);
  }

  /** @returns {XMPPState} */
  get state() {
    return this.#keeper.state;
  }

  /** Our address, with the resource once the server has said it. */
  get jid() {
    return this.#stream.jid;
  }

  /** The people of the roster, by their addresses. @returns {ReadonlyMap<string, Contact>} */
  get contacts() {
    return this.#roster.contacts;
  }

  /** The rooms that we are in, or want to be in, by their addresses. @returns {ReadonlyMap<string, Room>} */
  get rooms() {
    return this.#rooms.all;
  }

  /** The connection of strophe.js, for its handlers and plugins. */
  get connection() {
    return this.#stream.connection;
  }

  /**
   * @template {keyof XMPPEvents} Name
   * @param {Name} name
   * @param {(event: XMPPEvents[Name]) => void} listener
   * @returns {() => void} unsubscribes
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  // --- what an application does ---

  /**
   * Resolves when we are logged in, know the roster and have said that we are there; rejects when it cannot be done now.
   * Once it was done, lost connections are made again until `close()`, and the rooms entered.
   * @returns {Promise<void>}
   */
  connect() {
    return this.#keeper.connect();
  }

  /** Says goodbye and ends the connection, for good. Resolves when that is done. @returns {Promise<void>} */
  close() {
    return this.#keeper.close();
  }

  /** What others see of us. @param {{ show?: string, status?: string, priority?: number }} [presence] */
  async setPresence({ show = '', status = '', priority = 0 } = {}) {
    /** @type {Shape[]} */
    const said = [];
    if (show !== '') said.push(['show', {}, show]);
    if (status !== '') said.push(['status', {}, status]);
    if (priority !== 0) said.push(['priority', {}, String(priority)]);
    await this.send(['presence', {}, ...said]);
    await this.#rooms.show(said);
  }

  /**
   * Says something to somebody or in a room. In a room it resolves to the message as everybody there got it, otherwise
   * when it was handed over.
   * @param {string} to
   * @param {string} text
   * @returns {Promise<Said>}
   */
  async say(to, text) {
    const id = this.#id();
    const room = this.#rooms.all.get(to);
    const stanza = build(this.#strophe, ['message', { to, id, type: room ? 'groupchat' : 'chat' }, ['body', {}, text]]);
    this.#hand(stanza);
    if (room) return this.#rooms.given(id);
    const said = { kind: /** @type {const} */ ('chat'), from: this.jid, to, nick: '', room: null, text, time: new Date(), delayed: false, own: true, id, stanza };
    this.#events.emit('message', said);
    return said;
  }

  /**
   * Enters a room. Resolves when it has let us in and told who is there.
   * @param {string} jid
   * @param {string} nick
   * @param {{ password?: string, history?: number }} [how] `history`: how many messages of before
   * @returns {Promise<Room>}
   */
  async join(jid, nick, { password = '', history } = {}) {
    return this.#rooms.join(jid, nick, password, history);
  }

  /** Resolves when the room has let us go. @param {string} jid */
  async leave(jid) {
    await this.#rooms.leave(jid);
  }

  /** @param {string} room @param {string} subject */
  async setSubject(room, subject) {
    await this.send(['message', { to: room, type: 'groupchat' }, ['subject', {}, subject]]);
  }

  /** Puts somebody on the roster, or changes what it says, and asks to be told of their presence. @param {string} jid @param {{ name?: string, groups?: readonly string[] }} [how] */
  async addContact(jid, { name, groups = [] } = {}) {
    const item = /** @type {const} */ (['item', { jid: bare(jid), name }, ...groups.map((group) => /** @type {const} */ (['group', {}, group]))]);
    await this.request('set', '', ['query', { xmlns: ROSTER }, item]);
    await this.send(['presence', { to: bare(jid), type: 'subscribe' }]);
  }

  /** @param {string} jid */
  async removeContact(jid) {
    await this.request('set', '', ['query', { xmlns: ROSTER }, ['item', { jid: bare(jid), subscription: 'remove' }]]);
  }

  /** Lets somebody who asked see our presence, or no longer. @param {string} jid @param {boolean} [may] */
  async allow(jid, may = true) {
    await this.send(['presence', { to: bare(jid), type: may ? 'subscribed' : 'unsubscribed' }]);
  }

  /**
   * Asks something (`iq`); resolves to the answer.
   * @param {'get' | 'set'} type
   * @param {string} to nothing for our own account
   * @param {Shape} shape
   * @returns {Promise<Element>}
   */
  async request(type, to, shape) {
    const iq = build(this.#strophe, ['iq', { type, to: to === '' ? undefined : to, id: this.#id() }, shape]);
    if (this.state !== 'connected') throw new XMPPError('closed');
    return this.#ask(iq);
  }

  /** Sends any other stanza. Resolves when it was handed over. @param {Shape} shape */
  async send(shape) {
    this.#hand(build(this.#strophe, shape));
  }

  // --- sending ---

  #id() {
    this.#ids += 1;
    return `perigee-${this.#ids}-${Math.random().toString(36).slice(2, 10)}`;
  }

  /** @param {Element} stanza */
  #hand(stanza) {
    if (this.state !== 'connected') throw new XMPPError('closed');
    this.#stream.connection.send(stanza);
  }

  /** @param {Element} iq @returns {Promise<Element>} */
  #ask(iq) {
    return this.#answers.wait((/** @type {import('../socket.js').Deferred<Element>} */ answer) => {
      const failed = (/** @type {Element | null} */ reply) => answer.reject(reply ? errorOf(reply) : new XMPPError('timeout'));
      this.#stream.connection.sendIQ(iq, (reply) => answer.resolve(reply), failed, this.#timeoutMs);
    });
  }

  // --- the connection ---

  /** @param {Error} error */
  #ended(error) {
    const { state } = this;
    if (state !== 'connecting' && state !== 'connected') return;
    this.#answers.failAll(error);
    // A stream that is resumed goes on with what was there.
    this.#keeper.down(error);
  }

  /** The server has taken us in: what it knows and what it is to know. */
  async #welcomed() {
    const { connection } = this.#stream;
    const hear = (/** @type {(stanza: Element) => void} */ take) => (/** @type {Element} */ stanza) => (take(stanza), true);
    connection.addHandler(hear((stanza) => this.#message(stanza)), null, 'message');
    connection.addHandler(hear((stanza) => this.#someone(stanza)), null, 'presence');
    connection.addHandler(hear((stanza) => this.#pushed(stanza)), ROSTER, 'iq', 'set');
    connection.addHandler(hear((stanza) => this.#answer(stanza)), 'urn:xmpp:ping', 'iq', 'get');
    if (connection.hasResumed?.()) {
      this.#keeper.up();
      return;
    }
    forgetStale(connection);
    this.#rooms.lost();
    try {
      const roster = await this.#ask(build(this.#strophe, ['iq', { type: 'get', id: this.#id() }, ['query', { xmlns: ROSTER }]]));
      this.#roster.load(rosterOf(roster));
    } catch (error) {
      // A server without rosters serves rooms and messages.
      if (!(error instanceof XMPPError) || error.code !== 'refused') return;
      this.#roster.load(undefined);
    }
    connection.send(build(this.#strophe, ['presence', {}, ...this.#rooms.presence]));
    if (!this.#keeper.up()) return;
    this.#events.emit('roster', { contacts: this.contacts });
    this.#rooms.enterAll();
  }

  // --- what the server says ---

  /** @param {Element} stanza */
  #message(stanza) {
    const from = attribute(stanza, 'from');
    const room = this.#rooms.all.get(bare(from)) ?? null;
    const type = attribute(stanza, 'type');
    const id = attribute(stanza, 'id');
    if (room && type === 'groupchat' && room.takeSubject(stanza)) {
      this.#events.emit('subject', { room, subject: room.subject, by: resource(from) });
      return;
    }
    const text = textOf(stanza, 'body');
    const waiting = room ? this.#rooms.waiting(id) : undefined;
    if (type === 'error') waiting?.reject(errorOf(stanza));
    if (text === null && type !== 'error') return;
    const stamp = childOf(stanza, 'delay', 'urn:xmpp:delay');
    const time = stamp ? new Date(attribute(stamp, 'stamp')) : new Date();
    const own = type === 'groupchat' && room !== null && resource(from) === room.nick;
    /** @type {Said} */
    const said = {
      kind: type === 'groupchat' ? 'room' : type === 'error' || type === 'headline' ? type : 'chat',
      from, to: attribute(stanza, 'to'), nick: room ? resource(from) : '', room, text: text ?? '',
      time: Number.isNaN(time.getTime()) ? new Date() : time, delayed: stamp !== undefined, own, id, stanza,
    };
    this.#events.emit('message', said);
    if (own) waiting?.resolve(said);
  }

  /** @param {Element} stanza */
  #someone(stanza) {
    if (this.#rooms.someone(stanza)) return;
    const from = attribute(stanza, 'from');
    const kind = SUBSCRIPTIONS.find((one) => one === attribute(stanza, 'type'));
    if (kind) {
      this.#events.emit('subscription', { from: bare(from), kind, status: textOf(stanza, 'status') ?? '' });
      return;
    }
    const contact = attribute(stanza, 'type') === 'error' ? null : this.#roster.presence(stanza);
    if (contact) this.#events.emit('presence', { contact, device: resource(from) });
  }

  /** @param {Element} iq */
  #pushed(iq) {
    const from = attribute(iq, 'from');
    // Anybody can send one; only our own server says what is true (RFC 6121 §2.1.6).
    if (from !== '' && from !== bare(this.jid)) return;
    this.#roster.update(rosterOf(iq));
    this.#answer(iq);
    this.#events.emit('roster', { contacts: this.contacts });
  }

  /** @param {Element} iq */
  #answer(iq) {
    const to = attribute(iq, 'from');
    this.#stream.connection.send(build(this.#strophe, ['iq', { type: 'result', id: attribute(iq, 'id'), to: to === '' ? undefined : to }]));
  }
}
