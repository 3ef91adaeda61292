/**
 * A world of one Session, gateways made of Roles, and a network that loses, repeats, delays, reorders and cuts. Time is a
 * number. Every transport behaves as its namesake in docs/protocol.md section 7 and as badly as it can.
 *
 * @typedef {import('../../src/session.js').Kind} Kind
 * @typedef {import('../../src/frame.js').Frame} Frame
 */

import assert from 'node:assert/strict';
import { Decoder, decode } from '../../src/frame.js';
import { Session } from '../../src/session.js';
import { pack, unpack } from '../../src/snapshot.js';
import { encode } from './encode.js';
import { Random } from './random.js';
import { Role } from './role.js';

const HOLD_MS = 25_000;

/**
 * @typedef {object} Transport
 * @property {number} n
 * @property {Kind} kind
 * @property {boolean} alive for the client
 * @property {boolean} served for the gateway
 * @property {Role | null} role
 * @property {Frame[]} buffer of a poll
 * @property {boolean} prompt
 * @property {Decoder} decoder
 * @property {number} upAt when the last message sent arrives: a transport keeps the order
 * @property {number} downAt
 */

export class World {
  now = 0;
  random;
  session;
  /** Everything that can go wrong does with this probability. */
  evil;
  /** @type {Role[]} */
  roles = [];
  /** @type {Transport[]} */
  transports = [];
  /** @type {Kind} */
  kind = 'websocket';
  /** @type {readonly Kind[]} */
  kinds;
  log = { attaches: 0, cuts: 0, posts: 0, lostReplies: 0, doublePosts: 0, reloads: 0, resent: 0 };

  /** @type {{ at: number, run: () => void }[]} */
  #agenda = [];
  #post = false;
  #postAfter = 0;

  /**
   * @param {number} seed
   * @param {{ evil: number, kinds: readonly Kind[], windowBytes: number, sendBytes: number, roleWindow: number,
   *   onOpen: (stream: { id: number }, role: Role) => void, onData: (stream: { id: number }, role: Role) => void,
   *   onChanged?: (stream: import('../../src/stream.js').Stream) => void }} options
   */
  constructor(seed, options) {
    this.random = new Random(seed);
    this.evil = options.evil;
    this.kinds = options.kinds;
    this.options = options;
    this.session = new Session(options);
  }

  /** The role that the client's session is with. */
  get role() {
    return this.roles.find(({ sid }) => sid === this.session.sid);
  }

  /** @param {number} delay @param {() => void} run */
  after(delay, run) {
    this.#agenda.push({ at: this.now + delay, run });
  }

  /** Runs until `done` says so, or fails at `deadline`. @param {() => boolean} done @param {number} deadline */
  run(done, deadline) {
    while (!done()) {
      let next = 0;
      for (let i = 1; i < this.#agenda.length; i += 1) {
        if (/** @type {any} */ (this.#agenda[i]).at < /** @type {any} */ (this.#agenda[next]).at) next = i;
      }
      const [event] = this.#agenda.splice(next, 1);
      // What is due already waits for the uplink, and that is on the agenda.
      const due = this.session.nextTimeout();
      const timeout = due <= this.now ? Infinity : due;
      if (event === undefined || timeout < event.at) {
        assert.ok(timeout < Infinity, 'nothing will ever happen');
        this.now = timeout + 0.001;
        if (event) this.#agenda.splice(next, 0, event);
        this.session.handleTimeout(this.now);
      } else {
        this.now = Math.max(this.now, event.at);
        event.run();
      }
      assert.ok(this.now < deadline, `not done at ${this.now}`);
      this.pump();
    }
  }

  /** Does what a driver does after each input. */
  pump() {
    const { session } = this;
    for (const stream of session.changed()) this.options.onChanged?.(stream);
    for (let event = session.pollEvent(); event; event = session.pollEvent()) {
      if (event.type === 'welcome') {
        for (const other of this.transports) if (other.n !== event.n && other.alive) this.#end(other);
      } else if (event.type === 'late') {
        const { n } = event;
        const transport = this.transports.find((one) => one.n === n);
        if (transport) this.#end(transport);
      } else if (event.type === 'dead' || event.type === 'detach') {
        const { n } = event;
        const transport = this.transports.find((one) => one.n === n);
        if (transport?.alive && transport.kind !== 'poll') this.cut(transport);
      } else if (event.type === 'over') {
        assert.fail(`the session ended: ${event.code} ${event.text}`);
      }
    }
    if (!this.transports.some(({ alive }) => alive)) this.attach(this.random.pick(this.kinds));
    const { kind, n, epoch } = session.uplink;
    if (kind === 'socket') {
      const transport = this.transports.find((one) => one.n === n);
      for (let bytes = session.pollTransmit(65536, this.now); bytes; bytes = session.pollTransmit(65536, this.now)) {
        if (transport) this.#up(transport, bytes);
      }
    } else if (kind === 'post' && !this.#post && this.now >= this.#postAfter) {
      const bytes = session.pollTransmit(this.random.int(600, 131072), this.now);
      if (bytes) this.#sendPost(bytes, epoch);
    }
    for (const role of this.roles) this.#flush(role);
    this.transports = this.transports.filter(({ alive, served }) => alive || served);
  }

  /** A new attachment, beside those there are. @param {Kind} kind */
  attach(kind) {
    const chain = this.transports.some((one) => one.alive && one.kind === 'poll');
    const prompt = kind === 'poll' && !chain;
    const n = this.session.attach(kind, this.now, { prompt });
    this.log.attaches += 1;
    /** @type {Transport} */
    const transport = {
      n, kind, alive: true, served: false, role: null, buffer: [], prompt, decoder: new Decoder(), upAt: this.now, downAt: this.now,
    };
    this.transports.push(transport);
    const bytes = this.session.hello(n, 65536);
    if (kind === 'poll') this.after(60_000, () => transport.alive && this.cut(transport));
    else this.after(20_000, () => transport.alive && transport.downAt === 0 && this.cut(transport));
    this.#up(transport, bytes);
  }

  /**
   * The page of the client goes and another one goes on with its session: all that is left of the first is text.
   * @returns {boolean} whether there was a session to go on with
   */
  reload() {
    if (!this.session.confirmed) return false;
    this.log.reloads += 1;
    this.log.resent += this.session.stats.resent;
    const text = JSON.stringify(pack(this.session));
    for (const transport of this.transports) if (transport.alive) this.#end(transport);
    this.session = new Session(this.options, unpack(JSON.parse(text)));
    this.#post = false;
    this.#postAfter = 0;
    return true;
  }

  /** The network breaks it: what is on its way may arrive or not. @param {Transport} transport */
  cut(transport) {
    if (!transport.alive) return;
    this.log.cuts += 1;
    this.#end(transport);
  }

  /** @param {Transport} transport */
  #end(transport) {
    transport.alive = false;
    this.session.detached(transport.n, this.now);
    this.after(this.random.int(0, 30_000), () => (transport.served = false));
  }

  #delay() {
    return this.random.chance(this.evil / 4) ? this.random.int(0, 5000) : this.random.int(5, 80);
  }

  /** @param {Transport} transport @param {Uint8Array} bytes */
  #up(transport, bytes) {
    if (this.random.chance(this.evil / 8)) {
      this.after(this.random.int(0, 3000), () => this.cut(transport));
      return;
    }
    transport.upAt = Math.max(transport.upAt, this.now + this.#delay());
    // What was sent before a cut may arrive after it.
    const alive = () => transport.alive || this.random.chance(0.5);
    this.after(transport.upAt - this.now, () => alive() && this.#gatewayReceives(transport, decode(bytes)));
  }

  /** @param {Transport} transport @param {Frame[]} frames */
  #gatewayReceives(transport, frames) {
    const [hello] = frames;
    if (hello?.type === 'HELLO') {
      const fresh = hello.token.every((byte) => byte === 0);
      const role = fresh ? this.#newRole() : this.roles.find(({ token }) => Buffer.from(token).equals(hello.token));
      assert.ok(role, 'a token nobody gave');
      transport.role = role;
      transport.served = true;
      if (transport.kind === 'poll') {
        this.after(HOLD_MS, () => {
          transport.prompt = true;
          this.#flush(role);
        });
      }
    }
    transport.role?.receive(frames);
    if (transport.role) this.#flush(transport.role);
  }

  #newRole() {
    const index = this.roles.length + 1;
    const role = new Role({
      sid: `n1-${index}`, token: new Uint8Array(32).fill(index), window: this.options.roleWindow,
      onOpen: this.options.onOpen, onData: this.options.onData,
    });
    this.roles.push(role);
    return role;
  }

  /** @param {Role} role */
  #flush(role) {
    for (const transport of this.transports) {
      if (transport.role !== role || !transport.served) continue;
      const frames = role.transmit(transport.n, 50_000);
      if (transport.kind === 'poll') {
        transport.buffer.push(...frames);
        const something = transport.buffer.some(({ type }) => type !== 'WELCOME');
        if (!something && !(transport.prompt && transport.buffer.length > 0)) continue;
        transport.served = false;
        this.#down(transport, encode(transport.buffer), true);
      } else if (frames.length > 0) {
        if (transport.kind === 'websocket') this.#down(transport, encode(frames), false);
        else this.#downInPieces(transport, encode(frames));
      }
    }
  }

  /** @param {Transport} transport @param {Uint8Array} bytes */
  #downInPieces(transport, bytes) {
    const at = this.random.int(0, bytes.length);
    for (const piece of [bytes.subarray(0, at), bytes.subarray(at)]) if (piece.length > 0) this.#down(transport, piece, false);
  }

  /** @param {Transport} transport @param {Uint8Array} bytes @param {boolean} whole a reply, which ends the transport */
  #down(transport, bytes, whole) {
    const lost = this.random.chance(this.evil / 8);
    transport.downAt = Math.max(transport.downAt, this.now + this.#delay());
    this.after(transport.downAt - this.now, () => {
      if (!transport.alive) return;
      if (lost) {
        // A stream may be cut inside a frame.
        if (transport.kind === 'stream') this.#clientReceives(transport, bytes.subarray(0, this.random.int(0, bytes.length)));
        this.cut(transport);
        return;
      }
      this.#clientReceives(transport, bytes);
      if (!whole || !transport.alive) return;
      transport.alive = false;
      const chain = !this.transports.some(({ alive }) => alive);
      this.session.detached(transport.n, this.now, { clean: chain });
      if (chain && this.random.chance(1 - this.evil / 4)) {
        transport.alive = true;
        this.attach('poll');
        transport.alive = false;
      }
    });
  }

  /** @param {Transport} transport @param {Uint8Array} bytes */
  #clientReceives(transport, bytes) {
    this.session.receive(transport.decoder.push(bytes), transport.n, this.now);
  }

  /** @param {Uint8Array} bytes @param {number} epoch */
  #sendPost(bytes, epoch) {
    const { session } = this;
    const role = /** @type {Role} */ (this.role);
    this.#post = true;
    this.log.posts += 1;
    const frames = decode(bytes);
    const lost = this.random.chance(this.evil);
    const replyLost = this.random.chance(this.evil);
    const twice = this.random.chance(this.evil);
    const process = () => {
      role.receive(frames);
      const reply = role.reply(frames);
      this.#flush(role);
      return reply;
    };
    if (twice) {
      this.log.doublePosts += 1;
      this.after(this.random.int(0, 20_000), process);
    }
    this.after(this.#delay(), () => {
      const reply = lost ? null : process();
      this.after(this.#delay(), () => {
        // Its page may be gone.
        if (this.session !== session) return;
        this.#post = false;
        if (reply !== null && !replyLost) {
          const again = this.session.upDone(decode(encode(reply)), epoch, this.now);
          if (again) this.#postAfter = this.now + this.random.int(0, 200);
        } else {
          if (reply !== null) this.log.lostReplies += 1;
          this.session.upFailed(epoch);
          this.#postAfter = this.now + this.random.int(0, 1000);
          this.after(1001, () => {});
        }
      });
    });
    this.after(200, () => {});
  }
}
