// @ts-check
/**
 * The transfer test of the console page: its form, its bar and its verdict.
 *
 * It opens a connection of its own on the page's gateway, so the terminal can stay in use.
 */

import { byId, formatBytes, formatDuration, h, setText } from './dom.js';
import { codeOf, explain } from './errors.js';
import { openSocket, parseTarget, query, transportName } from './page.js';
import { transfer } from './transfer.js';

const MIB = 1024 * 1024;
/** Twice this is held in memory. */
const MAX_MIB = 128;

/** @param {import('/perigee.js').Gateway} gateway */
export function showTransfer(gateway) {
  const root = byId('transfer', HTMLElement);
  const form = byId('transfer-form', HTMLFormElement);
  const size = byId('transfer-mib', HTMLInputElement);
  const pace = byId('transfer-pace', HTMLSelectElement);
  const backend = byId('transfer-backend', HTMLInputElement);
  const start = byId('transfer-start', HTMLButtonElement);
  const bar = byId('transfer-bar', HTMLElement);
  const sentBar = byId('transfer-bar-sent', HTMLElement);
  const receivedBar = byId('transfer-bar-received', HTMLElement);
  const marks = byId('transfer-marks', HTMLElement);
  const rate = byId('transfer-rate', HTMLElement);
  const verified = byId('transfer-verified', HTMLElement);
  const mismatches = byId('transfer-mismatches', HTMLElement);
  const resumes = byId('transfer-resumes', HTMLElement);
  const verdict = byId('transfer-verdict', HTMLElement);

  size.max = String(MAX_MIB);
  size.value = query.get('mib') ?? size.value;
  pace.value = query.get('pace') ?? pace.value;
  if (pace.selectedIndex === -1) pace.selectedIndex = 0;
  backend.value = query.get('backend') ?? backend.value;

  /** @type {import('./transfer.js').Progress | null} */
  let progress = null;
  /** Stops the transfer that runs. @type {AbortController | null} */
  let stop = null;
  let before = gateway.stats;
  let began = 0;
  /** @type {number | null} */
  let ended = null;
  /** @type {Set<string>} */
  let used = new Set();

  /** Leaves a mark in the bar where something happened to the link. @param {'resume' | 'switch'} what @param {string} title */
  const mark = (what, title) => {
    if (!progress) return;
    const tick = h('i', { class: what, title });
    tick.style.left = `${(100 * progress.received) / progress.total}%`;
    marks.append(tick);
  };
  gateway.on('resume', ({ transport, afterMs }) => mark('resume', `resumed over ${transportName(transport)} after ${formatDuration(afterMs)}`));
  gateway.on('transport', ({ to }) => {
    used.add(transportName(to));
    mark('switch', `now ${transportName(to)}`);
  });

  const render = () => {
    if (!progress) return;
    const { total, sent, received } = progress;
    const seconds = Math.max(0.001, ((ended ?? performance.now()) - began) / 1000);
    sentBar.style.width = `${(100 * sent) / total}%`;
    receivedBar.style.width = `${Math.min(100, (100 * received) / total)}%`;
    bar.setAttribute('aria-valuenow', String(Math.floor((100 * received) / total)));
    setText(rate, `${(received / 1e6 / seconds).toFixed(1)} MB/s`);
    setText(verified, `${formatBytes(received)} of ${formatBytes(total)}`);
    setText(mismatches, String(progress.mismatches));
    mismatches.classList.toggle('bad', progress.mismatches > 0);
    setText(resumes, String(gateway.stats.resumes - before.resumes));
  };

  /** @param {'idle' | 'running' | 'done' | 'failed'} state @param {...(Node | string)} words */
  const say = (state, ...words) => {
    root.dataset.state = state;
    verdict.replaceChildren(...words);
    setText(start, state === 'running' ? 'Stop' : 'Start');
    size.disabled = pace.disabled = backend.disabled = state === 'running';
  };

  const run = async () => {
    const target = backend.value.trim();
    const parsed = parseTarget(target);
    if ('problem' in parsed) return say('failed', parsed.problem);
    const total = Math.round(Number(size.value) * MIB);
    before = gateway.stats;
    began = performance.now();
    ended = null;
    used = new Set(gateway.transport === null ? [] : [transportName(gateway.transport)]);
    progress = { total, sent: 0, received: 0, mismatches: 0 };
    marks.replaceChildren();
    say('running', 'Running. Cut the connection and switch transports as often as you like.');
    const { signal } = (stop = new AbortController());
    const socket = openSocket(gateway, parsed, { signal });
    const ticking = setInterval(render, 100);
    try {
      const { readable, writable } = await socket.opened;
      began = performance.now();
      const result = await transfer(readable, writable, total, Number(pace.value) * 1e6, (now) => { progress = now; });
      progress = result;
      ended = began + result.ms;
      const same = result.mismatches === 0 && result.sentHash === result.receivedHash;
      const hashes = result.sentHash === null
        ? [h('span', { class: 'hint' }, 'SHA-256 needs HTTPS or localhost; every byte was compared.')]
        : [h('span', { class: 'hashes' },
          h('span', {}, 'SHA-256 sent'), h('code', { 'data-testid': 'transfer-hash-sent' }, result.sentHash),
          h('span', {}, 'SHA-256 received'), h('code', { 'data-testid': 'transfer-hash-received' }, result.receivedHash ?? ''))];
      const how = used.size > 0 ? ` over ${[...used].join(', ')}` : '';
      say('done',
        h('strong', { class: same ? 'good' : 'bad' }, same ? 'Every byte came back, once and in order' : `${result.mismatches} bytes are wrong`),
        `: ${formatBytes(result.received)} in ${formatDuration(result.ms)}${how}. `, ...hashes);
    } catch (error) {
      const code = codeOf(error);
      const { title, advice } = explain(code, { target, gateway: gateway.url });
      if (signal.aborted) say('idle', 'Stopped.');
      else say('failed', h('strong', { class: 'bad' }, title), ` ${advice}`);
    } finally {
      clearInterval(ticking);
      render();
      stop = null;
      progress = null;
    }
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (stop) stop.abort();
    else void run();
  });
}
