/**
 * A person on XMPP, with strophe.js on a session for what it can (login, resource, stream management): the roster,
 * presence, messages and rooms, and coming back when the connection is lost.
 *
 * Invariants: a promise settles once, and at the latest when the connection ends; what a server says cannot make this
 * grow but for people of the roster and of rooms.
 *
 * @typedef {import('./element.js').Shape} Shape
 * @typedef {import('./roster.js').Contact} Contact
 * @typedef {import('./room.js').RoomEvent} RoomEvent
 * @typedef {import('../clients/keeper.js').KeptState} XMPPState
 *
 * @typedef {object} Said
 * @property {'chat' | 'room' | 'headline' | 'error'} kind
 * @property {string} from a full address; in a room that of the occupant
 * @property {string} to
 * @property {string} nick who said it in a room
 * @property {import('./room.js').Room | null} room
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
 * @property {{ room: import('./room.js').Room, subject: string, by: string }} subject
 *
 * @typedef {object} XMPPPerson
 * @property {import('./strophe.js').Strophe} strophe the object of this name that strophe.js exports
 * @property {string} jid `ada@example.org`, or with a resource
 * @property {string} password
 * @property {boolean} [resume] whether a stream that is lost is resumed (XEP-0198) where the server can; by default true
 * @property {boolean | import('../clients/connection.js').Patience} [reconnect] by default true
 * @property {number} [timeoutMs] how long the server may take to answer (30,000)
 * @typedef {import('./strophe.js').StropheReach & XMPPPerson} XMPPOptions
 */

import { checkOptions, patienceOf } from '../clients/connection.js';
import { Deferred } from '../clients/deferred.js';
import { Keeper } from '../clients/keeper.js';
import { codeName } from '../codes.js';
import { PerigeeError, errorCode } from '../errors.js';
import { Emitter } from '../events.js';
import { attribute, bare, build, childOf, errorOf, resource, textOf } from './element.js';
import { XMPPError } from './errors.js';
import { MUC, Room } from './room.js';
import { ROSTER, Roster, rosterOf } from './roster.js';
import { connectionOver, forgetStale, socketTo } from './strophe.js';

const OPTIONS = ['strophe', 'server', 'port', 'gateway', 'service', 'jid', 'password', 'resume', 'reconnect', 'timeoutMs'];
/** What of ours the server did not give back yet is remembered up to this many. */
const MAX_UNSEEN = 10_000;
/** Why it is of no use to try again. */
const FATAL = ['login', 'denied', 'version', 'protocol'];
const FATAL_CONDITIONS = ['conflict', 'host-unknown', 'not-authorized', 'policy-violation'];
const SUBSCRIPTIONS = /** @type {const} */ (['subscribe', 'subscribed', 'unsubscribe', 'unsubscribed']);

export class XMPPClient {
  /** @type {Emitter<{ [Name in keyof XMPPEvents]: XMPPEvents[Name] }>} */
  #events = new Emitter();
  #strophe;
  #connection;
  #keeper;
  #jid;
  #password;
  #timeoutMs;
  #roster = new Roster();
  /** @type {Map<string, Room>} */
  #rooms = new Map();
  /** What waits for an answer. @type {Set<Deferred<any>>} */
  #pending = new Set();
  /** What we said in rooms, by its id. @type {Map<string, Deferred<Said>>} */
  #unseen = new Map();
  /** @type {import('../websocket.js').TCPWebSocket | null} */
  #socket = null;
  /** How the connection ended, where something said so. @type {Error | null} */
  #reason = null;
  /** @type {readonly Shape[]} what our presence says */
  #presence = [];
  #ids = 0;

  /** @param {XMPPOptions} options */
  constructor(options) {
    checkOptions(options, OPTIONS);
    const { strophe, jid, password, resume = true, reconnect = true, timeoutMs = 30_000 } = options;
    if (typeof strophe?.Connection !== 'function') throw new TypeError('strophe is to be the object of that name that strophe.js exports');
    if (!(timeoutMs > 0)) throw new TypeError(`timeoutMs cannot be ${timeoutMs}`);
    if (!/^[^@/\s]+@[^@/\s]+(\/.+)?$/.test(jid)) throw new XMPPError('invalid', '', `the address ${JSON.stringify(jid)}`);
    this.#strophe = strophe;
    this.#jid = jid;
    this.#password = password;
    this.#timeoutMs = timeoutMs;
    const storage = resume && strophe.MemoryStorageBackend ? new strophe.MemoryStorageBackend() : null;
    const resumable = storage ? { enableStreamManagement: true, streamManagement: { storage } } : {};
    this.#connection = connectionOver(strophe, () => this.#dial(options), resumable);
    this.#keeper = new Keeper({
      open: () => this.#open(),
      drop: () => this.#drop(),
      leave: () => this.#connection.disconnect(),
      changed: (state) => this.#events.emit('state', { state }),
      failed: (error) => this.#events.emit('error', { error }),
      isFinal: (error) => FATAL.includes(/** @type {{ code?: string }} */ (error).code ?? '') || (error instanceof XMPPError && FATAL_CONDITIONS.includes(error.condition)),
      error: (code) => new XMPPError(code),
    }, patienceOf(reconnect), timeoutMs);
  }

  get state() {
    return this.#keeper.state;
  }

  /** Our address, with the resource once the server has said it. */
  get jid() {
    return this.#connection.jid || this.#jid;
  }

  /** The people of the roster, by their addresses. @returns {ReadonlyMap<string, Contact>} */
  get contacts() {
    return this.#roster.contacts;
  }

  /** The rooms that we are in, or want to be in, by their addresses. @returns {ReadonlyMap<string, Room>} */
  get rooms() {
    return this.#rooms;
  }

  /** The connection of strophe.js, for its handlers and plugins. */
  get connection() {
    return this.#connection;
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
    this.#presence = said;
    for (const room of this.#rooms.values()) if (room.isIn) await this.send(['presence', { to: `${room.jid}/${room.nick}` }, ...said]);
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
    const room = this.#rooms.get(to);
    const stanza = build(this.#strophe, ['message', { to, id, type: room ? 'groupchat' : 'chat' }, ['body', {}, text]]);
    this.#hand(stanza);
    if (room) {
      if (this.#unseen.size >= MAX_UNSEEN) throw new XMPPError('refused', 'resource-constraint', 'the room gives nothing back');
      return this.#wait((said) => this.#unseen.set(id, said), () => this.#unseen.delete(id));
    }
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
    if (nick === '' || jid.includes('/')) throw new XMPPError('invalid', '', 'the room or the nick');
    let room = this.#rooms.get(jid);
    if (room?.isIn && room.nick === nick) return room;
    if (!room) {
      room = new Room(jid, nick, password);
      this.#rooms.set(jid, room);
    } else if (room.isIn) {
      return this.#renamed(room, nick);
    }
    try {
      return await this.#enter(room, history);
    } catch (error) {
      if (error instanceof XMPPError && (error.code === 'refused' || error.code === 'timeout') && !room.isIn) this.#rooms.delete(jid);
      throw error;
    }
  }

  /** Resolves when the room has let us go. @param {string} jid */
  async leave(jid) {
    const room = this.#rooms.get(jid);
    this.#rooms.delete(jid);
    if (!room?.isIn) return;
    // It is told of as long as it takes.
    this.#rooms.set(jid, room);
    try {
      await this.send(['presence', { to: `${jid}/${room.nick}`, type: 'unavailable' }]);
      await this.#within(room.leaving());
    } finally {
      this.#rooms.delete(jid);
    }
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
    this.#connection.send(stanza);
  }

  /** @param {Element} iq @returns {Promise<Element>} */
  #ask(iq) {
    return this.#wait((answer) => {
      const failed = (/** @type {Element | null} */ reply) => answer.reject(reply ? errorOf(reply) : new XMPPError('timeout'));
      this.#connection.sendIQ(iq, (reply) => answer.resolve(reply), failed, this.#timeoutMs);
    });
  }

  /**
   * An answer that comes, or does not: then the promise is rejected when the connection ends.
   * @template T
   * @param {(answer: Deferred<T>) => void} begin
   * @param {() => void} [end]
   * @returns {Promise<T>}
   */
  async #wait(begin, end = () => {}) {
    /** @type {Deferred<T>} */
    const answer = new Deferred();
    this.#pending.add(answer);
    try {
      begin(answer);
      return await answer.promise;
    } finally {
      this.#pending.delete(answer);
      end();
    }
  }

  /** @template T @param {Promise<T>} promise @returns {Promise<T>} */
  #within(promise) {
    return this.#wait((answer) => {
      const late = setTimeout(() => answer.reject(new XMPPError('timeout')), this.#timeoutMs);
      answer.promise.catch(() => {}).finally(() => clearTimeout(late));
      promise.then(answer.resolve, answer.reject);
    });
  }

  /** @param {Room} room @param {number} [history] @returns {Promise<Room>} */
  async #enter(room, history) {
    /** @type {Shape[]} */
    const how = [];
    if (room.password !== '') how.push(['password', {}, room.password]);
    if (history !== undefined) how.push(['history', { maxstanzas: String(history) }]);
    await this.send(['presence', { to: `${room.jid}/${room.nick}` }, ['x', { xmlns: MUC }, ...how], ...this.#presence]);
    return this.#within(room.joined);
  }

  /** @param {Room} room @param {string} nick @returns {Promise<Room>} */
  async #renamed(room, nick) {
    await this.send(['presence', { to: `${room.jid}/${nick}` }, ...this.#presence]);
    await this.#within(new Promise((resolve, reject) => {
      const done = [
        this.on('room', (event) => event.room === room && event.own && event.kind === 'nick' && settle(() => resolve(room))),
        this.on('error', ({ error }) => error instanceof XMPPError && error.code === 'refused' && settle(() => reject(error))),
      ];
      const settle = (/** @type {() => void} */ how) => {
        for (const off of done) off();
        how();
      };
    }));
    return room;
  }

  // --- the connection ---

  /** @param {XMPPOptions} options */
  #dial(options) {
    const socket = socketTo(options);
    this.#socket = socket;
    socket.addEventListener('close', (event) => {
      if (this.#socket !== socket) return;
      const { wasClean, code, reason } = /** @type {CloseEvent} */ (event);
      this.#socket = null;
      if (!wasClean) this.#reason ??= new PerigeeError(code === 1006 ? 'offline' : errorCode(codeName(code - 4000)), reason);
      // What strophe has to say of it comes first.
      setTimeout(() => this.#ended(), 0);
    });
    return socket;
  }

  #open() {
    this.#reason = null;
    this.#connection.reset();
    this.#connection.connect(this.#jid, this.#password, (status, condition) => this.#status(status, condition ?? ''));
  }

  #drop() {
    this.#connection.disconnect();
    this.#socket = null;
    this.#ended();
  }

  /** @param {number} status @param {string} condition */
  #status(status, condition) {
    const { CONNECTED, AUTHFAIL, CONNFAIL, ERROR, DISCONNECTED } = this.#strophe.Status;
    switch (status) {
      case CONNECTED:
        void this.#welcomed();
        break;
      case AUTHFAIL:
        this.#reason = new XMPPError('login', condition);
        // strophe waits for another attempt.
        setTimeout(() => this.#connection.disconnect(), 0);
        break;
      case ERROR:
        this.#reason = new XMPPError('stream', condition);
        break;
      case CONNFAIL:
        // A broken socket has said already what broke it.
        if (/^[a-z-]+$/.test(condition)) this.#reason ??= new XMPPError('stream', condition);
        break;
      case DISCONNECTED:
        // What was said on the way out is delivered first.
        if (this.#socket === null) this.#ended();
        break;
      default:
    }
  }

  #ended() {
    const { state } = this;
    if (this.#socket !== null || (state !== 'connecting' && state !== 'connected')) return;
    const error = this.#reason ?? new XMPPError('ended');
    for (const answer of this.#pending) answer.reject(error);
    // A stream that is resumed goes on with what was there.
    this.#keeper.down(error);
  }

  /** The server has taken us in: what it knows and what it is to know. */
  async #welcomed() {
    const connection = this.#connection;
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
    for (const room of this.#rooms.values()) room.lost(new XMPPError('ended'));
    try {
      const roster = await this.#ask(build(this.#strophe, ['iq', { type: 'get', id: this.#id() }, ['query', { xmlns: ROSTER }]]));
      this.#roster.load(rosterOf(roster));
    } catch (error) {
      // A server without rosters serves rooms and messages.
      if (!(error instanceof XMPPError) || error.code !== 'refused') return;
      this.#roster.load(undefined);
    }
    connection.send(build(this.#strophe, ['presence', {}, ...this.#presence]));
    this.#keeper.up();
    this.#events.emit('roster', { contacts: this.contacts });
    for (const room of [...this.#rooms.values()]) this.#enter(room).catch((error) => this.#events.emit('error', { error }));
  }

  // --- what the server says ---

  /** @param {Element} stanza */
  #message(stanza) {
    const from = attribute(stanza, 'from');
    const room = this.#rooms.get(bare(from)) ?? null;
    const type = attribute(stanza, 'type');
    const id = attribute(stanza, 'id');
    if (room && type === 'groupchat' && room.takeSubject(stanza)) {
      this.#events.emit('subject', { room, subject: room.subject, by: resource(from) });
      return;
    }
    const text = textOf(stanza, 'body');
    const waiting = room ? this.#unseen.get(id) : undefined;
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
    const from = attribute(stanza, 'from');
    const room = this.#rooms.get(bare(from));
    if (room) {
      const event = room.presence(stanza);
      if (event instanceof XMPPError) {
        if (room.isIn) this.#events.emit('error', { error: event });
      } else if (event) {
        // Who was put out is not to come back by himself; a server that stops puts nobody out.
        if (event.own && event.kind === 'leave' && room.isPutOut) this.#rooms.delete(room.jid);
        this.#events.emit('room', event);
      }
      return;
    }
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
    this.#connection.send(build(this.#strophe, ['iq', { type: 'result', id: attribute(iq, 'id'), to: to === '' ? undefined : to }]));
  }
}
