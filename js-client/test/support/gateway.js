/**
 * A gateway over real sockets with Roles behind it and faults on request. It follows docs/protocol.md section 7.
 *
 * Backends by name: `echo` sends back what it gets and ends when it is told the end; `source:N` sends N bytes and ends;
 * `sink` takes everything and never says anything; `slow` takes nothing until told; `refused` is refused; `silent` never
 * answers an OPEN.
 *
 * @typedef {import('../../src/session.js').Kind} Kind
 * @typedef {import('../../src/frame.js').Frame} Frame
 * @typedef {'lost' | 'reply lost' | 'twice'} UpFault
 */

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { codeName, codeNumber } from '../../src/codes.js';
import { bearer } from '../../src/transports/http.js';
import { Decoder, decode } from '../../src/frame.js';
import { encode } from './encode.js';
import { pattern } from './random.js';
import { Role } from './role.js';
import { webTransportTo } from './webtransport.js';

/** @type {Partial<Record<import('../../src/codes.js').Code, number>>} */
const STATUS = { protocol: 400, version: 400, denied: 403, lost: 404, limit: 429, overloaded: 503, going_away: 503 };

/**
 * @typedef {object} Transport
 * @property {Kind} kind
 * @property {number} n
 * @property {Role} role
 * @property {(bytes: Buffer) => void} send
 * @property {() => void} end in good order
 * @property {() => void} destroy
 * @property {Frame[]} held by a poll
 * @property {boolean} prompt
 */

export class FakeGateway {
  /** @type {Map<string, Role>} */
  roles = new Map();
  /** @type {Set<Transport>} */
  transports = new Set();
  /** How often each transport was asked for, and each path. @type {Record<string, number>} */
  requests = {};
  /** Transports that are refused: their connections are broken. @type {Set<Kind>} */
  broken = new Set();
  /** Transports that are never answered. @type {Set<Kind>} */
  mute = new Set();
  /** Refuses every new attachment with this code. @type {import('../../src/codes.js').Code | null} */
  refuse = null;
  /** @type {UpFault[]} what happens to the next uplink POSTs */
  upFaults = [];
  /** Says that it has WebTransport. */
  offersWebTransport = true;
  /** What a page of this gateway uses as WebTransport. */
  WebTransport = webTransportTo((url, side) => this.#attachWebTransport(url, side));
  /** Breaks so many transports, each when it has something to bring. */
  breakNext = 0;
  /** Cuts each stream after so many bytes, wherever that is. */
  cutStreamAfter = Infinity;
  /** A proxy lets the first piece of a stream pass and waits with the rest for an end that does not come. */
  holdStreams = false;
  /** A proxy passes streams on in pieces of so many bytes, and the rest when they end. */
  streamPieces = 1;
  /** @type {string | null} the only origin that is allowed */
  origin = null;
  /** Streams of `slow` backends take what they got. */
  flowing = false;
  heartbeatMs = 25_000;
  resumeMs = 120_000;
  holdMs = 25_000;
  window = 65_536;
  url = '';

  #server;
  #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'perigee.v1' });
  /** @type {Set<import('node:net').Socket>} */
  #connections = new Set();
  /** @type {Set<NodeJS.Timeout>} */
  #timers = new Set();

  constructor() {
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error) => {
        response.destroy(error);
        if (error instanceof assert.AssertionError) throw error;
      });
    });
    this.#server.on('connection', (socket) => {
      this.#connections.add(socket);
      socket.on('close', () => this.#connections.delete(socket));
    });
    this.#server.on('upgrade', (request, socket, head) => {
      this.#count('websocket');
      if (this.broken.has('websocket') || !this.#allows(request)) return socket.destroy();
      if (this.mute.has('websocket')) return undefined;
      const sid = (request.url ?? '').split('/')[3] ?? '';
      return this.#sockets.handleUpgrade(request, socket, head, (ws) => this.#attachWebSocket(ws, sid));
    });
  }

  static async start() {
    const gateway = new FakeGateway();
    await new Promise((resolve) => gateway.#server.listen(0, '127.0.0.1', () => resolve(undefined)));
    const address = gateway.#server.address();
    assert.ok(typeof address === 'object' && address !== null);
    gateway.url = `http://127.0.0.1:${address.port}`;
    return gateway;
  }

  async stop() {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const socket of this.#connections) socket.destroy();
    this.#sockets.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The only session there is. */
  get role() {
    assert.equal(this.roles.size, 1, 'one session was expected');
    return /** @type {Role} */ ([...this.roles.values()][0]);
  }

  /** The transport that is the downlink of the only session. */
  get downlink() {
    return [...this.transports].find(({ n, role }) => role === this.role && n === role.n);
  }

  /** Breaks every transport. */
  cut() {
    for (const transport of [...this.transports]) transport.destroy();
  }

  /** Forgets every session, as a crash does. */
  crash() {
    this.roles.clear();
    this.cut();
  }

  /** @param {(role: Role) => void} change */
  update(change) {
    for (const role of this.roles.values()) {
      change(role);
      this.#flush(role);
    }
  }

  flow() {
    this.flowing = true;
    this.update((role) => {
      for (const { id, rn } of [...role.streams.values()]) role.deliver(id, rn);
    });
  }

  /** @param {string} what */
  #count(what) {
    this.requests[what] = (this.requests[what] ?? 0) + 1;
  }

  /** @param {import('node:http').IncomingMessage} request */
  #allows(request) {
    return this.origin === null || request.headers.origin === this.origin;
  }

  /** @param {Frame[]} frames @param {string} sid */
  #admit(frames, sid) {
    const [hello] = frames;
    assert.ok(hello?.type === 'HELLO', 'HELLO comes first');
    if (this.refuse !== null) return { code: this.refuse };
    const fresh = hello.token.every((byte) => byte === 0);
    assert.equal(sid === 'new', fresh, 'a new session is asked for at /new');
    if (fresh) return { role: this.#newRole(), n: hello.n, prompt: hello.prompt };
    const role = this.roles.get(sid);
    if (role === undefined || role.ended || !Buffer.from(role.token).equals(hello.token)) return { code: /** @type {const} */ ('lost') };
    return { role, n: hello.n, prompt: hello.prompt };
  }

  #newRole() {
    const index = this.roles.size + 1;
    const sid = `n1-${String(index).padStart(22, 'x')}`;
    const role = new Role({
      sid, token: new Uint8Array(32).map((_, i) => i + index * 3 + 1), window: this.window,
      heartbeatMs: this.heartbeatMs, resumeMs: this.resumeMs,
      onOpen: ({ id, target }, at) => {
        if (target === 'refused') return at.reset(id, codeNumber('refused'), 'connection refused');
        if (target === 'silent') return undefined;
        at.opened(id);
        const size = /^source:(\d+)$/.exec(target)?.[1];
        if (size !== undefined) {
          at.write(id, pattern(0, 0, Number(size)));
          at.finish(id);
        }
        return undefined;
      },
      onData: (stream, at) => {
        if (stream.target === 'slow' && !this.flowing) return;
        if (stream.target === 'echo') {
          at.write(stream.id, stream.received.subarray(stream.delivered));
          if (stream.finIn !== null) at.finish(stream.id);
        }
        at.deliver(stream.id, stream.rn);
      },
    });
    this.roles.set(sid, role);
    return role;
  }

  /** @param {import('ws').WebSocket} ws @param {string} sid */
  #attachWebSocket(ws, sid) {
    /** @type {Transport | null} */
    let transport = null;
    ws.on('message', (data, binary) => {
      assert.ok(binary && Buffer.isBuffer(data) && data.length <= 65_536, 'messages are binary and at most 64 KiB');
      const frames = decode(data);
      if (transport === null) {
        const { role, n, code } = this.#admit(frames, sid);
        if (role === undefined || n === undefined) return ws.close(4000 + codeNumber(code ?? 'lost'), code);
        transport = {
          kind: 'websocket', n, role, held: [], prompt: false,
          send: (bytes) => ws.send(bytes), end: () => ws.close(1000), destroy: () => ws.terminate(),
        };
        this.transports.add(transport);
      }
      transport.role.receive(frames);
      this.#flush(transport.role);
      if (transport.role.ended) ws.close(1000);
      return undefined;
    });
    ws.on('close', () => transport && this.transports.delete(transport));
  }

  /**
   * @param {URL} url
   * @param {import('./webtransport.js').Side} side
   * @returns {import('./webtransport.js').Peer}
   */
  #attachWebTransport(url, side) {
    this.#count('webtransport');
    const [, , , sid = '', verb = ''] = url.pathname.split('/');
    assert.ok(url.protocol === 'https:' && verb === 'wt', url.href);
    const decoder = new Decoder();
    /** @type {Transport | null} */
    let transport = null;
    return {
      answer: this.mute.has('webtransport') ? 'never' : this.broken.has('webtransport') ? 'refused' : 'granted',
      bytes: (bytes) => {
        const frames = decoder.push(bytes);
        if (frames.length === 0) return;
        if (transport === null) {
          const { role, n, code = 'lost' } = this.#admit(frames, sid);
          if (role === undefined || n === undefined) return void side.close(4000 + codeNumber(code), code);
          transport = { kind: 'webtransport', n, role, held: [], prompt: false, send: side.send, end: side.end, destroy: side.destroy };
          this.transports.add(transport);
        }
        transport.role.receive(frames);
        this.#flush(transport.role);
        if (transport.role.ended) side.end();
      },
      end: () => {
        if (transport) this.transports.delete(transport);
        side.close(4000, 'closed');
      },
    };
  }

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
  async #serve(request, response) {
    const path = (request.url ?? '').replace(/^\/perigee\/v1\/(?=(?:origin|webtransport)$)/, '/perigee/v1/-/');
    const [, , , sid = '', verb = ''] = path.split('/');
    this.#count(verb);
    const { origin } = request.headers;
    if (this.#allows(request) && origin !== undefined) response.setHeader('access-control-allow-origin', origin);
    response.setHeader('cache-control', 'no-store, no-transform');
    if (request.method === 'OPTIONS') {
      response.setHeader('access-control-allow-headers', 'authorization');
      response.setHeader('access-control-allow-methods', 'GET, POST');
      return void response.writeHead(204).end();
    }
    if (verb === 'stream' || verb === 'poll') {
      if (this.broken.has(verb)) return void request.socket.destroy();
      if (this.mute.has(verb)) return undefined;
    }
    if (verb === 'webtransport') return void response.writeHead(this.offersWebTransport ? 200 : 404).end('{}');
    if (!this.#allows(request)) return this.#refuse(response, 'denied');
    if (verb === 'origin') return void response.writeHead(204).end();
    /** @type {Buffer[]} */
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    assert.ok(body.length <= 131_072, 'a body is at most 128 KiB');
    if (verb === 'up') return this.#serveUp(request, response, sid, body);
    const { role, n, prompt, code } = this.#admit(decode(body), sid);
    if (role === undefined || n === undefined) return this.#refuse(response, code ?? 'lost');
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    response.flushHeaders();
    let sent = 0;
    let held = Buffer.alloc(0);
    /** @type {Transport} */
    const transport = {
      kind: verb === 'poll' ? 'poll' : 'stream', n, role, held: [], prompt: prompt ?? false,
      send: (bytes) => {
        if (!this.transports.has(transport)) return;
        if (transport.kind === 'stream' && this.holdStreams && sent > 0) return;
        if (transport.kind === 'stream' && sent + bytes.length > this.cutStreamAfter) {
          const part = bytes.subarray(0, this.cutStreamAfter - sent);
          this.transports.delete(transport);
          response.write(part, () => response.destroy());
          return;
        }
        sent += bytes.length;
        held = Buffer.concat([held, bytes]);
        const whole = transport.kind === 'stream' ? held.length - held.length % this.streamPieces : held.length;
        if (whole > 0) response.write(held.subarray(0, whole));
        held = held.subarray(whole);
      },
      end: () => response.end(held), destroy: () => response.destroy(),
    };
    this.transports.add(transport);
    response.on('close', () => this.transports.delete(transport));
    role.receive(decode(body));
    this.#flush(role);
    if (transport.kind === 'poll' && this.transports.has(transport)) {
      this.#timers.add(setTimeout(() => {
        if (!this.transports.has(transport)) return;
        transport.held.push({ type: 'DETACH', n, why: 2 });
        this.#flush(role);
      }, this.holdMs));
    }
    return undefined;
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   * @param {string} sid
   * @param {Buffer} body
   */
  #serveUp(request, response, sid, body) {
    const role = this.roles.get(sid);
    if (role === undefined || request.headers.authorization !== bearer(role.token)) return this.#refuse(response, 'lost');
    const fault = this.upFaults.shift();
    if (fault === 'lost') return void request.socket.destroy();
    const frames = decode(body);
    assert.ok(frames.length > 0 && frames.every(({ type }) => type !== 'HELLO'));
    if (fault === 'twice') role.receive(frames);
    role.receive(frames);
    const reply = encode(role.reply(frames));
    this.#flush(role);
    if (fault === 'reply lost') return void request.socket.destroy();
    response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(reply);
    return undefined;
  }

  /** @param {import('node:http').ServerResponse} response @param {import('../../src/codes.js').Code} code */
  #refuse(response, code) {
    response.writeHead(STATUS[code] ?? 500, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ code: codeName(codeNumber(code)), message: 'no' }));
  }

  /** @param {Transport} transport */
  #breaks(transport) {
    if (this.breakNext === 0) return false;
    this.breakNext -= 1;
    this.transports.delete(transport);
    transport.destroy();
    return true;
  }

  /** @param {Role} role */
  #flush(role) {
    for (const transport of [...this.transports]) {
      if (transport.role !== role) continue;
      for (let frames = role.transmit(transport.n, 32_768); frames.length > 0; frames = role.transmit(transport.n, 32_768)) {
        transport.held.push(...frames);
        if (transport.kind === 'poll') break;
        const ends = frames.some(({ type }) => type === 'DETACH');
        transport.held = [];
        if (this.#breaks(transport)) break;
        transport.send(encode(frames));
        if (ends) {
          this.transports.delete(transport);
          transport.end();
          break;
        }
      }
      const something = transport.held.some(({ type }) => type !== 'WELCOME');
      if (something || (transport.prompt && transport.held.length > 0)) {
        if (this.#breaks(transport)) continue;
        transport.send(encode(transport.held));
        this.transports.delete(transport);
        transport.end();
      }
    }
  }
}
