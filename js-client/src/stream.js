/**
 * The two logs of a stream (docs/protocol.md section 1): bytes addressed by their offset. Pure bookkeeping: knows no
 * frames, no clock and no transport.
 *
 * Invariants of SendLog: base ≤ next ≤ end, every byte in [base, written) is held, base and limit never fall, a byte
 * leaves only when it was acked; at most `capacity` bytes are held.
 * Invariants of ReceiveLog: delivered ≤ rn ≤ granted (+1 for FIN), bytes are taken in order and once; at most `window`
 * bytes are held.
 */

import { Fault } from './codes.js';

/** A rule of the protocol was broken by the peer; `code` is what the stream is reset with. */
export class StreamError extends /** @type {typeof Fault<'protocol' | 'flow' | 'lost'>} */ (Fault) {}

/** Small pieces are gathered in blocks of this size, so that one byte at a time does not cost an object per byte. */
const BLOCK_BYTES = 4096;

/** A queue of bytes. What is appended is copied. */
class Bytes {
  /** @type {{ bytes: Uint8Array, end: number }[]} */
  #blocks = [];
  /** Bytes of the first block that are gone. */
  #skip = 0;
  length = 0;

  /** @param {Uint8Array} piece */
  append(piece) {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.end + piece.length <= last.bytes.length) {
      last.bytes.set(piece, last.end);
      last.end += piece.length;
    } else if (piece.length > BLOCK_BYTES / 4) {
      this.#blocks.push({ bytes: piece.slice(), end: piece.length });
    } else {
      const bytes = new Uint8Array(BLOCK_BYTES);
      bytes.set(piece);
      this.#blocks.push({ bytes, end: piece.length });
    }
    this.length += piece.length;
  }

  /** @param {number} count drops bytes from the front */
  drop(count) {
    this.length -= count;
    this.#skip += count;
    let whole = 0;
    for (const block of this.#blocks) {
      if (block.end > this.#skip) break;
      this.#skip -= block.end;
      whole += 1;
    }
    this.#blocks.splice(0, whole);
  }

  /** Takes the first block out; its memory belongs to the caller. Null when there is none. */
  shift() {
    const block = this.#blocks.shift();
    if (block === undefined) return null;
    const out = this.#skip === 0 && block.end === block.bytes.length
      ? block.bytes
      : block.bytes.slice(this.#skip, block.end);
    this.#skip = 0;
    this.length -= out.length;
    return out;
  }

  /**
   * A copy of `count` bytes from `at` on.
   * @param {number} at
   * @param {number} count
   */
  copy(at, count) {
    const out = new Uint8Array(count);
    let from = at + this.#skip;
    let filled = 0;
    for (const block of this.#blocks) {
      if (filled === count) break;
      if (from >= block.end) {
        from -= block.end;
        continue;
      }
      const part = block.bytes.subarray(from, Math.min(block.end, from + count - filled));
      out.set(part, filled);
      filled += part.length;
      from = 0;
    }
    return out;
  }

  clear() {
    this.#blocks = [];
    this.#skip = 0;
    this.length = 0;
  }
}

/** What we write and the peer takes. FIN counts as one more offset after the last byte. */
export class SendLog {
  #held = new Bytes();
  #capacity;
  /** Lowest offset still held. */
  base = 0;
  /** Next offset to transmit. */
  next = 0;
  /** End of what was transmitted so far, FIN included; does not fall when `next` does. */
  sent = 0;
  written = 0;
  /** The peer accepts offsets below this. */
  limit = 0;
  finished = false;

  /** @param {number} capacity */
  constructor(capacity) {
    this.#capacity = capacity;
  }

  /** End of the log, FIN included. */
  get end() {
    return this.written + (this.finished ? 1 : 0);
  }

  /** Bytes that can be written now. */
  get room() {
    return this.finished ? 0 : this.#capacity - this.#held.length;
  }

  /** Bytes acked, without FIN. */
  get acked() {
    return Math.min(this.base, this.written);
  }

  /** Everything, FIN included, was delivered by the peer. */
  get done() {
    return this.finished && this.base === this.end;
  }

  /** Bytes that may be transmitted now. */
  get ready() {
    return Math.max(0, Math.min(this.written, this.limit) - this.next);
  }

  /** FIN is what comes next; it needs no credit. */
  get finReady() {
    return this.finished && this.next === this.written;
  }

  /**
   * Takes what there is room for: a copy, because the caller may change its bytes before they are acked.
   * @param {Uint8Array} bytes
   * @returns {number} how many were taken
   */
  write(bytes) {
    const count = Math.min(bytes.length, this.room);
    if (count > 0) this.#held.append(bytes.subarray(0, count));
    this.written += count;
    return count;
  }

  finish() {
    this.finished = true;
  }

  /** A copy of what is held. */
  unacked() {
    return this.#held.copy(0, this.#held.length);
  }

  /**
   * The next bytes to transmit.
   * @param {number} maxBytes
   * @returns {{ offset: number, data: Uint8Array, again: number }} `again`: how many of them had been transmitted before
   */
  take(maxBytes) {
    const offset = this.next;
    const data = this.#held.copy(offset - this.base, Math.min(this.ready, maxBytes));
    this.next += data.length;
    const again = Math.min(data.length, Math.max(0, this.sent - offset));
    this.sent = Math.max(this.sent, this.next);
    return { offset, data, again };
  }

  /** FIN was transmitted. */
  takeFin() {
    this.next = this.end;
    this.sent = this.end;
  }

  /** @param {number} ack everything below was delivered */
  ack(ack) {
    this.#check(ack);
    if (ack <= this.base) return;
    const bytes = Math.min(ack, this.written) - this.base;
    this.#held.drop(Math.max(0, bytes));
    this.base = ack;
    this.next = Math.max(this.next, ack);
  }

  /** @param {number} limit */
  grant(limit) {
    this.limit = Math.max(this.limit, limit);
  }

  /**
   * Transmission goes on from where the peer is.
   * @param {number} rn
   */
  rewind(rn) {
    this.#check(rn);
    this.next = Math.max(rn, this.base);
  }

  /**
   * The peer has everything below `rn`: no need to transmit that again.
   * @param {number} rn
   */
  skip(rn) {
    this.#check(rn);
    this.next = Math.max(this.next, rn);
  }

  /** Nothing of it will be transmitted any more. */
  clear() {
    this.#held.clear();
  }

  /** @param {number} rn */
  #check(rn) {
    if (rn > this.sent) throw new StreamError('protocol', 'bytes that were not sent');
  }
}

/** What the peer writes and the application takes. */
export class ReceiveLog {
  #held = new Bytes();
  #window;
  /** @type {number | null} Final length of the peer's log. */
  #final = null;
  /** Next offset wanted: everything below was received, FIN included. */
  rn = 0;
  /** Everything below was taken by the application. */
  delivered = 0;
  /** The limit the peer was told. */
  granted;
  /** The application was told of the end. */
  passed = false;
  /** Nobody wants these bytes: they are taken as they come. */
  discarding = false;

  /** @param {number} window */
  constructor(window) {
    this.#window = window;
    this.granted = window;
  }

  get ack() {
    return this.delivered + (this.passed ? 1 : 0);
  }

  /** The limit to tell the peer now. It is remembered as told. */
  grant() {
    this.granted = this.delivered + this.#window;
    return this.granted;
  }

  get window() {
    return this.#window;
  }

  /** FIN was received, so there is nothing more to come. */
  get complete() {
    return this.#final !== null;
  }

  /** Bytes that wait for the application. */
  get waiting() {
    return this.#held.length;
  }

  /** Everything was taken and the end may be passed on. */
  get atEnd() {
    return this.delivered === this.#final;
  }

  /**
   * @param {number} offset
   * @param {Uint8Array} data copied, because it shares the memory of a whole message
   * @returns {number} how many bytes were new; -1 when some before them are missing
   */
  data(offset, data) {
    const end = offset + data.length;
    if (this.#final !== null && end > this.#final) throw new StreamError('protocol', 'data beyond the end');
    if (end > this.granted) throw new StreamError('flow', 'data beyond the limit');
    if (offset > this.rn) return -1;
    const fresh = end - this.rn;
    if (fresh <= 0) return 0;
    this.#held.append(data.subarray(data.length - fresh));
    this.rn = end;
    if (this.discarding) this.discard();
    return fresh;
  }

  /**
   * @param {number} offset
   * @returns {boolean} false when bytes before it are missing
   */
  fin(offset) {
    if (this.#final !== null ? offset !== this.#final : offset < this.rn) {
      throw new StreamError('protocol', 'the end moved');
    }
    if (offset > this.rn) return false;
    this.#final = offset;
    this.rn = offset + 1;
    return true;
  }

  /** A copy of bytes that wait. @param {number} from offset @param {number} to */
  copy(from, to) {
    return this.#held.copy(from - this.delivered, to - from);
  }

  /** They were taken by somebody else, who has a copy. @param {number} to offset */
  drop(to) {
    this.#held.drop(to - this.delivered);
    this.delivered = to;
  }

  /** The next bytes for the application, or null. Taking them is delivering them. */
  take() {
    const bytes = this.#held.shift();
    this.delivered += bytes?.length ?? 0;
    return bytes;
  }

  /** Takes everything for nobody, now and from now on. */
  discard() {
    this.discarding = true;
    this.delivered += this.#held.length;
    this.#held.clear();
  }
}

/** One stream of a session as its user sees it. */
export class Stream {
  /** @type {string | null} What the gateway says it reached; null until it answered OPEN. */
  reached = null;
  /** @type {{ code: import('./codes.js').EndCode, clean: boolean, text: string, acked: number } | null} */
  over = null;
  /** @type {(() => unknown) | null} What its user wants to be known of it in another page, as JSON takes it. */
  about = null;
  /** What the gateway is to understand of it (docs/protocol.md section 5); 0 for nothing. */
  service = 0;
  /** OPEN went out on the uplink in use. */
  openSent = false;
  /** @type {number | null} When a WELCOME first left the stream out. */
  missingSince = null;
  /** The peer waits for an ACK with rn. */
  gap = false;
  /** The ack last transmitted on the uplink in use; -1 when an ACK may have been lost. */
  ackSent = 0;
  /** @type {number | null} When something was first delivered that is not acked. */
  ackSince = null;

  /**
   * @param {number} id
   * @param {string} target
   * @param {number} capacity
   * @param {number} window
   */
  constructor(id, target, capacity, window) {
    this.id = id;
    this.target = target;
    this.send = new SendLog(capacity);
    this.receive = new ReceiveLog(window);
  }

  get opened() {
    return this.reached !== null;
  }
}
