/** A web server on an origin of its own, with one page that imports the client from the gateway named in its address. */

import { readFile } from 'node:fs/promises';
import http from 'node:http';

const PAGES = new URL('../pages/', import.meta.url);
/** Used by a page as it is, too. */
const SHARED = { 'in-page.js': new URL('in-page.js', import.meta.url) };
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', json: 'application/json' };

export class OriginServer {
  #server;
  port = 0;
  /** A page that is not to be stored is not put aside either. */
  cacheControl = 'no-store';
  /** Scripts of a test's own, by name. @type {Record<string, string>} */
  scripts = {};
  /** Folders that are served below a path of one word, such as those of packages. @type {Record<string, URL>} */
  folders = {};

  constructor() {
    this.#server = http.createServer(async (request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://here');
      const name = pathname === '/' ? 'index.html' : pathname.slice(1);
      const type = TYPES[/** @type {keyof typeof TYPES} */ (name.split('.').at(-1))];
      const [, folder, file] = /^(\w+)\/(\w[\w./-]*)$/.exec(name) ?? [];
      try {
        if (folder in this.folders && !file.includes('..')) {
          const body = await readFile(new URL(file, this.folders[folder]));
          response.writeHead(200, { 'content-type': type ?? 'application/octet-stream' }).end(body);
          return;
        }
        if (!/^[\w-]+\.\w+$/.test(name) || !type) throw new Error('no such page');
        const body = this.scripts[name] ?? await readFile(SHARED[/** @type {'in-page.js'} */ (name)] ?? new URL(name, PAGES));
        response.writeHead(200, { 'content-type': type, 'cache-control': this.cacheControl }).end(body);
      } catch {
        response.writeHead(name === 'favicon.ico' ? 204 : 404).end();
      }
    });
  }

  static async start() {
    const server = new OriginServer();
    await new Promise((resolve) => server.#server.listen(0, '127.0.0.1', () => resolve(undefined)));
    server.port = /** @type {import('node:net').AddressInfo} */ (server.#server.address()).port;
    return server;
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
