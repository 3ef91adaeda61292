/**
 * What runs inside a page. Each function is sent to the browser as text, so it uses nothing but its argument.
 *
 * @typedef {object} Echo
 * @property {string} module URL of the client
 * @property {string} [gateway] URL of the gateway, if it is another one
 * @property {'auto' | import('../../../js-client/src/session.js').Kind} [transport]
 * @property {import('../../../js-client/src/session.js').Kind[]} [transports] to choose from
 * @property {import('../../../js-client/src/options.js').GatewayOptions} [options] besides
 * @property {string} [backend]
 * @property {string} [origin] in Node, where there is no page to have one
 * @property {number} bytes
 * @property {('auto' | import('../../../js-client/src/session.js').Kind)[]} [switches] forced one after the other, spread over the transfer
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
 * Random bytes to an echo backend and back, both ways at once, to the end of the stream. The page counts as `underWay` those
 * of which something came back.
 * @param {Echo} task
 * @returns {Promise<Echoed>}
 */
export async function echo({ module, gateway: url, transport = 'auto', transports: choices, options = {}, backend = 'echo', origin, bytes, switches = [] }) {
  const PIECE_BYTES = 65_536;
  const { Gateway, TCPSocket } = await import(module);
  const gateway = new Gateway(url, { ...options, transport, ...(choices && { transports: choices }), ...(origin && { origin }) });
  /** @type {string[]} */
  const transports = [];
  let count = 0;
  // Each switch comes when its share of the bytes has come back, and not before the one ahead of it is done.
  let begun = 0;
  const settled = () => begun === 0 || transports.at(-1) === switches[begun - 1];
  const advance = () => {
    if (settled() && begun < switches.length && count >= (bytes * (begun + 1)) / (switches.length + 1)) gateway.use(switches[begun++]);
    if (settled() && begun === switches.length) switched();
  };
  let switched = () => {};
  const allSwitched = new Promise((resolve) => (switched = () => resolve(undefined)));
  gateway.on('transport', (/** @type {{ to: string }} */ { to }) => {
    transports.push(to);
    advance();
  });
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
      if (at + PIECE_BYTES >= bytes) await allSwitched;
      await writer.write(piece.slice());
    }
    await writer.close();
  };
  const receive = async () => {
    for await (const chunk of readable) {
      if (count < bytes) received.set(chunk.subarray(0, bytes - count), count);
      if (count === 0) Object.assign(globalThis, { underWay: (/** @type {any} */ (globalThis).underWay ?? 0) + 1 });
      count += chunk.length;
      advance();
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
