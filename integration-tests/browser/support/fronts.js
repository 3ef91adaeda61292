/** The proxies that browsers are sent through, and how their shipped configurations are made worse, or quicker. */

import assert from 'node:assert/strict';
import { haproxy } from './haproxy.js';
import { nginx } from './nginx.js';

/** What passes through all of them, where it is not refused. */
export const TRANSPORTS = /** @type {const} */ (['websocket', 'stream', 'poll']);

/** Those that a page only uses when nothing else is left, or when it is told to. */
const TICKETED = /** @type {const} */ (['sse', 'htmlfile', 'jsonp']);

export const ALL_TRANSPORTS = /** @type {const} */ ([...TRANSPORTS, ...TICKETED]);

/** A browser has few connections of HTTP/1.1 to each proxy, which is not what is tested: no more are used at a time. */
export const AT_A_TIME = /** @type {const} */ ([TRANSPORTS, TICKETED]);

/** Each proxy, and how its shipped configuration is made worse. */
export const FRONTS = /** @type {const} */ ([
  {
    name: 'nginx',
    program: nginx,
    file: 'nginx.conf',
    nodes: 'nginx-nodes.conf',
    refusing: [['location / {', 'location / {\nif ($http_upgrade) { return 400; }']],
    // Chunks of HTTP/1.1 would be passed on one by one even so.
    buffering: [
      ['proxy_buffering off;', 'proxy_buffering on; proxy_buffer_size 1m; proxy_buffers 8 1m; proxy_ignore_headers X-Accel-Buffering;'],
      ['proxy_http_version 1.1;', 'proxy_http_version 1.0;'],
    ],
    impatient: [['proxy_read_timeout 60s;', 'proxy_read_timeout 5s;']],
    /** Kept connections are cut soon after a reload. */
    hasty: [['worker_shutdown_timeout 60s;', 'worker_shutdown_timeout 1s;']],
    /** A dead gateway is found out soon, as nginx does anyway. */
    watchful: [],
  },
  {
    name: 'HAProxy',
    program: haproxy,
    file: 'haproxy.cfg',
    nodes: 'haproxy-nodes.cfg',
    refusing: [['default_backend perigee', 'http-request deny deny_status 400 if { path_end /ws }\ndefault_backend perigee']],
    buffering: [['default_backend perigee', 'http-response wait-for-body time 60s\ndefault_backend perigee']],
    impatient: [['timeout client 60s', 'timeout client 5s'], ['timeout server 60s', 'timeout server 5s'], ['timeout tunnel 60s', 'timeout tunnel 5s']],
    hasty: [['hard-stop-after 60s', 'hard-stop-after 1s']],
    watchful: [['inter 2s', 'inter 200ms']],
  },
]);

/** What all shipped configurations expect of a gateway whose address is not in doubt. */
export const GATEWAY = '127.0.0.1:8000';

/**
 * A gateway behind a proxy of this machine.
 * @param {string} origin of the pages
 * @param {Record<string, string>} backends addresses
 * @param {{ top?: string, timeouts?: string }} [more] lines of the configuration
 */
export function behindProxy(origin, backends, { top = '', timeouts = '' } = {}) {
  return `
    ${top}
    trusted_proxies = ["127.0.0.1/32"]
    ${Object.entries(backends).map(([backend, address]) => `
      [backend.${backend}]
      address = "${address}"
    `).join('')}
    [[allow]]
    origins = ["${origin}"]
    to = ${JSON.stringify(Object.keys(backends))}
    [timeouts]
    # What a test leaves behind is not waited for.
    drain = "0s"
    ${timeouts}
    [legacy]
    htmlfile = true
    jsonp = true
  `;
}

/** @param {import('./in-page.js').Echoed} echoed */
export function assertWhole({ sent, received, firstDifference, sentHash, receivedHash }) {
  assert.deepEqual({ received, firstDifference, receivedHash }, { received: sent, firstDifference: -1, receivedHash: sentHash });
}
