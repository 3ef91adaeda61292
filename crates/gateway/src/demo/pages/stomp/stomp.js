// @ts-check
/**
 * The STOMP console: joins a StompClient, what came from it (`store.js`) and what that looks like (`list.js`).
 *
 * Query parameters, besides those of `page.js`: `backend` (name or host:port), `login`, `destination` (to subscribe to
 * and send to), and `connect`, which connects at once.
 */

import { StompClient } from '/perigee/stomp.js';
import { byId, formatBytes, formatDuration, h, setText } from '../dom.js';
import { offerBackends } from '../offer.js';
import { openGateway, openSocket, parseTarget, query } from '../page.js';
import { showLink } from '../status.js';
import { bodyOf, exported } from './body.js';
import { parseHeaders } from './headers.js';
import { MessageList } from './list.js';
import { LIMITS, Store } from './store.js';
import { Transactions } from './transactions.js';
import { explainStomp } from './words.js';

/** @typedef {import('./store.js').Kept} Kept */
/** @typedef {import('./store.js').AckMode} AckMode */

const { gateway, plug } = openGateway();
showLink(byId('link', HTMLElement), gateway, plug);

const main = byId('stomp', HTMLElement);
const fields = Object.fromEntries(['backend', 'login', 'passcode', 'vhost'].map((id) => [id, byId(id, HTMLInputElement)]));
const beats = { out: byId('beat-out', HTMLSelectElement), in: byId('beat-in', HTMLSelectElement) };
const connectButton = byId('connect', HTMLButtonElement);
const state = byId('state', HTMLElement);
const disconnectButton = byId('disconnect', HTMLButtonElement);
const problem = byId('problem', HTMLElement);
const subscriptions = byId('subscriptions', HTMLElement);
const filter = byId('filter', HTMLInputElement);
const pauseButton = byId('pause', HTMLButtonElement);
const sent = byId('sent', HTMLElement);
const body = byId('body', HTMLTextAreaElement);
const bodyForm = byId('form', HTMLSelectElement);

/** What a body is, where nobody says otherwise. */
const TYPES = { text: 'text/plain;charset=utf-8', json: 'application/json', hex: 'application/octet-stream' };

const store = new Store();
const list = new MessageList(
  { rows: byId('rows', HTMLElement), detail: byId('detail', HTMLElement), jump: byId('jump', HTMLElement) },
  () => showChosen(),
  (kept, command) => void settle([kept], command),
);
const transactions = new Transactions(byId('transactions', HTMLElement), {
  fail: (error) => tell(error),
  undone: (of) => {
    store.unsettle(of);
    list.refresh();
  },
});

/** @type {{ target: string, stomp: StompClient, stop: AbortController } | null} */
let connection = null;
/** What was there when it was paused. @type {Kept[] | null} */
let frozen = null;
let pausedAt = 0;

// --- the connection ---

/** @param {'idle' | 'connecting' | 'connected' | 'waiting'} phase */
function enter(phase) {
  main.dataset.phase = phase;
  const idle = phase === 'idle';
  for (const field of [...Object.values(fields), ...Object.values(beats)]) field.disabled = !idle;
  setText(connectButton, phase === 'connecting' ? 'Cancel' : 'Connect');
  connectButton.hidden = !idle && phase !== 'connecting';
  disconnectButton.hidden = idle || phase === 'connecting';
  for (const id of ['subscribe', 'begin', 'send']) byId(id, HTMLButtonElement).disabled = phase !== 'connected';
  showState();
  showEmpty();
}

function showState() {
  const phase = main.dataset.phase;
  if (phase === 'connected' && connection) {
    const { version, server, heartBeat: { outgoingMs, incomingMs } } = connection.stomp.agreed;
    const beat = (/** @type {number} */ ms) => (ms === 0 ? 'none' : `every ${formatDuration(ms)}`);
    setText(state, `Connected to ${server || connection.target}, STOMP ${version}. Heart-beats: ours ${beat(outgoingMs)}, the broker’s ${beat(incomingMs)}.`);
  } else {
    setText(state, { connecting: 'Connecting…', waiting: 'The connection is lost. Connecting again in a moment, with your subscriptions…' }[phase ?? ''] ?? 'Not connected.');
  }
}

/** @param {unknown} error */
function tell(error) {
  const { title, advice } = explainStomp(error, { target: connection?.target ?? fields.backend?.value ?? '', gateway: gateway.url });
  tellWords(title, advice);
}

/** @param {string} title @param {string} [advice] */
function tellWords(title, advice = '') {
  setText(byId('problem-title', HTMLElement), title);
  setText(byId('problem-advice', HTMLElement), advice);
  problem.hidden = false;
}

async function connect() {
  const target = fields.backend?.value.trim() ?? '';
  const parsed = parseTarget(target);
  problem.hidden = true;
  if ('problem' in parsed) return tellWords(parsed.problem);
  const stop = new AbortController();
  const service = 'host' in parsed || query.get('service') === 'tunnel' ? 'tunnel' : 'stomp';
  const [login = '', passcode = '', host = ''] = [fields.login?.value, fields.passcode?.value, fields.vhost?.value.trim()];
  /** @type {StompClient} */
  let stomp;
  try {
    stomp = new StompClient({
      server: target, socket: () => openSocket(gateway, parsed, { signal: stop.signal, service }),
      ...(host !== '' && { host }), ...(login !== '' && { login }), ...(passcode !== '' && { passcode }),
      heartBeat: { outgoingMs: Number(beats.out.value) * 1000, incomingMs: Number(beats.in.value) * 1000 },
    });
  } catch (error) {
    tell(error);
    return;
  }
  const of = { target, stomp, stop };
  connection = of;
  stomp.on('state', ({ state: now }) => {
    if (connection !== of) return;
    if (now !== 'connected') {
      store.expire();
      transactions.forget();
      list.refresh();
      showChosen();
    }
    if (now === 'idle') subscriptions.replaceChildren();
    enter(now);
    if (now === 'connected') problem.hidden = true;
  });
  stomp.on('error', ({ error }) => connection === of && tell(error));
  try {
    await stomp.connect();
    // From the field that was disabled, or the button that went.
    if (document.activeElement === document.body) byId('sub-destination', HTMLElement).focus();
  } catch (error) {
    if (connection === of && !stop.signal.aborted) tell(error);
  }
}

async function disconnect() {
  if (!connection) return;
  const { stomp, target } = connection;
  disconnectButton.disabled = true;
  await stomp.close();
  disconnectButton.disabled = false;
  setText(state, `Disconnected. ${target} has all that was sent.`);
  connectButton.focus();
}

// --- subscriptions ---

/** @param {string} destination @param {AckMode} ack @param {Record<string, string>} headers */
async function subscribe(destination, ack, headers) {
  if (!connection) return;
  const { stomp } = connection;
  let count = 0;
  const number = h('span', { class: 'unread' }, '0');
  const item = h('li', { class: 'item', 'data-testid': 'subscription', 'data-destination': destination });
  const remember = (/** @type {import('./store.js').StompMessage} */ message) => {
    count += 1;
    setText(number, count > 9999 ? '9999+' : String(count));
    store.add(message, ack);
    later();
  };
  try {
    const subscription = await stomp.subscribe(destination, remember, { ack, headers });
    const end = h('button', { type: 'button', class: 'quiet', 'aria-label': `Unsubscribe from ${destination}`, 'data-testid': 'unsubscribe' }, '✕');
    end.addEventListener('click', async () => {
      item.remove();
      showSubscriptions();
      await subscription.unsubscribe().catch(tell);
    });
    const extra = Object.entries(headers).map(([name, value]) => `${name}: ${value}`).join(', ');
    item.append(h('bdi', { class: 'item-name', title: destination }, destination), number, end, h('span', { class: 'hint' }, ack, extra === '' ? '' : ` · ${extra}`));
    subscriptions.append(item);
    showSubscriptions();
  } catch (error) {
    tell(error);
  }
}

function showSubscriptions() {
  byId('subscriptions-empty', HTMLElement).hidden = subscriptions.childElementCount > 0;
  showEmpty();
}
new MutationObserver(showSubscriptions).observe(subscriptions, { childList: true });

// --- messages ---

let scheduled = false;

/** Shows what came, once for all that comes before the page gets to it. */
function later() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(() => {
    scheduled = false;
    show();
  });
}

/** What is to be seen: what passes the filter, of what is kept or was when it was paused. */
function visible() {
  if (frozen === null) return store.matching(filter.value);
  const matching = new Set(store.matching(filter.value));
  return frozen.filter((kept) => matching.has(kept));
}

function show() {
  if (frozen === null) list.show(visible());
  const of = visible().length;
  setText(byId('count', HTMLElement), store.kept.length === 0 ? '' : of === store.kept.length ? String(of) : `${of} of ${store.kept.length}`);
  const missed = store.total - pausedAt;
  setText(pauseButton, frozen === null ? 'Pause' : missed === 0 ? 'Resume' : `Resume (${missed} new)`);
  const kept = byId('kept', HTMLElement);
  kept.hidden = store.dropped === 0;
  setText(kept, `The last ${store.kept.length.toLocaleString()} of ${store.total.toLocaleString()} messages are kept: up to ${LIMITS.messages}, and ${formatBytes(LIMITS.bytes)} of bodies.`);
  showEmpty();
  showChosen();
}

function showEmpty() {
  const empty = byId('empty', HTMLElement);
  empty.hidden = visible().length > 0;
  setText(empty, store.kept.length > 0 ? 'No message has that in it.'
    : main.dataset.phase !== 'connected' ? 'Connect, subscribe to a destination, and its messages are listed here.'
      : subscriptions.childElementCount === 0 ? 'Subscribe to a destination, and its messages are listed here.'
        : 'Nothing has come yet. Send something below, or from a second tab.');
}

function showChosen() {
  const count = store.kept.filter(({ chosen }) => chosen).length;
  for (const command of ['ack', 'nack']) {
    const button = byId(command, HTMLButtonElement);
    button.hidden = count === 0;
    setText(button, `${command === 'ack' ? 'Ack' : 'Nack'} ${count}`);
  }
}

/** @param {readonly Kept[]} of the oldest first @param {'ack' | 'nack'} command */
async function settle(of, command) {
  const transaction = transactions.chosen;
  for (const kept of of) {
    // One that was acknowledged with another one before is done with.
    if (kept.fate !== 'waiting') continue;
    const waiting = store.kept.filter(({ fate }) => fate === 'waiting');
    store.settle(kept, command === 'ack' ? 'acked' : 'refused');
    transaction?.settled(waiting.filter(({ fate }) => fate !== 'waiting'));
    list.refresh();
    try {
      await (transaction ? transaction.of[command](kept.message) : kept.message[command]());
    } catch (error) {
      tell(error);
    }
  }
  showChosen();
}

// --- sending ---

async function send() {
  if (!connection) return;
  const destination = byId('destination', HTMLInputElement).value.trim();
  const parsed = parseHeaders(byId('headers', HTMLTextAreaElement).value);
  const form = /** @type {import('./body.js').Form} */ (bodyForm.value);
  const made = bodyOf(body.value, form);
  sent.dataset.result = 'bad';
  if ('problem' in parsed) return setText(sent, parsed.problem);
  if ('problem' in made) return setText(sent, made.problem);
  const contentType = byId('content-type', HTMLInputElement).value.trim() || TYPES[form];
  const receipt = byId('receipt', HTMLInputElement).checked;
  const transaction = transactions.chosen;
  const began = performance.now();
  delete sent.dataset.result;
  try {
    if (transaction) {
      await transaction.of.send(destination, made.body, { headers: parsed.headers, contentType });
      transaction.said();
      setText(sent, `In transaction ${transaction.of.id}; nobody sees it before you commit.`);
      return;
    }
    const sending = connection.stomp.send(destination, made.body, { headers: parsed.headers, contentType, receipt });
    if (receipt) setText(sent, 'Waiting for the receipt…');
    await sending;
    sent.dataset.result = 'good';
    setText(sent, receipt ? `The broker has it: a receipt after ${formatDuration(performance.now() - began)}.` : `Handed over, ${formatBytes(made.body.length)}.`);
  } catch (error) {
    sent.dataset.result = 'bad';
    setText(sent, 'Not sent, or nobody knows.');
    tell(error);
  }
}

function save() {
  const file = new Blob(visible().map((kept) => `${exported(kept)}\n`), { type: 'application/jsonl' });
  const link = h('a', { href: URL.createObjectURL(file), download: `messages-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.jsonl` });
  link.click();
  // The browser has begun to read it by then, and needs it no longer than the page does.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// --- the page's controls ---

byId('connect-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  if (main.dataset.phase === 'connecting') void connection?.stomp.close();
  else void connect();
});
disconnectButton.addEventListener('click', () => void disconnect());
byId('problem-close', HTMLButtonElement).addEventListener('click', () => { problem.hidden = true; });
byId('subscribe-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const parsed = parseHeaders(byId('sub-headers', HTMLTextAreaElement).value);
  if ('problem' in parsed) return tellWords(parsed.problem);
  const destination = byId('sub-destination', HTMLInputElement);
  void subscribe(destination.value.trim(), /** @type {AckMode} */ (byId('sub-ack', HTMLSelectElement).value), parsed.headers);
});
byId('begin', HTMLButtonElement).addEventListener('click', async () => {
  try {
    if (connection) transactions.add(await connection.stomp.begin());
  } catch (error) {
    tell(error);
  }
});
byId('send-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  void send();
});
for (const area of [body, byId('headers', HTMLTextAreaElement)]) {
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) byId('send-form', HTMLFormElement).requestSubmit();
  });
}
bodyForm.addEventListener('change', () => {
  byId('content-type', HTMLInputElement).placeholder = TYPES[/** @type {keyof typeof TYPES} */ (bodyForm.value)];
});
filter.addEventListener('input', () => {
  list.show(visible());
  show();
});
pauseButton.addEventListener('click', () => {
  frozen = frozen === null ? [...store.kept] : null;
  pausedAt = store.total;
  pauseButton.setAttribute('aria-pressed', String(frozen !== null));
  show();
});
byId('clear', HTMLButtonElement).addEventListener('click', () => {
  store.clear();
  if (frozen) frozen = [];
  list.close();
  list.show([]);
  show();
});
byId('export', HTMLButtonElement).addEventListener('click', save);
for (const command of /** @type {const} */ (['ack', 'nack'])) {
  byId(command, HTMLButtonElement).addEventListener('click', () => void settle(store.kept.filter(({ chosen }) => chosen), command));
}

offerBackends(byId('backend', HTMLInputElement), 'stomp', query.get('backend'));
if (fields.login) fields.login.value = query.get('login') ?? '';
for (const id of ['destination', 'sub-destination']) {
  const given = query.get('destination');
  if (given !== null) byId(id, HTMLInputElement).value = given;
}
enter('idle');
show();
if (query.has('connect')) void connect();
