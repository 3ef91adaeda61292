/** The client outside a page's main thread: in a worker, and in Node. And what it holds for a page that does not read. */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Backend } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { echo } from './support/in-page.js';
import { OriginServer } from './support/origin-server.js';
import { untilCalm } from './support/wait.js';

const TRANSPORTS = /** @type {const} */ (['websocket', 'stream', 'poll']);
const BYTES = 2 * 1024 * 1024;
/** What the client asks for unless told otherwise: `windowBytes`. */
const WINDOW_BYTES = 262_144;
/** What one TCP connection of this machine may hold on its way to or from the gateway, at the most. */
const KERNEL_BYTES = 12 * 1024 * 1024;
const SOURCE_BYTES = 48 * 1024 * 1024;

/** @param {import('./support/in-page.js').Echoed} echoed */
function assertWhole({ sent, received, firstDifference, sentHash, receivedHash }) {
  assert.deepEqual({ received, firstDifference, receivedHash }, { received: sent, firstDifference: -1, receivedHash: sentHash });
}

/** Sends bytes that count, as fast as they are taken. @param {import('node:net').Socket} socket */
function pour(socket) {
  let at = 0;
  const more = () => {
    while (at < SOURCE_BYTES) {
      const piece = Buffer.alloc(65_536);
      for (let i = 0; i < piece.length; i += 4) piece.writeUInt32BE(at + i, i);
      at += piece.length;
      if (!socket.write(piece)) return;
    }
    socket.end();
  };
  socket.on('drain', more);
  more();
}

/** @param {OriginServer} site @param {Backend[]} backends */
function serve(site, [echoing, pouring, deaf]) {
  return Gateway.serve(`
    [backend.echo]
    address = "${echoing.address}"
    [backend.source]
    address = "${pouring.address}"
    [backend.deaf]
    address = "${deaf.address}"
    [[allow]]
    origins = ["${site.origin}"]
    to = ["echo", "source", "deaf"]
  `);
}

async function startBackends() {
  return [await Backend.echo(), await Backend.start(pour), await Backend.start((socket) => socket.pause())];
}

describeInBrowsers('places', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend[]} */
  let backends;
  /** @type {Gateway} */
  let gateway;
  before(async () => {
    site = await OriginServer.start();
    backends = await startBackends();
    gateway = await serve(site, backends);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await gateway?.stop();
    for (const backend of backends ?? []) await backend.stop();
    await site?.stop();
  });
  afterEach(() => browser.tidy());

  for (const transport of TRANSPORTS) {
    test(`in a worker (${transport})`, async () => {
      const { page, log } = await browser.open(site.origin);
      const answer = await page.evaluate((task) => new Promise((resolve) => {
        const worker = new Worker('/worker.js', { type: 'module' });
        worker.onmessage = ({ data }) => {
          worker.terminate();
          resolve(data);
        };
        worker.onerror = ({ message }) => resolve({ failed: message });
        worker.postMessage(task);
      }), { module: `${gateway.url}/perigee.js`, transport, bytes: BYTES });
      assert.equal(answer.failed, undefined);
      assertWhole(answer.echoed);
      assert.deepEqual([...new Set(answer.echoed.transports)], [transport]);
      assert.deepEqual(log.entries, []);
    });

    test(`a page that does not read holds one window, and then reads it all (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await page.evaluate(async (url, transport) => {
        const { Gateway, TCPSocket } = await import(url);
        const gateway = new Gateway(undefined, { transport });
        const socket = new TCPSocket('source', { gateway });
        Object.assign(globalThis, { perigee: { socket, gateway, opened: await socket.opened } });
      }, `${gateway.url}/perigee.js`, transport);
      const held = await untilCalm('what the page holds', () => page.evaluate(() => /** @type {any} */ (globalThis).perigee.socket.stats.received));
      assert.ok(held > 0 && held <= WINDOW_BYTES, `${held} bytes held`);
      const [socket] = backends[1].sockets;
      const taken = socket.bytesWritten - socket.writableLength;
      assert.ok(taken < KERNEL_BYTES + 2 * WINDOW_BYTES, `${taken} bytes taken from the backend`);
      const { count, wrong } = await page.evaluate(async () => {
        const { gateway, opened } = /** @type {any} */ (globalThis).perigee;
        let count = 0;
        let wrong = 0;
        for await (const chunk of opened.readable) {
          // Each four bytes say where they belong.
          for (let i = 0; i < chunk.length; i += 1, count += 1) {
            if (chunk[i] !== (((count - (count % 4)) >>> (8 * (3 - (count % 4)))) & 0xff)) wrong += 1;
          }
        }
        gateway.close();
        return { count, wrong };
      });
      assert.deepEqual({ count, wrong }, { count: SOURCE_BYTES, wrong: 0 });
    });

    test(`a backend that does not read holds the page's writes up (${transport})`, async () => {
      const { page } = await browser.open(site.origin);
      await page.evaluate(async (url, transport) => {
        const { Gateway, TCPSocket } = await import(url);
        const gateway = new Gateway(undefined, { transport });
        const socket = new TCPSocket('deaf', { gateway });
        const { writable } = await socket.opened;
        const writer = writable.getWriter();
        const state = { taken: 0, socket, gateway };
        Object.assign(globalThis, { perigee: state });
        (async () => {
          for (;;) {
            await writer.write(new Uint8Array(65_536));
            state.taken += 65_536;
          }
        })().catch(() => {});
      }, `${gateway.url}/perigee.js`, transport);
      const state = () => page.evaluate(() => {
        const { taken, socket } = /** @type {any} */ (globalThis).perigee;
        return { taken, acked: socket.stats.acked };
      });
      await untilCalm('what the page could write', async () => (await state()).taken);
      const { taken, acked } = await state();
      assert.ok(acked > 0, 'the system takes some of it');
      assert.ok(acked < KERNEL_BYTES, `${acked} bytes were called delivered`);
      assert.ok(taken - acked <= WINDOW_BYTES + 65_536, `${taken - acked} bytes held in the page`);
      await page.evaluate(() => /** @type {any} */ (globalThis).perigee.gateway.close());
    });
  }
});

describe('places (Node)', () => {
  const module = new URL('../../js-client/src/index.js', import.meta.url).href;
  /** @type {OriginServer} */
  let site;
  /** @type {Backend[]} */
  let backends;
  /** @type {Gateway} */
  let gateway;
  before(async () => {
    site = await OriginServer.start();
    backends = await startBackends();
    gateway = await serve(site, backends);
  });
  after(async () => {
    await gateway?.stop();
    for (const backend of backends ?? []) await backend.stop();
    await site?.stop();
  });

  for (const transport of /** @type {const} */ (['auto', 'stream', 'poll'])) {
    test(`over ${transport}, with the origin it is told`, async () => {
      assertWhole(await echo({ module, gateway: gateway.url, transport, origin: site.origin, bytes: BYTES }));
    });
  }

  test('an origin that is not allowed is denied', async () => {
    await assert.rejects(echo({ module, gateway: gateway.url, origin: 'http://stranger.test', bytes: 1 }), { name: 'PerigeeError', code: 'denied' });
    await assert.rejects(echo({ module, gateway: gateway.url, bytes: 1 }), { name: 'PerigeeError', code: 'denied' });
  });
});
