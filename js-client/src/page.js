/**
 * What happens to the page around a link, where there is a page, and what that means for its transports. Loaded when the
 * first transport works: before that there is nothing to keep.
 *
 * @typedef {object} Kept the parts of a link
 * @property {(change: () => unknown) => void} input
 * @property {import('./session.js').Session} session
 * @property {import('./attempts.js').Attempts} attempts
 * @property {import('./uplink.js').Uplink} uplink
 */

import { encode } from './frame.js';
import { DETACH_LEAVING, isSocket } from './session.js';

/**
 * @param {Kept} link
 * @param {AbortSignal} signal ends it
 */
export function watchPage({ input, session, attempts, uplink }, signal) {
  const page = globalThis;
  if (typeof page.addEventListener !== 'function' || signal.aborted) return;
  /** @param {string} name @param {(persisted: boolean) => unknown} happen */
  const on = (name, happen) => page.addEventListener(name, (event) => {
    input(() => happen('persisted' in event && event.persisted === true));
  }, { signal });

  on('online', () => attempts.online());
  on('pagehide', (persisted) => {
    if (!persisted) {
      // Nobody will know the token any more, so the servers need not wait for this page to come back.
      session.end('closed', '');
      return;
    }
    attempts.halt();
    const { current } = attempts;
    if (current === null) return;
    const bytes = encode([{ type: 'DETACH', n: current.n, why: DETACH_LEAVING }]);
    if (isSocket(current.kind)) current.transport.send(bytes);
    else uplink.sendLast(bytes);
    attempts.cut('hidden');
  });
  on('pageshow', (persisted) => {
    if (!persisted) return;
    attempts.halted = false;
    if (attempts.current === null && !attempts.trying) attempts.start('resume');
  });
}
