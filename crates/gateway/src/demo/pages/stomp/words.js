// @ts-check
/** A sentence for everything that can go wrong with a broker, and what to do about it. */

import { codeOf, explain } from '../errors.js';

/** @type {Record<string, [title: string, advice: string]>} */
const TEXTS = {
  refused: ['{target} refused', 'Such an error ends the connection; it is made again by itself if it was there before.'],
  ended: ['{target} ended the connection.', 'Connect again whenever you like.'],
  closed: ['There is no connection to {target}.', 'Connect first.'],
  silent: ['{target} sent no heart-beat.', 'It may be overloaded or gone.'],
  stale: ['This belongs to a connection that is over.', 'The broker delivers such messages again.'],
  protocol: ['{target} broke the protocol.', 'Check that it speaks STOMP.'],
  invalid: ['This cannot be a frame of STOMP.', 'Check headers and what the message is to be acknowledged with.'],
  too_long: ['A message is larger than this page takes.', ''],
};

/**
 * @param {unknown} error
 * @param {{ target: string, gateway: string }} where
 * @returns {{ title: string, advice: string }}
 */
export function explainStomp(error, where) {
  const code = codeOf(error);
  const texts = error instanceof Error && error.name === 'StompError' ? TEXTS[code] : undefined;
  if (!texts) return explain(code, where);
  const title = texts[0].replaceAll('{target}', where.target);
  if (code !== 'refused') return { title: withWords(title, error), advice: texts[1] };
  const { headers, body } = /** @type {{ headers: Readonly<Record<string, string>>, body: string }} */ (/** @type {unknown} */ (error));
  const said = [headers.message ?? '', body.trim()].filter(Boolean).join(' – ').slice(0, 500);
  return { title: said === '' ? `${title}.` : `${title}: ${said}`, advice: texts[1] };
}

/** With what the error says behind the meaning of its code. @param {string} title @param {unknown} error */
function withWords(title, error) {
  const [, words = ''] = /: (.*)$/s.exec(/** @type {Error} */ (error).message) ?? [];
  return words === '' ? title : `${title.slice(0, -1)}: ${words}`;
}
