/**
 * Heart-beats both ways: ours when we said nothing for a while, and the broker's, without which it is not there.
 *
 * A page that sleeps, or whose timers are held back, learns late that it heard nothing; and while there is no way to the
 * gateway nothing can come. Neither says anything of the broker.
 */

import { Timers } from '../timers.js';

/** The part of what was agreed after which ours is sent, so that it is there in time. */
const EARLY = 0.75;
/** Periods of silence, each seen to its end, until the broker counts as gone. */
const MISSED = 2;
/** A timer that is later than this part of its period was held back. */
const LATE = 0.5;

export class HeartBeat {
  #outMs;
  #inMs;
  #beat;
  #silent;
  #reachable;
  #heard = true;
  #missed = 0;
  #dueAt = 0;
  #timers = new Timers((name) => (name === 'out' ? this.#send() : this.#listen()));

  /**
   * @param {readonly [number, number]} ours what we can send and want to get, in milliseconds
   * @param {string | undefined} theirs the broker's header
   * @param {{ beat: () => void, silent: () => void, reachable: () => boolean }} on
   */
  constructor([send, want], theirs, { beat, silent, reachable }) {
    const [can = 0, wants = 0] = (theirs ?? '0,0').split(',').map((text) => (/^\d{1,9}$/.test(text) ? Number(text) : 0));
    this.#outMs = send && wants ? Math.max(send, wants) : 0;
    this.#inMs = want && can ? Math.max(want, can) : 0;
    this.#beat = beat;
    this.#silent = silent;
    this.#reachable = reachable;
    this.sent();
    this.#wait();
  }

  /** What was agreed: how often we say something, and the broker; 0 for never. */
  get agreed() {
    return { outgoingMs: this.#outMs, incomingMs: this.#inMs };
  }

  /** Something was said. */
  sent() {
    if (this.#outMs > 0) this.#timers.after('out', this.#outMs * EARLY);
  }

  /** Something was heard. */
  heard() {
    this.#heard = true;
  }

  stop() {
    this.#timers.clearAll();
  }

  #send() {
    this.#beat();
    this.sent();
  }

  #wait() {
    if (this.#inMs === 0) return;
    this.#heard = false;
    this.#dueAt = Timers.now() + this.#inMs;
    this.#timers.set('in', this.#dueAt);
  }

  #listen() {
    const wasHeld = Timers.now() - this.#dueAt > this.#inMs * LATE;
    this.#missed = this.#heard || wasHeld || !this.#reachable() ? 0 : this.#missed + 1;
    if (this.#missed < MISSED) this.#wait();
    else this.#silent();
  }
}
