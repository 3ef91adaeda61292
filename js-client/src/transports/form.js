/**
 * Requests by form, as pages made them before there was anything better: the form goes into a hidden iframe, and the page
 * that answers posts a message. For where fetch does not work.
 */

import { decode } from '../frame.js';
import { endpoint } from './endpoint.js';
import { loadHttp } from './open.js';

/** @typedef {import('../options.js').Config} Config */

/**
 * A hidden iframe of the gateway's.
 * @param {Config} config
 * @param {(message: unknown[]) => void} onMessage
 * @param {() => void} onLoad a page in it came to its end
 */
export function hiddenFrame(config, onMessage, onLoad) {
  const frame = document.createElement('iframe');
  const { origin } = new URL(config.url);
  // The page may have another copy of this module.
  frame.name = `perigee${Math.random()}`;
  frame.hidden = true;
  frame.style.display = 'none';
  /** @param {MessageEvent<unknown>} event */
  const listen = ({ source, origin: from, data }) => {
    if (source !== null && source === frame.contentWindow && from === origin && Array.isArray(data)) onMessage(data);
  };
  addEventListener('message', listen);
  document.body.append(frame);
  frame.onload = () => {
    if (!isBlank(frame)) setTimeout(onLoad);
  };
  return {
    frame,
    remove: () => {
      removeEventListener('message', listen);
      frame.remove();
    },
  };
}

/** Not navigated yet. @param {HTMLIFrameElement} frame */
function isBlank(frame) {
  try {
    return frame.contentWindow?.location.href === 'about:blank';
  } catch {
    return false;
  }
}

/**
 * @param {Config} config
 * @param {string} path below /perigee/v1/
 * @param {Record<string, Uint8Array>} fields
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<Uint8Array>} the body of the reply
 */
async function submit(config, path, fields, signal) {
  const { HttpError, loadTicket, parseCode } = await loadHttp();
  const { fromBase64 } = await loadTicket();
  /** @param {number} status @param {Uint8Array} body */
  const refused = (status, body) => {
    try {
      const { code, message } = JSON.parse(new TextDecoder().decode(body));
      return new HttpError(parseCode(code), String(message));
    } catch {
      return new HttpError(null, `HTTP ${status}`);
    }
  };
  return new Promise((resolve, reject) => {
    const { frame, remove } = hiddenFrame(config, ([status, base64]) => {
      done();
      const body = fromBase64(String(base64));
      if (status === 200) resolve(body);
      else reject(refused(Number(status), body));
    }, () => {
      done();
      reject(new HttpError(null, 'no gateway answered'));
    });
    const done = () => {
      signal?.removeEventListener('abort', abort);
      remove();
    };
    const abort = () => {
      done();
      reject(signal?.reason);
    };
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort);
    const form = document.createElement('form');
    form.hidden = true;
    form.method = 'POST';
    form.action = endpoint(config, path);
    form.target = frame.name;
    for (const [name, bytes] of Object.entries(fields)) {
      const input = document.createElement('input');
      input.type = 'hidden';
      input.name = name;
      input.value = base64url(bytes);
      form.append(input);
    }
    document.body.append(form);
    form.submit();
    form.remove();
  });
}

/**
 * What `exchange` does by fetch.
 * @type {typeof import('./http.js').exchange}
 */
export async function exchangeByForm(config, path, body, { token, signal }, onFrames) {
  const reply = await submit(config, path, { frames: body, ...(token && { token }) }, signal);
  onFrames(decode(reply));
  return true;
}

/** @type {import('./ticket.js').Ask} */
export async function askByForm(config, path, hello, signal) {
  return JSON.parse(new TextDecoder().decode(await submit(config, path, { frames: hello }, signal)));
}

/** @param {Uint8Array} bytes */
function base64url(bytes) {
  let text = '';
  // Few arguments at a time: a call takes only so many.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
