/** What the server says of itself (ISUPPORT, numeric 005), and what follows from it for names and modes. */

/** @type {Record<string, string>} what else is a capital letter */
const RFC1459 = { '[': '{', ']': '}', '\\': '|' };

export class Support {
  /** @type {Map<string, string>} */
  #tokens = new Map();

  /** @param {string} name @returns {string | undefined} undefined: it did not say; '': it has no value */
  get(name) {
    return this.#tokens.get(name);
  }

  /** The parameters of one 005, without the nick and the words at its end. @param {readonly string[]} tokens */
  learn(tokens) {
    for (const token of tokens) {
      const [, minus, name = '', value = ''] = /^(-?)([A-Z\d]+)(?:=(.*))?$/s.exec(token) ?? [];
      if (minus) this.#tokens.delete(name);
      else if (name) this.#tokens.set(name, value.replace(/\\x([\dA-Fa-f]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))));
    }
  }

  /** A name as the server compares it. @param {string} name */
  fold(name) {
    const lower = name.replace(/[A-Z]/g, (char) => char.toLowerCase());
    const mapping = this.#tokens.get('CASEMAPPING');
    if (mapping === 'ascii' || mapping?.startsWith('rfc7613')) return lower;
    const folded = lower.replace(/[[\]\\]/g, (char) => RFC1459[char] ?? char);
    return mapping === 'rfc1459-strict' || mapping === 'strict-rfc1459' ? folded : folded.replaceAll('~', '^');
  }

  /** @param {string} target */
  isChannel(target) {
    const types = this.#tokens.get('CHANTYPES') ?? '#&';
    return target !== '' && types.includes(target.charAt(0));
  }

  /** A channel, where a message may go to those of some rank in it (`@#perigee`). @param {string} target */
  channelOf(target) {
    const ranks = this.#tokens.get('STATUSMSG') ?? '';
    const bare = ranks.includes(target.charAt(0)) ? target.slice(1) : target;
    return this.isChannel(bare) ? bare : target;
  }

  /** Modes of a channel's members and the characters before their nicks, the highest first. */
  get ranks() {
    const [, modes = 'ov', prefixes = '@+'] = /^\(([^)]*)\)(.*)$/.exec(this.#tokens.get('PREFIX') ?? '(ov)@+') ?? [];
    return { modes, prefixes };
  }

  /** @param {string} name @param {number} otherwise */
  number(name, otherwise) {
    const value = Number(this.#tokens.get(name));
    return Number.isSafeInteger(value) && value > 0 ? value : otherwise;
  }

  /**
   * The changes of a MODE of a channel, with their parameters.
   * @param {string} changes
   * @param {readonly string[]} params
   * @returns {{ add: boolean, mode: string, param: string | undefined }[]}
   */
  modes(changes, params) {
    const [lists = 'beI', always = 'k', set = 'l'] = (this.#tokens.get('CHANMODES') ?? 'beI,k,l').split(',');
    const rest = [...params];
    let add = true;
    const found = [];
    for (const mode of changes) {
      if (mode === '+' || mode === '-') {
        add = mode === '+';
        continue;
      }
      const takes = (this.ranks.modes + lists + always).includes(mode) || (add && set.includes(mode));
      found.push({ add, mode, param: takes ? rest.shift() : undefined });
    }
    return found;
  }
}
