import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XMPPClient, XMPPError } from '../src/xmpp.js';
import { Stanzas, streamed } from '../src/xmpp/stanzas.js';
import { TCPWebSocket } from '../src/websocket.js';
import { setup } from './support/setup.js';
import { until } from './support/wait.js';

const HEADER = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:a="b" id='1' from="x.example" version='1.0' xml:lang='en'>`;
const OPEN = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from="x.example" id='1' version='1.0' xml:lang='en'/>`;
const CLOSE = '<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />';
/** What a server says, and what a client gets of it. @type {[string, string[]][]} */
const STREAM = [
  [HEADER, [OPEN]],
  ['<stream:features><bind xmlns="x"/></stream:features>', [`<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns="x"/></stream:features>`]],
  [' \n', []],
  ["<message xmlns='jabber:client' to='a>b'><body>ä€😀 &lt;/message> <![CDATA[</message><x]]></body><message/></message>", [
    "<message xmlns='jabber:client' to='a>b'><body>ä€😀 &lt;/message> <![CDATA[</message><x]]></body><message/></message>",
  ]],
  ['<presence/><iq id="/>">\n</iq>', [`<presence xmlns='jabber:client'/>`, `<iq xmlns='jabber:client' id="/>">\n</iq>`]],
  // After a login.
  [HEADER, [OPEN]],
  ['<p><a:c/></p>', [`<p xmlns='jabber:client' xmlns:a="b"><a:c/></p>`]],
  ['</stream:stream>', [CLOSE]],
];

test('a stream of XML is cut into messages, wherever it was cut before', () => {
  const bytes = Buffer.from(STREAM.map(([said]) => said).join(''));
  const expected = STREAM.flatMap(([, got]) => got);
  for (const size of [1, 2, 3, 7, 64, 1000, bytes.length]) {
    const stanzas = new Stanzas();
    const got = [];
    for (let at = 0; at < bytes.length; at += size) got.push(...stanzas.push(bytes.subarray(at, at + size)));
    assert.deepEqual(got, expected, `pieces of ${size}`);
  }
});

test('what cannot be XMPP is refused', () => {
  for (const bad of ['text', '</a>', '<!DOCTYPE a>', '<a><b><!-- x --></b>', `${HEADER}text<a/>`, '<a><b><?xml x?></b>', '<![CDATA[x]]>', '<a><b><![CDAT>']) {
    assert.throws(() => new Stanzas().push(Buffer.from(bad)), Error, bad);
  }
  assert.throws(() => new Stanzas().push(new Uint8Array([60, 97, 62, 60, 98, 255])), TypeError);
  const long = new Stanzas();
  long.push(Buffer.from('<a><b>'));
  const piece = Buffer.alloc(1024 * 1024, 'x');
  assert.throws(() => Array.from({ length: 5 }, () => long.push(piece)), /too long/);
});

test('messages of a page are a stream of XML', () => {
  const send = (/** @type {string} */ message) => Buffer.from(streamed(Buffer.from(message))).toString();
  assert.equal(
    send('<open version="1.0" xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="a.example" xml:lang=\'de\'/>'),
    `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to="a.example" version="1.0" xml:lang='de'>`,
  );
  assert.equal(send(CLOSE), '</stream:stream>');
  for (const same of ['<message><body>ä</body></message>', '<open/>', '<opened xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>', ' ']) assert.equal(send(same), same);
});

test('a WebSocket of XMPP on a session', async (t) => {
  const { gateway, fake } = await setup(t);
  const socket = new TCPWebSocket(`${fake.url.replace('http', 'ws')}/xmpp/echo`, ['xmpp'], { gateway });
  /** @type {unknown[]} */
  const got = [];
  socket.onmessage = ({ data }) => got.push(data);
  assert.equal(socket.protocol, 'xmpp');
  await until(() => socket.readyState === socket.OPEN, 'open');
  socket.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='x' version='1.0'/>");
  socket.send('<presence/>');
  socket.send(CLOSE);
  await until(() => got.length === 3, 'the echo');
  assert.deepEqual(got, ["<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='x' version='1.0'/>", "<presence xmlns='jabber:client'/>", CLOSE]);
});

test('options that cannot be are refused', () => {
  const strophe = /** @type {any} */ ({ Connection: class {}, Websocket: class {}, Status: {} });
  const given = { strophe, server: 'x', jid: 'a@x', password: '' };
  for (const bad of [{ ...given, strophe: {} }, { ...given, timeoutMs: 0 }, { ...given, other: 1 }, { ...given, reconnect: { minMs: 2, maxMs: 1 } }]) {
    assert.throws(() => new XMPPClient(/** @type {any} */ (bad)), TypeError);
  }
  for (const jid of ['', 'x', 'a@', '@x', 'a b@x', 'a@x/']) assert.throws(() => new XMPPClient({ ...given, jid }), XMPPError, jid);
});
