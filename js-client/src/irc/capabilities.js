/**
 * Capability negotiation, version 302, without IO: replies in, lines out. What is asked for is what we know how to use
 * and the server offers; what it refuses together is asked for one by one.
 */

/** What this client knows how to use. */
const WANTED = [
  'account-notify', 'account-tag', 'away-notify', 'batch', 'cap-notify', 'chghost', 'echo-message', 'extended-join',
  'invite-notify', 'labeled-response', 'message-tags', 'multi-prefix', 'server-time', 'standard-replies', 'userhost-in-names',
];
/** Names in one REQ: the line has to hold them all. */
const REQUEST_BYTES = 400;

export class Capabilities {
  /** @type {Map<string, string>} with their values */
  offered = new Map();
  /** @type {Set<string>} */
  enabled = new Set();
  /** What was asked for is decided, and the list is complete. */
  settled = false;

  /** @type {Set<string>} */
  #wanted;
  /** @type {string[][]} asked for and not answered */
  #asked = [];
  #listed = false;

  /** @param {Iterable<string>} more that the application knows how to use */
  constructor(more) {
    this.#wanted = new Set([...WANTED, ...more]);
  }

  /**
   * @param {readonly string[]} params of a CAP from the server
   * @returns {string[][]} the parameters of each CAP to send
   */
  receive(params) {
    const [, verb = '', ...rest] = params;
    const names = (rest.at(-1) ?? '').split(' ').filter((name) => name !== '');
    switch (verb.toUpperCase()) {
      case 'LS':
        this.#offer(names);
        // A star says that more lines follow.
        if (rest.length > 1 && rest[0] === '*') return [];
        this.#listed = true;
        return this.#ask([...this.offered.keys()]);
      case 'NEW':
        this.#offer(names);
        return this.#ask(names.map(nameOf));
      case 'DEL':
        for (const name of names) {
          this.offered.delete(name);
          this.enabled.delete(name);
        }
        return [];
      case 'ACK':
        for (const name of names) {
          if (name.startsWith('-')) this.enabled.delete(name.slice(1));
          else this.enabled.add(name);
        }
        return this.#answered(names, []);
      case 'NAK':
        return this.#answered(names, names.length > 1 ? names : []);
      default:
        return [];
    }
  }

  /** @param {string[]} names */
  #offer(names) {
    for (const name of names) this.offered.set(nameOf(name), name.includes('=') ? name.slice(name.indexOf('=') + 1) : '');
  }

  /** @param {string[]} names */
  #ask(names) {
    /** @type {string[][]} */
    const groups = [];
    for (const name of names) {
      if (!this.#wanted.has(name) || this.enabled.has(name)) continue;
      const group = groups.at(-1);
      if (group && [...group, name].join(' ').length <= REQUEST_BYTES) group.push(name);
      else groups.push([name]);
    }
    return this.#request(groups);
  }

  /** @param {string[][]} groups */
  #request(groups) {
    this.#asked.push(...groups);
    this.settled = this.#listed && this.#asked.length === 0;
    return groups.map((group) => ['REQ', group.join(' ')]);
  }

  /** @param {string[]} names @param {string[]} again to be asked for one by one */
  #answered(names, again) {
    const at = this.#asked.findIndex((group) => names.some((name) => group.includes(name)));
    if (at >= 0) this.#asked.splice(at, 1);
    return this.#request(again.map((name) => [name]));
  }
}

/** @param {string} word */
function nameOf(word) {
  return word.replace(/=.*$/s, '');
}
