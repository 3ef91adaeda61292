// @ts-check
/**
 * Bodies of messages for people: as text where they are text, JSON with its lines, and otherwise bytes. And back.
 *
 * What is shown of a body has a bound, whatever its size.
 */

/** Characters of text, and bytes in hex, that are shown. */
export const TEXT_SHOWN = 64 * 1024;
export const HEX_SHOWN = 8 * 1024;
/** Of a body in a list. */
const PREVIEW = 160;

/** @typedef {'text' | 'json' | 'hex'} Form */

/**
 * The body as text, or null for what is none.
 * @param {Uint8Array} body
 */
export function textOf(body) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    return null;
  }
}

/**
 * How a body is best shown.
 * @param {Uint8Array} body
 * @param {string} [contentType]
 * @returns {Form}
 */
export function formOf(body, contentType = '') {
  const text = textOf(body);
  if (text === null || /[\0-\x08\x0e-\x1a]/.test(text)) return 'hex';
  const couldBe = /\bjson\b/i.test(contentType) || /^\s*[[{]/.test(text);
  return couldBe && prettyJson(text) !== null ? 'json' : 'text';
}

/**
 * @param {Uint8Array} body
 * @param {Form} form
 * @returns {{ text: string, cut: number }} and how many bytes or characters are not in it
 */
export function shown(body, form) {
  if (form === 'hex') return { text: hexDump(body.subarray(0, HEX_SHOWN)), cut: Math.max(0, body.length - HEX_SHOWN) };
  const text = new TextDecoder().decode(body);
  const whole = form === 'json' ? (prettyJson(text) ?? text) : text;
  return { text: whole.slice(0, TEXT_SHOWN), cut: Math.max(0, whole.length - TEXT_SHOWN) };
}

/** The beginning of a body, on one line. @param {Uint8Array} body */
export function preview(body) {
  const head = body.subarray(0, PREVIEW * 2);
  const text = new TextDecoder().decode(head);
  if (formOf(body) === 'hex') return [...head.subarray(0, 24)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return text.replace(/\s+/g, ' ').trim().slice(0, PREVIEW);
}

/** @param {string} text */
function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/** Offset, sixteen bytes, and what they are as ASCII. @param {Uint8Array} bytes */
function hexDump(bytes) {
  const rows = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ').padEnd(47);
    rows.push(`${at.toString(16).padStart(6, '0')}  ${hex}  ${row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('')}`);
  }
  return rows.join('\n');
}

/**
 * What a person wrote, as the bytes it stands for.
 * @param {string} text
 * @param {Form} form
 * @returns {{ body: Uint8Array } | { problem: string }}
 */
export function bodyOf(text, form) {
  if (form === 'hex') {
    const digits = text.replace(/\s+/g, '');
    if (!/^(?:[\da-f]{2})*$/i.test(digits)) return { problem: 'The body is not hex: write two digits of 0–9 and a–f for each byte.' };
    return { body: Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16)) };
  }
  if (form === 'json') {
    try {
      JSON.parse(text);
    } catch (error) {
      return { problem: `The body is no JSON: ${error instanceof Error ? error.message : ''}` };
    }
  }
  return { body: new TextEncoder().encode(text) };
}

/** A message as a line of an export. @param {import('./store.js').Kept} kept */
export function exported({ at, message, subscription }) {
  const text = textOf(message.body);
  let base64 = '';
  if (text === null) for (const byte of message.body) base64 += String.fromCharCode(byte);
  const body = text === null ? { bodyBase64: btoa(base64) } : { body: text };
  return JSON.stringify({ time: at.toISOString(), destination: message.destination, subscription, size: message.body.length, headers: message.headers, ...body });
}
