import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TCPSocket } from '../src/index.js';
import { makePage } from './support/page.js';
import { pattern } from './support/random.js';
import { KINDS, setup } from './support/setup.js';
import { collect, until, within } from './support/wait.js';

for (const transport of KINDS) {
  test(`${transport}: a page that is put aside comes back to its connections`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport });
    const { happens } = makePage(t);
    const socket = new TCPSocket('echo', { gateway });
    const writer = socket.writable.getWriter();
    await writer.write(pattern(1, 0, 5000));
    await until(() => socket.stats.acked === 5000 && fake.downlink, 'acked');
    const { attaches } = gateway.stats;
    await happens('pagehide', true);
    assert.equal(gateway.state, 'detached');
    await until(() => fake.role.heard.some((frame) => frame.type === 'DETACH' && frame.why === 3), 'DETACH');
    await until(() => fake.transports.size === 0, 'nothing is left open');
    await happens('online');
    assert.equal(gateway.stats.attaches, attaches, 'a page that is aside connects to nothing');
    await happens('pageshow', true);
    await until(() => gateway.state === 'attached', 'back');
    await writer.close();
    assert.ok((await within(collect(socket.readable), 'the echo')).equals(pattern(1, 0, 5000)));
    assert.ok(events.some(({ name }) => name === 'resume'));
  });

  test(`${transport}: a page that goes for good ends its session`, async (t) => {
    const { gateway, fake } = await setup(t, { transport });
    const { happens } = makePage(t);
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    await happens('pagehide');
    await until(() => fake.role.ended?.code === 0, 'the gateway knows');
    assert.equal(gateway.state, 'idle');
  });

  test(`${transport}: a network that changed is looked at`, async (t) => {
    const { gateway, fake, events } = await setup(t, { transport, probeMs: 2000 });
    const { happens } = makePage(t);
    const socket = new TCPSocket('sink', { gateway });
    await within(socket.opened, 'opened');
    const { attaches } = gateway.stats;
    const { helloes } = fake.role;
    await happens('online');
    if (transport !== 'websocket') await until(() => gateway.stats.attaches > attaches && fake.role.helloes > helloes, 'attached anew');
    assert.ok(!events.some(({ name }) => name === 'detach'));
    assert.equal(gateway.state, 'attached');
  });
}

test('a WebSocket that does not answer after the network changed is left', async (t) => {
  const { gateway, fake, events } = await setup(t, { transport: 'websocket', probeMs: 30 });
  const { happens } = makePage(t);
  const socket = new TCPSocket('sink', { gateway });
  await within(socket.opened, 'opened');
  const { downlink } = fake;
  assert.ok(downlink);
  await happens('online');
  await until(() => fake.role.heard.some(({ type }) => type === 'PING'), 'asked');
  // What is acked after the PING was answered after the PING.
  await socket.writable.getWriter().write('x');
  await until(() => socket.stats.acked === 1, 'answered');
  assert.equal(gateway.stats.resumes, 0, 'it answers');
  fake.transports.delete(downlink);
  await happens('online');
  await until(() => gateway.stats.resumes === 1, 'another one');
  assert.ok(events.some(({ name, reason }) => name === 'detach' && reason === 'silence'));
});
