import { until } from './wait.js';

/**
 * Node has no page, so here is one: the events a browser would send to its window, and its sessionStorage.
 * @param {import('node:test').TestContext} t
 */
export function makePage(t) {
  const page = new EventTarget();
  const watched = new Set();
  /** @type {Map<string, string>} */
  const storage = new Map();
  const globals = {
    /** @type {typeof page.addEventListener} */
    addEventListener: (type, ...rest) => {
      watched.add(type);
      page.addEventListener(type, ...rest);
    },
    sessionStorage: {
      getItem: (/** @type {string} */ key) => storage.get(key) ?? null,
      setItem: (/** @type {string} */ key, /** @type {string} */ value) => void storage.set(key, value),
      removeItem: (/** @type {string} */ key) => void storage.delete(key),
    },
  };
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });
  t.after(() => {
    for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name);
  });
  /** @param {string} type @param {boolean} [persisted] */
  const happens = async (type, persisted = false) => {
    await until(() => watched.has('pageshow'), 'the page is watched');
    page.dispatchEvent(Object.assign(new Event(type), { persisted }));
  };
  return { happens, storage };
}
