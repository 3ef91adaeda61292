// @ts-check
/**
 * The link panel: which transport carries the session, how much went over it, what broke and how it
 * was mended; and the controls that make it break: "transport", "cut" and "unplug".
 *
 * It reads a Gateway's counters and events and knows nothing of what the page uses it for.
 */

import { formatBytes, formatDuration, formatTime, h, onAltKey, setText } from './dom.js';
import { TRANSPORTS, chosenTransport, queryProblem, transportName } from './page.js';
import { Timeline } from './timeline.js';

/** @typedef {import('./page.js').Choice} Choice */

const SAMPLE_MS = 250;
const EVENTS_KEPT = 60;

const STATES = {
  idle: 'Not connected',
  connecting: 'Connecting',
  attached: 'Attached',
  detached: 'Detached',
  closed: 'Closed',
};

/**
 * Fills `root` and keeps it current for as long as the page lives.
 * @param {HTMLElement} root
 * @param {import('/perigee.js').Gateway} gateway
 * @param {import('./plug.js').Plug} plug between the two
 */
export function showLink(root, gateway, plug) {
  const state = h('span', { class: 'link-word', 'data-testid': 'link-state' });
  const transport = h('span', { class: 'link-transport', 'data-testid': 'link-transport' });
  const numbers = {
    sent: h('dd', { 'data-testid': 'link-sent' }),
    received: h('dd', { 'data-testid': 'link-received' }),
    resumes: h('dd', { 'data-testid': 'link-resumes' }),
    resent: h('dd', { 'data-testid': 'link-resent' }),
  };
  const canvas = h('canvas', { class: 'timeline', 'aria-hidden': 'true' });
  const note = h('p', { class: 'link-note', role: 'status', 'data-testid': 'link-note' });
  const events = h('ol', { class: 'link-events', id: 'link-events', 'data-testid': 'link-events', tabindex: '0', 'aria-label': 'Events of the link' });
  const cut = h('button', { type: 'button', class: 'cut', 'data-testid': 'cut', 'aria-keyshortcuts': 'Alt+K' },
    h('span', {}, 'Cut', h('span', { class: 'wide' }, ' the connection')), h('kbd', {}, 'Alt K'));
  const unplugWord = h('span');
  const unplug = h('button', { type: 'button', class: 'unplug', 'aria-pressed': 'false', 'data-testid': 'unplug', 'aria-keyshortcuts': 'Alt+U' }, unplugWord, h('kbd', {}, 'Alt U'));
  const more = h('button', { type: 'button', class: 'quiet more', 'aria-expanded': 'false', 'aria-controls': 'link-events', 'data-testid': 'link-more' }, 'More');
  const timeline = new Timeline(canvas);
  const choices = segments(gateway);

  root.replaceChildren(
    h('h2', {}, 'Link to the gateway'),
    h('p', { class: 'link-state' }, h('span', { class: 'dot', 'aria-hidden': 'true' }), transport, state),
    canvas,
    h('dl', { class: 'link-numbers' },
      h('div', {}, h('dt', {}, 'Sent'), numbers.sent),
      h('div', {}, h('dt', {}, 'Received'), numbers.received),
      h('div', {}, h('dt', {}, 'Resumes'), numbers.resumes),
      h('div', {}, h('dt', {}, 'Resent'), numbers.resent)),
    choices.element,
    h('div', { class: 'link-actions' }, cut, unplug),
    more,
    note,
    events,
    h('p', { class: 'link-help hint' }, 'Cut breaks the transport as a bad network would, without a word to the gateway; unplug keeps it broken. The session resumes by itself: nothing is lost, repeated or out of order, whichever transport comes next.'),
  );

  let detachedAt = 0;
  /** The next detach is ours and was told already. */
  let cutByHand = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let flash;

  /** @param {'cut' | 'good' | 'plain'} tone @param {string} text */
  const log = (tone, text) => {
    events.prepend(h('li', { class: tone }, h('time', {}, formatTime(new Date())), h('span', {}, text)));
    while (events.childElementCount > EVENTS_KEPT) events.lastElementChild?.remove();
  };

  const render = () => {
    const { state: now, transport: name, stats } = gateway;
    root.dataset.state = now;
    root.dataset.transport = name ?? 'none';
    setText(transport, name === null ? '' : transportName(name));
    transport.hidden = name === null;
    setText(state, now === 'detached' && detachedAt > 0 ? `${STATES[now]} ${((performance.now() - detachedAt) / 1000).toFixed(1)} s` : STATES[now]);
    setText(numbers.sent, formatBytes(stats.sent));
    setText(numbers.received, formatBytes(stats.received));
    setText(numbers.resumes, String(stats.resumes));
    setText(numbers.resent, formatBytes(stats.resent));
    // Not `disabled`: that would take the focus away from whoever just pressed it.
    cut.setAttribute('aria-disabled', String(now !== 'attached'));
    unplug.setAttribute('aria-pressed', String(plug.out));
    unplugWord.replaceChildren(plug.out ? 'Plug in' : 'Unplug', h('span', { class: 'wide' }, plug.out ? ' again' : ' the network'));
    choices.show();
  };

  const severed = () => {
    if (gateway.state !== 'attached') return;
    log('cut', `You cut the ${transportName(gateway.transport)}`);
    setText(note, 'Cut. Waiting for the session to resume…');
    cutByHand = true;
    gateway.cut();
  };
  cut.addEventListener('click', severed);
  onAltKey('KeyK', severed);
  const togglePlug = () => {
    if (plug.out) {
      log('plain', 'You put the plug back in');
      plug.putBack();
    } else {
      log('cut', 'You pulled the plug');
      setText(note, 'Unplugged. What is sent now waits in this page.');
      cutByHand = gateway.state === 'attached';
      plug.pull();
    }
    render();
  };
  unplug.addEventListener('click', togglePlug);
  onAltKey('KeyU', togglePlug);
  onAltKey('KeyT', () => choices.next());
  more.addEventListener('click', () => {
    const open = root.classList.toggle('open');
    more.setAttribute('aria-expanded', String(open));
  });

  gateway.on('state', ({ state: now }) => {
    if (now === 'detached') detachedAt = performance.now();
    if (now === 'attached') detachedAt = 0;
    render();
  });
  gateway.on('detach', ({ reason }) => {
    root.classList.remove('is-resumed');
    root.classList.add('is-cut');
    if (!cutByHand) log('cut', `Detached${reason ? `: ${reason}` : ''}`);
    cutByHand = false;
    render();
  });
  gateway.on('resume', ({ transport: name, afterMs }) => {
    const text = `Resumed over ${transportName(name)} after ${formatDuration(afterMs)}`;
    log('good', text);
    setText(note, `${text}. Nothing was lost.`);
    clearTimeout(flash);
    cutByHand = false;
    root.classList.remove('is-cut');
    root.classList.add('is-resumed');
    flash = setTimeout(() => root.classList.remove('is-resumed'), 1500);
    render();
  });
  gateway.on('transport', ({ from, to, reason }) => {
    log('plain', `${from === null ? 'Attached over' : `${transportName(from)} →`} ${transportName(to)}${reason ? ` (${reason})` : ''}`);
    render();
  });
  gateway.on('goaway', ({ afterMs, code }) => log('plain', `The gateway asks to move within ${formatDuration(afterMs)} (${code})`));
  gateway.on('lost', ({ code }) => {
    log('cut', `Session lost (${code})`);
    setText(note, 'The session is lost: its connections ended, and each says so.');
    root.classList.remove('is-cut');
    render();
  });

  setText(note, queryProblem);
  let before = gateway.stats;
  setInterval(() => {
    const { stats } = gateway;
    // A new session may count from zero again.
    timeline.push({
      up: Math.max(0, stats.sent - before.sent),
      down: Math.max(0, stats.received - before.received),
      transport: gateway.transport ?? (gateway.state === 'detached' ? 'none' : null),
      attached: gateway.state === 'attached',
    });
    before = stats;
    render();
  }, SAMPLE_MS);
  render();
}

/**
 * The choice of a transport, as one row of radio buttons.
 * @param {import('/perigee.js').Gateway} gateway
 */
function segments(gateway) {
  const row = h('div', { class: 'segments' });
  /** @type {Map<Choice, HTMLInputElement>} */
  const inputs = new Map();
  const names = /** @type {[Choice, string][]} */ (Object.entries({ auto: 'Auto', ...TRANSPORTS }));
  for (const [value, name] of names) {
    const input = h('input', { type: 'radio', name: 'transport', value, 'data-testid': `transport-${value}` });
    input.checked = value === chosenTransport();
    input.addEventListener('change', () => gateway.use(value));
    inputs.set(value, input);
    row.append(h('label', {}, input, h('span', {}, name)));
  }
  const element = h('fieldset', { class: 'choice', 'aria-keyshortcuts': 'Alt+T' }, h('legend', {}, 'Transport ', h('kbd', {}, 'Alt T')), row);
  return {
    element,
    /** Marks the transport in use, which "Auto" leaves open. */
    show: () => inputs.forEach((input, value) => input.parentElement?.toggleAttribute('data-in-use', value === gateway.transport)),
    /** Forces the next one in the row. */
    next: () => {
      const all = [...inputs];
      const [value, input] = all[(all.findIndex(([, each]) => each.checked) + 1) % all.length] ?? [];
      if (!value || !input) return;
      input.checked = true;
      gateway.use(value);
    },
  };
}
