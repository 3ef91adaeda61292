/**
 * What happens to the page around us, where there is a page.
 *
 * @typedef {object} PageHandlers
 * @property {() => void} online the network came back or changed
 * @property {(persisted: boolean) => void} hide the page goes; `persisted`: it may come back as it is
 * @property {() => void} show it came back
 */

/**
 * @param {PageHandlers} handlers
 * @returns {() => void} stops watching
 */
export function watchPage(handlers) {
  const page = globalThis;
  if (typeof page.addEventListener !== 'function') return () => {};
  const online = () => handlers.online();
  /** @param {Event} event */
  const hide = (event) => handlers.hide('persisted' in event && event.persisted === true);
  /** @param {Event} event */
  const show = (event) => {
    if ('persisted' in event && event.persisted === true) handlers.show();
  };
  page.addEventListener('online', online);
  page.addEventListener('pagehide', hide);
  page.addEventListener('pageshow', show);
  return () => {
    page.removeEventListener('online', online);
    page.removeEventListener('pagehide', hide);
    page.removeEventListener('pageshow', show);
  };
}
