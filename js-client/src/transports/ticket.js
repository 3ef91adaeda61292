/** What the downlinks have in common that a ticket is shown for: how the ticket is read, and the frames that come as base64. */

import { decode } from '../frame.js';
import { endpoint } from './endpoint.js';
import { HttpError, endOf } from './http.js';

/**
 * @typedef {import('../options.js').Config} Config
 * @typedef {import('./transport.js').Handlers} Handlers
 * @typedef {import('./transport.js').Transport} Transport
 * @typedef {{ frames: (base64: string) => void, end: (end: unknown) => void, path: (more: string) => string }} Reader
 */

/** What stays of a ticket: letters that a URL carries as they are. */
const PLAIN = /^[\w-]+$/;

/**
 * A transport that asks for a ticket and then reads with it.
 * @param {Config} config
 * @param {string} path of the request for a ticket, below /perigee/v1/
 * @param {Handlers} handlers
 * @param {(path: string, hello: Uint8Array, signal: AbortSignal) => Promise<unknown>} ask
 * @param {(reader: Reader) => () => void} read begins to read and returns what ends it
 * @returns {Transport}
 */
export function openWithTicket(config, path, handlers, ask, read) {
  const controller = new AbortController();
  const { signal } = controller;
  let stop = () => {};
  const close = () => {
    controller.abort();
    stop();
  };
  /** @param {unknown} error */
  const end = (error) => {
    if (signal.aborted) return;
    close();
    handlers.end(endOf(error));
  };
  const [, kind] = path.split('/');
  ask(path, handlers.hello(), signal).then((answer) => {
    if (signal.aborted) return;
    const { sid, ticket } = /** @type {{ sid?: unknown, ticket?: unknown }} */ (answer ?? {});
    if (typeof sid !== 'string' || typeof ticket !== 'string' || !PLAIN.test(sid) || !PLAIN.test(ticket)) {
      throw new HttpError(null, 'no gateway answered');
    }
    stop = read({
      end,
      path: (more) => endpoint(config, `${sid}/${kind}?ticket=${ticket}${more}`),
      frames: (base64) => {
        if (signal.aborted) return;
        try {
          handlers.frames(decode(fromBase64(base64)));
        } catch (error) {
          end(error);
        }
      },
    });
  }).catch(end);
  return { room: () => 0, send: () => {}, close };
}

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
