/**
 * The people of a roster, and where they are.
 *
 * @typedef {object} Presence of one of somebody's devices
 * @property {'' | 'chat' | 'away' | 'xa' | 'dnd' | string} show
 * @property {string} status
 * @property {number} priority
 *
 * @typedef {object} Contact
 * @property {string} jid
 * @property {string} name as we call them, or nothing
 * @property {'none' | 'to' | 'from' | 'both' | string} subscription `to`: we are told of their presence
 * @property {boolean} asked they were asked to tell us of their presence
 * @property {readonly string[]} groups
 * @property {Map<string, Presence>} devices that are there, by their resource
 */

import { attribute, bare, childOf, childrenOf, resource, textOf } from './element.js';

export const ROSTER = 'jabber:iq:roster';

export class Roster {
  /** @type {Map<string, Contact>} */
  contacts = new Map();

  /** All of it, anew; who is there is told again. @param {Element | undefined} query */
  load(query) {
    this.contacts.clear();
    this.update(query);
  }

  /** @param {Element | undefined} query of a result or a push */
  update(query) {
    for (const item of query ? childrenOf(query, 'item') : []) {
      const jid = bare(attribute(item, 'jid'));
      const subscription = attribute(item, 'subscription') || 'none';
      if (subscription === 'remove') {
        this.contacts.delete(jid);
        continue;
      }
      this.contacts.set(jid, {
        jid, subscription, name: attribute(item, 'name'), asked: attribute(item, 'ask') === 'subscribe',
        groups: childrenOf(item, 'group').map(({ textContent }) => textContent ?? ''), devices: this.contacts.get(jid)?.devices ?? new Map(),
      });
    }
  }

  /** Somebody's presence; who is not in the roster is nobody. @param {Element} stanza @returns {Contact | null} */
  presence(stanza) {
    const from = attribute(stanza, 'from');
    const contact = this.contacts.get(bare(from));
    if (!contact) return null;
    if (attribute(stanza, 'type') === 'unavailable') contact.devices.delete(resource(from));
    else contact.devices.set(resource(from), presenceOf(stanza));
    return contact;
  }
}

/** @param {Element} stanza @returns {Presence} */
export function presenceOf(stanza) {
  return { show: textOf(stanza, 'show') ?? '', status: textOf(stanza, 'status') ?? '', priority: Number(textOf(stanza, 'priority')) || 0 };
}

/** @param {Element} iq */
export const rosterOf = (iq) => childOf(iq, 'query', ROSTER);
