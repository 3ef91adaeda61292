import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XMPPClient, XMPPError } from '../src/xmpp.js';
import { failure } from './support/failure.js';
import { fakeStrophe } from './support/strophe.js';
import { until, within } from './support/wait.js';

const MUC_USER = 'http://jabber.org/protocol/muc#user';
const ROOM = 'room@rooms.example';

/** @param {import('node:test').TestContext} t @param {Partial<import('../src/xmpp/client.js').XMPPOptions>} [options] */
function setup(t, options = {}) {
  const { strophe, connections } = fakeStrophe();
  const xmpp = new XMPPClient({ strophe, server: 'x', gateway: 'http://gateway.invalid', jid: 'ada@example/page', password: '', reconnect: { minMs: 1, maxMs: 5 }, ...options });
  const [connection] = connections;
  assert.ok(connection);
  /** What was told, in short. @type {string[]} */
  const told = [];
  xmpp.on('state', ({ state }) => told.push(state));
  xmpp.on('error', ({ error }) => told.push(`error ${/** @type {XMPPError} */ (error).code}`));
  xmpp.on('message', ({ kind, own, nick, text }) => told.push(`${kind} ${own ? 'own' : `of ${nick}`}: ${text}`));
  xmpp.on('room', ({ kind, own, was, occupant }) => told.push(`room ${kind} ${own ? 'own ' : ''}${was} ${occupant.nick}`));
  xmpp.on('subject', ({ subject, by }) => told.push(`subject ${subject} by ${by}`));
  xmpp.on('subscription', ({ from, kind }) => told.push(`${kind} ${from}`));
  xmpp.on('presence', ({ contact, device }) => told.push(`presence ${contact.jid} ${device}`));
  t.after(() => xmpp.close());
  return { xmpp, connection, told: () => told.splice(0) };
}

/** @typedef {ReturnType<typeof setup>['connection']} Connection */

/** Takes a client in. @param {Connection} connection */
async function welcome(connection) {
  connection.tell('CONNECTED');
  const asked = await connection.stanza(/^<iq type='get'.*jabber:iq:roster/);
  connection.say(['iq', { type: 'result', id: asked.getAttribute('id') ?? '' }, ['query', { xmlns: 'jabber:iq:roster' }, ['item', { jid: 'bob@example', name: 'Bob', subscription: 'both' }]]]);
  await connection.stanza(/^<presence>/);
}

/** @param {import('node:test').TestContext} t @param {Partial<import('../src/xmpp/client.js').XMPPOptions>} [options] */
async function connected(t, options) {
  const made = setup(t, options);
  const connecting = made.xmpp.connect();
  await welcome(made.connection);
  await within(connecting, 'connected');
  assert.deepEqual(made.told(), ['connecting', 'connected']);
  return made;
}

/** @param {Connection} connection @param {string} nick @param {readonly string[]} codes @param {{ type?: string, next?: string }} [how] */
function presence(connection, nick, codes, { type, next } = {}) {
  connection.say([
    'presence', { from: `${ROOM}/${nick}`, ...(type && { type }) },
    ['x', { xmlns: MUC_USER }, ['item', { affiliation: 'none', role: 'participant', ...(next && { nick: next }) }], ...codes.map((code) => /** @type {const} */ (['status', { code }]))],
  ]);
}

/** @param {XMPPClient} xmpp @param {Connection} connection */
async function joined(xmpp, connection) {
  const joining = xmpp.join(ROOM, 'ada', { password: 'secret', history: 0 });
  const asked = await connection.stanza(/^<presence to='room/);
  assert.equal(String(asked), `<presence to='${ROOM}/ada'><x xmlns='http://jabber.org/protocol/muc'><password>secret</><history maxstanzas='0'></></></>`);
  presence(connection, 'bob', []);
  presence(connection, 'ada', ['110']);
  return within(joining, 'joined');
}

test('who is on the roster, what they do, and what they ask', async (t) => {
  const { xmpp, connection, told } = await connected(t);
  assert.deepEqual([...xmpp.contacts.values()].map(({ jid, name }) => [jid, name]), [['bob@example', 'Bob']]);
  connection.say(['presence', { from: 'bob@example/phone' }]);
  connection.say(['presence', { from: 'eve@example', type: 'subscribe' }]);
  connection.say(['iq', { type: 'get', from: 'bob@example/phone', id: 'p1' }, ['ping', { xmlns: 'urn:xmpp:ping' }]]);
  await connection.stanza(/^<iq type='result' id='p1' to='bob@example\/phone'>/);
  // Only our own server says who is on it.
  connection.say(['iq', { type: 'set', from: 'eve@example', id: 'p2' }, ['query', { xmlns: 'jabber:iq:roster' }, ['item', { jid: 'eve@example', subscription: 'both' }]]]);
  connection.say(['iq', { type: 'set', id: 'p3' }, ['query', { xmlns: 'jabber:iq:roster' }, ['item', { jid: 'cy@example', subscription: 'none' }]]]);
  await connection.stanza(/^<iq type='result' id='p3'>/);
  assert.deepEqual([...xmpp.contacts.keys()].sort(), ['bob@example', 'cy@example']);
  assert.deepEqual(told(), ['presence bob@example phone', 'subscribe eve@example']);
  const asking = xmpp.request('get', 'bob@example', ['query', { xmlns: 'x' }]);
  const { attributes } = await connection.stanza(/^<iq type='get' to='bob/);
  connection.say(['iq', { type: 'error', id: attributes.id ?? '' }, ['error', {}, ['forbidden', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' }]]]);
  await assert.rejects(within(asking, 'an answer'), failure('refused', { condition: 'forbidden' }));
});

test('a room: talk that it gives back, a subject, another nick, and the way out', async (t) => {
  const { xmpp, connection, told } = await connected(t);
  const room = await joined(xmpp, connection);
  assert.deepEqual([room.isIn, room.nick, [...room.occupants.keys()].sort()], [true, 'ada', ['ada', 'bob']]);
  assert.equal(await xmpp.join(ROOM, 'ada'), room);
  const saying = xmpp.say(ROOM, 'hello');
  const { attributes } = await connection.stanza(/^<message to='room.*type='groupchat'><body>hello</);
  connection.say(['message', { from: `${ROOM}/bob`, type: 'groupchat', id: 'x' }, ['body', {}, 'hi']]);
  connection.say(['message', { from: `${ROOM}/ada`, type: 'groupchat', id: attributes.id ?? '' }, ['body', {}, 'hello, filtered']]);
  assert.equal((await within(saying, 'given back')).text, 'hello, filtered');
  connection.say(['message', { from: `${ROOM}/bob`, type: 'groupchat' }, ['subject', {}, 'News']]);
  const renaming = xmpp.join(ROOM, 'eve');
  await connection.stanza(/^<presence to='room.*\/eve'>/);
  presence(connection, 'ada', ['110', '303'], { type: 'unavailable', next: 'eve' });
  presence(connection, 'eve', ['110']);
  assert.equal((await within(renaming, 'renamed')).nick, 'eve');
  const taken = xmpp.join(ROOM, 'bob');
  await connection.stanza(/^<presence to='room.*\/bob'>/);
  connection.say(['presence', { from: `${ROOM}/bob`, type: 'error' }, ['error', {}, ['conflict', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' }]]]);
  await assert.rejects(within(taken, 'an answer'), failure('refused', { condition: 'conflict' }));
  const leaving = xmpp.leave(ROOM);
  await connection.stanza(/^<presence to='room.*\/eve' type='unavailable'>/);
  presence(connection, 'eve', ['110'], { type: 'unavailable' });
  await within(leaving, 'left');
  assert.deepEqual([...xmpp.rooms.keys()], []);
  assert.deepEqual(told(), [
    'room join bob bob', 'room join own ada ada', 'room of bob: hi', 'room own: hello, filtered', 'subject News by bob',
    'room nick own ada eve', 'error refused', 'room leave own eve eve',
  ]);
});

test('what another room refuses says nothing of a nick', async (t) => {
  const { xmpp, connection } = await connected(t);
  await joined(xmpp, connection);
  const other = xmpp.join('other@rooms.example', 'ada');
  await connection.stanza(/^<presence to='other/);
  connection.say(['presence', { from: 'other@rooms.example/ada' }, ['x', { xmlns: MUC_USER }, ['item'], ['status', { code: '110' }]]]);
  await within(other, 'joined');
  const renaming = xmpp.join(ROOM, 'eve');
  await connection.stanza(/^<presence to='room.*\/eve'>/);
  connection.say(['presence', { from: 'other@rooms.example/ada', type: 'error' }, ['error', {}, ['forbidden', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' }]]]);
  presence(connection, 'ada', ['110', '303'], { type: 'unavailable', next: 'eve' });
  presence(connection, 'eve', ['110']);
  assert.equal((await within(renaming, 'renamed')).nick, 'eve');
});

test('a room that lets nobody in, and one that does not answer', async (t) => {
  const { xmpp, connection } = await connected(t, { timeoutMs: 1500 });
  const refused = xmpp.join(ROOM, 'ada');
  await connection.stanza(/^<presence to='room/);
  connection.say(['presence', { from: `${ROOM}/ada`, type: 'error' }, ['error', {}, ['registration-required', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' }]]]);
  await assert.rejects(within(refused, 'an answer'), failure('refused', { condition: 'registration-required' }));
  assert.equal(xmpp.rooms.size, 0);
  await assert.rejects(within(xmpp.join(ROOM, 'ada'), 'an end'), failure('timeout'));
  assert.equal(xmpp.rooms.size, 0);
  for (const [jid, nick] of /** @type {const} */ ([[ROOM, ''], [`${ROOM}/x`, 'ada']])) await assert.rejects(xmpp.join(jid, nick), failure('invalid'));
});

test('after a lost stream the client comes back to its rooms, unless it was put out of them', async (t) => {
  const { xmpp, connection, told } = await connected(t);
  const room = await joined(xmpp, connection);
  /** @type {Promise<unknown>[]} */
  const asked = [xmpp.say(ROOM, 'perhaps'), xmpp.request('get', '', ['query', {}])];
  told();
  connection.tell('ERROR', 'system-shutdown');
  connection.tell('DISCONNECTED');
  for (const promise of asked) await assert.rejects(within(promise, 'an end'), failure('stream', { condition: 'system-shutdown' }));
  await assert.rejects(xmpp.say(ROOM, 'too early'), failure('closed'));
  await until(() => connection.attempts === 2, 'another attempt');
  await welcome(connection);
  await connection.stanza(/^<presence to='room.*<password>secret/);
  presence(connection, 'ada', ['110']);
  await until(() => room.isIn, 'back in the room');
  presence(connection, 'ada', ['110', '307'], { type: 'unavailable' });
  assert.equal(xmpp.rooms.size, 0);
  assert.deepEqual(told(), ['waiting', 'error stream', 'connecting', 'connected', 'room join own ada ada', 'room leave own ada ada']);
  await within(xmpp.close(), 'closed');
  assert.deepEqual(told(), ['idle']);
});

test('a login that fails is told, and not tried again', async (t) => {
  const { xmpp, connection, told } = setup(t);
  const connecting = xmpp.connect();
  connection.tell('AUTHFAIL', 'not-authorized');
  await assert.rejects(within(connecting, 'an end'), failure('login', { condition: 'not-authorized' }));
  assert.deepEqual([connection.attempts, told()], [1, ['connecting', 'idle']]);
  const again = xmpp.connect();
  connection.tell('CONNFAIL', 'host-unknown');
  connection.tell('DISCONNECTED');
  await assert.rejects(within(again, 'an end'), failure('stream', { condition: 'host-unknown' }));
});

test('presence is said to everybody, and to the rooms', async (t) => {
  const { xmpp, connection } = await connected(t);
  await joined(xmpp, connection);
  await xmpp.setPresence({ show: 'away', status: 'lunch', priority: 5 });
  assert.deepEqual(connection.sent.slice(-2).map(String), [
    '<presence><show>away</><status>lunch</><priority>5</></>', `<presence to='${ROOM}/ada'><show>away</><status>lunch</><priority>5</></>`,
  ]);
});
