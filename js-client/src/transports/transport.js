/**
 * What every transport is to the link that uses it. A transport moves frames and knows nothing of what they mean.
 *
 * @typedef {import('../codes.js').Code} Code
 * @typedef {import('../frame.js').Frame} Frame
 * @typedef {import('../options.js').Config} Config
 *
 * @typedef {object} End
 * @property {Code | null} code what the gateway said, if it did
 * @property {string} text for people
 * @property {boolean} [broken] the peer sent what is not frames of this protocol
 * @property {boolean} [clean] the end is what this transport is made for: a poll was answered
 * @property {boolean} [absent] this gateway has no such transport; nothing was tried
 *
 * @typedef {object} Handlers
 * @property {() => Uint8Array} hello makes the first message when it can be sent
 * @property {(frames: Frame[], more?: boolean) => void} frames and whether the beginning of one more came behind them
 * @property {(end: End) => void} end called once, unless the link ended it
 *
 * @typedef {object} Transport
 * @property {() => number} room bytes it takes now without queueing too much; 0 for one that only brings frames down
 * @property {(bytes: Uint8Array) => void} send
 * @property {() => void} close ends it when what was sent is gone; calls no handler any more
 *
 * @typedef {(config: Config, sid: string, handlers: Handlers) => Transport} Open
 */

export {};
