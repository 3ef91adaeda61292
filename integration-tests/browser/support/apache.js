/** @type {import('./proxy.js').Program} */
export const apache = {
  executables: ['/usr/sbin/apache2', '/usr/sbin/httpd'],
  changes: ({ folder, port, certificate }) => [
    ['ServerRoot /etc/apache2', `ServerRoot ${folder}`],
    ['/run/apache2/apache2.pid', `${folder}/apache2.pid`],
    ['DefaultRuntimeDir /run/apache2', `DefaultRuntimeDir ${folder}`],
    ['/var/log/apache2/access.log', `${folder}/access.log`],
    // Our end of its output is a socket, which cannot be opened as /dev/stderr.
    ['/var/log/apache2/error.log', '"|$cat >&2"'],
    ['Listen 443', `Listen 127.0.0.1:${port}`],
    ['<VirtualHost *:443>', '<VirtualHost *>'],
    ['/etc/ssl/gateway.pem', certificate.chain],
    ['/etc/ssl/gateway.key', certificate.key],
  ],
  args: (file) => ['-DFOREGROUND', '-f', file],
};
