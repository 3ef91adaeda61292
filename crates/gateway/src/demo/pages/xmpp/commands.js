// @ts-check
/**
 * What a person types in the XMPP page, turned into what is to be done.
 *
 * A pure function of the text and the conversation it was typed in; it sends nothing.
 */

/**
 * @typedef {{ do: 'say', text: string } | { do: 'talk', jid: string } | { do: 'join', room: string, nick: string }
 *   | { do: 'nick', nick: string } | { do: 'subject', text: string } | { do: 'presence', show: string, status: string }
 *   | { do: 'add', jid: string, name: string } | { do: 'remove', jid: string }
 *   | { do: 'close' } | { do: 'clear' } | { do: 'help' } | { do: 'quit' } | { do: 'nothing' } | { do: 'explain', text: string }} Action
 */

/** Every command, its parameters and what it does: the text of /help. */
export const HELP = [
  ['/join room@rooms.example.org [nick]', 'enter a room'],
  ['/msg person@example.org', 'talk to somebody'],
  ['/me text', 'describe what you do'],
  ['/nick name', 'change your nick in this room'],
  ['/subject text', 'set the subject of this room'],
  ['/add person@example.org [name]', 'put somebody on your contact list'],
  ['/remove person@example.org', 'take somebody off it'],
  ['/away [text], /dnd [text], /back', 'say how you are'],
  ['/clear', 'empty this conversation'],
  ['/close', 'leave and close it'],
  ['/quit', 'log out'],
];

/** @param {string} text */
export const isAddress = (text) => /^[^@/\s]+@[^@/\s]+$/.test(text);

/**
 * @param {string} input
 * @param {{ isChannel: boolean, isServer: boolean }} buffer
 * @returns {Action}
 */
export function interpret(input, buffer) {
  if (input.trim() === '') return { do: 'nothing' };
  if (!input.startsWith('/') || input.startsWith('//') || /^\/me\s/.test(input)) {
    if (buffer.isServer) return explain('Nobody would read that here. Use /msg person@example.org or /join room@rooms.example.org.');
    return { do: 'say', text: input.startsWith('//') ? input.slice(1) : input };
  }
  const [, word = '', rest = ''] = /^\/(\S*) ?(.*)$/s.exec(input) ?? [];
  const [first = '', ...others] = rest.trim().split(/ +/);
  switch (word.toLowerCase()) {
    case 'join':
    case 'j':
      return isAddress(first) ? { do: 'join', room: first, nick: others.join(' ') } : explain('Which room? For example: /join perigee@rooms.example.org');
    case 'msg':
    case 'query':
      return isAddress(first) ? { do: 'talk', jid: first } : explain('With whom? For example: /msg ada@example.org');
    case 'nick':
      return buffer.isChannel && rest.trim() ? { do: 'nick', nick: rest.trim() } : explain('Which nick? For example, in a room: /nick selene');
    case 'subject':
    case 'topic':
      return buffer.isChannel ? { do: 'subject', text: rest.trim() } : explain('Only rooms have a subject.');
    case 'add':
      return isAddress(first) ? { do: 'add', jid: first, name: others.join(' ') } : explain('Whom? For example: /add ada@example.org Ada');
    case 'remove':
      return isAddress(first) ? { do: 'remove', jid: first } : explain('Whom? For example: /remove ada@example.org');
    case 'away':
    case 'dnd':
      return { do: 'presence', show: word.toLowerCase(), status: rest.trim() };
    case 'back':
      return { do: 'presence', show: '', status: '' };
    case 'close':
    case 'part':
    case 'leave':
      return buffer.isServer ? { do: 'quit' } : { do: 'close' };
    case 'clear':
      return { do: 'clear' };
    case 'quit':
    case 'exit':
      return { do: 'quit' };
    case 'help':
    case '?':
      return { do: 'help' };
    default:
      return explain(`There is no command /${word}. /help lists those there are; //${word} says it as text.`);
  }
}

/** @param {string} text @returns {Action} */
function explain(text) {
  return { do: 'explain', text };
}
