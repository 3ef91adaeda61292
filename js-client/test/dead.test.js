/**
 * Gateways that vanish without a word, on every transport, with the times of an ordinary page: docs/protocol.md section 8 and
 * docs/clients.md say how soon the client leaves. The clock is the test's, the transports are as good as their namesakes until
 * then, and everything above them is the client's own.
 *
 * @typedef {import('../src/frame.js').Frame} Frame
 * @typedef {import('../src/session.js').Kind} Kind
 * @typedef {import('../src/transports/transport.js').Handlers} Handlers
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../src/frame.js';
// What is loaded when its turn comes is there at once: a clock that stands still waits for no file.
import '../src/health.js';
import { Gateway, TCPSocket } from '../src/index.js';
import { LEGACY, isSocket } from '../src/session.js';
import '../src/transports/http.js';
import { OPEN } from '../src/transports/open.js';
import { Clock } from './support/clock.js';
import { encode } from './support/encode.js';
import { makePage } from './support/page.js';
import { Role } from './support/role.js';

/** @type {readonly Kind[]} */
const ALL = ['websocket', 'webtransport', 'stream', 'sse', 'poll', 'htmlfile', 'jsonp'];
const HEARTBEAT_MS = 25_000;
const HOLD_MS = 25_000;
/** docs/protocol.md section 7: a hold is over. */
const DETACH_HOLD = 2;
/** A page that is shown leaves within this: docs/clients.md. */
const SHOWN_MS = 46_000;
/** And every client within this. */
const DEAD_MS = 55_000;

/** A gateway and the network to it. */
class World {
  role = new Role({ sid: 'n1-x', token: new Uint8Array(32).fill(7), heartbeatMs: HEARTBEAT_MS });
  /** Nothing arrives any more, in either direction. */
  silent = false;
  /** @type {{ kind: Kind, at: number }[]} */
  tried = [];
  /** @type {{ n: number, kind: Kind, handlers: Handlers, prompt: boolean } | null} */
  #downlink = null;
  /** What a poll is held with: its WELCOME goes with whatever is said. @type {Frame[]} */
  #held = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** The gateway hears this. @param {Uint8Array} bytes @returns {Frame | undefined} the first of it */
  hear(bytes) {
    if (this.silent) return undefined;
    const frames = decode(bytes);
    this.role.receive(frames);
    return frames[0];
  }

  /** What the gateway has to say, if the network lets it. */
  speak() {
    if (this.#downlink === null || this.silent) return;
    const { n, kind, handlers, prompt } = this.#downlink;
    const frames = this.#held.concat(this.role.transmit(n));
    this.#held = [];
    if (kind === 'poll' && !prompt && frames.every(({ type }) => type === 'WELCOME')) {
      this.#held = frames;
      return;
    }
    if (frames.length === 0) return;
    if (kind === 'poll') this.#endPoll(handlers, frames);
    else {
      handlers.frames(decode(encode(frames)));
      this.#wait();
    }
  }

  /** The next sign of life of a gateway that has nothing to say. */
  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#downlink === null || this.silent) return;
      const { n, kind, handlers } = this.#downlink;
      if (kind === 'poll') this.#endPoll(handlers, [...this.#held, { type: 'DETACH', n, why: DETACH_HOLD }]);
      else {
        // A script that was held has at least a PAD.
        this.role.say(kind === 'jsonp' ? { type: 'PAD', len: 0 } : { type: 'PING', t: 1 });
        this.speak();
      }
    }, this.#downlink?.kind === 'poll' ? HOLD_MS : HEARTBEAT_MS);
  }

  /** @param {Handlers} handlers @param {Frame[]} frames */
  #endPoll(handlers, frames) {
    this.#downlink = null;
    this.#held = [];
    clearTimeout(this.#timer);
    handlers.frames(decode(encode(frames)));
    handlers.end({ code: null, text: '', clean: true });
  }

  /** @param {Kind} kind @returns {import('../src/transports/transport.js').Open} */
  open(kind) {
    return (_config, _sid, handlers) => {
      this.tried.push({ kind, at: performance.now() });
      let over = false;
      queueMicrotask(() => {
        if (over) return;
        const hello = this.hear(handlers.hello());
        if (hello?.type !== 'HELLO') return;
        this.#downlink = { n: hello.n, kind, handlers, prompt: hello.prompt ?? false };
        this.#wait();
        this.speak();
      });
      return {
        room: () => (isSocket(kind) ? 65_536 : 0),
        send: (bytes) => {
          this.hear(bytes);
          this.speak();
        },
        close: () => {
          over = true;
          if (this.#downlink?.handlers === handlers) this.#downlink = null;
        },
      };
    };
  }

  /** The uplink of those that only bring frames down. @param {Uint8Array} body */
  post(body) {
    this.hear(body);
    const reply = encode(this.role.reply(decode(body)));
    queueMicrotask(() => this.speak());
    return reply;
  }

  /** @type {typeof globalThis.fetch} */
  fetch = async (_url, { body, signal } = {}) => {
    const never = () => new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    if (this.silent) return /** @type {Promise<Response>} */ (never());
    const reply = this.post(/** @type {Uint8Array} */ (body));
    return new Response(reply, { headers: { 'content-type': 'application/octet-stream' } });
  };
}

/**
 * As much of a document as a form in a hidden iframe needs.
 * @param {import('node:test').TestContext} t
 * @param {World} world
 */
function makeDocument(t, world) {
  const messages = new EventTarget();
  const { addEventListener } = globalThis;
  /** @type {Map<string, any>} */
  const frames = new Map();
  const createElement = (/** @type {string} */ tag) => {
    /** @type {any} */
    const element = { tag, fields: {}, style: {}, contentWindow: {}, remove: () => void frames.delete(element.name) };
    element.append = (/** @type {any} */ { name, value }) => void (element.fields[name] = value);
    element.submit = () => {
      const frame = frames.get(element.target);
      if (world.silent) return;
      const reply = world.post(Buffer.from(element.fields.frames, 'base64url'));
      setTimeout(() => {
        const data = [200, Buffer.from(reply).toString('base64')];
        messages.dispatchEvent(Object.assign(new Event('message'), { source: frame.contentWindow, origin: 'http://gateway.example', data }));
      });
    };
    return element;
  };
  const body = { append: (/** @type {any} */ element) => element.tag === 'iframe' && frames.set(element.name, element) };
  const globals = {
    document: { createElement, body },
    addEventListener: (/** @type {string} */ type, /** @type {EventListener} */ listener) => {
      if (type === 'message') messages.addEventListener(type, listener);
      else addEventListener(type, listener);
    },
    removeEventListener: messages.removeEventListener.bind(messages),
  };
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });
  t.after(() => {
    for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name);
  });
}

for (const kind of ALL) {
  // What needs a document has a page.
  for (const shown of LEGACY.some((one) => one === kind) ? [true] : [true, false]) {
    test(`${kind}: a gateway that vanishes is left in time ${shown ? 'by a page' : 'without a page'}`, async (t) => {
      const before = { ...OPEN };
      const world = new World();
      for (const one of ALL) Object.assign(OPEN, { [one]: world.open(one) });
      t.after(() => void Object.assign(OPEN, before));
      // A browser has them all.
      Object.assign(globalThis, { EventSource: class {} });
      t.after(() => Reflect.deleteProperty(globalThis, 'EventSource'));
      if (shown) {
        makePage(t);
        makeDocument(t, world);
      }
      const clock = new Clock(t);
      const platform = /** @type {any} */ ({ WebSocket: class {}, WebTransport: class {} });
      const gateway = new Gateway('http://gateway.example', { ...platform, transport: kind, fetch: world.fetch, storage: null });
      /** @type {string[]} */
      const left = [];
      gateway.on('detach', ({ reason }) => left.push(reason));
      const socket = new TCPSocket('sink', { gateway });
      socket.closed.catch(() => {});
      await clock.pass(100);
      await socket.opened;
      // Minutes in which nobody has anything to say are no silence.
      await clock.pass(200_000);
      assert.deepEqual(left, [], 'it was only quiet');
      assert.equal(gateway.state, 'attached');
      world.silent = true;
      world.tried = [];
      const since = clock.now;
      await clock.pass(DEAD_MS + 1);
      // Another one is tried, be it beside the one in use.
      const [next] = world.tried;
      assert.ok(next, 'nothing was done about it');
      const ms = next.at - since;
      assert.equal(next.kind, kind);
      assert.ok(ms <= (shown ? SHOWN_MS : DEAD_MS) + 1, `after ${ms} ms`);
      assert.ok(ms >= 5000, `after ${ms} ms`);
      gateway.close();
      await clock.pass(0);
    });
  }
}
