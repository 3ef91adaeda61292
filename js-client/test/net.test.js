import assert from 'node:assert/strict';
import real from 'node:net';
import { test } from 'node:test';
import net from '../src/net.js';
import { pattern } from './support/random.js';
import { setup } from './support/setup.js';
import { until } from './support/wait.js';

/** @param {InstanceType<typeof net.Socket>} socket */
function watch(socket) {
  /** @type {{ events: string[], data: Uint8Array[], error: (Error & { code?: string }) | null }} */
  const seen = { events: [], data: [], error: null };
  for (const name of ['connect', 'ready', 'end', 'finish', 'drain', 'timeout']) socket.on(name, () => seen.events.push(name));
  socket.on('close', (hadError) => seen.events.push(`close ${hadError}`));
  socket.on('error', (error) => (seen.error = error));
  socket.on('data', (chunk) => seen.data.push(chunk));
  return seen;
}

test('a connection as Node has it', async (t) => {
  const { gateway } = await setup(t);
  net.configure({ gateway, chunk: (bytes) => Buffer.from(bytes) });
  let heard = false;
  const socket = net.connect('echo', () => (heard = true));
  const seen = watch(socket);
  assert.equal(socket.readyState, 'opening');
  assert.equal(socket.write('early '), true);
  await until(() => heard, 'connect');
  assert.deepEqual([socket.remoteAddress, socket.readyState, socket.pending], ['echo', 'open', false]);
  const written = await new Promise((resolve) => void socket.write(new Uint8Array([104, 105]), resolve));
  assert.equal(written, undefined);
  const big = pattern(1, 0, 1_000_000);
  assert.equal(socket.write(big), false);
  await until(() => seen.events.includes('drain'), 'drain');
  socket.end(' end', () => seen.events.push('ended'));
  await until(() => seen.events.at(-1) === 'close false', 'close');
  const all = Buffer.concat(seen.data);
  assert.ok(Buffer.isBuffer(seen.data[0]));
  assert.ok(all.equals(Buffer.concat([Buffer.from('early hi'), big, Buffer.from(' end')])));
  assert.deepEqual([socket.bytesRead, socket.bytesWritten, socket.destroyed, seen.error], [all.length, all.length, true, null]);
  assert.deepEqual(seen.events.slice(0, 2), ['connect', 'ready']);
  assert.ok(['end', 'finish', 'ended'].every((name) => seen.events.includes(name)));
});

test('what is paused holds the server back; text is whole characters; pipes and iteration', async (t) => {
  const { gateway } = await setup(t, { windowBytes: 10_000 });
  net.configure({ gateway, chunk: (bytes) => bytes });
  const socket = net.createConnection({ path: 'echo' }).setEncoding('utf8');
  const seen = watch(socket);
  socket.pause();
  socket.write('ü🛰️'.repeat(10_000));
  await until(() => gateway.stats.received >= 10_000, 'the window is full');
  assert.deepEqual(seen.data, []);
  socket.resume();
  socket.end();
  await until(() => seen.events.includes('close false'), 'close');
  assert.equal(seen.data.join(''), 'ü🛰️'.repeat(10_000));

  const source = net.connect({ path: 'source:50000' });
  let length = 0;
  for await (const chunk of source) length += /** @type {Uint8Array} */ (chunk).length;
  assert.equal(length, 50_000);

  const to = net.connect('echo');
  const echoed = watch(to);
  net.connect({ path: 'source:50000' }).pipe(to);
  await until(() => echoed.events.includes('close false'), 'close');
  assert.equal(Buffer.concat(echoed.data).length, 50_000);
});

test('errors have the codes that libraries look for', async (t) => {
  const { gateway } = await setup(t);
  net.configure({ gateway });
  const refused = watch(net.connect({ path: 'refused' }));
  await until(() => refused.events.includes('close true'), 'close');
  assert.equal(refused.error?.code, 'ECONNREFUSED');
  const socket = net.connect('echo');
  const seen = watch(socket);
  await until(() => seen.events.includes('connect'), 'connect');
  socket.end();
  socket.write('late');
  await until(() => seen.events.includes('close true'), 'close');
  assert.equal(seen.error?.code, 'ERR_STREAM_WRITE_AFTER_END');
  const left = net.connect('silent');
  const given = watch(left);
  left.destroy();
  await until(() => given.events.includes('close false'), 'close');
  assert.equal(given.error, null);
  const idle = net.connect('echo').setTimeout(5);
  const waited = watch(idle);
  await until(() => waited.events.includes('timeout'), 'timeout');
  idle.destroy();
  assert.throws(() => net.configure(/** @type {never} */ ({ gatway: 1 })), TypeError);
  const other = net.connect('echo');
  assert.throws(() => other.write('x', 'latin1'), TypeError);
  other.destroy();
  await until(() => other.readyState === 'closed', 'the end');
});

test('addresses are known as Node knows them', () => {
  for (const text of /** @type {string[]} */ ([undefined, null, 5, {}, '1.2.3.4', '255.255.255.255', '256.1.1.1', '1.2.3', '1.2.3.4.5', '1.2.3.', '::', '::1', 'fe80::1%eth0', '1::2::3', 'g::', '::ffff:1.2.3.4', '', 'a', '12345::', '1:2:3:4:5:6:7:8'])) {
    assert.equal(net.isIP(text), real.isIP(text), String(text));
  }
});
