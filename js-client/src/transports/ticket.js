/** What the downlinks have in common that a ticket is shown for: how the ticket is read, and the frames that come as base64. */

import { decode } from '../frame.js';
import { endpoint } from './endpoint.js';

/**
 * @typedef {import('../options.js').Config} Config
 * @typedef {(config: Config, path: string, hello: Uint8Array, signal: AbortSignal) => Promise<unknown>} Ask for a ticket; `path` is below /perigee/v1/
 * @typedef {object} Reader
 * @property {Config} config
 * @property {(more: string) => string} path where the ticket is shown
 * @property {(base64: string) => void} frames
 * @property {(end: unknown) => void} end
 * @typedef {(reader: Reader) => () => void} Read begins to read and returns what ends it
 */

/** What stays of a ticket: letters that a URL carries as they are. */
const PLAIN = /^[\w-]+$/;

/**
 * A transport that asks for a ticket and then reads with it.
 * @param {Pick<typeof import('./http.js'), 'HttpError' | 'endOf'>} http
 * @param {'sse' | 'htmlfile' | 'jsonp'} kind
 * @param {Ask} ask
 * @param {Read} read
 * @returns {import('./transport.js').Open}
 */
export const ticketed = ({ HttpError, endOf }, kind, ask, read) => (config, session, handlers) => {
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
  ask(config, `${session}/${kind}`, handlers.hello(), signal).then((answer) => {
    if (signal.aborted) return;
    const { sid, ticket } = /** @type {{ sid?: unknown, ticket?: unknown }} */ (answer ?? {});
    if (typeof sid !== 'string' || typeof ticket !== 'string' || !PLAIN.test(sid) || !PLAIN.test(ticket)) {
      throw new HttpError(null, 'no gateway answered');
    }
    stop = read({
      config,
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
};

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
