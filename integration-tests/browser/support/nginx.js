/** nginx; its configurations for HTTP and for TCP have different things to change. */

const common = /** @type {const} */ ({
  executables: ['/usr/sbin/nginx', '/usr/local/sbin/nginx'],
  args: (/** @type {string} */ file) => ['-c', file, '-e', 'stderr', '-g', 'daemon off;'],
  reload: { signal: 'SIGHUP', retired: /worker process \d+ exited/ },
});
/** What it writes outside of `http`. @param {string} folder */
const main = (folder) => /** @type {const} */ (['worker_processes auto;', `worker_processes 1;\nerror_log stderr notice;\npid ${folder}/nginx.pid;`]);

/** @type {import('./proxy.js').Program} */
export const nginx = {
  ...common,
  changes: ({ folder, port, certificate }) => [
    main(folder),
    ['http {', `http {\n${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((use) => `${use}_temp_path ${folder}/${use};\n`).join('')}`],
    ['/var/log/nginx/access.log', `${folder}/access.log`],
    ['listen 443', `listen 127.0.0.1:${port}`],
    ['/etc/ssl/gateway.pem', certificate.chain],
    ['/etc/ssl/gateway.key', certificate.key],
  ],
};

/** @type {import('./proxy.js').Program} */
export const nginxTcp = {
  ...common,
  changes: ({ folder, port }) => [main(folder), ['listen 443', `listen 127.0.0.1:${port}`]],
};
