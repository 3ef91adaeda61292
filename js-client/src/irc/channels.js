/**
 * Who is where, as the server tells it: channels that we are in, their members and topics.
 *
 * @typedef {object} Member
 * @property {string} nick
 * @property {string} modes ranks in this channel, such as `ov`, the highest first
 * @property {string} user '' while the server did not say
 * @property {string} host
 * @property {string | null} account null: none, or the server did not say
 * @property {boolean} away
 *
 * @typedef {{ text: string, by: string, at: Date | null }} Topic
 *
 * @typedef {object} Channel
 * @property {string} name
 * @property {Topic | null} topic
 * @property {Map<string, Member>} members by their nicks, folded as the server compares them
 * @property {boolean} listed the server has told all of its members
 */

export class Channels {
  /** @type {Map<string, Channel>} by their names, folded */
  all = new Map();
  #support;
  /** @type {Map<string, Map<string, Member>>} NAMES under way, by channel */
  #naming = new Map();

  /** @param {import('./support.js').Support} support */
  constructor(support) {
    this.#support = support;
  }

  /** @param {string} name */
  get(name) {
    return this.all.get(this.#support.fold(name));
  }

  /** The channels that somebody is in. @param {string} nick */
  of(nick) {
    const key = this.#support.fold(nick);
    return [...this.all.values()].filter(({ members }) => members.has(key));
  }

  /** @param {string} name @param {import('./message.js').Source} who @param {string | undefined} account @param {boolean} self */
  join(name, who, account, self) {
    const { fold } = this.#support;
    const key = this.#support.fold(name);
    if (self) this.all.set(key, { name, topic: null, members: new Map(), listed: false });
    const channel = this.all.get(key);
    channel?.members.set(fold.call(this.#support, who.nick), {
      nick: who.nick, user: who.user, host: who.host, modes: '', account: account === undefined || account === '*' ? null : account, away: false,
    });
    return channel;
  }

  /** @param {string} name @param {string} nick @param {boolean} self */
  part(name, nick, self) {
    const channel = this.get(name);
    if (self) {
      this.all.delete(this.#support.fold(name));
      this.#naming.delete(this.#support.fold(name));
    }
    channel?.members.delete(this.#support.fold(nick));
  }

  /** @param {string} nick */
  quit(nick) {
    const left = this.of(nick);
    for (const { members } of left) members.delete(this.#support.fold(nick));
    return left;
  }

  /** @param {string} from @param {string} to */
  rename(from, to) {
    for (const { members } of this.of(from)) {
      const member = members.get(this.#support.fold(from));
      members.delete(this.#support.fold(from));
      if (member) members.set(this.#support.fold(to), Object.assign(member, { nick: to }));
    }
  }

  /** Something about a person that is so everywhere. @param {string} nick @param {Partial<Member>} change */
  change(nick, change) {
    for (const { members } of this.of(nick)) Object.assign(members.get(this.#support.fold(nick)) ?? {}, change);
  }

  /** A line of NAMES. @param {string} name @param {string} text */
  names(name, text) {
    const channel = this.get(name);
    if (channel === undefined) return;
    const key = this.#support.fold(name);
    const found = this.#naming.get(key) ?? new Map();
    this.#naming.set(key, found);
    const { modes, prefixes } = this.#support.ranks;
    for (const word of text.split(' ')) {
      let at = 0;
      while (at < word.length && prefixes.includes(word.charAt(at))) at += 1;
      const [, nick = '', user = '', host = ''] = /^([^!]*)(?:!([^@]*)@(.*))?$/s.exec(word.slice(at)) ?? [];
      if (nick === '') continue;
      const before = channel.members.get(this.#support.fold(nick));
      const held = [...word.slice(0, at)].map((prefix) => modes.charAt(prefixes.indexOf(prefix))).join('');
      found.set(this.#support.fold(nick), {
        nick, user: user || (before?.user ?? ''), host: host || (before?.host ?? ''), modes: held,
        account: before?.account ?? null, away: before?.away ?? false,
      });
    }
  }

  /** NAMES are complete. @param {string} name */
  named(name) {
    const channel = this.get(name);
    const found = this.#naming.get(this.#support.fold(name));
    this.#naming.delete(this.#support.fold(name));
    if (channel === undefined) return undefined;
    if (found) channel.members = found;
    channel.listed = true;
    return channel;
  }

  /** @param {string} name @param {string} changes @param {readonly string[]} params */
  mode(name, changes, params) {
    const channel = this.get(name);
    const { modes } = this.#support.ranks;
    for (const { add, mode, param = '' } of channel === undefined ? [] : this.#support.modes(changes, params)) {
      const member = modes.includes(mode) && channel?.members.get(this.#support.fold(param));
      if (!member) continue;
      const held = add ? member.modes + mode : member.modes.replace(mode, '');
      member.modes = [...modes].filter((one) => held.includes(one)).join('');
    }
  }
}
