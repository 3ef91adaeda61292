// @ts-check
/**
 * The raw TCP console, in the manner of telnet: a line typed is bytes sent, bytes received are shown.
 *
 * Query parameters, besides those of `page.js`: `backend` (name or host:port), `connect`, which
 * connects at once, and `mib`, the size of the transfer test.
 */

import { byId, formatBytes, setText } from './dom.js';
import { codeOf, explain } from './errors.js';
import { openGateway, openSocket, parseTarget, query } from './page.js';
import { showLink } from './status.js';
import { Terminal } from './terminal.js';
import { showTransfer } from './transfer-view.js';

const HISTORY_KEPT = 100;
const LINE_ENDS = { crlf: '\r\n', lf: '\n', none: '' };

const { gateway, plug } = openGateway();
showLink(byId('link', HTMLElement), gateway, plug);
showTransfer(gateway);

const main = byId('console', HTMLElement);
const form = byId('dial', HTMLFormElement);
const hostField = byId('host', HTMLInputElement);
const portField = byId('port', HTMLInputElement);
const dial = byId('connect', HTMLButtonElement);
const eof = byId('eof', HTMLButtonElement);
const state = byId('state', HTMLElement);
const composer = byId('composer', HTMLFormElement);
const input = byId('input', HTMLInputElement);
const ending = byId('line-end', HTMLSelectElement);
const terminal = new Terminal(byId('screen', HTMLElement));

/**
 * @typedef {object} Connection
 * @property {string} target
 * @property {import('/perigee.js').TCPSocket} socket
 * @property {AbortController} stop
 * @property {WritableStreamDefaultWriter<Uint8Array> | null} writer  null before it opened and after our end was sent
 * @property {number} sent      bytes written, so the offset of the next
 * @property {number} received
 */

/** @type {Connection | null} */
let connection = null;

/** @param {'closed' | 'opening' | 'open' | 'half-closed'} phase */
function enter(phase) {
  main.dataset.phase = phase;
  const idle = phase === 'closed';
  hostField.disabled = portField.disabled = !idle;
  setText(dial, idle ? 'Connect' : phase === 'opening' ? 'Cancel' : 'Disconnect');
  dial.classList.toggle('primary', idle);
  eof.disabled = phase !== 'open';
  input.disabled = phase !== 'open';
  byId('send', HTMLButtonElement).disabled = phase !== 'open';
  showCounters();
}

function showCounters() {
  const { phase } = main.dataset;
  const words = { closed: 'Not connected', opening: 'Connecting…', open: 'Connected', 'half-closed': 'Our end is closed, still receiving' };
  const counts = connection ? `, ${formatBytes(connection.sent)} out, ${formatBytes(connection.received)} in` : '';
  setText(state, words[/** @type {keyof typeof words} */ (phase)] + (phase === 'opening' ? '' : counts));
}

/** Name or host in one field, port in the other; or both in the first. */
function target() {
  const host = hostField.value.trim();
  const port = portField.value.trim();
  if (port === '') return host;
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`;
}

async function connect() {
  const asked = target();
  const parsed = parseTarget(asked);
  if ('problem' in parsed) {
    terminal.remark(parsed.problem, 'bad');
    return;
  }
  const stop = new AbortController();
  const { signal } = stop;
  const socket = openSocket(gateway, parsed, { signal });
  /** @type {Connection} */
  const now = { target: asked, socket, stop, writer: null, sent: 0, received: 0 };
  connection = now;
  terminal.remark(`Connecting to ${asked} …`);
  enter('opening');
  try {
    const { readable, writable } = await socket.opened;
    now.writer = writable.getWriter();
    now.writer.closed.catch(() => {});
    terminal.remark(`Connected to ${asked}.`, 'good');
    enter('open');
    input.focus();
    const reader = readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      terminal.add('in', now.received, value);
      now.received += value.length;
      showCounters();
    }
    terminal.remark(`${asked} closed its end.`);
    if (now.writer) await now.writer.close();
    await socket.closed;
    terminal.remark('Connection closed in good order.');
  } catch (error) {
    if (signal.aborted) terminal.remark('Disconnected.');
    else {
      const { title, advice } = explain(codeOf(error), { target: asked, gateway: gateway.url });
      terminal.remark(`${title} ${advice}`, 'bad');
    }
  }
  connection = null;
  enter('closed');
  // Whoever was typing can go on with Enter; anybody else is left where they are.
  if (document.activeElement === document.body || document.activeElement === input) dial.focus();
}

/** @param {string} text */
function send(text) {
  const now = connection;
  if (!now?.writer) return;
  const bytes = new TextEncoder().encode(text + LINE_ENDS[/** @type {keyof typeof LINE_ENDS} */ (ending.value)]);
  if (bytes.length === 0) return;
  terminal.add('out', now.sent, bytes);
  now.sent += bytes.length;
  // The read loop meets the same end and explains it.
  now.writer.write(bytes).catch(() => {});
  showCounters();
}

/** Sends our end of file; what the other side still has to say goes on arriving. */
function sendEof() {
  const now = connection;
  if (!now?.writer) return;
  now.writer.close().catch(() => {});
  now.writer = null;
  terminal.remark('End of file sent.');
  enter('half-closed');
  dial.focus();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (connection) connection.stop.abort();
  else void connect();
});
eof.addEventListener('click', sendEof);
byId('clear', HTMLButtonElement).addEventListener('click', () => terminal.clear());
for (const view of /** @type {const} */ (['text', 'hex'])) {
  byId(`view-${view}`, HTMLInputElement).addEventListener('change', () => terminal.show(view));
}

// The line: sending and history.

/** @type {string[]} */
const history = [];
let recalled = -1;
let draft = '';

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = input.value;
  input.value = '';
  recalled = -1;
  if (text !== '') history.unshift(text);
  history.length = Math.min(history.length, HISTORY_KEPT);
  send(text);
});

input.addEventListener('keydown', (event) => {
  if (event.altKey || event.metaKey || event.isComposing) return;
  if (event.ctrlKey) {
    if (event.key !== 'd' || input.value !== '') return;
    event.preventDefault();
    sendEof();
  } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
    event.preventDefault();
    if (recalled === -1) draft = input.value;
    recalled = Math.max(-1, Math.min(history.length - 1, recalled + (event.key === 'ArrowUp' ? 1 : -1)));
    input.value = recalled === -1 ? draft : (history[recalled] ?? '');
    input.setSelectionRange(input.value.length, input.value.length);
  }
});

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.isComposing || input.disabled) return;
  if (document.activeElement === input) input.value = '';
  input.focus();
});

const asked = query.get('backend');
if (asked !== null) hostField.value = asked;
enter('closed');
if (query.has('connect')) void connect();
else dial.focus();
