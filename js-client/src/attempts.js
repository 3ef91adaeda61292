/**
 * The transports of one Link: starts them, lets them race, goes down and up the ladder, comes back after a cut.
 * Knows what carries the session and what is being tried, and nothing of streams, the page or the application.
 *
 * Invariants: one transport in use at most, the newest attachments beside it while they are tried; when all is dropped
 * there is no transport and no timer of one.
 *
 * @typedef {import('./codes.js').Code} Code
 * @typedef {import('./options.js').Config} Config
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {import('./transports/transport.js').End} End
 * @typedef {import('./transports/transport.js').Transport} Transport
 *
 * @typedef {object} Attempt one use of one transport
 * @property {number} n
 * @property {Kind} kind
 * @property {string} why
 * @property {Transport} transport
 * @property {number} startedAt
 * @property {number} welcomedAt 0 until then
 * @property {number} heardAt on the wall clock
 * @property {number} [answered] the `t` of a PONG, as long as nothing came behind it
 * @property {number} carriedBefore bytes of the session, both ways, when it was welcomed
 * @property {boolean} ended the transport is gone
 * @property {boolean} clean it ended as it should: a poll was answered
 * @property {boolean} useful it brought something worth a poll, or was not to wait for anything
 *
 * @typedef {object} Owner the link
 * @property {(change: () => unknown) => void} input something happens that may give the session something to say
 * @property {(attempt: Attempt, from: Kind | null) => void} attached this one is in use from now on, after `from`
 * @property {(reason: string) => void} detached none is in use any more
 * @property {(end: End) => boolean} ended whether what ended a transport ends the session too
 * @property {(end: End) => boolean} failed an attempt came to nothing; true when that ends the session
 */

import { DETACH_ROTATE, DETACH_SUPERSEDED } from './session.js';
import { Ladder, backoff } from './ladder.js';
import { Timers } from './timers.js';
import { OPEN } from './transports/open.js';

export const MAX_MESSAGE_BYTES = 65_536;
/** A transport that breaks sooner than this after it worked is not to be trusted. */
const SHORT_LIFE_MS = 5000;
/** A poll that is answered sooner than this with nothing was not held, so the next one waits. */
const SHORT_POLL_MS = 500;
/** The end of an attempt that was answered only because it was ended comes this soon after the answer. */
const LATE_MS = 500;
/** Frames that a poll may bring again and again without any progress. */
const REPEATABLE = ['WELCOME', 'DETACH', 'PAD', 'ACK', 'DATA', 'OPENED'];

export class Attempts {
  /** @type {Attempt | null} the transport in use */
  current = null;
  /** Nothing is to be started now. */
  halted = false;

  #config;
  #session;
  #timers;
  #owner;
  #ladder;
  /** @type {Map<number, Attempt>} those that were not answered yet */
  #pending = new Map();
  /** @type {Kind | null} */
  #used = null;
  #shortLives = 0;
  #emptyPolls = 0;

  /** @param {Config} config @param {import('./session.js').Session} session @param {Timers} timers @param {Owner} owner */
  constructor(config, session, timers, owner) {
    this.#config = config;
    this.#session = session;
    this.#timers = timers;
    this.#owner = owner;
    this.#ladder = new Ladder(config);
  }

  get forced() {
    return this.#ladder.forced;
  }

  /** Whether any is being tried. */
  get trying() {
    return this.#pending.size > 0;
  }

  /** Tries anew. @param {Kind | null} kind null gives the choice back @param {string} [why] */
  use(kind, why = kind === null ? 'auto' : 'forced') {
    this.#ladder.forced = kind;
    const busy = this.trying;
    const { current } = this;
    this.#dropPending();
    this.#ladder.startOver();
    if (current === null) this.start(why);
    else if (kind !== null && kind !== current.kind) this.#start(kind, why);
    else if (this.better) this.stepUp();
    // What was given up may be the newest attachment in the eyes of the gateway.
    else if (busy) this.#start(current.kind, 'back', { race: false });
  }

  /** Tries what is best now. @param {string} why */
  start(why) {
    if (this.halted) return;
    const kind = this.#ladder.next([...this.#pending.values()].map(({ kind }) => kind));
    if (kind !== null) this.#start(kind, why);
  }

  /** Breaks what is in use, without a word to the other side. @param {string} reason */
  cut(reason) {
    if (this.current) this.#lose(this.current, reason, { trusted: true });
  }

  /**
   * What is in use does not do what it should.
   * @param {string} reason
   * @param {boolean} [heldBack] nor will it on this network
   */
  giveUp(reason, heldBack = false) {
    const { current } = this;
    if (current === null) return;
    if (heldBack) this.#ladder.holdBack(current.kind);
    else this.#ladder.failed(current.kind);
    this.#lose(current, reason);
  }

  /** Replaces what is in use by another of its kind. @param {string} why */
  renew(why) {
    if (this.current && !this.trying) this.#start(this.current.kind, why);
  }

  /** The network is another one. */
  moved() {
    // To the worker there is one way, whatever the network.
    if (this.#used === 'port') return;
    const { forced } = this.#ladder;
    this.#ladder = new Ladder(this.#config);
    this.#ladder.leave('port');
    this.#ladder.forced = forced;
  }

  /** Gives up what is being tried, and starts nothing until `halted` is taken back. */
  halt() {
    this.halted = true;
    this.#dropPending();
  }

  /** Ends every transport. */
  close() {
    this.halt();
    if (this.current) this.#discard(this.current);
    this.current = null;
  }

  // --- what the session says of an attachment ---

  /** @param {Extract<import('./session.js').SessionEvent, { n: number }>} event */
  onEvent(event) {
    const { type, n } = event;
    const attempt = this.#pending.get(n);
    if (type === 'detach') this.#onDetach(n, event.why);
    else if (type === 'dead' && this.current?.n === n) this.#lose(this.current, 'silence');
    // An event of a poll that goes on as the one before it did, or of an attempt that was given up.
    if (attempt === undefined) return;
    if (type === 'welcome') this.#onWelcome(attempt);
    else if (type === 'refused') this.#onFailed(attempt, event);
    // An older attempt was answered while a newer one is under way, be it that its end freed what was held back.
    else if (type === 'late') this.#timers.after(`late:${n}`, LATE_MS);
  }

  /** Answered late, and not by its end. @param {Attempt} attempt */
  #onLate(attempt) {
    // The gateway turns to the newer one, so the transport that works has to be attached anew, this time without a
    // competitor.
    this.#dropPending();
    this.#start(attempt.kind, attempt.why, { race: false });
  }

  /** @param {Attempt} attempt */
  #onWelcome(attempt) {
    const { n } = attempt;
    this.#pending.delete(n);
    this.#timers.clear(`attempt:${n}`, 'race');
    for (const other of this.#pending.values()) {
      // What was started before and answers after has lost the race.
      if (other.n < n) this.#ladder.failed(other.kind);
      this.#discard(other);
    }
    this.#pending.clear();
    const before = this.current;
    attempt.welcomedAt = Timers.now();
    attempt.carriedBefore = this.#carried;
    this.current = attempt;
    if (before) this.#discard(before);
    this.#ladder.worked(attempt.kind);
    const from = this.#used;
    this.#used = attempt.kind;
    this.#owner.attached(attempt, from);
  }

  /** @param {number} n @param {number} why */
  #onDetach(n, why) {
    const pending = this.#pending.get(n);
    if (why === DETACH_SUPERSEDED && pending) {
      // The gateway saw a newer number, of an attempt that was given up since: a yet newer one is what it takes.
      this.#pending.delete(n);
      this.#discard(pending);
      if (this.trying) this.#ladder.failed(pending.kind);
      else this.#start(pending.kind, pending.why);
    } else if (this.current?.n === n && this.current.kind !== 'poll' && !this.trying) {
      if (why === DETACH_ROTATE) this.renew('rotate');
      else if (why === DETACH_SUPERSEDED) this.#lose(this.current, 'superseded', { trusted: true });
    }
  }

  // --- what the clock says ---

  /** @param {string} name */
  onTimer(name) {
    const { current } = this;
    switch (name) {
      case 'race':
        if (this.trying) this.start('race');
        return;
      case 'retry':
        this.start(this.#session.confirmed ? 'resume' : 'first');
        return;
      case 'rotate':
        this.renew('rotate');
        return;
      case 'poll':
        if (current?.ended) this.#pollNow(current);
        return;
      default: {
        const [what, n] = name.split(':');
        const attempt = this.#pending.get(Number(n));
        if (attempt === undefined) return;
        if (what === 'late') this.#onLate(attempt);
        else this.#onFailed(attempt, { code: null, text: 'no answer' });
      }
    }
  }

  // --- attempts ---

  /** Bytes that are over and done with, so they only grow when streams move on. */
  get #carried() {
    const { received, acked } = this.#session.stats;
    return received + acked;
  }

  /**
   * @param {Kind} kind
   * @param {string} why
   * @param {{ race?: boolean, timeoutMs?: number }} [options]
   */
  #start(kind, why, { race = true, timeoutMs = this.#config.timing.attemptTimeoutMs } = {}) {
    this.#timers.clear('retry');
    this.#ladder.trying(kind);
    const prompt = kind === 'poll';
    const attempt = this.#open(kind, why, prompt);
    this.#pending.set(attempt.n, attempt);
    this.#timers.after(`attempt:${attempt.n}`, timeoutMs);
    if (race && this.#ladder.forced === null) this.#timers.after('race', this.#config.timing.raceAfterMs);
  }

  /** @param {Kind} kind @param {string} why @param {boolean} prompt @returns {Attempt} */
  #open(kind, why, prompt) {
    const now = Timers.now();
    const session = this.#session;
    const n = session.attach(kind, now, { prompt });
    // The transport may ask for its first message before there is a transport.
    const transport = OPEN[kind](this.#config, session.sid ?? 'new', {
      hello: () => session.hello(n, MAX_MESSAGE_BYTES),
      frames: (frames, more) => this.#owner.input(() => {
        const before = this.#carried;
        attempt.heardAt = Date.now();
        const last = frames.at(-1);
        attempt.answered = last?.type === 'PONG' && !more ? last.t : -1;
        session.receive(frames, n, Timers.now());
        attempt.useful ||= this.#carried > before || frames.some(({ type }) => !REPEATABLE.includes(type));
      }),
      end: (end) => this.#owner.input(() => this.#onEnd(attempt, end)),
    });
    /** @type {Attempt} */
    const attempt = {
      n, kind, why, transport, startedAt: now, heardAt: Date.now(), welcomedAt: 0, carriedBefore: 0, ended: false, clean: false, useful: prompt,
    };
    return attempt;
  }

  /** @param {Attempt} attempt @param {End} end */
  #onEnd(attempt, end) {
    attempt.ended = true;
    attempt.clean = end.clean ?? false;
    const now = Timers.now();
    if (this.#owner.ended(end)) return;
    if (this.#pending.has(attempt.n)) {
      this.#onFailed(attempt, end);
    } else if (this.current === attempt) {
      if (this.trying) this.#session.detached(attempt.n, now, { clean: attempt.clean });
      else if (attempt.clean) this.#pollAgain(attempt);
      else this.#lose(attempt, end.text);
    }
  }

  /** An attempt came to nothing. @param {Attempt} attempt @param {End} end */
  #onFailed(attempt, end) {
    this.#pending.delete(attempt.n);
    this.#discard(attempt);
    if (this.#owner.failed(end)) return;
    if (end.absent) this.#ladder.leave(attempt.kind);
    else this.#ladder.failed(attempt.kind);
    if (this.trying) {
      // A competitor that does not exist is replaced at once.
      if (end.absent) this.start('race');
      return;
    }
    const { current } = this;
    if (current?.ended && (!current.clean || this.#ladder.forced !== null)) {
      this.#lose(current, end.text);
    } else if (current && end.absent) {
      this.stepUp();
    } else if (current && this.#ladder.forced === null && attempt.why !== 'back') {
      // The gateway may have taken the failed attempt for the newest, and then says nothing on this one any more.
      this.#start(current.kind, 'back', { race: false });
    } else {
      // The next rung, or a pause when all of them failed.
      const kind = this.#ladder.nextUntried();
      if (kind !== null) this.#start(kind, 'fallback');
      else this.#pause(this.#ladder.pause());
    }
  }

  /** @param {number} failures */
  #pause(failures) {
    this.#timers.after('retry', backoff(failures, this.#config.timing));
  }

  /** The transport in use is gone. @param {Attempt} attempt @param {string} reason @param {{ trusted?: boolean }} [options] */
  #lose(attempt, reason, { trusted = false } = {}) {
    const now = Timers.now();
    this.current = null;
    this.#timers.clear('rotate');
    this.#discard(attempt);
    this.#owner.detached(reason);
    const short = !trusted && now - attempt.welcomedAt < SHORT_LIFE_MS;
    // A short life that moved the streams on is worth another one soon, however often that happens.
    const most = this.#carried > attempt.carriedBefore ? 2 : Infinity;
    this.#shortLives = short ? Math.min(this.#shortLives + 1, most) : 0;
    if (short) this.#ladder.failed(attempt.kind);
    if (this.trying) return;
    // What worked before was cut, so there is no reason to wait, unless that goes on and on.
    if (this.#shortLives < 2) this.start('resume');
    else this.#pause(this.#shortLives - 2);
  }

  /** Ends an attempt's transport and tells the session. @param {Attempt} attempt */
  #discard(attempt) {
    this.#timers.clear(`attempt:${attempt.n}`, `late:${attempt.n}`);
    if (!attempt.ended) attempt.transport.close();
    attempt.ended = true;
    this.#session.detached(attempt.n, Timers.now());
  }

  #dropPending() {
    for (const attempt of this.#pending.values()) this.#discard(attempt);
    this.#pending.clear();
    this.#timers.clear('race');
  }

  /** Whether there is a rung to prefer to the one in use. */
  get better() {
    return this.current && this.#ladder.better(this.current.kind);
  }

  /** Tries the next better rung beside the one in use. */
  stepUp() {
    const kind = this.better;
    if (kind && !this.trying) this.#start(kind, 'step-up', { race: false, timeoutMs: this.#config.timing.raceAfterMs });
  }

  // --- polls ---

  /** The next poll takes the place of one that was answered. @param {Attempt} answered */
  #pollAgain(answered) {
    const quick = !answered.useful && Timers.now() - answered.startedAt < SHORT_POLL_MS;
    this.#emptyPolls = quick ? this.#emptyPolls + 1 : 0;
    if (quick) this.#timers.after('poll', backoff(this.#emptyPolls - 1, this.#config.timing));
    else this.#pollNow(answered);
  }

  /** @param {Attempt} before */
  #pollNow(before) {
    if (this.current !== before || this.trying) return;
    this.current = this.#open('poll', before.why, false);
    this.current.welcomedAt = before.welcomedAt;
    this.current.carriedBefore = before.carriedBefore;
    this.#session.detached(before.n, Timers.now(), { clean: true });
  }
}
