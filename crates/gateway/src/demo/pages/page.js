// @ts-check
/**
 * What the pages take from their address, and the one Gateway each of them owns.
 *
 * Query parameters: `gateway` (URL of another gateway), `transport` (auto, websocket, webtransport, stream, sse,
 * poll, htmlfile, jsonp) and those a page names itself.
 */

import { Gateway, TCPSocket } from '/perigee.js';
import './offer.js';
import { Plug } from './plug.js';

/** @typedef {{ name: string } | { host: string, port: number }} Target  a backend's name, or host and port */
/** @typedef {'websocket' | 'webtransport' | 'stream' | 'sse' | 'poll' | 'htmlfile' | 'jsonp'} Kind */
/** @typedef {'auto' | Kind} Choice */

/** Every transport that can be forced, with the name people read. Not every browser has all of them. @type {Readonly<Partial<Record<Kind, string>>>} */
export const TRANSPORTS = {
  websocket: 'WebSocket',
  ...('WebTransport' in globalThis && { webtransport: 'WebTransport' }),
  stream: 'HTTP stream',
  sse: 'Server-sent events',
  poll: 'Long-poll',
  htmlfile: 'Iframe (2009)',
  jsonp: 'Script tags (2009)',
};

/** Longest host name there can be (RFC 1035 §2.3.4); the protocol carries no longer target either. */
const MAX_TARGET = 253;

export const query = new URLSearchParams(location.search);

/** @returns {Choice} */
export function chosenTransport() {
  const asked = query.get('transport') ?? 'auto';
  return asked in TRANSPORTS ? /** @type {Choice} */ (asked) : 'auto';
}

/** @param {string | null} name as the client says it */
export function transportName(name) {
  return name === null ? 'none' : (/** @type {Record<string, string>} */ (TRANSPORTS)[name] ?? name);
}

/** What is wrong with the address of this page; '' if nothing is. */
export const queryProblem = problemOf(query.get('gateway'));

/** The page's gateway, and the plug between the two. */
export function openGateway() {
  const url = queryProblem === '' ? query.get('gateway') : null;
  const plug = new Plug();
  const gateway = new Gateway(url ?? location.origin, { transport: chosenTransport(), ...plug.network });
  plug.guard(gateway);
  return { gateway, plug };
}

/** @param {string | null} url of a gateway, as the address of this page has it */
function problemOf(url) {
  if (url === null || (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol))) return '';
  return `“${url}” is no http:// or https:// address; using the gateway this page came from.`;
}

/**
 * `echo` is a backend's name, `host:6667` and `[::1]:6667` are host and port.
 * @param {string} text
 * @returns {Target | { problem: string }}
 */
export function parseTarget(text) {
  const target = text.trim();
  if (target.length > MAX_TARGET) return { problem: `A name of more than ${MAX_TARGET} characters is none.` };
  const [, bracketed, plain, digits] = /^(?:\[([\da-f:.]+)\]|([^\s:[\]]+)):(\d+)$/i.exec(target) ?? [];
  const host = bracketed ?? plain;
  if (host !== undefined) {
    const port = Number(digits);
    if (port >= 1 && port <= 65535) return { host, port };
    return { problem: `“${digits}” is no port; write a number from 1 to 65535.` };
  }
  if (target === '') return { problem: 'Write a backend’s name, for example echo, or host:port.' };
  if (/^[\w.-]+$/.test(target)) return { name: target };
  return { problem: `“${target}” is neither a backend’s name nor host:port.` };
}

/**
 * @param {Gateway} gateway
 * @param {Target} target
 * @param {{ signal?: AbortSignal, service?: 'tunnel' | 'irc' | 'stomp' | 'xmpp' }} [more]
 * @returns {TCPSocket}
 */
export function openSocket(gateway, target, more = {}) {
  const options = { gateway, ...more };
  const socket = 'name' in target ? new TCPSocket(target.name, options) : new TCPSocket(target.host, target.port, options);
  // Every page reads to the end and meets an error there; a second rejection that nobody waits for
  // would only reach the browser's console.
  socket.closed.catch(() => {});
  return socket;
}
