import assert from 'node:assert/strict';
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { describe, test } from 'node:test';
import { IRCClient, IRCError, composeMessage, parseMessage } from '../src/irc.js';
import { PerigeeError } from '../src/errors.js';
import { Lines, splitText } from '../src/irc/message.js';
import { scram } from '../src/irc/sasl.js';
import { Support } from '../src/irc/support.js';
import { failure } from './support/failure.js';
import { until, within } from './support/wait.js';
import { FakeServer } from './support/wire.js';

/** @typedef {import('./support/wire.js').FakeConnection} FakeConnection */

const SUPPORTED = ':s 005 ada CASEMAPPING=rfc1459 CHANTYPES=# PREFIX=(qov)~@+ CHANMODES=beI,k,l,imnpst NICKLEN=9 NETWORK=A\\x20Net :are supported';
const EVERYTHING = 'batch echo-message labeled-response message-tags server-time';

/** Takes a client in. @param {FakeConnection} connection @param {string} [capabilities] @param {string} [nick] */
async function welcome(connection, capabilities = '', nick = 'ada') {
  await connection.line(/^USER /);
  connection.say(`:s CAP * LS :${capabilities}`);
  if (capabilities !== '') {
    const request = await connection.line(/^CAP REQ /);
    connection.say(`:s CAP * ACK :${request.slice('CAP REQ '.length).replace(/^:/, '')}`);
  }
  await connection.line(/^CAP END$/);
  connection.say(`:s 001 ${nick} :Welcome\r\n${SUPPORTED}\r\n:s 422 ${nick} :No MOTD`);
}

/**
 * @param {import('node:test').TestContext} t
 * @param {Partial<import('../src/irc/client.js').IRCOptions>} [options]
 */
function setup(t, options = {}) {
  const server = new FakeServer();
  const irc = new IRCClient({ server: 'irc', socket: server.socket, nick: 'ada', reconnect: { minMs: 1, maxMs: 5 }, ...options });
  /** @type {Error[]} */
  const errors = [];
  irc.on('error', ({ error }) => errors.push(error));
  t.after(async () => {
    const closing = irc.close();
    for (const connection of server.connections) connection.end();
    await closing;
  });
  return { server, irc, errors };
}

/** @param {import('node:test').TestContext} t @param {string} [capabilities] @param {Partial<import('../src/irc/client.js').IRCOptions>} [options] */
async function connected(t, capabilities, options) {
  const { server, irc, errors } = setup(t, options);
  const connecting = irc.connect();
  const connection = await server.connection();
  await welcome(connection, capabilities);
  await within(connecting, 'connected');
  return { server, irc, errors, connection };
}

/** @param {IRCClient} irc @param {FakeConnection} connection @param {string} name */
async function joined(irc, connection, name) {
  const joining = irc.join(name);
  await connection.line(new RegExp(`JOIN ${name}`));
  connection.say(`:ada!~a@host.example JOIN ${name}\r\n:s 332 ada ${name} :A topic\r\n:s 353 ada = ${name} :@bob +ada\r\n:s 366 ada ${name} :End`);
  return within(joining, 'joined');
}

describe('messages', () => {
  test('are read', () => {
    assert.deepEqual({ .../** @type {any} */ (parseMessage('@a=1\\:\\s\\\\\\r\\n;b;+v/c=;a=2 :n!u@h  PrivMsg  #c   :hello  :x ')) }, {
      tags: Object.assign(Object.create(null), { a: '2', b: '', '+v/c': '' }),
      source: { nick: 'n', user: 'u', host: 'h' }, command: 'PRIVMSG', params: ['#c', 'hello  :x '],
    });
    assert.equal(parseMessage('@x=a\\:\\s\\\\b\\q\\ A')?.tags.x, 'a; \\bq');
    assert.deepEqual(parseMessage(':irc.example 001 ada')?.params, ['ada']);
    assert.deepEqual(parseMessage('PING :')?.params, ['']);
    assert.deepEqual(parseMessage('A b:c d: ')?.params, ['b:c', 'd:']);
    assert.equal(parseMessage('@__proto__=x;constructor=y A')?.tags.toString, undefined);
    for (const line of ['', ' A', ':x', '@a', 'A1 b', '01 b', 'A\0', 'A\rB']) assert.equal(parseMessage(line), null, JSON.stringify(line));
  });

  test('are composed, and are one line whatever they hold', () => {
    assert.equal(composeMessage('privmsg', ['#c', 'two words'], { label: 'a b;\\\r\n' }), '@label=a\\sb\\:\\\\\\r\\n PRIVMSG #c :two words');
    assert.equal(composeMessage('TOPIC', ['#c', '']), 'TOPIC #c :');
    for (const [command, params, tags] of /** @type {[string, string[], Record<string, string>][]} */ ([
      ['PRIVMSG x\r\nQUIT', [], {}], ['PRIVMSG', ['#c\r\nQUIT'], {}], ['PRIVMSG', ['#c', 'a\nb'], {}], ['PRIVMSG', ['#c', 'a\0'], {}],
      ['PRIVMSG', ['#c d', 'a'], {}], ['PRIVMSG', ['', 'a'], {}], ['PRIVMSG', [':c', 'a'], {}], ['A', [], { 'a b': '' }], ['A', [], { 'a;b': '' }],
      ['A', [], { a: '\0' }],
    ])) assert.throws(() => composeMessage(command, params, tags), failure('invalid'), JSON.stringify([command, params, tags]));
    composeMessage('A', ['x'.repeat(508)]);
    assert.throws(() => composeMessage('A', ['x'.repeat(509)]), failure('too_long'));
    assert.throws(() => composeMessage('A', ['ü'.repeat(255)]), failure('too_long'));
    assert.throws(() => composeMessage('A', [], { a: 'x'.repeat(4093) }), failure('too_long'));
  });

  test('what is composed is read as what it was', () => {
    const values = ['', 'a', ' ', ':', ':a b', 'ü 🛰️', ';\\', '\\s', 'a:b'];
    for (const last of values) {
      for (const tag of values) {
        const read = parseMessage(composeMessage('X', ['m', last], { t: tag }));
        assert.deepEqual([read?.params, read?.tags.t], [['m', last], tag]);
      }
    }
  });

  test('come out the same however their bytes are cut, and a line without end is left out', () => {
    const bytes = Buffer.concat([Buffer.from('A ü\r\n\r\nB 🛰️\nC '), Buffer.from([0xe9]), Buffer.from('\r\nD')]);
    for (let at = 0; at <= bytes.length; at += 1) {
      const lines = new Lines();
      assert.deepEqual([...lines.push(bytes.subarray(0, at)), ...lines.push(bytes.subarray(at))], ['A ü', 'B 🛰️', 'C é'], `cut at ${at}`);
    }
    const lines = new Lines();
    for (let i = 0; i < 100; i += 1) assert.deepEqual(lines.push(Buffer.alloc(10_000, 'x')), []);
    assert.deepEqual(lines.push(Buffer.from('x\nPING\n')), ['PING']);
  });

  test('text is split at lines and spaces and within no character', () => {
    assert.deepEqual(splitText('one\ntwo\r\n\r\nthree', 100), ['one', 'two', 'three']);
    assert.deepEqual(splitText('aaaa bbbb cccc', 10), ['aaaa bbbb ', 'cccc']);
    for (const size of [4, 5, 7, 11]) {
      const text = 'ü🛰a'.repeat(20);
      const pieces = splitText(text, size);
      assert.equal(pieces.join(''), text);
      assert.ok(pieces.every((piece) => Buffer.byteLength(piece) <= size && !piece.includes('\ufffd')));
    }
  });

  test('names are compared as the server says', () => {
    const support = new Support();
    assert.equal(support.fold('A[]\\~'), 'a{}|^');
    support.learn(['CASEMAPPING=rfc1459-strict']);
    assert.equal(support.fold('A[]\\~'), 'a{}|~');
    support.learn(['CASEMAPPING=ascii']);
    assert.equal(support.fold('A[]\\~Ü'), 'a[]\\~Ü');
    support.learn(['-CASEMAPPING']);
    assert.equal(support.fold('~'), '^');
  });
});

describe('registration', () => {
  test('several lines of capabilities, one refusal, and what the server supports', async (t) => {
    const { server, irc } = setup(t, { password: 'secret' });
    const connecting = irc.connect();
    const connection = await server.connection();
    await connection.line(/^CAP LS 302$/);
    await connection.line(/^PASS secret$/);
    await connection.line(/^NICK ada$/);
    await connection.line(/^USER ada 0 \* ada$/);
    connection.say(':s CAP * LS * :server-time multi-prefix draft/unknown=1');
    connection.say(':s CAP * LS :sts=port=6697 batch');
    assert.equal(await connection.line(/^CAP REQ/), 'CAP REQ :server-time multi-prefix batch');
    connection.say(':s CAP ada NAK :server-time multi-prefix batch');
    for (const name of ['server-time', 'multi-prefix', 'batch']) {
      await connection.line(new RegExp(`^CAP REQ ${name}$`));
      connection.say(`:s CAP * ${name === 'batch' ? 'NAK' : 'ACK'} :${name}`);
    }
    await connection.line(/^CAP END$/);
    assert.equal(irc.state, 'connecting');
    connection.say(`:s 001 ada :Welcome\r\n${SUPPORTED}\r\n:s 376 ada :End`);
    await within(connecting, 'connected');
    assert.deepEqual([...irc.capabilities].sort(), ['multi-prefix', 'server-time']);
    assert.equal(irc.support('NETWORK'), 'A Net');
    connection.say(':s CAP ada NEW :batch');
    await connection.line(/^CAP REQ batch$/);
    connection.say(':s CAP ada ACK :batch\r\n:s CAP ada DEL :server-time\r\nPING :now');
    await connection.line(/^PONG now$/);
    assert.deepEqual([...irc.capabilities].sort(), ['batch', 'multi-prefix']);
  });

  test('a server that knows no capabilities, and nicks that are taken', async (t) => {
    const { server, irc } = setup(t);
    const connecting = irc.connect();
    const connection = await server.connection();
    connection.onBytes = () => {};
    await connection.line(/^USER/);
    connection.say(':s 421 * CAP :Unknown command\r\n:s 433 * ada :taken');
    await connection.line(/^NICK ada_$/);
    connection.say(':s 433 * ada_ :taken');
    await connection.line(/^NICK ada__$/);
    connection.say(':s 433 * ada__ :taken');
    const nick = (await connection.line(/^NICK ada\d{4}$/)).slice(5);
    connection.say(`:s 001 ${nick} :Welcome\r\n:s 422 ${nick} :No MOTD`);
    await within(connecting, 'connected');
    assert.equal(irc.nick, nick);
  });

  for (const [what, lines, code] of /** @type {const} */ ([
    ['a wrong password', ':s 464 * :Password incorrect', 'password'],
    ['a ban', ':s 465 * :You are banned', 'banned'],
    ['an impossible nick', ':s 432 * ada :Erroneous', 'nick'],
  ])) {
    test(`${what} is told, and not tried again`, async (t) => {
      const { server, irc } = setup(t);
      const connecting = irc.connect();
      const connection = await server.connection();
      await connection.line(/^USER/);
      connection.say(lines);
      await assert.rejects(within(connecting, 'an end'), failure(code));
      assert.equal(irc.state, 'idle');
      await until(() => connection.ended === 'aborted', 'the connection is given up');
      assert.equal(server.connections.length, 1);
    });
  }

  test('a server that does not answer, and one that cannot be reached', async (t) => {
    await assert.rejects(within(setup(t, { timeoutMs: 20 }).irc.connect(), 'an end'), failure('timeout'));
    const { server, irc } = setup(t);
    server.refusals.push(new PerigeeError('refused'));
    await assert.rejects(within(irc.connect(), 'an end'), failure('refused'));
    const connecting = irc.connect();
    (await server.connection()).say('ERROR :full');
    (await server.connection()).end();
    await assert.rejects(within(connecting, 'an end'), (error) => failure('ended')(error) && /full/.test(String(error)));
  });

  /** @param {FakeConnection} connection @param {string} value */
  async function offerSasl(connection, value) {
    await connection.line(/^USER/);
    connection.say(`:s CAP * LS :sasl${value}`);
    await connection.line(/^CAP REQ sasl$/);
    connection.say(':s CAP * ACK :sasl');
  }

  test('SASL PLAIN, in pieces where it is long', async (t) => {
    for (const password of ['pässword', 'x'.repeat(291), 'x'.repeat(400)]) {
      const { server, irc } = setup(t, { sasl: { account: 'ada', password } });
      const connecting = irc.connect();
      const connection = await server.connection();
      await offerSasl(connection, '=PLAIN,EXTERNAL');
      await connection.line(/^AUTHENTICATE PLAIN$/);
      connection.say('AUTHENTICATE +');
      let text = '';
      for (;;) {
        const piece = (await connection.line(/^AUTHENTICATE /)).slice('AUTHENTICATE '.length);
        if (piece !== '+') text += piece;
        if (piece.length < 400) break;
      }
      assert.equal(Buffer.from(text, 'base64').toString(), `\0ada\0${password}`);
      connection.say(':s 900 ada ada!a@h ada :You are now logged in\r\n:s 903 ada :ok');
      await connection.line(/^CAP END$/);
      connection.say(':s 001 ada :Welcome\r\n:s 422 ada :No MOTD');
      await within(connecting, 'connected');
      assert.equal(irc.account, 'ada');
    }
  });

  test('SASL EXTERNAL, and a login that fails', async (t) => {
    const { server, irc } = setup(t, { sasl: { mechanism: 'EXTERNAL' } });
    const connecting = irc.connect();
    const connection = await server.connection();
    await offerSasl(connection, '');
    await connection.line(/^AUTHENTICATE EXTERNAL$/);
    connection.say('AUTHENTICATE +');
    await connection.line(/^AUTHENTICATE \+$/);
    connection.say(':s 904 ada :SASL authentication failed');
    await assert.rejects(within(connecting, 'an end'), failure('sasl'));
  });

  test('no login, no connection: a server without SASL, or without a mechanism of ours', async (t) => {
    for (const [offer, finish] of [['batch', ''], ['sasl=GSSAPI', ''], ['', ':s 001 ada :Welcome']]) {
      const { server, irc } = setup(t, { sasl: { account: 'ada', password: 'x' } });
      const connecting = irc.connect();
      const connection = await server.connection();
      await connection.line(/^USER/);
      if (finish) connection.say(finish);
      else {
        connection.say(`:s CAP * LS :${offer}`);
        const request = await connection.line(/^CAP REQ/);
        connection.say(`:s CAP * ACK :${request.slice(8)}`);
      }
      await assert.rejects(within(connecting, 'an end'), failure('sasl'));
    }
  });

  test('SCRAM-SHA-256 as in RFC 7677', async () => {
    const respond = scram('user', 'pencil', 'rOprNGfwEbeRWgbNEkqO');
    const text = (/** @type {string} */ challenge) => respond(Buffer.from(challenge)).then((bytes) => Buffer.from(bytes).toString());
    assert.equal(await text(''), 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    assert.equal(
      await text('r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'),
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    assert.equal(await text('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='), '');
  });

  test('a server that does not know the password cannot make SCRAM succeed', async (t) => {
    for (const lie of ['nonce', 'rounds', 'proof', 'no proof']) {
      const { server, irc } = setup(t, { sasl: { account: 'a,d=a', password: 'secret' } });
      const connecting = irc.connect();
      const connection = await server.connection();
      await offerSasl(connection, '=PLAIN,SCRAM-SHA-256');
      await connection.line(/^AUTHENTICATE SCRAM-SHA-256$/);
      connection.say('AUTHENTICATE +');
      const first = Buffer.from((await connection.line(/^AUTHENTICATE /)).slice(13), 'base64').toString();
      const [, nonce = ''] = /^n,,n=a=2Cd=3Da,r=(.*)$/.exec(first) ?? [];
      assert.ok(nonce.length >= 16, first);
      const challenge = `r=${lie === 'nonce' ? 'other' : nonce}server,s=${Buffer.from('salt').toString('base64')},i=${lie === 'rounds' ? 1 : 4096}`;
      connection.say(`AUTHENTICATE ${Buffer.from(challenge).toString('base64')}`);
      if (lie.endsWith('proof')) {
        await connection.line(/^AUTHENTICATE /);
        connection.say(lie === 'proof' ? `AUTHENTICATE ${Buffer.from('v=AAAA').toString('base64')}` : ':s 903 ada :ok');
      }
      await assert.rejects(within(connecting, 'an end'), failure('sasl'), lie);
    }
  });

  test('SCRAM with a server that knows it', async (t) => {
    const { server, irc } = setup(t, { sasl: { account: 'ada', password: 'secret' } });
    const connecting = irc.connect();
    const connection = await server.connection();
    await offerSasl(connection, '=SCRAM-SHA-256');
    await connection.line(/^AUTHENTICATE SCRAM-SHA-256$/);
    connection.say('AUTHENTICATE +');
    const bare = Buffer.from((await connection.line(/^AUTHENTICATE /)).slice(13), 'base64').toString().slice(3);
    const challenge = `r=${bare.split('r=')[1]}more,s=${Buffer.from('salt').toString('base64')},i=4096`;
    connection.say(`AUTHENTICATE ${Buffer.from(challenge).toString('base64')}`);
    const last = Buffer.from((await connection.line(/^AUTHENTICATE /)).slice(13), 'base64').toString();
    const [words = '', proof = ''] = last.split(',p=');
    const salted = pbkdf2Sync('secret', 'salt', 4096, 32, 'sha256');
    const hmac = (/** @type {Buffer} */ key, /** @type {string} */ text) => createHmac('sha256', key).update(text).digest();
    const auth = `${bare},${challenge},${words}`;
    const key = hmac(salted, 'Client Key');
    const signature = hmac(createHash('sha256').update(key).digest(), auth);
    assert.equal(proof, Buffer.from(key.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64'));
    connection.say(`AUTHENTICATE ${Buffer.from(`v=${hmac(hmac(salted, 'Server Key'), auth).toString('base64')}`).toString('base64')}`);
    await connection.line(/^AUTHENTICATE \+$/);
    connection.say(':s 903 ada :ok');
    await connection.line(/^CAP END$/);
    connection.say(':s 001 ada :Welcome\r\n:s 422 ada :No MOTD');
    await within(connecting, 'connected');
  });
});

describe('channels', () => {
  test('who is there, and what becomes of them', async (t) => {
    const { irc, connection } = await connected(t);
    const channel = await joined(irc, connection, '#Room');
    const who = () => [...channel.members.values()].map(({ nick, modes }) => `${modes}:${nick}`).sort().join(' ');
    assert.equal(channel.topic?.text, 'A topic');
    assert.equal(who(), 'o:bob v:ada');
    for (const [line, there] of [
      [':cy!c@h JOIN #room', ':cy o:bob v:ada'],
      [':s MODE #Room +b-v+oo *!*@x ada ada cy', 'o:ada o:bob o:cy'],
      [':s MODE #room +q-l+k ada key', 'o:bob o:cy qo:ada'],
      [':bob!b@h NICK Bob[1]', 'o:Bob[1] o:cy qo:ada'],
      [':BOB{1}!b@h QUIT :gone', 'o:cy qo:ada'],
      [':ada!a@h KICK #room cy :out', 'qo:ada'],
      [':dan!d@h JOIN #room account :Dan', ':dan qo:ada'],
      [':dan!d@h PART #room', 'qo:ada'],
      [':bob!b@h JOIN #elsewhere', 'qo:ada'],
    ]) {
      connection.say(`${line}\r\nPING :x`);
      await connection.line(/^PONG/);
      assert.equal(who(), there, line);
    }
    connection.say(':cy TOPIC #room :new words\r\nPING :x');
    await connection.line(/^PONG/);
    assert.equal(irc.channel('#ROOM')?.topic?.text, 'new words');
  });

  test('a join that is refused', async (t) => {
    const { irc, connection } = await connected(t);
    const refused = irc.join('#full', 'key');
    await connection.line(/^JOIN #full key$/);
    connection.say(':s 471 ada #full :Cannot join channel (+l)');
    await assert.rejects(within(refused, 'an answer'), (error) => failure('refused')(error) && /** @type {IRCError} */ (error).reply?.command === '471');
    for (const name of ['x', '', '#a b', '#a,b', '#a\r\nQUIT']) await assert.rejects(irc.join(name), failure('invalid'), JSON.stringify(name));
    await assert.rejects(irc.join('#a', 'k\r\nQUIT'), failure('invalid'));
  });

  test('a join that is not answered', async (t) => {
    // Long enough to be taken in, on whatever machine.
    const { irc } = await connected(t, '', { timeoutMs: 1500 });
    await assert.rejects(within(irc.join('#silent'), 'an answer'), failure('timeout'));
  });

  test('part, nick and topic are answered', async (t) => {
    const { irc, connection } = await connected(t);
    await joined(irc, connection, '#room');
    const nick = irc.setNick('eve');
    await connection.line(/^NICK eve$/);
    connection.say(':ada!a@h NICK eve');
    await within(nick, 'the nick');
    assert.equal(irc.nick, 'eve');
    assert.deepEqual([...(irc.channel('#room')?.members.values() ?? [])].map((member) => member.nick).sort(), ['bob', 'eve']);
    const taken = irc.setNick('bob');
    await connection.line(/^NICK bob$/);
    connection.say(':s 433 eve bob :taken');
    await assert.rejects(within(taken, 'an answer'), failure('refused'));
    const topic = irc.setTopic('#room', 'x y');
    await connection.line(/^TOPIC #room :x y$/);
    connection.say(':s 482 eve #room :not op');
    await assert.rejects(within(topic, 'an answer'), failure('refused'));
    const part = irc.part('#room', 'bye now');
    await connection.line(/^PART #room :bye now$/);
    connection.say(':eve!a@h PART #room :bye now');
    await within(part, 'parted');
    assert.deepEqual(irc.channels, []);
  });

  test('after a lost connection the client comes back, and is where it was', async (t) => {
    const { server, irc, connection, errors } = await connected(t, '', { channels: [] });
    for (const name of ['#one', '#two', '#three']) await joined(irc, connection, name);
    connection.say(':bob!b@h KICK #two ada :out');
    const waiting = irc.ping();
    await connection.line(/^PING/);
    connection.say('ERROR :restart');
    connection.end();
    await assert.rejects(within(waiting, 'an end'), failure('ended'));
    const next = await server.connection(1);
    await welcome(next);
    await next.line(/^JOIN #one,#three$/);
    assert.deepEqual(irc.channels, []);
    next.say(':ada!a@h JOIN #one\r\n:s 353 ada = #one :ada\r\n:s 366 ada #one :End\r\n:s 473 ada #three :Cannot join channel (+i)');
    await until(() => irc.channel('#one')?.listed && errors.length === 2, 'back where we were');
    assert.deepEqual(errors.map((error) => /** @type {IRCError} */ (error).code), ['ended', 'refused']);
    next.end(new PerigeeError('lost'));
    const last = await server.connection(2);
    await welcome(last);
    await last.line(/^JOIN #one$/);
  });

  test('without `reconnect` a lost connection is the end', async (t) => {
    const { server, irc, connection, errors } = await connected(t, '', { reconnect: false });
    connection.end(new PerigeeError('lost'));
    await until(() => irc.state === 'idle', 'the end');
    assert.deepEqual(errors.map((error) => /** @type {PerigeeError} */ (error).code), ['lost']);
    await assert.rejects(irc.say('#a', 'x'), failure('closed'));
    assert.equal(server.connections.length, 1);
  });
});

describe('talk', () => {
  test('to a server that echoes and labels: what was said is what it says was said', async (t) => {
    const { irc, connection } = await connected(t, EVERYTHING);
    /** @type {string[]} */
    const heard = [];
    irc.on('message', ({ from, text, own, kind }) => heard.push(`${from.nick} ${kind} ${own} ${text}`));
    const saying = irc.say('#room', 'one\ntwo');
    const [, first] = /^@label=(\S+) PRIVMSG #room one$/.exec(await connection.line(/one/)) ?? [];
    const [, second] = /^@label=(\S+) PRIVMSG #room two$/.exec(await connection.line(/two/)) ?? [];
    connection.say(`@label=${second};time=2026-01-02T03:04:05.678Z :ada!a@h PRIVMSG #room :two, filtered`);
    connection.say(`@label=${first} :ada!a@h PRIVMSG #room one`);
    const said = await within(saying, 'said');
    assert.deepEqual(said.map(({ text, own, channel }) => [text, own, channel]), [['one', true, '#room'], ['two, filtered', true, '#room']]);
    assert.equal(said[1]?.time.toISOString(), '2026-01-02T03:04:05.678Z');
    assert.deepEqual(heard, ['ada message true two, filtered', 'ada message true one']);
    const refused = irc.say('nobody', 'x');
    const [, label] = /label=(\S+) /.exec(await connection.line(/nobody/)) ?? [];
    connection.say(`@label=${label} :s 401 ada nobody :No such nick`);
    await assert.rejects(within(refused, 'an answer'), failure('refused'));
  });

  test('a labelled batch belongs to what asked for it, and other batches say what they are', async (t) => {
    const { irc, connection } = await connected(t, EVERYTHING);
    const joining = irc.join('#room');
    const [, label] = /^@label=(\S+) JOIN/.exec(await connection.line(/JOIN/)) ?? [];
    connection.say(`@label=${label} :s BATCH +b labeled-response\r\n@batch=b :ada!a@h JOIN #room\r\n@batch=b :s 353 ada = #room :ada\r\n@batch=b :s 366 ada #room :End\r\n:s BATCH -b`);
    await within(joining, 'joined');
    /** @type {unknown[]} */
    const heard = [];
    irc.on('message', ({ text, batch }) => heard.push([text, batch?.type, batch?.params]));
    connection.say(':s BATCH +h chathistory #room\r\n@batch=h :bob!b@h PRIVMSG #room :old\r\n@batch=h :bob!b@h PRIVMSG ada :\x01VERSION\x01\r\n:s BATCH -h\r\n:bob!b@h PRIVMSG #room :new');
    await until(() => heard.length === 2, 'both');
    assert.deepEqual(heard, [['old', 'chathistory', ['#room']], ['new', undefined, undefined]]);
  });

  test('to a plain server: told to the page, once, and split where it is long', async (t) => {
    const { irc, connection } = await connected(t);
    /** @type {string[]} */
    const heard = [];
    irc.on('message', ({ text, own, kind }) => heard.push(`${own} ${kind} ${text}`));
    await within(irc.action('#room', 'waves'), 'said');
    await connection.line(/^PRIVMSG #room :\x01ACTION waves\x01$/);
    await within(irc.notice('bob', 'psst'), 'said');
    connection.say(':bob!b@h PRIVMSG #room :\x01ACTION bows\x01');
    await until(() => heard.length === 3, 'all');
    assert.deepEqual(heard, ['true action waves', 'true notice psst', 'false action bows']);
    const text = 'Grüße 🛰️ '.repeat(100);
    const said = await within(irc.say('#room', text), 'said');
    assert.ok(said.length > 3);
    assert.equal(said.map((one) => one.text).join(''), text);
    await connection.line(/^PRIVMSG #room :Gr/);
    for (const line of connection.lines) assert.ok(Buffer.byteLength(`:ada!${'u'.repeat(11)}@${'h'.repeat(63)} ${line}\r\n`) <= 512, line);
    for (const target of ['', 'a b', 'a,b']) await assert.rejects(irc.say(target, 'x'), failure('invalid'));
    await assert.rejects(irc.send('PRIVMSG', ['#room', 'x\r\nQUIT']), failure('invalid'));
    assert.ok(!connection.lines.some((line) => line.startsWith('QUIT')));
  });

  test('CTCP is answered, but not as often as anybody likes', async (t) => {
    const { irc, connection } = await connected(t, '', { ctcp: { version: 'Perigee' } });
    connection.say(':bob!b@h PRIVMSG ada :\x01VERSION\x01\r\n:bob!b@h PRIVMSG ada :\x01PING 1 2\r\n:bob!b@h PRIVMSG ada :\x01TIME\x01');
    await connection.line(/^NOTICE bob :\x01VERSION Perigee\x01$/);
    await connection.line(/^NOTICE bob :\x01PING 1 2\x01$/);
    for (let i = 0; i < 100; i += 1) connection.say(':bob!b@h PRIVMSG ada :\x01VERSION\x01');
    connection.say('PING :x');
    await connection.line(/^PONG x$/);
    assert.ok(connection.lines.filter((line) => line.startsWith('NOTICE')).length < 10);
    /** @type {string[]} */
    const replies = [];
    irc.on('ctcp', ({ command, text, reply }) => replies.push(`${command} ${text} ${reply}`));
    connection.say(':bob!b@h NOTICE ada :\x01VERSION a client\x01');
    await until(() => replies.length === 1, 'the reply');
    assert.deepEqual(replies, ['VERSION a client true']);
  });

  test('ping, and a goodbye that waits for the server', async (t) => {
    const { irc, connection } = await connected(t);
    const ping = irc.ping();
    const [, token] = /^PING (\S+)$/.exec(await connection.line(/^PING/)) ?? [];
    connection.say(`:s PONG s :${token}`);
    assert.ok(await within(ping, 'a pong') >= 0);
    let closed = false;
    const closing = irc.close('bye now').then(() => (closed = true));
    await connection.line(/^QUIT :bye now$/);
    await until(() => connection.ended === 'closed', 'our end');
    assert.equal(closed, false);
    connection.say('ERROR :Quit: bye now');
    connection.end();
    await within(closing, 'closed');
    assert.equal(irc.state, 'idle');
  });

  test('a goodbye as soon as it is connected is the last word', async (t) => {
    const { server, irc, errors } = setup(t, { channels: ['#room'] });
    /** @type {Promise<unknown>} */
    let closing = Promise.resolve();
    let closed = false;
    irc.on('state', ({ state }) => {
      if (state === 'connected') closing = irc.close().then(() => (closed = true));
    });
    const connecting = irc.connect();
    const connection = await server.connection();
    await welcome(connection);
    await within(connecting, 'connected');
    await until(() => connection.ended === 'closed', 'our end');
    assert.deepEqual(connection.lines.slice(-1), ['QUIT']);
    assert.equal(closed, false, 'the server has its say');
    connection.end();
    await within(closing, 'closed');
    assert.deepEqual(errors, []);
  });

  test('a server that says nonsense changes nothing', async (t) => {
    const { irc, connection } = await connected(t, EVERYTHING);
    await joined(irc, connection, '#room');
    for (const line of [
      '@batch=none :x!y@z PRIVMSG', ':bob JOIN', 'KICK', 'MODE #room +ooo', 'MODE #room', ':s 353 ada', ':s 366', ':s 333 ada #room', 'BATCH', 'BATCH +', 'BATCH -none',
      'CAP', 'CAP * ACK', ':s 005', ':s 005 ada PREFIX=( :x', 'NICK', 'AUTHENTICATE', '@label=p1 ACK', ':x 999', '@time=never :x!y@z PRIVMSG ada :hi', ': :', '\x00',
    ]) connection.say(line);
    for (let i = 0; i < 1000; i += 1) connection.say(`:s BATCH +${i} netsplit a b`);
    connection.say('PING :alive');
    await connection.line(/^PONG alive$/);
    assert.equal(irc.state, 'connected');
  });
});
