/**
 * A session as text, for the page that comes after this one (docs/architecture.md, "A reload"). Pure: knows no storage and
 * no clock.
 *
 * What was received and not delivered is left out, because it was not acked and will be sent again; so are tombstones and
 * last words, because the HELLO of the next attachment lists what is not over.
 *
 * @typedef {import('./session.js').SessionState} SessionState
 */

import { Stream } from './stream.js';

/**
 * @typedef {ReturnType<typeof pack>} Packed
 * @typedef {SessionState & { abouts: Map<Stream, unknown> }} Unpacked
 */

/**
 * @param {SessionState} session
 * @param {(stream: Stream) => unknown} [about] what else is to be known of a stream, as JSON takes it
 */
export function pack({ sid, token, resumeMs, silenceMs, window, capacity, initial, n, nextStream, streams }, about = () => null) {
  return {
    sid, token: toBase64(token), resumeMs, silenceMs, window, capacity, initial, n, nextStream,
    streams: streams.map((stream) => {
      const { id, service, target, reached, send, receive } = stream;
      return {
        id, service, target, reached, about: about(stream),
        base: send.base, sent: send.sent, written: send.written, limit: send.limit, finished: send.finished,
        unacked: toBase64(send.unacked()),
        delivered: receive.delivered, passed: receive.passed, discarding: receive.discarding,
      };
    }),
  };
}

/**
 * @param {Packed} packed what `pack` made, by way of JSON
 * @returns {Unpacked}
 */
export function unpack({ token, streams, ...rest }) {
  /** @type {Map<Stream, unknown>} */
  const abouts = new Map();
  for (const one of streams) {
    const stream = new Stream(one.id, one.target, rest.capacity, rest.window);
    const { send, receive } = stream;
    const unacked = fromBase64(one.unacked);
    send.written = one.written - unacked.length;
    send.write(unacked);
    // Transmission starts at `base` again: nobody knows what arrived of the rest.
    send.base = one.base;
    send.next = one.base;
    send.sent = one.sent;
    send.finished = one.finished;
    send.grant(one.limit);
    receive.delivered = one.delivered;
    receive.rn = one.delivered;
    receive.grant();
    if (one.passed) {
      receive.fin(one.delivered);
      receive.passed = true;
    }
    if (one.discarding) receive.discard();
    stream.service = one.service;
    stream.reached = one.reached;
    stream.ackSent = -1;
    abouts.set(stream, one.about);
  }
  return { ...rest, token: fromBase64(token), streams: [...abouts.keys()], abouts };
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
