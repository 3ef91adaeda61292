// @ts-check
/**
 * The few things every page does with the document: make elements, find them, write numbers.
 *
 * Text always goes in as text nodes, so nothing that was received can become markup.
 */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number | boolean>} [attributes]  false leaves the attribute out, true sets it empty
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children);
  return element;
}

/**
 * @template {Element} T
 * @param {string} id
 * @param {abstract new (...args: never) => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return element;
}

/** @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * `812 B`, `12.4 kB`, `3.20 MB`.
 * @param {number} count
 */
export function formatBytes(count) {
  if (count < 1000) return `${count} B`;
  const [value, unit] = count < 1e6 ? [count / 1e3, 'kB'] : count < 1e9 ? [count / 1e6, 'MB'] : [count / 1e9, 'GB'];
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${unit}`;
}

/**
 * `38 ms`, `1.4 s`.
 * @param {number} ms
 */
export function formatDuration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/**
 * `14:03:09`
 * @param {Date} at
 */
export function formatTime(at) {
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

/**
 * Calls `handler` on Alt and a letter, wherever the focus is. The physical key counts, because Alt
 * makes another character of it on some systems.
 * @param {string} code `KeyboardEvent.code`
 * @param {() => void} handler
 */
export function onAltKey(code, handler) {
  document.addEventListener('keydown', (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== code) return;
    event.preventDefault();
    handler();
  });
}

/**
 * Keeps a scrolled log at its end while its reader is there, whatever is added to it or changes its
 * size, and leaves it alone while somebody reads further up.
 * @param {Element} log
 * @param {() => void} [moved] its reader has gone to the end, or away from it
 */
export function followEnd(log, moved = () => {}) {
  let atEnd = true;
  const end = {
    /** Whether the end is where its reader is. */
    get atEnd() {
      return atEnd;
    },
    /** To be called after lines were added. */
    follow: () => {
      if (atEnd) log.scrollTop = log.scrollHeight;
    },
    /** Goes there, wherever the reader was. */
    go: () => {
      atEnd = true;
      end.follow();
    },
  };
  log.addEventListener('scroll', () => {
    // One that is not shown is at its top, whatever its reader did.
    if (log.clientHeight === 0) return;
    const before = atEnd;
    atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
    if (before !== atEnd) moved();
  });
  new ResizeObserver(end.follow).observe(log);
  return end;
}
