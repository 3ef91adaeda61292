// The pages as files: what they refer to exists, and a strict content security policy lets all of it run.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';

import { breakPoint, hexRows, splitControls, textRows } from '../../crates/gateway/src/demo/pages/bytes.js';

const folder = new URL('../../crates/gateway/src/demo/pages/', import.meta.url);
const files = readdirSync(folder, { recursive: true });
const read = (name) => readFileSync(new URL(name, folder), 'utf8');
const bytes = (text) => new TextEncoder().encode(text);

test('pages refer to files that exist and hold nothing inline', () => {
  for (const name of files.filter((file) => file.endsWith('.html'))) {
    const html = read(name);
    const assets = [...html.matchAll(/(?:href|src)="\/demo\/([^"]+)"/g)].map((found) => found[1]);
    assert.ok(assets.length > 3, name);
    for (const asset of assets) assert.ok(files.includes(asset), `${name}: /demo/${asset}`);
    assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?:\/\/(?!www\.w3\.org)/, name);
  }
  for (const name of files.filter((file) => file.endsWith('.js') && !file.startsWith('vendor/'))) {
    const code = read(name);
    for (const [, asset] of code.matchAll(/from '(\.\.?\/[^']+)'/g)) {
      const path = decodeURIComponent(new URL(asset, new URL(name, folder)).href.slice(folder.href.length));
      assert.ok(files.includes(path), `${name}: ${asset}`);
    }
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\bconsole\.\w+\(/, name);
  }
});

test('the front page runs the lines it shows', () => {
  const [, shown = ''] = /<code id="example"[^>]*>([^<]*)<\/code>/.exec(read('index.html')) ?? [];
  const lines = shown.trim().split('\n');
  assert.equal(lines.length, 5);
  const code = read('index.js');
  let at = -1;
  for (const line of lines) {
    const found = code.indexOf(line, at + 1);
    assert.ok(found > at, line);
    at = found;
  }
});

test('bytes are shown with their offsets', () => {
  assert.deepEqual(textRows(bytes('ü\r\n\nlast'), 16), [
    { offset: 16, text: 'ü\r\n', ascii: '' },
    { offset: 20, text: '\n', ascii: '' },
    { offset: 21, text: 'last', ascii: '' },
  ]);
  assert.deepEqual(hexRows(bytes('0123456789\n'), 4, 8), [
    { offset: 4, text: '30 31 32 33 34 35 36 37', ascii: '01234567' },
    { offset: 12, text: '38 39 0a'.padEnd(23), ascii: '89·' },
  ]);
  assert.deepEqual(splitControls('a\r\n\x1b[m'), [
    { text: 'a', control: false }, { text: '\\r', control: true }, { text: '\\n', control: true }, { text: '\\e', control: true }, { text: '[m', control: false },
  ]);
});

test('a block is never broken inside a character', () => {
  const whole = bytes('aé€🌍');
  const ends = new Set([0, 1, 3, 6, 10]);
  for (let end = 0; end <= whole.length; end += 1) {
    const at = breakPoint(whole.subarray(0, end));
    assert.ok(ends.has(at) && at <= end && end - at < 4, `${end}: ${at}`);
  }
  assert.equal(breakPoint(bytes('one\ntwo')), 4);
});
