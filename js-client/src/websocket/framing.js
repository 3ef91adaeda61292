/**
 * How the bytes of a stream are messages, for libraries that expect a message to be a line, a frame or a stanza.
 *
 * @typedef {'chunks' | 'lines' | 'frames' | 'stanzas'} FramingName
 *
 * @typedef {object} Framing
 * @property {(bytes: Uint8Array) => (string | Uint8Array)[]} receive a string is a text message; throws for what cannot be one
 * @property {(message: Uint8Array) => Uint8Array} send
 */

import { utf8 } from '../frame.js';
import { Lines } from '../irc/message.js';
import { FrameDecoder, encodeFrame } from '../stomp/frame.js';
import { Stanzas, streamed } from '../xmpp/stanzas.js';

/** A STOMP body may be as long as this. */
const MAX_BODY = 64 * 1024 * 1024;

/**
 * @param {FramingName} name
 * @param {string} protocol what was agreed on
 * @returns {Framing}
 */
export function framingOf(name, protocol) {
  switch (name) {
    case 'chunks':
      return { receive: (bytes) => [bytes.slice()], send: (message) => message };
    case 'lines':
      return lines(protocol === 'binary.ircv3.net');
    case 'frames':
      return frames();
    case 'stanzas':
      return stanzas();
    default:
      throw new TypeError(`unknown framing ${String(name)}`);
  }
}

/** The specification of IRC over WebSocket: one line without its end is one message. @param {boolean} binary @returns {Framing} */
function lines(binary) {
  const decoder = new Lines();
  return {
    receive: (bytes) => decoder.push(bytes).map((line) => (binary ? utf8(line) : line)),
    send(message) {
      let { length } = message;
      while (length > 0 && (message[length - 1] === 10 || message[length - 1] === 13)) length -= 1;
      const line = new Uint8Array(length + 2);
      line.set(message.subarray(0, length));
      line.set([13, 10], length);
      return line;
    },
  };
}

/** A frame is a message, text where its body is; heart-beats are messages of one line end. @returns {Framing} */
function frames() {
  const decoder = new FrameDecoder(MAX_BODY);
  // Escapes are the library's: headers pass as they are.
  decoder.version = '1.0';
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return {
    receive(bytes) {
      const beats = !decoder.isInside && bytes.every((byte) => byte === 10 || byte === 13);
      const found = decoder.push(bytes).map(({ command, headers, body }) => {
        const frame = encodeFrame(command, headers, body, '1.0');
        try {
          return text.decode(frame);
        } catch {
          return frame;
        }
      });
      return beats ? ['\n'] : found;
    },
    send: (message) => message,
  };
}

/** XMPP over WebSocket (RFC 7395): one element is one message. @returns {Framing} */
function stanzas() {
  const decoder = new Stanzas();
  return { receive: (bytes) => decoder.push(bytes), send: streamed };
}
