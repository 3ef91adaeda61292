/** BOSH by hand: requests of a client that keeps to no rule but the test's, and a server that says what it is told to. */

import { Backend } from './backends.js';
import { until } from './wait.js';

export const HEADER = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='s1' version='1.0'>";
const FEATURES = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>";

/** A server of XMPP for one connection after the other: it greets each stream, and keeps what it gets. */
export class ScriptedServer {
  /** @type {Backend} */
  backend;
  /** What each connection got, in their order. @type {{ got: string, ended: boolean, socket: import('node:net').Socket }[]} */
  connections = [];
  /** Whether it greets. */
  greets = true;

  static async start() {
    const server = new ScriptedServer();
    server.backend = await Backend.start((socket) => {
      const connection = { got: '', ended: false, socket };
      server.connections.push(connection);
      socket.setEncoding('utf8').on('data', (text) => {
        const before = connection.got.split('<stream:stream').length;
        connection.got += text;
        if (server.greets && connection.got.split('<stream:stream').length > before) socket.write(HEADER + FEATURES);
        if (connection.got.endsWith('</stream:stream>')) socket.end('</stream:stream>');
      }).on('end', () => {
        connection.ended = true;
        socket.end();
      });
    });
    return server;
  }

  /** The newest connection. */
  get last() {
    return /** @type {NonNullable<ScriptedServer['connections'][0]>} */ (this.connections.at(-1));
  }

  /** Sends to the newest client. @param {string} xml */
  say(xml) {
    this.last.socket.write(xml);
  }

  /** Waits until the newest connection got this. @param {string} part */
  async gets(part) {
    await until(`the server gets ${part}`, () => this.last.got.includes(part));
  }
}

/** One client. */
export class BoshClient {
  sid = '';
  rid = 1000;
  #url;
  #origin;

  /** @param {string} url @param {string} origin */
  constructor(url, origin) {
    this.#url = url;
    this.#origin = origin;
  }

  /**
   * Posts a body as it is.
   * @param {string} content
   * @param {{ signal?: AbortSignal, type?: string }} [options]
   */
  async post(content, { signal, type = 'text/xml; charset=utf-8' } = {}) {
    const response = await fetch(this.#url, {
      method: 'POST', body: content, headers: { 'content-type': type, origin: this.#origin }, ...(signal && { signal }),
    });
    const text = await response.text();
    const [, tag = ''] = /^<body([^>]*)>/.exec(text) ?? [];
    /** @type {Record<string, string>} */
    const attributes = Object.fromEntries([...tag.matchAll(/([\w:]+)='([^']*)'/g)].map(([, name, value]) => [name, value]));
    return { status: response.status, type: response.headers.get('content-type'), headers: response.headers, text, attributes };
  }

  /** A request of the session. @param {number} rid relative to the first @param {string} [attributes] @param {string} [payload] @param {AbortSignal} [signal] */
  request(rid, attributes = '', payload = '', signal = undefined) {
    return this.post(`<body rid='${this.rid + rid}' sid='${this.sid}' xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' ${attributes}>${payload}</body>`,
      signal && { signal });
  }

  /** Begins a session. @param {string} [attributes] */
  async begin(attributes = "wait='60' hold='1' ver='1.6' ack='1'", to = 'a.example') {
    const answer = await this.post(`<body rid='${this.rid}' to='${to}' ${attributes} xml:lang='en' xmlns='http://jabber.org/protocol/httpbind' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>`);
    this.sid = answer.attributes.sid ?? '';
    return answer;
  }
}
