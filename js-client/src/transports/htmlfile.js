/** Pages that come script by script in a hidden iframe. Each is followed by the next, which goes on where it ended. Brings frames down only. */

import { lazily, loadHttp } from './open.js';

/** @param {typeof import('./form.js')} form @returns {import('./ticket.js').Read} */
const read = ({ hiddenFrame }) => ({ config, path, frames, end }) => {
  let at = '';
  let remove = () => {};
  const next = () => {
    let pieces = 0;
    let over = false;
    const onEnd = () => {
      if (over) return;
      over = true;
      page.remove();
      if (pieces > 0) next();
      else end('the page ended');
    };
    const page = hiddenFrame(config, ([base64, position]) => {
      // The page itself says that it was read to its end, or cut.
      if (base64 === undefined) return onEnd();
      // The first script of every page brings nothing.
      if (base64 === '') return;
      pieces += 1;
      if (position !== '') at = String(position);
      frames(String(base64));
    }, onEnd);
    ({ remove } = page);
    page.frame.src = path(at && `&at=${at}`);
  };
  next();
  return () => remove();
};

export const open = lazily(async () => {
  const http = await loadHttp();
  const [{ ticketed }, form] = await Promise.all([http.loadTicket(), http.loadForm()]);
  return { open: ticketed(http, 'htmlfile', form.askByForm, read(form)) };
});
