/**
 * Requests that a proxy and a gateway may cut at different places (vectors/smuggling.json), sent through real proxies: what one
 * of them takes for a body, the other must not take for a request. No browser would send them.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { Backend } from './support/backends.js';
import { FRONTS, GATEWAY, behindProxy } from './support/fronts.js';
import { Gateway } from './support/gateway.js';
import { Proxy } from './support/proxy.js';
import { until } from './support/wait.js';

/** @type {{ parts: Record<string, string | [string, number]>, cases: { name: string, must: string, request: string, direct?: boolean }[] }} */
const { parts, cases } = JSON.parse(readFileSync(new URL('../vectors/smuggling.json', import.meta.url), 'utf8'));

/** A request with its `{parts}` filled in. @param {string} template */
function filledIn(template) {
  return template.replace(/\{([^}]+)\}/g, (_, name) => {
    const part = parts[name];
    assert.ok(part !== undefined, name);
    return typeof part === 'string' ? part : part[0].repeat(part[1]);
  });
}

/** Through a proxy. @param {number} port @param {string} request */
function ask(port, request) {
  return answerTo(request, tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] }));
}

/** @param {number} port @param {string} request */
function askGateway(port, request) {
  return answerTo(request, net.connect(port, '127.0.0.1'));
}

/**
 * Sends it, and waits for the beginning of an answer or the end. Who asks stays until then: a server need not serve one that
 * is gone.
 * @param {string} request
 * @param {net.Socket} socket
 * @returns {Promise<string>}
 */
function answerTo(request, socket) {
  return new Promise((resolve) => {
    let answer = '';
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1');
      if (answer.includes('\r\n\r\n')) socket.destroy();
    });
    // A proxy that has read enough may close before it has all.
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
    socket.write(request, 'latin1');
  });
}

describe('requests that two may cut at different places', () => {
  /** @type {Backend} */
  let backend;
  before(async () => {
    backend = await Backend.echo();
  });
  after(() => backend.stop());

  for (const { name, program, file, impatient } of FRONTS) {
    test(`behind ${name}`, async () => {
      const gateway = await Gateway.serve(behindProxy('https://page.example', { echo: backend.address }));
      const proxy = await Proxy.start(program, file, { [GATEWAY]: gateway.port }, impatient);
      try {
        // Each through a connection of the client's, all through those that the proxy keeps to the gateway.
        for (const { name: what, request, direct } of cases) {
          if (direct) continue;
          await ask(proxy.port, filledIn(request));
          const own = await ask(proxy.port, filledIn('{second}'));
          assert.match(own, /^HTTP\/1\.1 403 /, `the one after "${what}"`);
        }
        await ask(proxy.port, filledIn('{second}').replace('second', 'last'));
        await until('the last line', () => gateway.log.includes('https://last.example'));
        // What the proxy took for a request has the address of its client; what it did not, what stands there.
        assert.ok(!gateway.log.includes('198.51.100.66'), gateway.log);
        // As the log would have told.
        assert.match(await askGateway(gateway.port, filledIn('{smuggled}')), /^HTTP\/1\.1 403 /);
        await gateway.logs(/198\.51\.100\.66/);
      } finally {
        await proxy.stop();
        await gateway.stop();
      }
    });
  }
});
