/**
 * In place of strophe.js: what our client uses of it, without a DOM, and a server at the other end that says what the test
 * says. It has no socket, so that a stream is as long as the test says.
 *
 * @typedef {import('../../src/xmpp/element.js').Shape} Shape
 */

import { until } from './wait.js';

/** An element, as far as our client reads it. */
export class FakeElement {
  nodeType = 1;
  /** @type {(FakeElement | { nodeType: 3, textContent: string })[]} */
  childNodes = [];

  /** @param {string} name @param {Record<string, string>} attributes @param {FakeElement | null} parent */
  constructor(name, attributes, parent) {
    this.localName = name;
    this.attributes = attributes;
    this.parent = parent;
    parent?.childNodes.push(this);
  }

  /** @returns {string} */
  get namespaceURI() {
    return this.attributes.xmlns ?? this.parent?.namespaceURI ?? 'jabber:client';
  }

  /** @returns {string} */
  get textContent() {
    return this.childNodes.map(({ textContent }) => textContent).join('');
  }

  /** @param {string} name */
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }

  /** @returns {string} */
  toString() {
    const attributes = Object.entries(this.attributes).map(([name, value]) => ` ${name}='${value}'`).join('');
    return `<${this.localName}${attributes}>${this.childNodes.map((node) => (node instanceof FakeElement ? String(node) : node.textContent)).join('')}</>`;
  }
}

class FakeBuilder {
  /** @param {string} name @param {Record<string, string>} [attributes] */
  constructor(name, attributes = {}) {
    this.root = new FakeElement(name, attributes, null);
    this.at = this.root;
  }

  /** @param {string} name @param {Record<string, string>} [attributes] */
  c(name, attributes = {}) {
    this.at = new FakeElement(name, attributes, this.at);
    return this;
  }

  /** @param {string} textContent */
  t(textContent) {
    this.at.childNodes.push({ nodeType: 3, textContent });
    return this;
  }

  up() {
    this.at = this.at.parent ?? this.root;
    return this;
  }

  tree() {
    return this.root;
  }
}

const Status = { ERROR: 0, CONNFAIL: 2, AUTHFAIL: 4, CONNECTED: 5, DISCONNECTED: 6 };

class FakeConnection {
  jid = '';
  /** How often it was to connect. */
  attempts = 0;
  /** @type {FakeElement[]} */
  sent = [];
  #taken = 0;
  /** @type {((status: number, condition: string | null) => void) | null} */
  #told = null;
  /** @type {{ take: (stanza: FakeElement) => boolean, namespace: string | null, name: string, type: string | undefined }[]} */
  #handlers = [];
  /** @type {Map<string, { done: (reply: FakeElement) => void, failed: (reply: FakeElement | null) => void, late: NodeJS.Timeout }>} */
  #asked = new Map();

  reset() {
    this.#handlers = [];
    for (const { late } of this.#asked.values()) clearTimeout(late);
    this.#asked.clear();
  }

  /** @param {string} jid @param {string} _password @param {(status: number, condition: string | null) => void} told */
  connect(jid, _password, told) {
    this.attempts += 1;
    this.jid = jid;
    this.#told = told;
  }

  disconnect() {
    this.tell('DISCONNECTED');
  }

  /** @param {FakeElement} stanza */
  send(stanza) {
    this.sent.push(stanza);
  }

  /** @param {FakeElement} stanza @param {(reply: FakeElement) => void} done @param {(reply: FakeElement | null) => void} failed @param {number} ms */
  sendIQ(stanza, done, failed, ms) {
    this.#asked.set(stanza.getAttribute('id') ?? '', { done, failed, late: setTimeout(failed, ms, null) });
    this.send(stanza);
  }

  /** @param {(stanza: FakeElement) => boolean} take @param {string | null} namespace @param {string} name @param {string} [type] */
  addHandler(take, namespace, name, type) {
    this.#handlers.push({ take, namespace, name, type });
  }

  /** What strophe.js says of the connection. @param {keyof typeof Status} status @param {string | null} [condition] */
  tell(status, condition = null) {
    this.#told?.(Status[status], condition);
  }

  /** What the server says. @param {Shape} shape */
  say(shape) {
    const stanza = element(shape);
    const [name, type] = [stanza.localName, stanza.getAttribute('type')];
    const asked = name === 'iq' ? this.#asked.get(stanza.getAttribute('id') ?? '') : undefined;
    if (asked) {
      clearTimeout(asked.late);
      (type === 'error' ? asked.failed : asked.done)(stanza);
      return;
    }
    const namespaces = stanza.childNodes.map((node) => (node instanceof FakeElement ? node.namespaceURI : null));
    for (const handler of this.#handlers) {
      if (handler.name !== name || (handler.type !== undefined && handler.type !== type)) continue;
      if (handler.namespace === null || namespaces.includes(handler.namespace)) handler.take(stanza);
    }
  }

  /** Waits for a stanza after those it was asked for before. @param {RegExp} pattern */
  async stanza(pattern) {
    let at = -1;
    const found = () => (at = this.sent.findIndex((stanza, i) => i >= this.#taken && pattern.test(String(stanza)))) >= 0;
    await until(found, `a stanza like ${pattern} of ${this.sent.slice(this.#taken)}`);
    this.#taken = at + 1;
    return /** @type {FakeElement} */ (this.sent[at]);
  }
}

/** @param {Shape} shape @returns {FakeElement} */
function element([name, attributes = {}, ...children]) {
  const builder = new FakeBuilder(name, /** @type {Record<string, string>} */ (attributes));
  const fill = (/** @type {readonly (string | Shape)[]} */ all) => {
    for (const child of all) {
      if (typeof child === 'string') builder.t(child);
      else {
        builder.c(child[0], /** @type {Record<string, string>} */ (child[1] ?? {}));
        fill(/** @type {(string | Shape)[]} */ (child.slice(2)));
        builder.up();
      }
    }
  };
  fill(children);
  return builder.tree();
}

/** The object that strophe.js exports, and the connection that is made with it. */
export function fakeStrophe() {
  /** @type {FakeConnection[]} */
  const connections = [];
  const strophe = {
    Connection: class extends FakeConnection {
      constructor() {
        super();
        connections.push(this);
      }
    },
    Websocket: class {},
    Builder: FakeBuilder,
    Status,
  };
  return { strophe: /** @type {import('../../src/xmpp/strophe.js').Strophe} */ (/** @type {unknown} */ (strophe)), connections };
}
