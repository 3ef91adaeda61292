// @ts-check
/**
 * Text as people on IRC send it: bold, colours and the like, and links. Shown as elements with classes, or left out.
 *
 * What it makes of a text is text nodes and links to http and https, whatever the text holds.
 */

/**
 * @typedef {{ bold: boolean, italic: boolean, underline: boolean, strike: boolean, mono: boolean, reverse: boolean, fg: number | null, bg: number | null }} Style
 * @typedef {Style & { text: string }} Run
 */

/** @type {Style} */
const PLAIN = { bold: false, italic: false, underline: false, strike: false, mono: false, reverse: false, fg: null, bg: null };
/** @type {Record<string, 'bold' | 'italic' | 'underline' | 'strike' | 'mono' | 'reverse'>} */
const SWITCHES = { '\x02': 'bold', '\x1d': 'italic', '\x1f': 'underline', '\x1e': 'strike', '\x11': 'mono', '\x16': 'reverse' };
/** Colours with the same name everywhere; the others are left out, as every network and client has its own. */
const COLOURS = 16;
/** A run that changes with every character would make an element of each. */
const MAX_RUNS = 200;

const CODE = /\x03(?:(\d{1,2})(?:,(\d{1,2}))?)?|\x04(?:[\da-f]{6}(?:,[\da-f]{6})?)?|[\x02\x0f\x11\x16\x1d-\x1f]/gi;
const LINK = /\bhttps?:\/\/[^\s<>"]+/gi;

/**
 * @param {string} text
 * @returns {Run[]} none is empty
 */
export function runsOf(text) {
  let style = { ...PLAIN };
  let from = 0;
  /** @type {Run[]} */
  const runs = [];
  const push = (/** @type {string} */ piece) => {
    const clean = withoutControls(piece);
    const last = runs.at(-1);
    if (clean === '') return;
    if (last && runs.length >= MAX_RUNS) last.text += clean;
    else runs.push({ ...style, text: clean });
  };
  for (const { 0: code, 1: fg, 2: bg, index } of text.matchAll(CODE)) {
    push(text.slice(from, index));
    from = index + code.length;
    const toggled = SWITCHES[code];
    if (code === '\x0f') style = { ...PLAIN };
    else if (toggled) style = { ...style, [toggled]: !style[toggled] };
    else if (code.startsWith('\x03')) style = { ...style, fg: fg === undefined ? null : colour(fg), bg: fg === undefined ? null : bg === undefined ? style.bg : colour(bg) };
  }
  push(text.slice(from));
  return runs;
}

/** Text without mIRC colours, styles and other control characters. @param {string} text */
export function stripFormatting(text) {
  return withoutControls(text.replace(CODE, ''));
}

/**
 * The text's links, and what is between them.
 * @param {string} text
 * @returns {{ text: string, href: string | null }[]}
 */
export function linksOf(text) {
  const parts = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const url = withoutTail(found);
    if (!URL.canParse(url)) continue;
    if (index > from) parts.push({ text: text.slice(from, index), href: null });
    parts.push({ text: url, href: url });
    from = index + url.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from), href: null });
  return parts;
}

/**
 * @param {string} text as it was received
 * @returns {Node[]}
 */
export function formatted(text) {
  return runsOf(text).flatMap((run) => {
    /** @type {Node[]} */
    const nodes = linksOf(run.text).map(({ text: piece, href }) => (href === null ? document.createTextNode(piece) : linkTo(href, piece)));
    const classes = classesOf(run);
    if (classes.length === 0) return nodes;
    const span = document.createElement('span');
    span.className = classes.join(' ');
    span.append(...nodes);
    return [span];
  });
}

/** @param {string} href @param {string} text */
function linkTo(href, text) {
  const link = document.createElement('a');
  link.href = href;
  link.textContent = text;
  link.target = '_blank';
  link.rel = 'noopener noreferrer nofollow';
  return link;
}

/** @param {Run} run */
function classesOf({ bold, italic, underline, strike, mono, reverse, fg, bg }) {
  return [
    bold && 'f-bold', italic && 'f-italic', underline && 'f-underline', strike && 'f-strike', mono && 'f-mono', reverse && 'f-reverse',
    fg !== null && `f-fg${fg}`, bg !== null && `f-bg${bg}`,
  ].filter((name) => name !== false);
}

/** @param {string} digits */
function colour(digits) {
  return Number(digits) < COLOURS ? Number(digits) : null;
}

/** @param {string} text */
function withoutControls(text) {
  return text.replace(/\t/g, ' ').replace(/[\x00-\x1f\x7f-\x9f]/g, '');
}

/** A link without what ends the sentence it stands in; a bracket that the link itself opened is the link's. @param {string} url */
function withoutTail(url) {
  let end = url.length;
  for (;;) {
    const last = url.charAt(end - 1);
    const rest = url.slice(0, end);
    if (/[.,;:!?'*_]/.test(last) || (last === ')' && rest.split('(').length < rest.split(')').length) || (last === ']' && !rest.includes('['))) end -= 1;
    else return rest;
  }
}
