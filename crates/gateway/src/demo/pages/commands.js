// @ts-check
/**
 * What a person types in the chat, turned into what is to be done.
 *
 * A pure function of the text and the buffer it was typed in; it sends nothing.
 */

/**
 * @typedef {{ do: 'send', lines: string[][] }
 *   | { do: 'say', target: string, text: string, as: 'message' | 'action' | 'notice' }
 *   | { do: 'query', target: string }
 *   | { do: 'raw', line: string }
 *   | { do: 'quit', reason: string }
 *   | { do: 'close' } | { do: 'clear' } | { do: 'help' } | { do: 'nothing' }
 *   | { do: 'explain', text: string }} Action
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
  ['/names', 'ask who is here'],
  ['/whois nick', 'ask who somebody is'],
  ['/raw line', 'send a line as it is'],
  ['/clear', 'empty this buffer'],
  ['/close', 'leave and close this buffer'],
  ['/quit [reason]', 'leave the server'],
];

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
  switch (word.toLowerCase()) {
    case 'join':
    case 'j': {
      if (!first) return explain('Which channel? For example: /join #perigee');
      const names = first.split(',').map((name) => (/^[#&+!]/.test(name) ? name : `#${name}`));
      return send('JOIN', names.join(','), ...others.slice(0, 1));
    }
    case 'part':
    case 'leave': {
      const named = /^[#&+!]/.test(first);
      if (!named && !buffer.isChannel) return explain('This is no channel. Use /part #channel, or /close to close a private buffer.');
      const reason = named ? after : rest.trim();
      return send('PART', named ? first : buffer.name, ...(reason ? [reason] : []));
    }
    case 'nick':
      return first ? send('NICK', first) : explain('Which nick? For example: /nick selene');
    case 'me':
      if (buffer.isServer) return explain('Nobody would see that here. Join a channel first.');
      return rest.trim() ? { do: 'say', target: buffer.name, text: rest, as: 'action' } : explain('What do you do? For example: /me waves');
    case 'msg':
    case 'notice':
      if (!first || !after) return explain(`Whom, and what? For example: /${word} selene hello`);
      return { do: 'say', target: first, text: after, as: word.toLowerCase() === 'msg' ? 'message' : 'notice' };
    case 'query':
      return first ? { do: 'query', target: first } : explain('With whom? For example: /query selene');
    case 'topic': {
      const named = /^[#&+!]/.test(first);
      if (!named && !buffer.isChannel) return explain('This is no channel. Use /topic #channel text.');
      const text = named ? after : rest.trim();
      return send('TOPIC', named ? first : buffer.name, ...(text ? [text] : []));
    }
    case 'names':
      if (!first && !buffer.isChannel) return explain('This is no channel. Use /names #channel.');
      return send('NAMES', first || buffer.name);
    case 'whois':
      return first ? send('WHOIS', first) : explain('Who? For example: /whois selene');
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

/** @param {...string} parts @returns {Action} */
function send(...parts) {
  return { do: 'send', lines: [parts] };
}

/** @param {string} text @returns {Action} */
function explain(text) {
  return { do: 'explain', text };
}
