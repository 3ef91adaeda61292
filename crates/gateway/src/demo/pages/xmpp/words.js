// @ts-check
/** A sentence for everything that can go wrong with an XMPP server, and what to do about it. */

import { codeOf, explain } from '../errors.js';

/** @type {Record<string, [title: string, advice: string]>} */
const CONDITIONS = {
  'not-authorized': ['The login failed.', 'Check address and password.'],
  'host-unknown': ['{target} is not for this domain.', 'Check what is behind the @ of your address, and the server.'],
  conflict: ['You logged in somewhere else with the same resource.', 'Connect again to take it back.'],
  'policy-violation': ['{target} does not allow this.', ''],
  'registration-required': ['This room is for its members.', 'Ask one of them.'],
  forbidden: ['You may not do this.', ''],
  'not-acceptable': ['The room does not take this nick.', ''],
  'item-not-found': ['There is no such person or room.', 'Check the address.'],
  'service-unavailable': ['That address does not take this just now.', 'It may be offline, or not be there.'],
  'remote-server-not-found': ['The server of that address cannot be found.', 'Check what is behind the @.'],
};
/** @type {Record<string, [title: string, advice: string]>} */
const CODES = {
  login: ['The login failed.', 'Check address and password.'],
  ended: ['{target} ended the connection.', 'Connect again whenever you like.'],
  closed: ['There is no connection to {target}.', 'Log in first.'],
  stream: ['{target} ended the stream.', 'Connect again.'],
  invalid: ['This cannot be said in XMPP.', 'Check the address.'],
  refused: ['It was refused.', ''],
};

/**
 * @param {unknown} error
 * @param {{ target: string, gateway: string }} where
 * @returns {{ title: string, advice: string }}
 */
export function explainXMPP(error, where) {
  const code = codeOf(error);
  if (!(error instanceof Error && error.name === 'XMPPError')) return explain(code, where);
  const condition = /** @type {{ condition?: string }} */ (/** @type {unknown} */ (error)).condition ?? '';
  // A nick that somebody else has is a conflict, too.
  const texts = code === 'refused' && condition === 'conflict' ? /** @type {[string, string]} */ (['Somebody else has this nick.', 'Choose another one.']) : (CONDITIONS[condition] ?? CODES[code]);
  if (!texts) return explain(code, where);
  const title = texts[0].replaceAll('{target}', where.target);
  return { title: CONDITIONS[condition] || condition === '' ? title : `${title.slice(0, -1)}: ${condition}.`, advice: texts[1] };
}
