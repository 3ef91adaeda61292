import { until } from './wait.js';

/**
 * Node has no page, so here is one: the events a browser would send to its window, its sessionStorage and its navigator.
 * @param {import('node:test').TestContext} t
 */
export function makePage(t) {
  const page = new EventTarget();
  /** @type {EventTarget & { type?: string, effectiveType?: string }} */
  const connection = new EventTarget();
  const navigator = { onLine: true, connection };
  const watched = new Set();
  /** @type {Map<string, string>} */
  const storage = new Map();
  const globals = {
    navigator,
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
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });
  t.after(() => {
    for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name);
    if (before) Object.defineProperty(globalThis, 'navigator', before);
  });
  /** @param {string} type @param {boolean} [persisted] */
  const happens = async (type, persisted = false) => {
    await until(() => watched.has('pageshow') && watched.has(type), `the page is watched for ${type}`);
    page.dispatchEvent(Object.assign(new Event(type), { persisted }));
  };
  return { happens, storage, navigator };
}
