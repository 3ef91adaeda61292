// @ts-check
/**
 * What a person types in the chat, turned into what is to be done.
 *
 * A pure function of the text and the buffer it was typed in; it sends nothing.
 */

/**
 * @typedef {{ do: 'say', target: string, text: string, as: 'message' | 'action' | 'notice' }
 *   | { do: 'join', channels: string[], key: string }
 *   | { do: 'part', channel: string, reason: string }
 *   | { do: 'nick', nick: string }
 *   | { do: 'topic', channel: string, text: string | null }
 *   | { do: 'names', channel: string }
 *   | { do: 'send', command: string, params: string[] }
 *   | { do: 'raw', line: string }
 *   | { do: 'query', target: string }
 *   | { do: 'quit', reason: string }
 *   | { do: 'ping' } | { do: 'close' } | { do: 'clear' } | { do: 'help' } | { do: 'nothing' }
 *   | { do: 'explain', text: string }} Action  `topic` with a text of null shows it
 */

/** Every command, its parameters and what it does: the text of /help. */
export const HELP = [
  ['/join #channel [key]', 'join a channel'],
  ['/part [reason]', 'leave this channel'],
  ['/msg nick text', 'say something to one person'],
  ['/query nick', 'open a private buffer'],
  ['/me text', 'describe what you do'],
  ['/notice target text', 'send a notice'],
  ['/nick name', 'change your nick'],
  ['/topic [text]', 'show or set the topic'],
  ['/names', 'who is here'],
  ['/whois nick', 'who somebody is'],
  ['/list', 'which channels there are'],
  ['/invite nick', 'invite somebody here'],
  ['/kick nick [reason]', 'send somebody away'],
  ['/op, /deop, /voice, /devoice nick', 'give or take a rank'],
  ['/mode [changes]', 'show or change modes'],
  ['/away [text], /back', 'say that you are away, or back'],
  ['/ping', 'how long the server takes to answer'],
  ['/raw line', 'send a line as it is'],
  ['/clear', 'empty this buffer'],
  ['/close', 'leave and close this buffer'],
  ['/quit [reason]', 'leave the server'],
];

/** @type {Record<string, string>} */
const RANKS = { op: '+o', deop: '-o', voice: '+v', devoice: '-v' };
const CHANNEL = /^[#&+!]/;

/**
 * @param {string} input
 * @param {{ name: string, isChannel: boolean, isServer: boolean }} buffer where it was typed
 * @returns {Action}
 */
export function interpret(input, buffer) {
  if (input.trim() === '') return { do: 'nothing' };
  if (!input.startsWith('/') || input.startsWith('//')) {
    const text = input.startsWith('//') ? input.slice(1) : input;
    if (buffer.isServer) return explain('This is the server’s own buffer: nobody would read that. Use /join #channel, /msg nick text or /raw.');
    return { do: 'say', target: buffer.name, text, as: 'message' };
  }
  const [, word = '', rest = ''] = /^\/(\S*) ?(.*)$/s.exec(input) ?? [];
  const [first = '', ...others] = rest.trim().split(/ +/);
  const after = rest.trimStart().slice(first.length).trimStart();
  const command = word.toLowerCase();
  /** What is about a channel: the one that is named, or this one. */
  const named = CHANNEL.test(first);
  const channel = named ? first : buffer.name;
  const hasChannel = named || buffer.isChannel;
  const text = named ? after : rest.trim();
  switch (command) {
    case 'join':
    case 'j': {
      if (!first) return explain('Which channel? For example: /join #perigee');
      const channels = first.split(',').filter(Boolean).map((name) => (CHANNEL.test(name) ? name : `#${name}`));
      return { do: 'join', channels, key: others[0] ?? '' };
    }
    case 'part':
    case 'leave':
      return hasChannel ? { do: 'part', channel, reason: text } : explain('This is no channel. Use /part #channel, or /close to close a private buffer.');
    case 'nick':
      return first ? { do: 'nick', nick: first } : explain('Which nick? For example: /nick selene');
    case 'me':
      if (buffer.isServer) return explain('Nobody would see that here. Join a channel first.');
      return rest.trim() ? { do: 'say', target: buffer.name, text: rest, as: 'action' } : explain('What do you do? For example: /me waves');
    case 'msg':
    case 'notice':
      if (!first || !after) return explain(`Whom, and what? For example: /${word} selene hello`);
      return { do: 'say', target: first, text: after, as: command === 'msg' ? 'message' : 'notice' };
    case 'query':
      return first ? { do: 'query', target: first } : explain('With whom? For example: /query selene');
    case 'topic':
      return hasChannel ? { do: 'topic', channel, text: text === '' ? null : text } : explain('This is no channel. Use /topic #channel text.');
    case 'names':
      return hasChannel ? { do: 'names', channel } : explain('This is no channel. Use /names #channel.');
    case 'whois':
      return first ? send('WHOIS', first) : explain('Who? For example: /whois selene');
    case 'list':
      return send('LIST', ...(first ? [first] : []));
    case 'invite':
      if (!first || !(buffer.isChannel || CHANNEL.test(others[0] ?? ''))) return explain('Whom, and where to? For example: /invite selene #perigee');
      return send('INVITE', first, others[0] ?? buffer.name);
    case 'kick': {
      const [nick = '', ...why] = named ? others : [first, ...others];
      if (!hasChannel || !nick) return explain('Whom? For example, in a channel: /kick selene too loud');
      return send('KICK', channel, nick, ...(why.length > 0 ? [why.join(' ')] : []));
    }
    case 'op':
    case 'deop':
    case 'voice':
    case 'devoice':
      return buffer.isChannel && first ? send('MODE', buffer.name, RANKS[command] ?? '', first) : explain(`Whom? For example, in a channel: /${command} selene`);
    case 'mode': {
      // A nick or a channel that is named comes first; otherwise it is about this channel.
      const changes = first.startsWith('+') || first.startsWith('-') || first === '';
      if (changes && !buffer.isChannel) return explain('Modes of what? For example: /mode #perigee +m');
      return send('MODE', ...(changes ? [buffer.name] : []), ...[first, ...others].filter(Boolean));
    }
    case 'away':
      return send('AWAY', rest.trim() || 'away');
    case 'back':
      return send('AWAY');
    case 'ping':
      return { do: 'ping' };
    case 'raw':
    case 'quote':
      return rest.trim() ? { do: 'raw', line: rest.trim() } : explain('Which line? For example: /raw VERSION');
    case 'quit':
    case 'exit':
      return { do: 'quit', reason: rest.trim() };
    case 'close':
      return buffer.isServer ? { do: 'quit', reason: '' } : { do: 'close' };
    case 'clear':
      return { do: 'clear' };
    case 'help':
    case '?':
      return { do: 'help' };
    default:
      return explain(`There is no command /${word}. /help lists those there are; //${word} says it as text.`);
  }
}

/** @param {string} command @param {...string} params @returns {Action} */
function send(command, ...params) {
  return { do: 'send', command, params };
}

/** @param {string} text @returns {Action} */
function explain(text) {
  return { do: 'explain', text };
}
