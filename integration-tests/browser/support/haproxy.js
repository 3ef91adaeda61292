/** HAProxy, with a master and a worker as under systemd; its configurations for HTTP and for TCP have different things to change. */

const common = /** @type {const} */ ({
  executables: ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'],
  args: (/** @type {string} */ file) => ['-W', '-db', '-f', file],
  reload: { signal: 'SIGUSR2', retired: /Former worker \(\d+\) exited/ },
});
/** @param {number} port @returns {import('./proxy.js').Changes} */
const listen = (port) => [['bind :443', `bind 127.0.0.1:${port}`], ['maxconn 20000', 'maxconn 1000']];

/** @type {import('./proxy.js').Program} */
export const haproxy = {
  ...common,
  changes: ({ port, certificate }) => [...listen(port), ['/etc/ssl/gateway.pem', certificate.both]],
};

/** @type {import('./proxy.js').Program} */
export const haproxyTcp = { ...common, changes: ({ port }) => listen(port) };
