// @ts-check
/** The front page: runs the five lines it shows, and says what came back. */

import { TCPSocket } from '/perigee.js';
import { byId, formatDuration, setText } from './dom.js';
import { codeOf, explain } from './errors.js';
import './offer.js';

const button = byId('run', HTMLButtonElement);
const output = byId('output', HTMLElement);

button.addEventListener('click', async () => {
  // Not `disabled`: that would take the focus away from the button that was just pressed.
  if (button.ariaDisabled === 'true') return;
  button.ariaDisabled = 'true';
  setText(output, 'Connecting…');
  const began = performance.now();
  const socket = new TCPSocket('echo', { encoding: 'utf-8' });
  socket.closed.catch(() => {});
  try {
    const { readable, writable } = await socket.opened;
    await writable.getWriter().write('hello, TCP');
    const { value } = await readable.getReader().read();
    output.dataset.result = 'good';
    setText(output, `value = ${JSON.stringify(value)}, from the echo server after ${formatDuration(performance.now() - began)}`);
  } catch (error) {
    const { title, advice } = explain(codeOf(error), { target: 'echo', gateway: location.origin });
    output.dataset.result = 'bad';
    setText(output, `${title} ${advice}`);
  }
  await socket.close().catch(() => {});
  button.ariaDisabled = 'false';
});
