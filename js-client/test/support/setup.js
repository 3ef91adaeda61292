import WebSocket from 'ws';
import { Gateway } from '../../src/index.js';
import { FakeGateway } from './gateway.js';

/** @typedef {import('../../src/session.js').Kind} Kind */

/** @type {readonly Kind[]} */
export const KINDS = ['websocket', 'stream', 'poll'];

/** With the one that is used only where a test asks for it. @type {readonly Kind[]} */
export const EVERY_KIND = ['websocket', 'webtransport', 'stream', 'poll'];

/** The WebSocket of the ws package, which Node 20 lacks. */
export const NodeWebSocket = /** @type {typeof globalThis.WebSocket} */ (/** @type {unknown} */ (WebSocket));

/**
 * A fake gateway and a client of it, both gone when the test ends.
 * @param {import('node:test').TestContext} t
 * @param {import('../../src/options.js').GatewayOptions} [options]
 * @param {(fake: FakeGateway) => void} [prepare]
 */
export async function setup(t, options = {}, prepare = () => {}) {
  const fake = await FakeGateway.start();
  prepare(fake);
  const used = options.transport === 'webtransport' || options.transports?.includes('webtransport');
  const platform = { WebSocket: NodeWebSocket, ...(used && { WebTransport: fake.WebTransport }) };
  const gateway = new Gateway(fake.url, { ...platform, backoffMinMs: 5, backoffMaxMs: 50, ...options });
  /** @type {{ name: string, [key: string]: unknown }[]} */
  const events = [];
  for (const name of /** @type {const} */ (['state', 'transport', 'detach', 'resume', 'goaway', 'lost'])) {
    gateway.on(name, (event) => events.push({ name, ...event }));
  }
  t.after(async () => {
    gateway.close();
    await fake.stop();
  });
  return { fake, gateway, events };
}
