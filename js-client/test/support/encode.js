/**
 * Frames as bytes, written from the tables of docs/protocol.md and not from the client: what a gateway sends comes from
 * here, and what the client sends is compared with it.
 *
 * @typedef {import('../../src/frame.js').Frame} Frame
 */

const TYPE = {
  PAD: 0x00, DATA: 0x01, ACK: 0x02, FIN: 0x03, RESET: 0x04, PING: 0x05, PONG: 0x06,
  HELLO: 0x10, WELCOME: 0x11, GOAWAY: 0x12, OPEN: 0x13, OPENED: 0x14, DETACH: 0x15,
};

/** @param {number} bytes @param {number | bigint} value */
function uint(bytes, value) {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out.subarray(8 - bytes);
}

/** @param {import('../../src/frame.js').Entry[]} entries */
function list(entries) {
  return entries.flatMap(({ stream, rn, limit, base }) => [uint(4, stream), uint(8, rn), uint(8, limit), uint(8, base)]);
}

/** @param {Frame} frame @returns {Uint8Array[]} */
function body(frame) {
  switch (frame.type) {
    case 'PAD': return [Buffer.alloc(frame.len)];
    case 'DATA': return [uint(8, frame.offset), frame.data];
    case 'ACK': return [uint(8, frame.ack), uint(8, frame.limit), ...(frame.rn === undefined ? [] : [uint(8, frame.rn)])];
    case 'FIN': return [uint(8, frame.offset)];
    case 'RESET': return [uint(2, frame.code), uint(8, frame.ack), Buffer.from(frame.text)];
    case 'PING':
    case 'PONG': return [uint(4, frame.t)];
    case 'HELLO': return [
      uint(1, frame.version), uint(1, frame.caps), uint(2, frame.entries.length), uint(4, frame.n), uint(4, frame.next_stream),
      uint(8, frame.initial), frame.token, ...list(frame.entries),
    ];
    case 'WELCOME': return [
      uint(1, frame.version), uint(1, frame.caps), uint(2, frame.entries.length), uint(4, frame.n), uint(4, frame.heartbeat_ms),
      uint(4, frame.resume_ms), uint(8, frame.initial), uint(1, Buffer.byteLength(frame.sid ?? '')), Buffer.from(frame.sid ?? ''),
      ...(frame.token ? [frame.token] : []), ...list(frame.entries),
    ];
    case 'GOAWAY': return [uint(4, frame.after_ms), uint(2, frame.code)];
    case 'OPEN': return [uint(1, frame.service), Buffer.from(frame.target)];
    case 'OPENED': return [Buffer.from(frame.reached)];
    case 'DETACH': return [uint(4, frame.n), uint(1, frame.why)];
  }
}

/** One message of these frames. @param {Frame[]} frames */
export function encode(frames) {
  return Buffer.concat(frames.flatMap((frame) => {
    const bytes = Buffer.concat(body(frame));
    const flags = frame.type === 'HELLO' && frame.prompt ? 1 : 0;
    const stream = 'stream' in frame ? frame.stream : 0;
    return [uint(1, TYPE[frame.type]), uint(1, flags), uint(2, bytes.length), uint(4, stream), bytes];
  }));
}
