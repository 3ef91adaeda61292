/**
 * The rooms that we are in, or want to be in: entering and leaving them, and what we say there until the room has given it
 * back.
 *
 * @typedef {import('./element.js').Shape} Shape
 * @typedef {import('./client.js').Said} Said
 * @typedef {import('./client.js').XMPPEvents} XMPPEvents
 */

import { Deferred } from '../socket.js';
import { attribute, bare } from './element.js';
import { XMPPError } from './errors.js';
import { MUC, Room } from './room.js';

/** What of ours the server did not give back yet is remembered up to this many. */
const MAX_UNSEEN = 10_000;

export class Rooms {
  /** @type {Map<string, Room>} by their addresses */
  all = new Map();
  /** What our presence says. @type {readonly Shape[]} */
  presence = [];

  #send;
  #answers;
  #events;
  /** What we said in rooms, by its id. @type {Map<string, Deferred<Said>>} */
  #unseen = new Map();
  /** Who waits for another nick, and where. @type {Map<Deferred<Room>, Room>} */
  #renaming = new Map();

  /**
   * @param {(shape: Shape) => Promise<void>} send
   * @param {import('./answers.js').Answers} answers
   * @param {import('../events.js').Emitter<{ [Name in keyof XMPPEvents]: XMPPEvents[Name] }>} events
   */
  constructor(send, answers, events) {
    this.#send = send;
    this.#answers = answers;
    this.#events = events;
  }

  /**
   * @param {string} jid
   * @param {string} nick
   * @param {string} password
   * @param {number | undefined} history
   * @returns {Promise<Room>}
   */
  async join(jid, nick, password, history) {
    if (nick === '' || jid.includes('/')) throw new XMPPError('invalid', '', 'the room or the nick');
    let room = this.all.get(jid);
    if (room?.isIn && room.nick === nick) return room;
    if (!room) {
      room = new Room(jid, nick, password);
      this.all.set(jid, room);
    } else if (room.isIn) {
      return this.#renamed(room, nick);
    }
    try {
      return await this.#enter(room, history);
    } catch (error) {
      if (error instanceof XMPPError && (error.code === 'refused' || error.code === 'timeout') && !room.isIn) this.all.delete(jid);
      throw error;
    }
  }

  /** @param {string} jid */
  async leave(jid) {
    const room = this.all.get(jid);
    this.all.delete(jid);
    if (!room?.isIn) return;
    // It is told of as long as it takes.
    this.all.set(jid, room);
    try {
      await this.#send(['presence', { to: `${jid}/${room.nick}`, type: 'unavailable' }]);
      await this.#answers.within(room.leaving());
    } finally {
      this.all.delete(jid);
    }
  }

  /** The stream that we were in them by is over. */
  lost() {
    for (const room of this.all.values()) room.lost(new XMPPError('ended'));
  }

  /** On another stream. */
  enterAll() {
    for (const room of [...this.all.values()]) this.#enter(room).catch((error) => this.#events.emit('error', { error }));
  }

  /** Says in each what our presence says from now on. @param {readonly Shape[]} presence */
  async show(presence) {
    this.presence = presence;
    for (const room of this.all.values()) if (room.isIn) await this.#send(['presence', { to: `${room.jid}/${room.nick}` }, ...presence]);
  }

  /** Resolves when the room has given back what was said under this id. @param {string} id @returns {Promise<Said>} */
  async given(id) {
    if (this.#unseen.size >= MAX_UNSEEN) throw new XMPPError('refused', 'resource-constraint', 'the room gives nothing back');
    return this.#answers.wait((said) => this.#unseen.set(id, said), () => this.#unseen.delete(id));
  }

  /** Who waits for what was said under this id. @param {string} id */
  waiting(id) {
    return this.#unseen.get(id);
  }

  /** @param {Element} stanza a presence @returns {boolean} whether it is of a room */
  someone(stanza) {
    const room = this.all.get(bare(attribute(stanza, 'from')));
    if (!room) return false;
    const event = room.presence(stanza);
    if (event instanceof XMPPError) {
      if (!room.isIn) return true;
      this.#events.emit('error', { error: event });
      for (const [answer, where] of this.#renaming) if (where === room) answer.reject(event);
    } else if (event) {
      // Who was put out is not to come back by himself; a server that stops puts nobody out.
      if (event.own && event.kind === 'leave' && room.isPutOut) this.all.delete(room.jid);
      this.#events.emit('room', event);
      if (event.own && event.kind === 'nick') for (const [answer, where] of this.#renaming) if (where === room) answer.resolve(room);
    }
    return true;
  }

  /** @param {Room} room @param {number} [history] @returns {Promise<Room>} */
  async #enter(room, history) {
    /** @type {Shape[]} */
    const how = [];
    if (room.password !== '') how.push(['password', {}, room.password]);
    if (history !== undefined) how.push(['history', { maxstanzas: String(history) }]);
    await this.#send(['presence', { to: `${room.jid}/${room.nick}` }, ['x', { xmlns: MUC }, ...how], ...this.presence]);
    return this.#answers.within(room.joined);
  }

  /** @param {Room} room @param {string} nick @returns {Promise<Room>} */
  async #renamed(room, nick) {
    await this.#send(['presence', { to: `${room.jid}/${nick}` }, ...this.presence]);
    /** @type {Deferred<Room>} */
    const renamed = new Deferred();
    this.#renaming.set(renamed, room);
    try {
      return await this.#answers.within(renamed.promise);
    } finally {
      this.#renaming.delete(renamed);
    }
  }
}
