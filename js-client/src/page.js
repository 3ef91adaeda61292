/**
 * What happens to the page around a link, where there is a page, and what that means for its transports.
 */

import { encode } from './frame.js';
import { SAYS_GOODBYE } from './link.js';
import { connection, network } from './memory.js';
import { DETACH_LEAVING } from './session.js';

/**
 * @param {import('./health.js').Parts} link
 * @param {import('./health.js').Health} health
 * @param {AbortSignal} signal ends it
 */
export function watchPage({ input, session, attempts, uplink }, health, signal) {
  const page = globalThis;
  if (typeof page.addEventListener !== 'function') return;
  // Captured, because some of them are told to the document only.
  const options = { signal, capture: true };
  /** @param {string} name @param {(persisted: boolean) => unknown} happen */
  const on = (name, happen) => page.addEventListener(name, (event) => {
    input(() => happen('persisted' in event && event.persisted === true));
  }, options);

  on('online', () => health.moved());
  let name = network();
  connection()?.addEventListener('change', () => {
    // It speaks of every change in speed, too.
    if (name === network()) return;
    name = network();
    input(() => health.moved());
  }, options);
  on('visibilitychange', () => health.look());
  on('resume', () => health.look());
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
    if (SAYS_GOODBYE.includes(current.kind)) current.transport.send(bytes);
    else uplink()?.sendLast(bytes);
    attempts.cut('hidden');
  });
  on('pageshow', (persisted) => {
    if (!persisted) return;
    attempts.halted = false;
    if (attempts.current === null && !attempts.trying) attempts.start('resume');
  });
}
