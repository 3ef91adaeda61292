// @ts-check
/** A sentence for everything that can go wrong with a connection to an IRC server, and what to do about it. */

import { codeOf, explain } from '../errors.js';

/** @type {Record<string, [title: string, advice: string]>} */
const TEXTS = {
  ended: ['{target} ended the connection.', 'Connect again whenever you like.'],
  closed: ['There is no connection to {target}.', 'Connect first.'],
  nick: ['No nick was free.', 'Choose another one.'],
  password: ['{target} wants another password.', 'Check the server’s password.'],
  banned: ['{target} does not want this client.', 'Ask the people who run it.'],
  sasl: ['The login failed.', 'Check account and password; the server may also know no accounts.'],
  invalid: ['This cannot be said on IRC.', 'Take out spaces and odd characters.'],
  too_long: ['This does not fit into a line of IRC.', 'Make it shorter.'],
  refused: ['{target} refused.', ''],
};

/**
 * @param {unknown} error
 * @param {{ target: string, gateway: string }} where
 * @returns {{ title: string, advice: string }}
 */
export function explainIRC(error, where) {
  const code = codeOf(error);
  const texts = error instanceof Error && error.name === 'IRCError' ? TEXTS[code] : undefined;
  if (!texts) return explain(code, where);
  // Behind the meaning of the code are the server's own words.
  const [, words = ''] = /: (.*)$/s.exec(/** @type {Error} */ (error).message) ?? [];
  const title = texts[0].replaceAll('{target}', where.target);
  return { title: words === '' ? title : `${title.slice(0, -1)}: ${words}`, advice: texts[1] };
}
