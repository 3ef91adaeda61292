/** One WebSocket: frames both ways. */

import { codeName } from '../codes.js';
import { FrameError, decode } from '../frame.js';
import { endpoint } from './endpoint.js';

const SUBPROTOCOL = 'perigee.v1';
/** What may wait in the browser's queue: enough to keep a fast network busy, little enough to switch away from. */
const QUEUE_BYTES = 65_536;

/** @type {import('./transport.js').Open} */
export function openWebSocket(config, sid, handlers) {
  let over = false;
  /** @param {import('./transport.js').End} end */
  const end = (end) => {
    if (over) return;
    over = true;
    handlers.end(end);
  };
  /** @type {WebSocket} */
  let socket;
  try {
    socket = connect(config, endpoint(config, `${sid}/ws`).replace(/^http/, 'ws'));
  } catch (error) {
    // A page's security policy may forbid it; then the next rung is due like after any failure.
    queueMicrotask(() => end({ code: null, text: String(error) }));
    return { room: () => 0, send: () => {}, close: () => (over = true) };
  }
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => {
    if (!over) socket.send(/** @type {Uint8Array<ArrayBuffer>} */ (handlers.hello()));
  };
  socket.onmessage = ({ data }) => {
    if (over) return;
    try {
      if (!(data instanceof ArrayBuffer)) throw new FrameError('a message of text');
      handlers.frames(decode(new Uint8Array(data)));
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      end({ code: error.code, text: error.message, broken: true });
    }
  };
  // An error event says nothing, and a close event follows it.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) => {
    end({ code: code >= 4000 && code < 4100 ? codeName(code - 4000) : null, text: reason || `closed with ${code}` });
  };
  return {
    room: () => (socket.readyState === socket.OPEN ? Math.max(0, QUEUE_BYTES - socket.bufferedAmount) : 0),
    send: (bytes) => {
      if (socket.readyState === socket.OPEN) socket.send(/** @type {Uint8Array<ArrayBuffer>} */ (bytes));
    },
    close: () => {
      over = true;
      socket.close();
    },
  };
}

/** @param {import('../options.js').Config} config @param {string} url */
function connect({ WebSocket, origin }, url) {
  // Only outside a browser can an origin be chosen. Node's own WebSocket takes it in place of the subprotocols, the ws
  // package behind them, where a browser does not look.
  const Any = /** @type {new (url: string, protocols: unknown, options: unknown) => WebSocket} */ (WebSocket);
  const native = origin !== undefined && WebSocket === globalThis.WebSocket;
  return new Any(url, native ? { protocols: [SUBPROTOCOL], headers: { origin } } : SUBPROTOCOL, { origin });
}
