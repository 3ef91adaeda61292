/** @type {import('./proxy.js').Program} */
export const caddy = {
  executables: ['/usr/bin/caddy', '/usr/local/bin/caddy'],
  changes: ({ folder, port, certificate }) => [
    ['gateway.example.org {', `{
	admin off
	auto_https disable_redirects
	default_bind 127.0.0.1
}
https://127.0.0.1:${port} {
	tls ${certificate.chain} ${certificate.key}
`],
  ],
  env: ({ folder }) => ({ XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }),
  args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
};
