// @ts-check
/**
 * Bytes as people read them: lines of text or rows of hex, each with the offset it starts at.
 *
 * Pure functions; the console page decides what to show.
 */

/** @typedef {{ offset: number, text: string, ascii: string }} Row  `ascii` is empty in the text view */

const utf8 = new TextDecoder();

/**
 * @param {Uint8Array} bytes
 * @param {number} offset of the first byte in its log
 * @returns {Row[]} one a line, its line end included
 */
export function textRows(bytes, offset) {
  /** @type {Row[]} */
  const rows = [];
  for (let start = 0; start < bytes.length; ) {
    const lf = bytes.indexOf(10, start);
    const end = lf === -1 ? bytes.length : lf + 1;
    rows.push({ offset: offset + start, text: utf8.decode(bytes.subarray(start, end)), ascii: '' });
    start = end;
  }
  return rows;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} offset of the first byte in its log
 * @param {number} width bytes a row
 * @returns {Row[]}
 */
export function hexRows(bytes, offset, width) {
  /** @type {Row[]} */
  const rows = [];
  for (let start = 0; start < bytes.length; start += width) {
    const part = [...bytes.subarray(start, start + width)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, '0'));
    const ascii = part.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('');
    // A wider gap in the middle, as hexdump(1) has it.
    const text = [hex.slice(0, 8).join(' '), hex.slice(8).join(' ')].filter(Boolean).join('  ');
    rows.push({ offset: offset + start, text: text.padEnd(width * 3 - 1 + (width > 8 ? 1 : 0)), ascii });
  }
  return rows;
}

/** `0000a3f0` @param {number} offset */
export function formatOffset(offset) {
  return offset.toString(16).padStart(8, '0');
}

/**
 * Where a block that is shown may end: after its last line, or else before a character that is not
 * all there yet.
 * @param {Uint8Array} bytes
 */
export function breakPoint(bytes) {
  const lf = bytes.lastIndexOf(10);
  if (lf !== -1) return lf + 1;
  // A UTF-8 character has at most three bytes after its first.
  for (let back = 1; back <= Math.min(4, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) break;
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return length > back ? bytes.length - back : bytes.length;
    }
  }
  return bytes.length;
}

/**
 * Text cut at its control characters, which are written as escapes to be shown apart.
 * @param {string} text
 * @returns {{ text: string, control: boolean }[]}
 */
export function splitControls(text) {
  return text
    .split(/([\x00-\x08\x0a-\x1f\x7f-\x9f])/)
    .map((part, i) => ({ text: i % 2 === 0 ? part : escapeControl(part), control: i % 2 === 1 }))
    .filter((part) => part.text !== '');
}

/** @param {string} char */
function escapeControl(char) {
  const named = { '\r': '\\r', '\n': '\\n', '\x1b': '\\e', '\0': '\\0' }[char];
  return named ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
