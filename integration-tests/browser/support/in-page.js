/**
 * What runs inside a page. Each function is sent to the browser as text, so it uses nothing but its argument.
 *
 * @typedef {object} Echo
 * @property {string} module URL of the client
 * @property {string} [gateway] URL of the gateway, if it is another one
 * @property {'auto' | 'websocket' | 'stream' | 'poll'} [transport]
 * @property {string} [backend]
 * @property {number} bytes
 * @property {('auto' | 'websocket' | 'stream' | 'poll')[]} [switches] forced one after the other, spread over the transfer
 *
 * @typedef {object} Echoed
 * @property {number} sent
 * @property {number} received
 * @property {number} firstDifference offset, or -1
 * @property {string} sentHash
 * @property {string} receivedHash
 * @property {string[]} transports that were in use, in order
 * @property {Record<string, number>} stats of the gateway
 * @property {number} ms
 */

/**
 * Random bytes to an echo backend and back, both ways at once, to the end of the stream.
 * @param {Echo} task
 * @returns {Promise<Echoed>}
 */
export async function echo({ module, gateway: url, transport = 'auto', backend = 'echo', bytes, switches = [] }) {
  const PIECE_BYTES = 65_536;
  const { Gateway, TCPSocket } = await import(module);
  const gateway = new Gateway(url, { transport });
  /** @type {string[]} */
  const transports = [];
  gateway.on('transport', (/** @type {{ to: string }} */ { to }) => transports.push(to));
  const sent = new Uint8Array(bytes);
  const received = new Uint8Array(bytes);
  const began = performance.now();
  const socket = new TCPSocket(backend, { gateway });
  const { readable, writable } = await socket.opened;
  const send = async () => {
    const writer = writable.getWriter();
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      const piece = sent.subarray(at, at + PIECE_BYTES);
      crypto.getRandomValues(piece);
      await writer.write(piece.slice());
    }
    await writer.close();
  };
  let count = 0;
  const receive = async () => {
    const pending = [...switches];
    for await (const chunk of readable) {
      if (count < bytes) received.set(chunk.subarray(0, bytes - count), count);
      count += chunk.length;
      while (pending.length > 0 && count >= (bytes * (switches.length - pending.length + 1)) / (switches.length + 1)) gateway.use(pending.shift());
    }
  };
  await Promise.all([send(), receive()]);
  await socket.closed;
  const ms = performance.now() - began;
  const { stats } = gateway;
  gateway.close();
  /** @param {Uint8Array<ArrayBuffer>} data */
  const sha256 = async (data) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', data))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return {
    sent: bytes, received: count, firstDifference: sent.findIndex((byte, at) => byte !== received[at]),
    sentHash: await sha256(sent), receivedHash: await sha256(received), transports, stats, ms,
  };
}
