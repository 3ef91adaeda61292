/**
 * A gateway that speaks TLS itself, as a browser sees it: its page, its requests and its WebSockets share one HTTP/2
 * connection (RFC 8441), and bytes go there and back on every transport.
 */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Backend, closedPort } from './support/backends.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { certify } from './support/certificate.js';
import { Gateway } from './support/gateway.js';
import { echo } from './support/in-page.js';

const BYTES = 2 * 1024 * 1024;

describeInBrowsers('HTTP/2', (name) => {
  /** @type {string} */
  let folder;
  /** @type {Backend} */
  let backend;
  /** @type {Gateway} */
  let gateway;
  /** @type {string} */
  let origin;
  /** @type {Browser} */
  let browser;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'perigee-http2-'));
    const certificate = await certify(folder);
    backend = await Backend.echo();
    const port = await closedPort();
    origin = `https://localhost:${port}`;
    gateway = await Gateway.serve(`
      [backend.echo]
      address = "${backend.address}"
      [[allow]]
      origins = ["${origin}"]
      to = ["echo"]
      [log]
      level = "debug"
    `, `tls_certificate = "${certificate.chain}"\ntls_key = "${certificate.key}"`, port);
    browser = await Browser.launch(name, { acceptInsecureCerts: true });
  });
  after(async () => {
    await browser?.stop();
    await gateway?.stop();
    await backend?.stop();
    if (folder) await rm(folder, { recursive: true });
  });
  afterEach(() => browser.tidy());

  for (const transport of /** @type {const} */ (['websocket', 'stream', 'poll'])) {
    test(`${transport} on the connection of the page`, async () => {
      const { page } = await browser.open(`${origin}/perigee.js`);
      const from = gateway.log.length;
      const echoed = await page.evaluate(echo, { module: `${origin}/perigee.js`, bytes: BYTES, transport });
      assert.equal(echoed.received, BYTES);
      assert.equal(echoed.receivedHash, echoed.sentHash);
      assert.deepEqual(echoed.transports, [transport]);
      if (transport === 'websocket') await gateway.logs(/websocket.*version=HTTP\/2\.0/, from);
    });
  }
});
