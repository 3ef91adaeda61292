// @ts-check
/**
 * Proof that nothing is lost: random bytes to an echo backend, and every byte that comes back
 * compared with the one that was sent.
 *
 * It takes the two streams of a socket and reports numbers; it knows no page.
 * Invariants: memory is twice the size of the transfer; bytes beyond it are counted, not kept.
 */

/**
 * @typedef {object} Progress
 * @property {number} total
 * @property {number} sent      bytes the socket took
 * @property {number} received  bytes that came back
 * @property {number} mismatches bytes that differ from what was sent at that offset, extra ones included
 *
 * @typedef {Progress & { sentHash: string | null, receivedHash: string | null, ms: number }} Result
 *   hashes are SHA-256 in hex, null where the browser has no crypto.subtle (a page without HTTPS)
 */

/** Written at once; also the most that crypto.getRandomValues fills in a call. */
const CHUNK_BYTES = 65536;

/**
 * Ends when the backend has closed its direction after ours, so the end of stream is proved too.
 * @param {ReadableStream<Uint8Array>} readable
 * @param {WritableStream<Uint8Array | ArrayBuffer | string>} writable
 * @param {number} total bytes
 * @param {number} bytesPerSecond  sends no faster; Infinity for as fast as it goes
 * @param {(progress: Progress) => void} report  called for every chunk
 * @returns {Promise<Result>} rejects as the socket does
 */
export async function transfer(readable, writable, total, bytesPerSecond, report) {
  const sent = new Uint8Array(total);
  const received = new Uint8Array(total);
  const progress = { total, sent: 0, received: 0, mismatches: 0 };
  const began = performance.now();

  const send = async () => {
    const writer = writable.getWriter();
    for (let at = 0; at < total; at += CHUNK_BYTES) {
      const chunk = sent.subarray(at, Math.min(at + CHUNK_BYTES, total));
      crypto.getRandomValues(chunk);
      await pause((1000 * at) / bytesPerSecond - (performance.now() - began));
      await writer.ready;
      // A copy, because a stream may take the buffer it is given away from us.
      await writer.write(chunk.slice());
      progress.sent = at + chunk.length;
      report(progress);
    }
    await writer.close();
  };

  const receive = async () => {
    const reader = readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      progress.mismatches += compare(sent, progress.received, value);
      if (progress.received < total) received.set(value.subarray(0, total - progress.received), progress.received);
      progress.received += value.length;
      report(progress);
    }
  };

  await Promise.all([send(), receive()]);
  const ms = performance.now() - began;
  // What never came is wrong too.
  progress.mismatches += Math.max(0, total - progress.received);
  const [sentHash, receivedHash] = await Promise.all([sha256(sent), sha256(received.subarray(0, Math.min(total, progress.received)))]);
  return { ...progress, sentHash, receivedHash, ms };
}

/** @param {number} ms */
function pause(ms) {
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined;
}

/**
 * @param {Uint8Array} sent
 * @param {number} at where `chunk` belongs
 * @param {Uint8Array} chunk
 */
function compare(sent, at, chunk) {
  let wrong = 0;
  for (let i = 0; i < chunk.length; i += 1) if (chunk[i] !== sent[at + i]) wrong += 1;
  return wrong;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function sha256(bytes) {
  if (!globalThis.crypto.subtle) return null;
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
