// The IRC layer of the chat page. Run with `node --test integration-tests/pages/`.
import assert from 'node:assert/strict';
import test from 'node:test';

import { interpret } from '../../crates/gateway/src/demo/pages/commands.js';
import { IrcClient } from '../../crates/gateway/src/demo/pages/irc-client.js';
import { LineDecoder, MAX_LINE_BYTES, fold, format, parse, splitText, stripFormatting } from '../../crates/gateway/src/demo/pages/irc.js';

const bytes = (text) => new TextEncoder().encode(text);

test('lines are the same however the bytes are cut', () => {
  const input = bytes('PING :a\r\n:zoë!z@h PRIVMSG #c :grüße 🌍\n\r\n\n:s 001 me :hi\r\nhalf');
  const want = ['PING :a', ':zoë!z@h PRIVMSG #c :grüße 🌍', ':s 001 me :hi'];
  assert.deepEqual(new LineDecoder().push(input), want, 'whole');
  for (let at = 0; at <= input.length; at += 1) {
    const decoder = new LineDecoder();
    assert.deepEqual([...decoder.push(input.subarray(0, at)), ...decoder.push(input.subarray(at))], want, `cut at ${at}`);
  }
  const single = new LineDecoder();
  assert.deepEqual([...input].flatMap((byte) => single.push(Uint8Array.of(byte))), want, 'byte by byte');
});

test('an oversize line is dropped whole and the next one is read', () => {
  const decoder = new LineDecoder();
  const lines = [];
  for (let sent = 0; sent <= MAX_LINE_BYTES * 4; sent += 1000) lines.push(...decoder.push(bytes('x'.repeat(1000))));
  lines.push(...decoder.push(bytes('QUIT\r\nPING :next\r\n')));
  assert.deepEqual(lines, ['PING :next']);
});

test('a line that is not UTF-8 is read as windows-1252', () => {
  assert.deepEqual(new LineDecoder().push(Uint8Array.of(0x63, 0x61, 0x66, 0xe9, 10)), ['café']);
});

test('parse', () => {
  const cases = [
    ['PING', { command: 'PING', params: [] }],
    ['ping :a b', { command: 'PING', params: ['a b'] }],
    [':n!u@h PRIVMSG #c ::)', { source: 'n!u@h', nick: 'n', command: 'PRIVMSG', params: ['#c', ':)'] }],
    [':srv  353  me = #c :', { source: 'srv', nick: 'srv', command: '353', params: ['me', '=', '#c', ''] }],
    [':n@h  MODE #c +o  n ', { source: 'n@h', nick: 'n', command: 'MODE', params: ['#c', '+o', 'n'] }],
  ];
  for (const [line, want] of cases) {
    assert.deepEqual(parse(line), { tags: new Map(), source: '', nick: '', ...want }, line);
  }
  assert.deepEqual([...parse('@time=2026-01-01T00:00:00Z;a=x\\sy\\:\\\\;b :n PING').tags], [['time', '2026-01-01T00:00:00Z'], ['a', 'x y;\\'], ['b', '']]);
  for (const nothing of ['', '   ', ':only.source', '@a=b']) assert.equal(parse(nothing), null, nothing);
});

test('format makes exactly one line that parse reads back, or throws', () => {
  for (const params of [['#c', 'hello there'], ['#c', ''], ['#c', ':x'], ['a', 'b', 'c']]) {
    assert.deepEqual(parse(format('PRIVMSG', ...params)).params, params);
  }
  for (const bad of [['a b', 'c'], ['', 'c'], [':a', 'c'], ['#c', 'x\r\nQUIT'], ['#c', 'x\0']]) {
    assert.throws(() => format('PRIVMSG', ...bad), RangeError, JSON.stringify(bad));
  }
});

test('long text is split at spaces, never inside a character, and nothing else is lost', () => {
  const text = 'añb 🌍 '.repeat(100).trim();
  const pieces = splitText(text, 40);
  for (const piece of pieces) assert.ok(bytes(piece).length <= 40, piece);
  assert.equal(pieces.join(' '), text);
  assert.equal(splitText('🌍'.repeat(50), 10).join(''), '🌍'.repeat(50));
});

test('formatting codes and control characters are removed', () => {
  assert.equal(stripFormatting('\x02b\x02 \x0304,12red\x03 \x04ff0000hex\x0f \x1b[31mx\x07'), 'b red hex [31mx');
  assert.equal(stripFormatting('\x033,x'), ',x');
});

test('names fold as the server says', () => {
  assert.equal(fold('Ab[C]~\\É'), 'ab{c}^|É');
  assert.equal(fold('Ab[C]~', 'ascii'), 'ab[c]~');
});

/** A client that is registered as `me` and in #c with `ann` and the operator `bob`. */
function inChannel() {
  const sent = [];
  const notices = [];
  const client = new IrcClient({ nick: 'me', send: (line) => sent.push(line), notify: (notice) => notices.push(notice) });
  client.register();
  for (const line of [':s 001 me :hi', ':me!u@h JOIN #c', ':s 353 me = #c :me ann @bob', ':s 366 me #c :end']) client.receive(line);
  sent.length = 0;
  notices.length = 0;
  return { client, sent, notices };
}

test('a taken nick is varied, and the reply to PING is what was asked', () => {
  const sent = [];
  const client = new IrcClient({ nick: 'perigee', send: (line) => sent.push(line), notify: () => {} });
  client.register();
  client.receive(':s 433 * perigee :Nickname is already in use');
  assert.match(sent.at(-1), /^NICK perigee\d\d$/);
  client.receive('PING :x y');
  assert.equal(sent.at(-1), 'PONG :x y');
  client.receive('PING :a\rQUIT');
  assert.equal(sent.at(-1), 'PONG aQUIT');
});

test('members follow joins, parts, kicks, quits, nicks and modes', () => {
  const { client } = inChannel();
  for (const line of [':cy!u@h JOIN :#C', ':ann!u@h PART #c :bye', ':cy!u@h NICK zed', ':bob!u@h MODE #c +v-o zed bob', ':me!u@h NICK moi']) client.receive(line);
  const members = client.channels.get('#c').members;
  assert.deepEqual([...members.values()].map((m) => m.prefix + m.nick).sort(), ['+zed', 'bob', 'moi']);
  client.receive(':bob!u@h QUIT :gone');
  client.receive(':zed!u@h KICK #c moi :out');
  assert.equal(client.channels.size, 0);
});

test('messages reach the buffer they belong to, and mentions are seen', () => {
  const { client, notices } = inChannel();
  const cases = [
    [':ann!u@h PRIVMSG #c :hello', '#c', 'message', false],
    [':ann!u@h PRIVMSG #c :Me: hello', '#c', 'message', true],
    [':ann!u@h PRIVMSG #c :somebody', '#c', 'message', false],
    [':ann!u@h PRIVMSG me :psst', 'ann', 'message', true],
    [':ann!u@h PRIVMSG #c :\x01ACTION waves\x01', '#c', 'action', false],
    [':ann!u@h PRIVMSG me :\x01VERSION\x01', '', 'info', false],
    [':irc.server NOTICE me :welcome', '', 'notice', false],
    [':s 404 me #c :Cannot send', null, 'error', false],
    [':s 311 me bob u h * :Bob', null, 'info', false],
    [':s 372 me :- message of the day', '', 'info', false],
    [':s 366 me #c :End of /NAMES', '#c', 'info', false],
  ];
  for (const [line, buffer, kind, mention] of cases) {
    notices.length = 0;
    client.receive(line);
    assert.equal(notices.length, 1, line);
    assert.deepEqual([notices[0].buffer, notices[0].entry.kind, notices[0].entry.mention], [buffer, kind, mention], line);
  }
});

test('what is said fits the line that others receive, and breaks out of nothing', () => {
  const { client, sent } = inChannel();
  const entries = client.say('#c', 'wörd '.repeat(300).trim(), 'action');
  assert.equal(entries.length, sent.length);
  for (const line of sent) assert.ok(bytes(`:me!u@h ${line}\r\n`).length <= 512, line);
  sent.length = 0;
  client.say('#c', 'a\r\nQUIT', 'message');
  assert.deepEqual(sent, ['PRIVMSG #c :a  QUIT']);
});

test('typed commands', () => {
  const here = { name: '#c', isChannel: true, isServer: false };
  const server = { name: '', isChannel: false, isServer: true };
  const cases = [
    ['hello', here, { do: 'say', target: '#c', text: 'hello', as: 'message' }],
    ['//etc', here, { do: 'say', target: '#c', text: '/etc', as: 'message' }],
    ['/me  waves', here, { do: 'say', target: '#c', text: ' waves', as: 'action' }],
    ['/msg ann  two words', here, { do: 'say', target: 'ann', text: 'two words', as: 'message' }],
    ['/join perigee', server, { do: 'send', lines: [['JOIN', '#perigee']] }],
    ['/join #a,#b key', server, { do: 'send', lines: [['JOIN', '#a,#b', 'key']] }],
    ['/part', here, { do: 'send', lines: [['PART', '#c']] }],
    ['/part #d so long', here, { do: 'send', lines: [['PART', '#d', 'so long']] }],
    ['/part so long', here, { do: 'send', lines: [['PART', '#c', 'so long']] }],
    ['/topic', here, { do: 'send', lines: [['TOPIC', '#c']] }],
    ['/topic new one', here, { do: 'send', lines: [['TOPIC', '#c', 'new one']] }],
    ['/raw PRIVMSG a :b c', here, { do: 'raw', line: 'PRIVMSG a :b c' }],
    ['/quit', here, { do: 'quit', reason: '' }],
    ['   ', here, { do: 'nothing' }],
  ];
  for (const [input, buffer, want] of cases) assert.deepEqual(interpret(input, buffer), want, input);
  for (const [input, buffer] of [['hello', server], ['/part', server], ['/join', here], ['/nosuch', here]]) {
    assert.equal(interpret(input, buffer).do, 'explain', input);
  }
});
