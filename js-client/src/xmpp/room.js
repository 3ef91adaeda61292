/**
 * One room of many (XEP-0045), as far as we are in it.
 *
 * @typedef {object} Occupant
 * @property {string} nick
 * @property {string} affiliation
 * @property {string} role
 * @property {string} jid where the room tells it
 * @property {string} show
 * @property {string} status
 *
 * @typedef {{ room: Room, kind: 'join' | 'leave' | 'nick' | 'change', occupant: Occupant, own: boolean, was: string, codes: readonly string[], reason: string }} RoomEvent
 *   `was` is the nick before; `codes` are the room's, such as `307` for who was kicked
 */

import { Deferred } from '../socket.js';
import { attribute, childOf, childrenOf, errorOf, resource, textOf } from './element.js';
import { XMPPError } from './errors.js';
import { presenceOf } from './roster.js';

export const MUC = 'http://jabber.org/protocol/muc';
const USER = `${MUC}#user`;
/** Codes of the room's own. */
const SELF = '110';
const NEW_NICK = '303';
/** Banned, kicked, no member any more, and no member of a room for members. */
const PUT_OUT = ['301', '307', '321', '322'];

export class Room {
  /** @type {Map<string, Occupant>} */
  #occupants = new Map();
  /** Nicks that changed, and are about to come back under the new one. @type {Map<string, string>} */
  #renamed = new Map();
  /** @type {Deferred<Room>} */
  #joined = new Deferred();
  /** @type {Deferred<void> | null} */
  #left = null;
  #isIn = false;
  #isPutOut = false;
  #subject = '';

  /** @param {string} jid @param {string} nick @param {string} password */
  constructor(jid, nick, password) {
    this.jid = jid;
    this.nick = nick;
    /** What it takes to come back. */
    this.password = password;
  }

  /** Whether we are in it. */
  get isIn() {
    return this.#isIn;
  }

  /** Whether somebody wants us not to be in it, or it is no more. */
  get isPutOut() {
    return this.#isPutOut;
  }

  get subject() {
    return this.#subject;
  }

  /** Who is in it, by their nicks. @returns {ReadonlyMap<string, Occupant>} */
  get occupants() {
    return this.#occupants;
  }

  /** Resolves when the room has let us in and told who is there. */
  get joined() {
    return this.#joined.promise;
  }

  /** Resolves when the room has let us go. */
  leaving() {
    this.#left ??= new Deferred();
    return this.#left.promise;
  }

  /** The connection is over, and with it our stay. @param {Error} error */
  lost(error) {
    this.#occupants.clear();
    this.#renamed.clear();
    this.#isIn = false;
    this.#joined.reject(error);
    this.#joined = new Deferred();
    this.#left?.resolve();
    this.#left = null;
  }

  /** @param {Element} message @returns {boolean} whether it says a new subject */
  takeSubject(message) {
    const subject = textOf(message, 'subject');
    if (subject === null || childOf(message, 'body')) return false;
    this.#subject = subject;
    return true;
  }

  /** @param {Element} stanza a presence from this room @returns {RoomEvent | XMPPError | null} */
  presence(stanza) {
    const type = attribute(stanza, 'type');
    if (type === 'error') {
      const error = errorOf(stanza);
      if (!this.#isIn) this.lost(error);
      return error;
    }
    const about = childOf(stanza, 'x', USER);
    const codes = about ? childrenOf(about, 'status').map((status) => attribute(status, 'code')) : [];
    const item = about && childOf(about, 'item');
    const nick = resource(attribute(stanza, 'from'));
    // The room's own, of its picture, is nobody's.
    if (nick === '') return null;
    const own = codes.includes(SELF) || nick === this.nick;
    const event = { room: this, own, was: nick, codes, reason: (item && textOf(item, 'reason')) ?? '' };
    const occupant = this.#occupants.get(nick);
    if (type === 'unavailable') {
      this.#occupants.delete(nick);
      const next = codes.includes(NEW_NICK) && item ? attribute(item, 'nick') : '';
      if (next !== '') {
        this.#renamed.set(next, nick);
        if (own) this.nick = next;
        return null;
      }
      if (own) this.#isPutOut = codes.some((code) => PUT_OUT.includes(code)) || (about !== undefined && childOf(about, 'destroy') !== undefined);
      if (own) this.lost(new XMPPError('refused', '', event.reason));
      return occupant ? { ...event, kind: 'leave', occupant } : null;
    }
    const { show, status } = presenceOf(stanza);
    const now = {
      nick, show, status, affiliation: item ? attribute(item, 'affiliation') : '', role: item ? attribute(item, 'role') : '', jid: item ? attribute(item, 'jid') : '',
    };
    this.#occupants.set(nick, now);
    if (codes.includes(SELF)) {
      // The room may have given us another.
      this.nick = nick;
      this.#isIn = true;
      this.#joined.resolve(this);
    }
    const was = this.#renamed.get(nick);
    this.#renamed.delete(nick);
    if (was !== undefined) return { ...event, was, kind: 'nick', occupant: now };
    return { ...event, kind: occupant ? 'change' : 'join', occupant: now };
  }
}
