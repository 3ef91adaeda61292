// @ts-check
/** Headers as a person writes them: `name: value`, a line each. */

/** Headers that the client says itself, by what they belong to. @type {Readonly<Record<string, string>>} */
const OWN = {
  id: 'The page numbers its subscriptions itself.',
  ack: 'Choose the acknowledgement mode above.',
  destination: 'The destination has a field of its own.',
  receipt: 'The page asks for receipts itself.',
  transaction: 'Choose the transaction beside the list of transactions.',
  'content-length': 'The length of the body is counted.',
  'content-type': 'The type of the body has a field of its own.',
};

/**
 * @param {string} text
 * @returns {{ headers: Record<string, string> } | { problem: string }}
 */
export function parseHeaders(text) {
  /** @type {Record<string, string>} */
  const headers = Object.create(null);
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).trim();
    if (name === '') return { problem: `Line ${at + 1} of the headers has no name. Write name: value.` };
    if (OWN[name]) return { problem: `Leave ${name} out of the headers. ${OWN[name]}` };
    if (name in headers) return { problem: `The header ${name} is there twice.` };
    headers[name] = line.slice(colon + 1).trim();
  }
  return { headers };
}
