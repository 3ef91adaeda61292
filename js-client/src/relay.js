/**
 * The gateway's end of one tab's session, inside the worker that has the session of all tabs (docs/architecture.md, "One
 * session for all tabs"): each stream of the tab is joined to one of the worker's. Adds no state of its own to the bytes:
 * what the tab did not take yet stays in the worker's log and is acked to the gateway only when the tab took it, and what
 * the tab wrote is acked to it only when the gateway acked it.
 *
 * @typedef {import('./frame.js').Frame} Frame
 * @typedef {import('./gateway.js').GatewayEvents} Events
 * @typedef {(target: string, listener: () => void) => { link: Pick<import('./link.js').Link, 'session' | 'kick'>, stream: import('./stream.js').Stream }} OpenStream
 * @typedef {{ use: 'auto' | import('./session.js').Kind } | { cut: true }} Request what a tab asks of the session of all
 * @typedef {{ name: keyof Events, event: any, transport: import('./session.js').Kind | null,
 *   stats: { resent: number, attaches: number, resumes: number } }} News
 * @typedef {{ frames?: Frame[], news?: News, ended?: import('./codes.js').Code }} Message to a tab
 *
 * @typedef {object} Joined
 * @property {number} id the tab's
 * @property {ReturnType<OpenStream>['link']} link
 * @property {import('./stream.js').Stream} stream the worker's
 * @property {number} next offset to tell the tab next, FIN included
 * @property {number} limit what the tab takes
 * @property {boolean} opened the tab knows that it is open
 * @property {number} acked to the tab
 */

import { OFFLINE, codeName, codeNumber } from './codes.js';
import { MAX_DATA_BYTES, VERSION } from './frame.js';
import { DETACH_LEAVING } from './session.js';
import { Timers } from './timers.js';

export const HEARTBEAT_MS = 20_000;
/** How long a tab that left may take to come back. */
export const RESUME_MS = 120_000;
/** The ends of streams that a tab may not have heard of. */
const MAX_ENDS = 1024;

export class Relay {
  /** When the tab was last heard. */
  heardAt = Timers.now();
  /** @type {((frames: Frame[]) => void) | null} null while there is no way to the tab */
  post = null;

  #openStream;
  #sid;
  #token;
  #n = 0;
  #capacity;
  /** The credit of a new stream. */
  #initial = 0;
  /** @type {Map<number, Joined>} */
  #streams = new Map();
  /** @type {Map<number, Frame>} RESETs, by stream */
  #ends = new Map();
  /** Ids below this are taken. */
  #floor = 1;

  /** @param {OpenStream} openStream @param {string} sid @param {Uint8Array} token @param {number} sendBytes of each of its streams */
  constructor(openStream, sid, token, sendBytes) {
    this.#openStream = openStream;
    this.#sid = sid;
    this.#token = token;
    this.#capacity = sendBytes;
  }

  get size() {
    return this.#streams.size;
  }

  /**
   * @param {readonly Frame[]} frames what a tab sent
   * @param {(frames: Frame[]) => void} post the way back
   * @returns {boolean} false when the tab is done
   */
  receive(frames, post) {
    this.heardAt = Timers.now();
    for (const frame of frames) {
      switch (frame.type) {
        case 'HELLO':
          this.#hello(frame, post);
          break;
        case 'PING':
          this.#tell([{ type: 'PONG', t: frame.t }]);
          break;
        case 'DETACH':
          // Ports are not in order among each other: the tab may be back by now.
          if (frame.why === DETACH_LEAVING && frame.n === this.#n) this.post = null;
          break;
        case 'OPEN':
          this.#open(frame);
          break;
        case 'RESET':
          if (frame.stream === 0) return false;
          this.#reset(this.#streams.get(frame.stream), codeName(frame.code), frame.text);
          break;
        case 'DATA':
        case 'FIN':
        case 'ACK': {
          const joined = this.#streams.get(frame.stream);
          if (joined) this.#onStream(joined, frame);
          break;
        }
      }
    }
    return true;
  }

  /** Asks for a sign of life. */
  ping() {
    this.#tell([{ type: 'PING', t: 0 }]);
  }

  /** The tab is gone, and its streams with it. */
  end() {
    this.post = null;
    for (const joined of [...this.#streams.values()]) this.#reset(joined, 'aborted', 'the tab is gone');
  }

  /** @param {Frame[]} frames */
  #tell(frames) {
    if (frames.length > 0) this.post?.(frames);
  }

  /** @param {import('./frame.js').Hello} hello @param {(frames: Frame[]) => void} post */
  #hello({ n, initial, next_stream, entries }, post) {
    if (n <= this.#n) return;
    const first = this.#n === 0;
    this.#n = n;
    this.post = post;
    this.#initial = initial;
    const listed = new Map(entries.map((entry) => [entry.stream, entry]));
    for (const id of this.#ends.keys()) if (!listed.has(id)) this.#ends.delete(id);
    for (const joined of [...this.#streams.values()]) {
      const entry = listed.get(joined.id);
      if (entry) {
        joined.next = entry.rn;
        joined.limit = Math.max(joined.limit, entry.limit);
        joined.acked = 0;
        joined.opened = false;
      } else if (joined.id < next_stream) {
        this.#reset(joined, 'aborted', '');
      }
    }
    this.#tell([{
      type: 'WELCOME', version: VERSION, caps: 0, n, heartbeat_ms: HEARTBEAT_MS, resume_ms: RESUME_MS, initial: this.#capacity,
      ...(first && { sid: this.#sid, token: this.#token }),
      entries: [...this.#streams.values()].map(({ id, stream: { send, receive } }) => ({
        stream: id, rn: send.end, limit: send.acked + this.#capacity, base: receive.ack,
      })),
    }, ...this.#ends.values()]);
    for (const joined of [...this.#streams.values()]) this.#pump(joined);
  }

  /** @param {import('./frame.js').Open} open */
  #open({ stream: id, service, target }) {
    const known = this.#streams.get(id);
    if (known || id < this.#floor) return;
    this.#floor = id + 1;
    const { link, stream } = this.#openStream(target, () => this.#pump(joined));
    stream.service = service;
    /** @type {Joined} */
    const joined = { id, link, stream, next: 0, limit: this.#initial, opened: false, acked: 0 };
    this.#streams.set(id, joined);
    this.#pump(joined);
  }

  /** @param {Joined} joined @param {import('./frame.js').Data | import('./frame.js').Fin | import('./frame.js').Ack} frame */
  #onStream(joined, frame) {
    const { link, stream } = joined;
    const { send, receive } = stream;
    if (stream.over) return;
    if (frame.type === 'DATA') {
      const fresh = frame.data.subarray(Math.max(0, send.written - frame.offset));
      // A port neither loses nor reorders, and an honest tab keeps to the limit, which is what the log has room for.
      const fits = frame.offset <= send.written && link.session.write(stream, fresh) === fresh.length;
      if (!fits) this.#reset(joined, 'flow', 'more than was granted');
    } else if (frame.type === 'FIN') {
      link.session.finish(stream);
    } else {
      joined.limit = Math.max(joined.limit, frame.limit);
      const taken = Math.min(frame.ack, joined.next, receive.delivered + receive.waiting);
      if (taken > receive.delivered) {
        link.session.stats.delivered += taken - receive.delivered;
        receive.drop(taken);
        stream.ackSince ??= Timers.now();
      }
      if (frame.ack > taken) link.session.passEnd(stream, Timers.now());
      this.#pump(joined);
    }
    link.kick();
  }

  /** Tells the tab what it may know of a stream and does not. @param {Joined} joined */
  #pump(joined) {
    if (this.#streams.get(joined.id) !== joined) return;
    const { id, stream } = joined;
    const { send, receive, over } = stream;
    if (this.post === null) return;
    /** @type {Frame[]} */
    const frames = [];
    if (stream.reached !== null && !joined.opened) {
      joined.opened = true;
      frames.push({ type: 'OPENED', stream: id, reached: stream.reached });
    }
    if (send.base > joined.acked) {
      joined.acked = send.base;
      frames.push({ type: 'ACK', stream: id, ack: send.base, limit: send.acked + this.#capacity });
    }
    const end = receive.delivered + receive.waiting;
    while (joined.next < Math.min(end, joined.limit)) {
      const to = Math.min(end, joined.limit, joined.next + MAX_DATA_BYTES);
      frames.push({ type: 'DATA', stream: id, offset: joined.next, data: receive.copy(joined.next, to) });
      joined.next = to;
    }
    if (receive.complete && joined.next === end) {
      frames.push({ type: 'FIN', stream: id, offset: end });
      joined.next = end + 1;
    }
    if (over) {
      /** @type {Frame} */
      const reset = { type: 'RESET', stream: id, code: over.code === 'offline' ? OFFLINE : codeNumber(over.code), ack: send.base, text: over.text };
      frames.push(reset);
      this.#streams.delete(id);
      this.#ends.set(id, reset);
      for (const old of this.#ends.keys()) {
        if (this.#ends.size <= MAX_ENDS) break;
        this.#ends.delete(old);
      }
    }
    this.#tell(frames);
  }

  /** @param {Joined | undefined} joined @param {import('./codes.js').Code} code @param {string} text */
  #reset(joined, code, text) {
    if (joined === undefined) return;
    this.#streams.delete(joined.id);
    joined.link.session.reset(joined.stream, code, text);
    joined.link.kick();
  }
}
