/** CTCP: commands inside of messages, and the few that are answered. */

/** Answers at once, and then one more every so often: each costs us a line that anybody can ask for. */
const BURST = 4;
const EVERY_MS = 2000;

/**
 * @param {string} text of a PRIVMSG or NOTICE
 * @returns {{ command: string, text: string } | null}
 */
export function parseCtcp(text) {
  // Some leave out the delimiter at the end.
  const match = /^\x01([^\x01 ]+)(?: ([^\x01]*))?\x01?$/s.exec(text);
  return match && { command: (match[1] ?? '').toUpperCase(), text: match[2] ?? '' };
}

/** @param {string} command @param {string} text */
export function composeCtcp(command, text) {
  return text === '' ? `\x01${command}\x01` : `\x01${command} ${text}\x01`;
}

export class CtcpReplies {
  #answers;
  #left = BURST;
  #filled = performance.now();

  /** @param {Readonly<Record<string, string>>} answers by command, such as VERSION */
  constructor(answers) {
    this.#answers = new Map(Object.entries(answers).map(([command, answer]) => [command.toUpperCase(), answer]));
  }

  /** What is to be answered, if anything. @param {{ command: string, text: string }} ctcp */
  answer({ command, text }) {
    const answer = command === 'PING' ? text
      : command === 'CLIENTINFO' ? ['ACTION', 'CLIENTINFO', 'PING', ...this.#answers.keys()].join(' ')
        : this.#answers.get(command);
    if (answer === undefined || !this.#spend()) return null;
    return composeCtcp(command, answer);
  }

  #spend() {
    const now = performance.now();
    const more = Math.floor((now - this.#filled) / EVERY_MS);
    this.#left = Math.min(BURST, this.#left + more);
    this.#filled += more * EVERY_MS;
    if (this.#left === 0) return false;
    this.#left -= 1;
    return true;
  }
}
