/**
 * Keeps one Session attached: starts transports, lets them race, goes down and up the ladder, comes back after a cut.
 * All of its inputs (transports, timers, the page, the application) end in `#pump`, which does what the session then asks.
 *
 * Invariants: one transport in use at most, the newest attachments beside it while they are tried; a link that is closed
 * has no timer, no transport and no POST in flight.
 *
 * @typedef {import('./codes.js').Code} Code
 * @typedef {import('./errors.js').ErrorCode} ErrorCode
 * @typedef {import('./options.js').Config} Config
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {import('./stream.js').Stream} Stream
 * @typedef {import('./transports/transport.js').End} End
 * @typedef {import('./transports/transport.js').Transport} Transport
 * @typedef {'connecting' | 'attached' | 'detached' | 'closed'} LinkState
 *
 * @typedef {object} Attempt one use of one transport
 * @property {number} n
 * @property {Kind} kind
 * @property {string} why
 * @property {Transport} transport
 * @property {number} startedAt
 * @property {number} welcomedAt 0 until then
 * @property {number} carriedBefore bytes of the session, both ways, when it was welcomed
 * @property {boolean} ended the transport is gone
 * @property {boolean} clean it ended as it should: a poll was answered
 * @property {boolean} useful it brought something worth a poll, or was not to wait for anything
 *
 * @typedef {import('./gateway.js').GatewayEvents} Events
 * @typedef {<Name extends keyof Events>(name: Name, event: Events[Name]) => void} Emit
 * @typedef {(code: ErrorCode | 'closed') => void} OnOver
 */

import { DETACH_LEAVING, DETACH_ROTATE, DETACH_SUPERSEDED, Session, isSocket } from './session.js';
import { errorCode } from './errors.js';
import { encode } from './frame.js';
import { Ladder, backoff } from './ladder.js';
import { watchPage } from './page.js';
import { Timers } from './timers.js';
import { OPEN } from './transports/open.js';
import { Uplink } from './uplink.js';

const MAX_MESSAGE_BYTES = 65_536;
/** With less room than this a WebSocket is left to drain first, so that messages do not get small. */
const LEAST_ROOM_BYTES = 8192;
/** A WebSocket does not say when its queue drained. */
const DRAIN_MS = 10;
/** A transport that breaks sooner than this after it worked is not to be trusted. */
const SHORT_LIFE_MS = 5000;
/** A poll that is answered sooner than this with nothing was not held, so the next one waits. */
const SHORT_POLL_MS = 500;
/** Frames that a poll may bring again and again without any progress. */
const REPEATABLE = ['WELCOME', 'DETACH', 'PAD', 'ACK', 'DATA', 'OPENED'];
/** @type {readonly Code[]} what it is of no use to try again after */
const FATAL = ['protocol', 'version', 'denied', 'lost'];

export class Link {
  session;
  /** The gateway ends this session soon: no new streams. */
  draining = false;
  /** @type {LinkState} */
  state = 'connecting';
  attaches = 0;
  resumes = 0;

  #config;
  #emit;
  #whenOver;
  #timers;
  #uplink;
  #unwatch;
  /** @type {Map<Stream, () => void>} */
  #listeners = new Map();
  #pumping = false;
  #pumpAgain = false;
  #kicked = false;
  /** When the session was last told the time. */
  #handledAt = 0;

  /** @type {Attempt | null} the transport in use */
  #current = null;
  /** @type {Map<number, Attempt>} those that were not answered yet */
  #pending = new Map();
  /** @type {Kind | null} */
  #used = null;

  #ladder;
  #shortLives = 0;
  #emptyPolls = 0;
  /** @type {{ code: import('./codes.js').EndCode, text: string }} why the last attempt failed */
  #reason = { code: 'offline', text: '' };
  /** @type {number | null} */
  #detachedAt = null;
  #hidden = false;
  #origin = new AbortController();
  #asking = false;

  /** @param {Config} config @param {Emit} emit @param {OnOver} onOver called when the link is closed */
  constructor(config, emit, onOver) {
    this.#config = config;
    this.#emit = emit;
    this.#whenOver = onOver;
    this.#ladder = new Ladder(config);
    this.session = new Session(config.timing);
    this.#timers = new Timers((name) => this.#onTimer(name));
    this.#uplink = new Uplink(config, this.session, this.#timers, (failure) => this.#onPosted(failure));
    this.#unwatch = watchPage({
      online: () => this.#onOnline(),
      hide: (persisted) => this.#onHide(persisted),
      show: () => this.#onShow(),
    });
    this.#timers.after('connect', config.timing.connectTimeoutMs);
    // The first socket is opened by the caller, so that its OPEN goes with the first HELLO.
    queueMicrotask(() => this.#input(() => this.state === 'connecting' && this.#try('first')));
  }

  // --- what the application does ---

  /** @type {Kind | null} */
  get transport() {
    return this.#current?.kind ?? null;
  }

  /**
   * @param {string} target
   * @param {() => void} listener called when something happened on the stream
   * @returns {Stream}
   */
  open(target, listener) {
    const stream = this.session.open(target);
    this.#listeners.set(stream, listener);
    this.kick();
    return stream;
  }

  /** The session has news; it is asked once the caller is done. */
  kick() {
    if (this.#kicked) return;
    this.#kicked = true;
    queueMicrotask(() => {
      this.#kicked = false;
      this.#pump();
    });
  }

  /** @param {Kind | null} kind null gives the choice back */
  use(kind) {
    this.#ladder.forced = kind;
    this.#input(() => {
      this.#timers.clear('stepup');
      const busy = this.#pending.size > 0;
      const current = this.#current;
      this.#dropPending();
      this.#ladder.startOver();
      if (current === null) this.#try(kind === null ? 'auto' : 'forced');
      else if (kind !== null && kind !== current.kind) this.#start(kind, 'forced');
      else if (this.#ladder.better(current.kind) !== null) this.#stepUp();
      // What was given up may be the newest attachment in the eyes of the gateway.
      else if (busy) this.#start(current.kind, 'back', { race: false });
    });
  }

  /** Breaks what is in use, without a word to the other side. */
  cut() {
    this.#input(() => {
      if (this.#current) this.#lose(this.#current, 'cut', { trusted: true });
    });
  }

  /** Ends the session. */
  close() {
    this.#input(() => this.session.end('closed', ''));
  }

  // --- attempts ---

  /** @param {string} why */
  #try(why) {
    if (this.state === 'closed' || this.#hidden) return;
    const kind = this.#ladder.next(this.#busy());
    if (kind !== null) this.#start(kind, why);
  }

  /** Bytes that are over and done with, so they only grow when streams move on. */
  get #carried() {
    const { received, acked } = this.session.stats;
    return received + acked;
  }

  #busy() {
    return [...this.#pending.values()].map(({ kind }) => kind);
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
    const { session } = this;
    const n = session.attach(kind, now, { prompt });
    // The transport may ask for its first message before there is a transport.
    const transport = OPEN[kind](this.#config, session.sid ?? 'new', {
      hello: () => session.hello(n, MAX_MESSAGE_BYTES),
      frames: (frames) => this.#input(() => {
        const before = this.#carried;
        this.#timers.clear('probe');
        session.receive(frames, n, Timers.now());
        attempt.useful ||= this.#carried > before || frames.some(({ type }) => !REPEATABLE.includes(type));
      }),
      end: (end) => this.#input(() => this.#onEnd(attempt, end)),
    });
    /** @type {Attempt} */
    const attempt = {
      n, kind, why, transport, startedAt: now, welcomedAt: 0, carriedBefore: 0, ended: false, clean: false, useful: prompt,
    };
    return attempt;
  }

  /** @param {number} n */
  #onWelcome(n) {
    this.attaches += 1;
    const attempt = this.#pending.get(n);
    // A poll that goes on as the one before it did.
    if (attempt === undefined) return;
    this.#pending.delete(n);
    this.#timers.clear(`attempt:${n}`, 'race', 'connect', 'giveup');
    this.#origin.abort();
    for (const other of this.#pending.values()) {
      // What was started before and answers after has lost the race.
      if (other.n < n) this.#ladder.failed(other.kind);
      this.#discard(other);
    }
    this.#pending.clear();
    const now = Timers.now();
    const before = this.#current;
    attempt.welcomedAt = now;
    attempt.carriedBefore = this.#carried;
    this.#current = attempt;
    if (before) this.#discard(before);
    this.#ladder.worked(attempt.kind);
    this.#timers.after('stepup', this.#ladder.stepUpDelay(attempt.kind));
    if (this.#used !== attempt.kind) this.#emit('transport', { from: this.#used, to: attempt.kind, reason: attempt.why });
    this.#used = attempt.kind;
    const since = this.#detachedAt;
    this.#detachedAt = null;
    this.#setState('attached');
    if (since !== null) {
      this.resumes += 1;
      this.#emit('resume', { transport: attempt.kind, afterMs: now - since });
    }
  }

  /** @param {Attempt} attempt @param {End} end */
  #onEnd(attempt, end) {
    attempt.ended = true;
    attempt.clean = end.clean ?? false;
    const now = Timers.now();
    if (this.#endedBy(end)) return;
    if (this.#pending.has(attempt.n)) {
      this.#onFailed(attempt, end);
    } else if (this.#current === attempt) {
      if (this.#pending.size > 0) this.session.detached(attempt.n, now, { clean: attempt.clean });
      else if (attempt.clean) this.#pollAgain(attempt);
      else this.#lose(attempt, end.text);
    }
  }

  /** Whether what ended a transport ends the session too. @param {End} end */
  #endedBy({ code, text, broken }) {
    if (broken) this.session.end(code ?? 'protocol', text);
    else if (code !== null && FATAL.includes(code)) this.session.over(code, text);
    else return false;
    return true;
  }

  /** An attempt came to nothing. @param {Attempt} attempt @param {End} end */
  #onFailed(attempt, end) {
    this.#pending.delete(attempt.n);
    this.#discard(attempt);
    this.#reason = { code: end.code ?? 'offline', text: end.text };
    if (this.#endedBy(end)) return;
    if (end.absent) this.#ladder.leave(attempt.kind);
    else this.#ladder.failed(attempt.kind);
    if (attempt.why === 'step-up') this.#ladder.steppedUpInVain();
    if (this.#pending.size > 0) {
      // A competitor that does not exist is replaced at once.
      if (end.absent) this.#try('race');
      return;
    }
    const current = this.#current;
    if (current?.ended && (!current.clean || this.#ladder.forced !== null)) {
      this.#lose(current, end.text);
    } else if (current && this.#ladder.forced === null && attempt.why !== 'back' && !end.absent) {
      // The gateway may have taken the failed attempt for the newest, and then says nothing on this one any more.
      this.#start(current.kind, 'back', { race: false });
    } else {
      this.#again(end);
    }
  }

  /** Tries the next rung, or pauses when all of them failed. @param {{ code: Code | null }} end */
  #again(end) {
    if (!this.session.confirmed && end.code === null) void this.#askWhy();
    const kind = this.#ladder.nextUntried();
    if (kind !== null) this.#start(kind, 'fallback');
    else this.#pause(this.#ladder.pause());
  }

  /** @param {number} failures */
  #pause(failures) {
    this.#timers.after('retry', backoff(failures, this.#config.timing));
  }

  /** The transport in use is gone. @param {Attempt} attempt @param {string} reason @param {{ trusted?: boolean }} [options] */
  #lose(attempt, reason, { trusted = false } = {}) {
    const now = Timers.now();
    this.#current = null;
    this.#timers.clear('stepup', 'rotate', 'probe');
    this.#discard(attempt);
    if (this.#pending.size === 0) this.#uplink.abort();
    this.#detachedAt ??= now;
    this.#timers.after('giveup', this.session.resumeMs + this.session.silenceMs);
    this.#setState('detached');
    this.#emit('detach', { reason });
    const short = !trusted && now - attempt.welcomedAt < SHORT_LIFE_MS;
    // A short life that moved the streams on is worth another one soon, however often that happens.
    const most = this.#carried > attempt.carriedBefore ? 2 : Infinity;
    this.#shortLives = short ? Math.min(this.#shortLives + 1, most) : 0;
    if (short) this.#ladder.failed(attempt.kind);
    if (this.#pending.size > 0) return;
    // What worked before was cut, so there is no reason to wait, unless that goes on and on.
    if (this.#shortLives < 2) this.#try('resume');
    else this.#pause(this.#shortLives - 2);
  }

  /** Ends an attempt's transport and tells the session. @param {Attempt} attempt */
  #discard(attempt) {
    this.#timers.clear(`attempt:${attempt.n}`);
    if (!attempt.ended) attempt.transport.close();
    attempt.ended = true;
    this.session.detached(attempt.n, Timers.now());
  }

  #dropPending() {
    for (const attempt of this.#pending.values()) this.#discard(attempt);
    this.#pending.clear();
    this.#timers.clear('race');
  }

  #stepUp() {
    const current = this.#current;
    if (current === null || this.#pending.size > 0) return;
    const kind = this.#ladder.better(current.kind);
    if (kind !== null) this.#start(kind, 'step-up', { race: false, timeoutMs: this.#config.timing.raceAfterMs });
  }

  // --- polls ---

  /** The next poll takes the place of one that was answered. @param {Attempt} answered */
  #pollAgain(answered) {
    const quick = !answered.useful && Timers.now() - answered.startedAt < SHORT_POLL_MS;
    this.#emptyPolls = quick ? this.#emptyPolls + 1 : 0;
    if (quick) {
      this.#timers.after('poll', backoff(this.#emptyPolls - 1, this.#config.timing));
    } else {
      // The application gets its turn first, so that what it takes is acked by the next poll.
      void macrotask().then(() => this.#input(() => this.#pollNow(answered)));
    }
  }

  /** @param {Attempt} before */
  #pollNow(before) {
    if (this.#current !== before || this.#pending.size > 0) return;
    this.#current = this.#open('poll', before.why, false);
    this.#current.welcomedAt = before.welcomedAt;
    this.#current.carriedBefore = before.carriedBefore;
    this.session.detached(before.n, Timers.now(), { clean: true });
  }

  // --- what happens ---

  /** @param {() => unknown} change */
  #input(change) {
    if (this.state === 'closed') return;
    // What a listener does in between is looked at afterwards.
    const outer = this.#pumping;
    this.#pumping = true;
    change();
    this.#pumping = outer;
    this.#pump();
  }

  #pump() {
    if (this.#pumping) {
      this.#pumpAgain = true;
      return;
    }
    this.#pumping = true;
    do {
      this.#pumpAgain = false;
      this.#handle();
      this.#transmit();
    } while (this.#pumpAgain);
    this.#pumping = false;
    if (this.state === 'closed') return;
    const due = this.session.nextTimeout();
    // What was due by then waits for the uplink, which speaks up when it can take it.
    this.#timers.set('session', due <= this.#handledAt ? Infinity : due);
    if (this.session.size > 0) this.#timers.clear('linger');
    else if (!this.#timers.has('linger')) this.#timers.after('linger', this.draining ? 0 : this.#config.timing.lingerMs);
  }

  #handle() {
    const { session } = this;
    this.#handledAt = Timers.now();
    session.handleTimeout(this.#handledAt);
    for (let event = session.pollEvent(); event; event = session.pollEvent()) this.#onEvent(event);
    for (const stream of session.changed()) {
      const listener = this.#listeners.get(stream);
      if (stream.over) this.#listeners.delete(stream);
      listener?.();
    }
  }

  #transmit() {
    if (this.state === 'closed') return;
    const { session } = this;
    const { kind, n } = session.uplink;
    if (kind === 'post') {
      this.#uplink.pump();
    } else if (kind === 'socket' && this.#current?.n === n) {
      const { transport } = this.#current;
      for (;;) {
        const room = transport.room();
        if (room < LEAST_ROOM_BYTES) {
          this.#timers.after('drain', DRAIN_MS);
          break;
        }
        const bytes = session.pollTransmit(Math.min(room, MAX_MESSAGE_BYTES), Timers.now());
        if (bytes === null) break;
        transport.send(bytes);
      }
    }
  }

  /** @param {import('./session.js').SessionEvent} event */
  #onEvent(event) {
    switch (event.type) {
      case 'welcome':
        this.#onWelcome(event.n);
        return;
      case 'late': {
        // An older attempt was answered while a newer one is under way. The gateway turns to the newer one, so the
        // transport that works has to be attached anew, this time without a competitor.
        const attempt = this.#pending.get(event.n);
        if (attempt === undefined) return;
        this.#dropPending();
        this.#start(attempt.kind, attempt.why, { race: false });
        return;
      }
      case 'refused': {
        const attempt = this.#pending.get(event.n);
        if (attempt) this.#onFailed(attempt, event);
        return;
      }
      case 'detach':
        this.#onDetach(event.n, event.why);
        return;
      case 'dead':
        if (this.#current?.n === event.n) this.#lose(this.#current, 'silence');
        return;
      case 'goaway':
        if (event.code === 'going_away') {
          this.draining = true;
          this.#timers.clear('linger');
        } else this.#timers.after('rotate', event.afterMs);
        this.#emit('goaway', { afterMs: event.afterMs, code: event.code });
        return;
      case 'over':
        this.#onOver(event.code);
        return;
    }
  }

  /** @param {number} n @param {number} why */
  #onDetach(n, why) {
    const pending = this.#pending.get(n);
    if (why === DETACH_SUPERSEDED && pending) {
      // The gateway saw a newer number, of an attempt that was given up since: a yet newer one is what it takes.
      this.#pending.delete(n);
      this.#discard(pending);
      if (this.#pending.size === 0) this.#start(pending.kind, pending.why);
    } else if (this.#current?.n === n && this.#current.kind !== 'poll' && this.#pending.size === 0) {
      if (why === DETACH_ROTATE) this.#start(this.#current.kind, 'rotate');
      else if (why === DETACH_SUPERSEDED) this.#lose(this.#current, 'superseded', { trusted: true });
    }
  }

  /** @param {(End & { blocked: boolean }) | null} failure */
  #onPosted(failure) {
    this.#input(() => {
      if (failure === null) return;
      // A session that just ended is not known to its uplink any more, while the downlink still says why it ended.
      const hearsay = failure.code === 'lost' && !failure.blocked && this.#current?.ended === false;
      if (hearsay || this.#endedBy(failure)) return;
      if (failure.blocked && this.#current) {
        this.#ladder.failed(this.#current.kind);
        this.#lose(this.#current, failure.text);
      }
    });
  }

  /** @param {string} name */
  #onTimer(name) {
    this.#input(() => {
      const current = this.#current;
      switch (name) {
        case 'race': {
          const kind = this.#ladder.next(this.#busy());
          if (kind !== null && this.#pending.size > 0) this.#start(kind, 'race');
          return;
        }
        case 'retry':
          this.#try(this.session.confirmed ? 'resume' : 'first');
          return;
        case 'stepup':
          this.#stepUp();
          return;
        case 'rotate':
          if (current && this.#pending.size === 0) this.#start(current.kind, 'rotate');
          return;
        case 'poll':
          if (current?.ended) this.#pollNow(current);
          return;
        case 'probe':
          if (current) this.#lose(current, 'silence');
          return;
        case 'connect':
          this.session.over(this.#reason.code, this.#reason.text);
          return;
        case 'giveup':
          this.session.over('lost', 'out of reach for too long');
          return;
        case 'linger':
          if (this.session.size === 0) this.session.end('closed', '');
          return;
        default:
          if (name.startsWith('attempt:')) {
            const attempt = this.#pending.get(Number(name.slice('attempt:'.length)));
            if (attempt) this.#onFailed(attempt, { code: null, text: 'no answer' });
          }
      }
    });
  }

  /** Nothing said why there is no way to the gateway. */
  async #askWhy() {
    if (this.#asking) return;
    this.#asking = true;
    // A module that does not come says no more than a gateway that does not answer.
    const answer = await import('./origin.js').then(({ askOrigin }) => askOrigin(this.#config, this.#origin.signal), () => null);
    this.#asking = false;
    if (answer) this.#input(() => this.session.confirmed || this.#endedBy(answer));
  }

  #onOnline() {
    this.#input(() => {
      const current = this.#current;
      if (current === null) {
        if (this.#pending.size > 0) return;
        this.#ladder.startOver();
        this.#try('online');
      } else if (isSocket(current.kind)) {
        this.session.probe(current.n);
        this.#timers.after('probe', this.#config.timing.probeMs);
      } else if (this.#pending.size === 0) {
        this.#start(current.kind, 'online');
      }
    });
  }

  /** @param {boolean} persisted */
  #onHide(persisted) {
    this.#input(() => {
      if (!persisted) {
        // Nobody will know the token any more, so the servers need not wait for this page to come back.
        this.session.end('closed', '');
        return;
      }
      this.#hidden = true;
      this.#dropPending();
      const current = this.#current;
      if (current === null) return;
      const bytes = encode([{ type: 'DETACH', n: current.n, why: DETACH_LEAVING }]);
      if (isSocket(current.kind)) current.transport.send(bytes);
      else this.#uplink.sendLast(bytes);
      this.#lose(current, 'hidden', { trusted: true });
    });
  }

  #onShow() {
    this.#hidden = false;
    this.#input(() => this.#current === null && this.#pending.size === 0 && this.#try('resume'));
  }

  /** @param {import('./codes.js').EndCode} code */
  #onOver(code) {
    const { session } = this;
    const last = session.lastWords();
    if (last !== null) {
      if (this.#current && isSocket(this.#current.kind) && !this.#current.ended) this.#current.transport.send(last);
      else this.#uplink.sendLast(last);
    }
    this.#unwatch();
    this.#origin.abort();
    this.#uplink.abort();
    this.#timers.clearAll();
    for (const attempt of [...this.#pending.values(), ...(this.#current ? [this.#current] : [])]) {
      this.#discard(attempt);
    }
    this.#pending.clear();
    this.#current = null;
    this.#setState('closed');
    this.#whenOver(code === 'aborted' ? 'closed' : errorCode(code));
  }

  /** @param {LinkState} state */
  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    if (state !== 'closed') this.#emit('state', { state });
  }
}

/** After everything that was to happen at once. Unlike a timer it is not slowed down in a hidden page. */
function macrotask() {
  return /** @type {Promise<void>} */ (new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  }));
}
