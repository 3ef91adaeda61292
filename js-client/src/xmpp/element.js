/**
 * Elements: made of arrays, and read.
 *
 * @typedef {readonly [name: string, attributes?: Readonly<Record<string, string | undefined>>, ...children: (string | Shape)[]]} Shape
 *   such as `['body', {}, 'hello']`
 * @typedef {import('./strophe.js').Strophe} Strophe
 * @typedef {import('./strophe.js').Builder} Builder
 */

import { XMPPError } from './errors.js';

/** What XML does not have, whatever it is written as. */
const FORBIDDEN = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

/** @param {Strophe} strophe @param {Shape} shape @returns {Element} */
export function build(strophe, [name, attributes = {}, ...children]) {
  const builder = new strophe.Builder(name, checked(attributes));
  fill(builder, children);
  return builder.tree();
}

/** @param {Builder} builder @param {readonly (string | Shape)[]} children */
function fill(builder, children) {
  for (const child of children) {
    if (typeof child === 'string') {
      builder.t(checkedText(child));
      continue;
    }
    const [name, attributes = {}, ...inner] = child;
    builder.c(name, checked(attributes));
    fill(builder, inner);
    builder.up();
  }
}

/** @param {Readonly<Record<string, string | undefined>>} attributes */
function checked(attributes) {
  return Object.fromEntries(Object.entries(attributes).flatMap(([name, value]) => (value === undefined ? [] : [[name, checkedText(value)]])));
}

/** @param {string} text */
function checkedText(text) {
  if (FORBIDDEN.test(text)) throw new XMPPError('invalid', '', 'a character that XML does not have');
  return text;
}

/** The elements in this one, of this name and namespace where they are given. @param {Element} parent @param {string} [name] @param {string} [namespace] */
export function childrenOf(parent, name, namespace) {
  return /** @type {Element[]} */ ([...nodes(parent)].filter((node) => node.nodeType === 1)).filter(
    (child) => (name === undefined || child.localName === name) && (namespace === undefined || child.namespaceURI === namespace),
  );
}

/** @param {Element} parent @param {string} [name] @param {string} [namespace] @returns {Element | undefined} */
export const childOf = (parent, name, namespace) => childrenOf(parent, name, namespace)[0];

/** The text of a child, or null without one. @param {Element} parent @param {string} name */
export const textOf = (parent, name) => childOf(parent, name)?.textContent ?? null;

/** @param {Element} element @param {string} name */
export const attribute = (element, name) => element.getAttribute(name) ?? '';

/** What a stanza of type `error` says. @param {Element} stanza */
export function errorOf(stanza) {
  const error = childOf(stanza, 'error');
  const parts = error ? childrenOf(error, undefined, 'urn:ietf:params:xml:ns:xmpp-stanzas') : [];
  const condition = parts.find(({ localName }) => localName !== 'text')?.localName ?? 'undefined-condition';
  return new XMPPError('refused', condition, parts.find(({ localName }) => localName === 'text')?.textContent ?? '');
}

/** Without its resource. @param {string} jid */
export const bare = (jid) => jid.split('/', 1)[0] ?? '';

/** The part behind the slash. @param {string} jid */
export const resource = (jid) => (jid.includes('/') ? jid.slice(jid.indexOf('/') + 1) : '');

/** @param {Element} parent @returns {Iterable<ChildNode>} */
function* nodes({ childNodes }) {
  for (let at = 0; at < childNodes.length; at += 1) yield /** @type {ChildNode} */ (childNodes[at]);
}
