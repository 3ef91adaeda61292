/** @type {import('./proxy.js').Program} */
export const nginx = {
  executables: ['/usr/sbin/nginx', '/usr/local/sbin/nginx'],
  changes: ({ folder, port, gateways, certificate }) => [
    ['worker_processes auto;', `worker_processes 1;\nerror_log stderr notice;\npid ${folder}/nginx.pid;`],
    ['http {', `http {\n${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((use) => `${use}_temp_path ${folder}/${use};\n`).join('')}`],
    ['access_log /var/log/nginx/access.log perigee;', `access_log ${folder}/access.log perigee;`],
    ['127.0.0.1:8000', `127.0.0.1:${gateways[0]}`],
    ['listen 443', `listen 127.0.0.1:${port}`],
    ['/etc/ssl/gateway.pem', certificate.chain],
    ['/etc/ssl/gateway.key', certificate.key],
  ],
  args: (file) => ['-c', file, '-e', 'stderr', '-g', 'daemon off;'],
  reload: { signal: 'SIGHUP', retired: /worker process \d+ exited/ },
};
