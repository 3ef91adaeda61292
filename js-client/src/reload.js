/**
 * Sessions that survive a reload of their page: put away in sessionStorage when the page goes, taken out by the first
 * Gateway of the same URL in the next one.
 *
 * Invariants: what is there is taken out once, by one tab; a page that goes without a word leaves nothing behind.
 *
 * @typedef {import('./link.js').Link} Link
 * @typedef {import('./socket.js').About} About
 * @typedef {import('./snapshot.js').Packed} Packed
 * @typedef {ReturnType<typeof adopt>} AnySocket
 */

import { Timers } from './timers.js';
import { need } from './need.js';
import { adopt } from './socket.js';

/** Changes when what is stored means something else. */
const VERSION = 1;
/** Sockets that the new page does not ask for in this time are closed. */
const CLAIM_MS = 10_000;
/** How long the page before may take to let go of a session. */
const UNLOCK_MS = 2000;

/** @type {Map<string, () => void>} ends the hold on a session, by its id */
const holds = new Map();

/**
 * @param {import('./gateway.js').Gateway} gateway
 * @param {ReadonlySet<Link>} links those of the gateway
 * @param {(state: import('./session.js').SessionState, goneMs: number) => Link} makeLink
 */
export async function restore(gateway, links, makeLink) {
  const { url } = gateway;
  const { pack, unpack } = await need('snapshot.js', () => import('./snapshot.js'));
  // Before the links hear of it themselves and say goodbye.
  globalThis.addEventListener?.('pagehide', ({ persisted }) => {
    if (!persisted) for (const link of links) keep(url, link, pack);
  }, { capture: true });
  /** @type {{ link: Link, stream: import('./stream.js').Stream, socket: AnySocket, closing: boolean }[]} */
  const all = [];
  for (const { at, packed } of takeOut(url)) {
    const { abouts, ...state } = unpack(packed);
    if (!(await hold(state.sid ?? ''))) continue;
    const link = makeLink(state, Math.max(0, Date.now() - at));
    for (const stream of state.streams) {
      const about = /** @type {About} */ (abouts.get(stream));
      all.push({ link, stream, closing: about.closing, socket: adopt(gateway, link, stream, about) });
    }
  }
  const timers = new Timers(() => {
    for (const { link, stream } of all.splice(0)) {
      link.session.reset(stream, 'aborted', 'the page did not ask for it');
      link.kick();
    }
  });
  timers.after('claim', CLAIM_MS);
  return {
    claim: () => {
      timers.clearAll();
      // What the page before was done with only has to be delivered.
      return all.flatMap(({ closing, socket }) => (closing ? [] : [socket]));
    },
  };
}

/** Puts a session away. One that cannot be says goodbye. @param {string} url @param {Link} link @param {typeof import('./snapshot.js').pack} pack */
function keep(url, link, pack) {
  const { session } = link;
  const { sid, ended, streams } = session;
  if (sid === null || ended || link.state === 'closed' || streams.length === 0) return;
  try {
    const packed = pack(session, (stream) => stream.about?.());
    sessionStorage.setItem(key(url), JSON.stringify({ version: VERSION, list: [...stored(url), { at: Date.now(), packed }] }));
  } catch {
    // Full or forbidden.
    return;
  }
  link.leave();
  // What is read now is read again; what is written is refused.
  for (const { receive } of streams) receive.discard();
  holds.get(sid)?.();
}

/** @param {string} url */
function takeOut(url) {
  const found = stored(url);
  try {
    sessionStorage.removeItem(key(url));
  } catch {
    return [];
  }
  return found;
}

/** @param {string} url @returns {{ at: number, packed: Packed }[]} */
function stored(url) {
  try {
    /** @type {{ version?: unknown, list?: any }} */
    const { version, list } = JSON.parse(sessionStorage.getItem(key(url)) ?? '{}');
    // Another version of the client may have been here.
    return version === VERSION ? list : [];
  } catch {
    return [];
  }
}

/** @param {string} url */
function key(url) {
  return `perigee:sessions:${url}`;
}

/**
 * A tab that is duplicated at the wrong moment has a copy of everything, and two must not go on with one session.
 * @param {string} sid
 * @returns {Promise<boolean>} whether it is ours, from now on until the page goes
 */
async function hold(sid) {
  // Only pages from a secure place have locks; the others have what they took out.
  const locks = globalThis.navigator?.locks;
  if (locks === undefined) return true;
  return new Promise((resolve) => {
    locks.request(`perigee:${sid}`, { signal: AbortSignal.timeout(UNLOCK_MS) }, () => {
      resolve(true);
      return /** @type {Promise<void>} */ (new Promise((release) => holds.set(sid, release)));
    }).catch(() => resolve(false));
  });
}
