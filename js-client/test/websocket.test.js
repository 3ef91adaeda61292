import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TCPWebSocket } from '../src/websocket.js';
import { setup } from './support/setup.js';
import { until } from './support/wait.js';

/** @param {TCPWebSocket} socket */
function watch(socket) {
  /** @type {{ events: string[], data: unknown[], close: CloseEvent | null }} */
  const seen = { events: [], data: [], close: null };
  for (const name of ['open', 'message', 'error', 'close']) socket.addEventListener(name, (event) => seen.events.push(event.type));
  socket.onmessage = ({ data }) => seen.data.push(data);
  socket.onclose = (event) => void (seen.close = event);
  return seen;
}

for (const transport of /** @type {const} */ (['websocket', 'poll'])) {
  test(`${transport}: a WebSocket as a page knows it`, async (t) => {
    const { gateway } = await setup(t, { transport });
    const socket = new TCPWebSocket('echo', [], { gateway });
    const seen = watch(socket);
    assert.equal(socket.readyState, TCPWebSocket.CONNECTING);
    assert.throws(() => socket.send('early'), { name: 'InvalidStateError' });
    await until(() => socket.readyState === socket.OPEN, 'open');
    socket.binaryType = 'arraybuffer';
    const changing = new Uint8Array([1, 2, 3]);
    socket.send(changing);
    changing.fill(9);
    socket.send(new Blob(['blob ']));
    socket.send('text');
    assert.equal(socket.bufferedAmount, 12);
    const all = () => Buffer.concat(seen.data.map((one) => Buffer.from(/** @type {ArrayBuffer} */ (one)))).toString();
    await until(() => all() === '\x01\x02\x03blob text', 'the echo');
    assert.equal(socket.bufferedAmount, 0);
    for (const code of [999, 1001, 2999, 5000]) assert.throws(() => socket.close(code), { name: 'InvalidAccessError' });
    assert.throws(() => socket.close(1000, 'x'.repeat(124)), { name: 'SyntaxError' });
    socket.send('last');
    socket.close(3001, 'done');
    assert.equal(socket.readyState, TCPWebSocket.CLOSING);
    await until(() => seen.close !== null, 'closed');
    assert.deepEqual([seen.close?.code, seen.close?.reason, seen.close?.wasClean], [3001, 'done', true]);
    assert.equal(socket.readyState, TCPWebSocket.CLOSED);
    assert.equal(gateway.stats.acked, 16);
    assert.equal(seen.events[0], 'open');
    assert.equal(seen.events.at(-1), 'close');
    assert.ok(!seen.events.includes('error'));
    socket.close();
  });
}

test('how a connection ends is a code', async (t) => {
  const { gateway } = await setup(t);
  const refused = watch(new TCPWebSocket('refused', [], { gateway }));
  const ended = watch(new TCPWebSocket('source:5', [], { gateway }));
  const left = new TCPWebSocket('silent', [], { gateway });
  const given = watch(left);
  left.close();
  await until(() => refused.close && ended.close && given.close, 'all closed');
  assert.deepEqual([refused.close?.code, refused.close?.wasClean, refused.events], [4004, false, ['error', 'close']]);
  assert.deepEqual([ended.close?.code, ended.close?.wasClean], [1000, true]);
  assert.deepEqual([given.close?.code, given.close?.wasClean], [1006, false]);
});

test('its URLs are those of the gateway, and its subprotocols those of the service', async (t) => {
  const { gateway, fake } = await setup(t);
  const url = fake.url.replace('http', 'ws');
  const socket = new TCPWebSocket(`${url}/stomp/echo`, ['v10.stomp', 'v12.stomp'], { gateway });
  assert.equal(socket.protocol, 'v12.stomp');
  assert.equal(new TCPWebSocket(`${url}/irc/echo`, ['x', 'text.ircv3.net'], { gateway }).protocol, 'text.ircv3.net');
  assert.equal(new TCPWebSocket(`${url}/ws/echo`, 'mqtt', { gateway }).protocol, 'mqtt');
  for (const [bad, protocols] of /** @type {[string, string[]][]} */ ([
    [`${url}/stomp/echo`, ['v9.stomp']], [`${url}/other/echo`, []], [`${url}/ws/a/b`, []], ['ftp://x/ws/a', []], ['echo', ['a', 'a']], ['echo', ['a b']],
  ])) assert.throws(() => new TCPWebSocket(bad, protocols, { gateway }), { name: 'SyntaxError' }, bad);
  const seen = watch(socket);
  await until(() => socket.readyState === socket.OPEN, 'open');
  // What comes is cut into messages, however it comes.
  for (const part of ['SEND\nx:a\\cb\ncont', 'ent-length:3\n\na\0', 'b\0']) socket.send(part);
  await until(() => seen.data.length === 1, 'the frame');
  assert.deepEqual(seen.data, ['SEND\nx:a\\cb\ncontent-length:3\n\na\0b\0']);
  socket.send('\n');
  socket.send(new Uint8Array([...Buffer.from('SEND\n\n'), 255, 0]));
  await until(() => seen.data.length === 3, 'the next');
  assert.equal(seen.data[1], '\n');
  assert.equal(Object.prototype.toString.call(seen.data[2]), '[object Blob]');
});

test('one line is one message', async (t) => {
  const { gateway } = await setup(t);
  const socket = new (TCPWebSocket.with({ gateway, framing: 'lines' }))('echo');
  const seen = watch(socket);
  await until(() => socket.readyState === socket.OPEN, 'open');
  for (const line of ['PING a', 'PING b\r\n', 'Grüße']) socket.send(line);
  await until(() => seen.data.length === 3, 'the lines');
  assert.deepEqual(seen.data, ['PING a', 'PING b', 'Grüße']);
});
