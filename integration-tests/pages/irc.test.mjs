// What the IRC page makes of what is typed and of what the server says. Run with `node --test integration-tests/pages/`.
import assert from 'node:assert/strict';
import test from 'node:test';

import { IRCClient } from '../../js-client/src/irc.js';
import { interpret } from '../../crates/gateway/src/demo/pages/irc/commands.js';
import { follow, mentions } from '../../crates/gateway/src/demo/pages/irc/conversation.js';
import { linksOf, runsOf, stripFormatting } from '../../crates/gateway/src/demo/pages/irc/formatting.js';

const encoder = new TextEncoder();

test('formatting becomes runs, and what is none of it is left out', () => {
  const styles = (text) => runsOf(text).map(({ text: piece, ...style }) => [piece, ...Object.entries(style).filter(([, value]) => value !== false && value !== null).map(([name, value]) => (value === true ? name : `${name}${value}`))]);
  assert.deepEqual(styles('a\x02b\x1dc\x02d\x0fe'), [['a'], ['b', 'bold'], ['c', 'bold', 'italic'], ['d', 'italic'], ['e']]);
  assert.deepEqual(styles('\x0304,12red\x03 plain \x0399,1ours'), [['red', 'fg4', 'bg12'], [' plain '], ['ours', 'bg1']]);
  assert.deepEqual(styles('\x035,x\x033,1y'), [[',x', 'fg5'], ['y', 'fg3', 'bg1']]);
  assert.deepEqual(styles('\x04ff0000hex \x1b[31mx\x07\0'), [['hex [31mx']]);
  assert.equal(stripFormatting('\x02b\x02 \x0304,12red\x03 \x04ff0000hex\x0f \x1b[31mx\x07'), 'b red hex [31mx');
  assert.ok(runsOf('\x02x'.repeat(5000)).length <= 200);
});

test('links are those to the web, without the end of the sentence', () => {
  const hrefs = (text) => linksOf(text).filter(({ href }) => href !== null).map(({ href }) => href);
  assert.deepEqual(hrefs('see https://example.org/a_(b), (http://example.org/c) and HTTPS://example.org.'), ['https://example.org/a_(b)', 'http://example.org/c', 'HTTPS://example.org']);
  assert.deepEqual(hrefs('javascript:alert(1) data:text/html,x ftp://x/ xhttps://example.org https://'), []);
  const text = 'a <https://example.org/?q="x"> b';
  assert.equal(linksOf(text).map((part) => part.text).join(''), text);
});

test('a nick is mentioned where it is a word of its own', () => {
  for (const [text, nick, want] of [['Me: hi', 'me', true], ['some', 'me', false], ['somebody, me?', 'me', true], ['', 'me', false], ['über', 'ber', false]]) {
    assert.equal(mentions(text, nick), want, text);
  }
});

/** A client that is registered as `me` and in #c with `ann` and the operator `bob`, and what its view is told. */
async function inChannel() {
  let say = (/** @type {string} */ _line) => {};
  const sent = [];
  const told = [];
  const readable = new ReadableStream({ start: (controller) => { say = (line) => controller.enqueue(encoder.encode(`${line}\r\n`)); } });
  const writable = new WritableStream({ write: (bytes) => { sent.push(new TextDecoder().decode(bytes)); } });
  const irc = new IRCClient({ server: 's', nick: 'me', reconnect: false, socket: () => ({ opened: Promise.resolve({ readable, writable }) }) });
  follow(irc, {
    tell: (buffer, { kind, nick, text, mention }) => told.push([buffer, kind, nick, text, mention]),
    joined: () => {}, left: (name) => told.push(['left', name]), changed: () => {},
    renamed: (from, to) => told.push(['renamed', from, to]), has: (name) => name === 'ann' || name === '#c',
  });
  const heard = async (...lines) => {
    const seen = new Promise((resolve) => { const off = irc.on('line', ({ message }) => { if (message.params[0] === 'over') { off(); resolve(undefined); } }); });
    for (const line of [...lines, ':s PONG over']) say(line);
    await seen;
  };
  const connected = irc.connect();
  for (const line of [':s CAP * LS :', ':s 001 me :hi', ':s 422 me :no motd']) say(line);
  await connected;
  await heard(':me!u@h JOIN #c', ':s 353 me = #c :me ann @bob', ':s 366 me #c :end');
  told.length = 0;
  return { irc, told, heard };
}

test('what is said reaches the buffer it belongs to, and mentions are seen', async () => {
  const { told, heard } = await inChannel();
  const cases = [
    [':ann!u@h PRIVMSG #c :hello', ['#c', 'message', 'ann', 'hello', false]],
    [':ann!u@h PRIVMSG #c :Me: hello', ['#c', 'message', 'ann', 'Me: hello', true]],
    [':ann!u@h PRIVMSG me :psst', ['ann', 'message', 'ann', 'psst', true]],
    [':ann!u@h PRIVMSG #c :\x01ACTION waves\x01', ['#c', 'action', 'ann', 'waves', false]],
    [':ann!u@h NOTICE me :psst', ['ann', 'notice', 'ann', 'psst', false]],
    [':NickServ!u@h NOTICE me :who?', ['', 'notice', 'NickServ', 'who?', false]],
    [':ann!u@h PRIVMSG me :\x01VERSION\x01', ['', 'info', 'ann', 'asked for VERSION', false]],
    [':irc.server NOTICE me :welcome', ['', 'notice', '', 'welcome', false]],
    [':s 404 me #c :Cannot send', ['#c', 'error', '', '#c: Cannot send', false]],
    [':s 311 me bob u h * :Bob', [null, 'info', '', 'bob is u@h (Bob)', false]],
    [':s 372 me :- message of the day', ['', 'info', '', '- message of the day', false]],
    [':ann!u@h TOPIC #c :new', ['#c', 'topic', 'ann', 'set the topic: new', false]],
    [':bob!u@h MODE #c +v ann', ['#c', 'mode', 'bob', 'set +v ann', false]],
    [':ann!u@h QUIT :bye', ['#c', 'part', 'ann', 'quit (bye)', false]],
  ];
  for (const [line, want] of cases) {
    told.length = 0;
    await heard(line);
    assert.deepEqual(told, [want], line);
  }
});

test('another nick and a kick are told to who is there', async () => {
  const { told, heard } = await inChannel();
  await heard(':ann!u@h NICK :zed', ':bob!u@h KICK #c me :out');
  assert.deepEqual(told, [['#c', 'nick', 'ann', 'is now zed', false], ['renamed', 'ann', 'zed'], ['#c', 'part', 'me', 'was kicked by bob (out)', false], ['left', '#c']]);
});

test('typed commands', () => {
  const here = { name: '#c', isChannel: true, isServer: false };
  const server = { name: '', isChannel: false, isServer: true };
  const cases = [
    ['hello', here, { do: 'say', target: '#c', text: 'hello', as: 'message' }],
    ['//etc', here, { do: 'say', target: '#c', text: '/etc', as: 'message' }],
    ['/me  waves', here, { do: 'say', target: '#c', text: ' waves', as: 'action' }],
    ['/msg ann  two words', here, { do: 'say', target: 'ann', text: 'two words', as: 'message' }],
    ['/join perigee', server, { do: 'join', channels: ['#perigee'], key: '' }],
    ['/join #a,#b key', server, { do: 'join', channels: ['#a', '#b'], key: 'key' }],
    ['/part', here, { do: 'part', channel: '#c', reason: '' }],
    ['/part #d so long', here, { do: 'part', channel: '#d', reason: 'so long' }],
    ['/part so long', here, { do: 'part', channel: '#c', reason: 'so long' }],
    ['/topic', here, { do: 'topic', channel: '#c', text: null }],
    ['/topic new one', here, { do: 'topic', channel: '#c', text: 'new one' }],
    ['/kick ann too loud', here, { do: 'send', command: 'KICK', params: ['#c', 'ann', 'too loud'] }],
    ['/kick #d ann', server, { do: 'send', command: 'KICK', params: ['#d', 'ann'] }],
    ['/op ann', here, { do: 'send', command: 'MODE', params: ['#c', '+o', 'ann'] }],
    ['/mode', here, { do: 'send', command: 'MODE', params: ['#c'] }],
    ['/mode +m', here, { do: 'send', command: 'MODE', params: ['#c', '+m'] }],
    ['/mode me +i', server, { do: 'send', command: 'MODE', params: ['me', '+i'] }],
    ['/invite ann', here, { do: 'send', command: 'INVITE', params: ['ann', '#c'] }],
    ['/away lunch time', here, { do: 'send', command: 'AWAY', params: ['lunch time'] }],
    ['/raw PRIVMSG a :b c', here, { do: 'raw', line: 'PRIVMSG a :b c' }],
    ['/quit', here, { do: 'quit', reason: '' }],
    ['   ', here, { do: 'nothing' }],
  ];
  for (const [input, buffer, want] of cases) assert.deepEqual(interpret(input, buffer), want, input);
  for (const [input, buffer] of [['hello', server], ['/part', server], ['/join', here], ['/nosuch', here], ['/op', here], ['/kick ann', server], ['/mode', server]]) {
    assert.equal(interpret(input, buffer).do, 'explain', input);
  }
});
