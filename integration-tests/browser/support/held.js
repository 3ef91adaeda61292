/** Sockets that a page holds open while something happens to the network. What runs in the page uses nothing but its argument. */

/**
 * What `open` leaves in the page, for each socket.
 * @typedef {{ gateway: any, reader: any, writer: any, end: string | null }} Held
 */

/**
 * Runs in the page: opens a socket to the echo each way, on a session of its own.
 * @param {{ url: string, transport: string }[]} ways
 */
export async function open(ways) {
  const held = ways.map(async ({ url, transport }) => {
    const { Gateway, TCPSocket } = await import(`${url}/perigee.js`);
    // An iframe that was cut is found out by asking. A busy machine may take its time to open all of them.
    const patience = { connectTimeoutMs: 120_000, attemptTimeoutMs: 60_000 };
    const gateway = new Gateway(url, { transport, storage: null, probeMs: 500, ...patience });
    const socket = new TCPSocket('echo', { gateway, encoding: 'utf-8' });
    const { readable, writable } = await socket.opened;
    /** @type {Held} */
    const state = { gateway, reader: readable.getReader(), writer: writable.getWriter(), end: null };
    socket.closed.then(() => (state.end = 'closed'), (/** @type {any} */ { code, acked }) => (state.end = `${code}, ${acked} bytes delivered`));
    return state;
  });
  Object.assign(globalThis, { held: await Promise.all(held) });
}

/** Runs in the page: says something on each socket, and what came back, or how the socket ended. @param {string} word */
export function say(word) {
  const held = /** @type {Held[]} */ (/** @type {any} */ (globalThis).held);
  return Promise.all(held.map(async ({ reader, writer, end }) => {
    if (end !== null) return end;
    await writer.write(word);
    let heard = '';
    while (heard.length < word.length) heard += (await reader.read()).value;
    return heard;
  }));
}

/** Runs in the page: how each socket ended, or null. */
export function ends() {
  return /** @type {Held[]} */ (/** @type {any} */ (globalThis).held).map(({ end }) => end);
}

/** Runs in the page: how many bytes of each socket are known to be delivered. */
export function acked() {
  return /** @type {Held[]} */ (/** @type {any} */ (globalThis).held).map(({ gateway }) => gateway.stats.acked);
}
