/** Script tags: each brings one reply and is followed by the next. Brings frames down only. */

import { lazily, loadHttp } from './open.js';

/** For all of a page, because functions of a page share their names, and it may have another copy of this module. */
let index = Math.floor(Math.random() * 999_999_999);

/** @type {import('./ticket.js').Read} */
const read = ({ path, frames, end }) => {
  const functions = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (globalThis));
  let at = '';
  let over = false;
  let remove = () => {};
  const next = () => {
    index = (index % 999_999_999) + 1;
    const name = `perigee${index}`;
    const script = document.createElement('script');
    let called = false;
    /** @param {string} base64 @param {string} position */
    functions[name] = (base64, position) => {
      called = true;
      if (over) return;
      if (position !== '') at = position;
      frames(base64);
    };
    remove = () => {
      script.remove();
      delete functions[name];
    };
    script.onload = () => {
      remove();
      if (over) return;
      if (called) next();
      else end('the script was another one');
    };
    script.onerror = () => {
      remove();
      end('the script did not come');
    };
    script.src = path(`&i=${index}${at && `&at=${at}`}`);
    document.head.append(script);
  };
  next();
  return () => {
    over = true;
    // A script that was asked for may still come, and finds its function until then.
  };
};

export const open = lazily(async () => {
  const http = await loadHttp();
  const [{ ticketed }, { askByForm }] = await Promise.all([http.loadTicket(), http.loadForm()]);
  return { open: ticketed(http, 'jsonp', askByForm, read) };
});
