/**
 * A gateway that is as good on every transport as it has to be, and a client of it whose clock is the test's. What carries the
 * frames is made of calls; everything above that is the client's own.
 *
 * @typedef {import('../../src/frame.js').Frame} Frame
 * @typedef {import('../../src/session.js').Kind} Kind
 * @typedef {import('../../src/transports/transport.js').Handlers} Handlers
 */

import assert from 'node:assert/strict';
import { decode } from '../../src/frame.js';
import { Gateway, TCPSocket } from '../../src/index.js';
import { KINDS } from '../../src/ladder.js';
import { LEGACY, isSocket } from '../../src/session.js';
import { OPEN } from '../../src/transports/open.js';
import { Clock, settle } from './clock.js';
import { encode } from './encode.js';
import { Role } from './role.js';

/** @type {readonly Kind[]} */
export const EVERY_RUNG = [...KINDS, ...LEGACY];
const HEARTBEAT_MS = 25_000;
/** For modules to be loaded on a busy machine. */
const PATIENCE_NS = 30_000_000_000n;
/** How often the client looks whether its transport is silent, once the module that does so has come. */
const LOOK_MS = 5000;
const HOLD_MS = 25_000;
/** docs/protocol.md section 7: a hold is over. */
const DETACH_HOLD = 2;

function makeRole() {
  return new Role({ sid: 'n1-x', token: new Uint8Array(32).fill(7), heartbeatMs: HEARTBEAT_MS });
}

/** A gateway and the network to it. */
export class World {
  role = makeRole();
  /** How many it was asked for. */
  sessions = 0;
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
    const [first] = frames;
    if (first?.type === 'HELLO' && first.token.every((byte) => byte === 0)) this.sessions += 1;
    return first;
  }

  /** The gateway says this at once. @param {Frame} frame */
  say(frame) {
    this.role.say(frame);
    this.speak();
  }

  /** Another one takes its place, which knows nothing of its sessions. */
  restart() {
    this.role = makeRole();
    this.#downlink = null;
    this.#held = [];
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

  /** @param {Kind} kind @returns {import('../../src/transports/transport.js').Open} */
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

/**
 * @param {import('node:test').TestContext} t
 * @param {Kind} transport
 */
export function setupQuiet(t, transport) {
  const before = { ...OPEN };
  const world = new World();
  for (const one of EVERY_RUNG) Object.assign(OPEN, { [one]: world.open(one) });
  t.after(() => void Object.assign(OPEN, before));
  // A browser has them all.
  Object.assign(globalThis, { EventSource: class {} });
  t.after(() => Reflect.deleteProperty(globalThis, 'EventSource'));
  if (LEGACY.some((kind) => kind === transport)) makeDocument(t, world);
  const clock = new Clock(t);
  const platform = /** @type {any} */ ({ WebSocket: class {}, WebTransport: class {} });
  const gateway = new Gateway('http://gateway.example', { ...platform, transport, fetch: world.fetch, storage: null });
  return { world, clock, gateway, connect: () => connect(gateway, clock, world) };
}

/**
 * A socket that is open, of a client that has loaded what it needs.
 * @param {Gateway} gateway
 * @param {Clock} clock
 * @param {World} world
 */
async function connect(gateway, clock, world) {
  const socket = new TCPSocket('sink', { gateway });
  /** @type {Promise<unknown>} why it ended */
  const closed = socket.closed.then(() => null, (error) => error);
  await clock.pass(100);
  await socket.opened;
  // Files take their time, whatever the clock says. A client that can speak confirms its session; a poll does that by the next.
  const confirmed = () => gateway.transport === 'poll' || world.role.heard.some(({ type }) => type === 'PING');
  const deadline = process.hrtime.bigint() + PATIENCE_NS;
  while (clock.next > LOOK_MS || !confirmed()) {
    assert.ok(process.hrtime.bigint() < deadline, 'waited in vain for modules');
    await settle();
  }
  return { closed };
}
