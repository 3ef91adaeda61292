import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Decoder, FrameError, decode, encode } from '../src/frame.js';
import { encode as reference } from './support/encode.js';

/** @typedef {{ name: string, hex: string, frames?: unknown[], error?: string }} Case */
/** @type {Case[]} */
const vectors = JSON.parse(readFileSync(new URL('../../integration-tests/vectors/frames.json', import.meta.url), 'utf8'));

/** @param {string} hex */
const bytesOf = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
/** @param {Uint8Array} bytes */
const hexOf = (bytes) => Buffer.from(bytes).toString('hex');

/** @param {import('../src/frame.js').Frame} frame */
function plain(frame) {
  return Object.fromEntries(Object.entries(frame).map(([key, value]) => [key, value instanceof Uint8Array ? hexOf(value) : value]));
}

/** @param {() => unknown} run @param {string} code @param {string} name */
function refuses(run, code, name) {
  assert.throws(run, (error) => error instanceof FrameError && error.code === code, name);
}

test('the vectors decode as written', () => {
  assert.ok(vectors.length > 100);
  for (const { name, hex, frames, error } of vectors) {
    if (error !== undefined) refuses(() => decode(bytesOf(hex)), error, name);
    else assert.deepEqual(decode(bytesOf(hex)).map(plain), frames, name);
  }
});

test('what a client sends is encoded as in the vectors', () => {
  const seen = new Set();
  for (const { name, hex, frames } of vectors) {
    if (frames === undefined) continue;
    const decoded = decode(bytesOf(hex));
    /** @type {import('../src/frame.js').ClientFrame[]} */
    const ours = [];
    for (const frame of decoded) {
      if (frame.type === 'PAD' || frame.type === 'WELCOME' || frame.type === 'GOAWAY' || frame.type === 'OPENED') continue;
      ours.push(frame);
      seen.add(frame.type);
    }
    assert.equal(hexOf(encode(ours)), hexOf(reference(ours)), name);
    // Flags that are not defined, unknown frames and the bytes of a PAD do not survive decoding.
    if (!/flags|unknown|PAD|many/.test(name)) assert.equal(hexOf(reference(decoded)), hex, name);
  }
  assert.deepEqual([...seen].sort(), ['ACK', 'DATA', 'DETACH', 'FIN', 'HELLO', 'OPEN', 'PING', 'PONG', 'RESET']);
});

test('a body cut anywhere gives the same frames', () => {
  for (const { name, hex, frames } of vectors) {
    if (frames === undefined) continue;
    const bytes = bytesOf(hex);
    const byByte = new Decoder();
    const collected = [];
    for (let i = 0; i < bytes.length; i += 1) collected.push(...byByte.push(bytes.subarray(i, i + 1)));
    assert.deepEqual(collected.map(plain), frames, `${name}, byte by byte`);
    assert.equal(byByte.pending, 0, name);
    // Long bodies are split around their ends only: the middle is alike.
    for (let at = 0; at <= bytes.length; at += at > 600 && bytes.length - at > 600 ? 499 : 1) {
      const decoder = new Decoder();
      const parts = [...decoder.push(bytes.subarray(0, at)), ...decoder.push(bytes.subarray(at))];
      assert.deepEqual(parts.map(plain), frames, `${name}, cut at ${at}`);
    }
  }
});

test('what is wrong is refused wherever it is cut', () => {
  for (const { name, hex, error } of vectors) {
    if (error === undefined || name.includes('cut') || name === 'a lone byte' || name.includes('without its body')) continue;
    const bytes = bytesOf(hex);
    refuses(() => {
      const decoder = new Decoder();
      for (let i = 0; i < bytes.length; i += 1) decoder.push(bytes.subarray(i, i + 1));
    }, error, name);
  }
});

test('a frame that was cut waits and holds no more than itself', () => {
  const decoder = new Decoder();
  const ping = reference([{ type: 'PING', t: 7 }]);
  const big = new Uint8Array(ping.length * 1000 + 3);
  for (let i = 0; i < 1000; i += 1) big.set(ping, i * ping.length);
  assert.equal(decoder.push(big).length, 1000);
  assert.equal(decoder.pending, 3);
});

test('any bytes end in frames or in an error', () => {
  let seed = 12345;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8;
  for (let round = 0; round < 5000; round += 1) {
    const bytes = Uint8Array.from({ length: random() % 80 }, () => random() & 255);
    if (bytes.length > 3) {
      bytes[0] = random() % 24;
      bytes[2] = 0;
      bytes[3] = bytes.length - 8;
    }
    try {
      for (const frame of decode(bytes)) assert.equal(typeof frame.type, 'string');
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error));
    }
  }
});
