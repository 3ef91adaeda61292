/** @type {import('./proxy.js').Program} */
export const haproxy = {
  executables: ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'],
  changes: ({ port, gateways, certificate }) => [
    ['bind :443', `bind 127.0.0.1:${port}`],
    ['/etc/ssl/gateway.pem', certificate.both],
    ['127.0.0.1:8000', `127.0.0.1:${gateways[0]}`],
    ['maxconn 20000', 'maxconn 1000'],
  ],
  // A master and a worker, as under systemd.
  args: (file) => ['-W', '-db', '-f', file],
  reload: { signal: 'SIGUSR2', retired: /Former worker \(\d+\) exited/ },
};
