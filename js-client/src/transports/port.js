/** A MessagePort to the worker that has one session for all tabs: frames both ways, and news of that session. */

/** @type {import('./transport.js').Open} */
export function open({ url, shared }, sid, handlers) {
  if (shared === null) throw new TypeError('nothing is shared');
  let over = false;
  /** @type {MessagePort | null} */
  let port = null;
  const unlock = new AbortController();
  const close = () => {
    over = true;
    unlock.abort();
    // What was posted before still arrives.
    port?.close();
  };
  /** @param {import('./transport.js').End} end */
  const end = (end) => {
    if (over) return;
    close();
    handlers.end(end);
  };
  try {
    const { script } = shared;
    // The name is all that the worker is told; tabs that want another Gateway have another worker.
    const options = /** @type {const} */ ({ type: 'module', name: JSON.stringify([url, shared.options]) });
    // Written like this bundlers find the script.
    const worker = script === true ? new SharedWorker(new URL('../shared-worker.js', import.meta.url), options) : new SharedWorker(script, options);
    worker.onerror = () => end({ code: null, text: 'the worker does not start', absent: true });
    port = worker.port;
    port.onmessage = ({ data }) => {
      /** @type {import('../relay.js').Message} */
      const { frames, news, ended } = data;
      if (over) return;
      if (frames) handlers.frames(frames);
      if (news) shared.told(shared.news = news);
      if (ended) end({ code: ended, text: 'the worker does not know this tab' });
    };
    const there = port;
    shared.say = (request) => there.postMessage({ request });
    // First the lock: of a tab that it knows the worker must notice the end.
    void hold(unlock.signal, (lock) => {
      if (!over) there.postMessage({ frames: handlers.hello().slice(), lock });
    });
  } catch (error) {
    queueMicrotask(() => end({ code: null, text: String(error), absent: true }));
  }
  return {
    // The windows of the streams bound what is on its way.
    room: () => (port === null ? 0 : Infinity),
    send: (bytes) => {
      const copy = bytes.slice();
      port?.postMessage({ frames: copy }, [copy.buffer]);
    },
    close,
  };
}

/**
 * Holds a lock as long as the transport and its page live: whoever gets it after us knows that the tab is gone, however it
 * went.
 * @param {AbortSignal} signal
 * @param {(name?: string) => void} held called once, without a name where there are no locks
 */
async function hold(signal, held) {
  const name = `perigee:tab:${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;
  let granted = false;
  try {
    await globalThis.navigator.locks.request(name, () => /** @type {Promise<void>} */ (new Promise((resolve) => {
      granted = true;
      signal.addEventListener('abort', () => resolve());
      if (signal.aborted) resolve();
      held(name);
    })));
  } catch {
    if (!granted) held();
  }
}
