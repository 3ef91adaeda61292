/**
 * The worker of `new Gateway(url, { shared: true })`: one session with the gateway for all tabs of an origin. Each tab
 * is a Relay. What the session is to be like is this worker's name, so tabs that want the same find the same worker.
 *
 * Invariant: a tab that goes, however it goes, takes its own streams with it and nobody else's.
 */

import { decode } from './frame.js';
import { Gateway, openStream } from './gateway.js';
import { HEARTBEAT_MS, RESUME_MS, Relay } from './relay.js';
import { Timers } from './timers.js';

/** A tab without a lock that says nothing for so long has left. */
const SILENCE_MS = 3 * HEARTBEAT_MS;

const [url, options] = JSON.parse(/** @type {{ name: string }} */ (/** @type {unknown} */ (globalThis)).name);
const gateway = new Gateway(url, options);
/** @type {Map<string, Relay>} by token */
const relays = new Map();
/** @type {Set<(news: import('./relay.js').News) => void>} */
const listeners = new Set();
/** @type {WeakSet<Relay>} whose end is told by a lock */
const locked = new WeakSet();

/** @param {keyof import('./relay.js').Events} name @param {any} event @returns {import('./relay.js').News} */
function newsOf(name, event) {
  const { resent, attaches, resumes } = gateway.stats;
  return { name, event, transport: gateway.transport, stats: { resent, attaches, resumes } };
}
for (const name of /** @type {const} */ (['state', 'transport', 'detach', 'resume', 'goaway', 'lost'])) {
  gateway.on(name, (event) => {
    for (const tell of [...listeners]) tell(newsOf(name, event));
  });
}

globalThis.addEventListener('connect', (event) => {
  const [port] = /** @type {MessageEvent} */ (event).ports;
  if (port) serve(port);
});

setInterval(() => {
  const now = Timers.now();
  for (const relay of relays.values()) {
    relay.ping();
    if (relay.post !== null && locked.has(relay)) continue;
    if (now - relay.heardAt > SILENCE_MS + RESUME_MS) end(relay);
  }
}, HEARTBEAT_MS);

/** @param {Relay} relay */
function end(relay) {
  relay.end();
  for (const [token, one] of relays) if (one === relay) relays.delete(token);
}

/** One attachment of one tab. @param {MessagePort} port */
function serve(port) {
  /** @type {Relay | null} */
  let relay = null;
  /** @param {import('./relay.js').Message} message */
  const post = (message) => port.postMessage(message);
  /** @param {import('./frame.js').Frame[]} frames */
  const postFrames = (frames) => post({ frames });
  /** @param {import('./relay.js').News} news */
  const tell = (news) => {
    if (relay?.post === postFrames) post({ news });
    else listeners.delete(tell);
  };
  port.onmessage = ({ data }) => {
    /** @type {{ frames?: Uint8Array, request?: import('./relay.js').Request, lock?: string }} */
    const { frames, request, lock } = data;
    if (frames) {
      const decoded = decode(frames);
      const [hello] = decoded;
      if (hello?.type === 'HELLO') {
        relay = find(hello.token);
        if (relay === null) {
          post({ ended: 'lost' });
          return;
        }
      }
      const before = relay?.post;
      if (relay && !relay.receive(decoded, postFrames)) end(relay);
      if (relay?.post === postFrames && before !== postFrames) {
        locked.delete(relay);
        listeners.add(tell);
        tell(newsOf('state', { state: gateway.state }));
      }
    }
    if (request && 'use' in request) gateway.use(request.use);
    else if (request) gateway.cut();
    if (lock && relay) {
      const tab = relay;
      locked.add(tab);
      void navigator.locks.request(lock, () => {
        // A tab that left for a while lets go of its lock, too, and so does one that has another port by now.
        if (tab.post === postFrames) end(tab);
      });
    }
  };
}

/** @param {Uint8Array} token of zeros for a new one */
function find(token) {
  const known = relays.get(token.join());
  if (known || token.some((byte) => byte !== 0)) return known ?? null;
  const fresh = crypto.getRandomValues(new Uint8Array(token.length));
  const relay = new Relay((target, listener) => openStream(gateway, target, listener), `tab-${relays.size + 1}`, fresh, options.sendBytes);
  relays.set(fresh.join(), relay);
  return relay;
}
