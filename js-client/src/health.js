/**
 * Whether the transport in use still is one, when its silence and the page's events leave doubt. Loaded when the first
 * transport works: before that there is nothing to keep.
 *
 * Silence is measured by the wall clock, which goes on while a computer sleeps, and looked at every few seconds and
 * whenever the page is told something: timers may have been slowed down, or stood still. What decides is the answer to a
 * PING, so a doubt without reason costs one.
 *
 * @typedef {object} Parts of a link
 * @property {(change: () => unknown) => void} input
 * @property {import('./options.js').Config} config
 * @property {import('./session.js').Session} session
 * @property {import('./attempts.js').Attempts} attempts
 * @property {() => import('./transports/http.js').Uplink | null} uplink
 */

import { need } from './need.js';
import { DEAD_HEARTBEATS, isSocket } from './session.js';
import { Timers } from './timers.js';

/** How often silence is looked at. */
const LOOK_MS = 5000;
/** The gateway breaks its silence after one heartbeat at the latest; a poll is answered in about that time. */
const DOUBTFUL_HEARTBEATS = 1.5;
/** How often a transport is asked in vain, while POSTs are answered, before it counts as held back on its way. */
const MISSES = 2;
/** Times `probeMs` of silence after which an iframe is asked: some browsers do not tell that a page in one was cut. */
const QUIET_PROBES = 3;
/** A stream that goes up and down is checked no more often than that. */
const CHECK_MS = 30_000;

/** @param {Parts} parts @param {AbortSignal} signal ends it */
export async function attend(parts, signal) {
  const [{ watchPage }, memory] = await Promise.all([
    need('page.js', () => import('./page.js')), need('remember.js', () => import('./remember.js')),
  ]);
  const health = new Health(parts, memory, signal);
  if (!signal.aborted) {
    watchPage(parts, health, signal);
    health.attached();
  }
  return health;
}

export class Health {
  #parts;
  #memory;
  #timers;
  /** @type {{ n: number, t: number, wall: number, at: number } | null} the last PING */
  #asked = null;
  #doubts = 0;
  #misses = 0;
  /** What went well went silent. */
  #quiet = false;
  /** A better rung is tried. */
  #stepping = false;
  /** Times in a row that it was tried in vain. */
  #inVain = 0;

  /** @param {Parts} parts @param {Pick<typeof import('./remember.js'), 'remember' | 'moved'>} memory @param {AbortSignal} signal ends it */
  constructor(parts, memory, signal) {
    this.#parts = parts;
    this.#memory = memory;
    this.#timers = new Timers((name) => parts.input(() => this.#onTimer(name)));
    signal.addEventListener('abort', () => this.#timers.clearAll());
  }

  /** A transport is in use that was not before. */
  attached() {
    const { attempts, config } = this.#parts;
    const { current } = attempts;
    if (current === null) return;
    if (!attempts.forced && current.kind !== 'port') this.#memory.remember(config, current.kind);
    if (attempts.better === null) this.#inVain = 0;
    else if (this.#stepping && current.why !== 'step-up') this.#inVain += 1;
    this.#stepping = false;
    this.#timers.after('stepup', stepUpDelay(config.timing.stepUpAfterMs, this.#inVain));
    this.#misses = 0;
    this.#quiet = false;
    this.#timers.clear('answer');
    this.#timers.after('look', LOOK_MS);
    if (this.#mayBeHeldBack()) this.#ask();
  }

  /** A POST was answered, so the gateway is there: what is asked now must be heard. */
  posted() {
    const { current } = this.#parts.attempts;
    if (current === null || !this.#mayBeHeldBack() || this.#timers.has('answer')) return;
    const now = Date.now();
    if (Math.min(now - current.heardAt, now - (this.#asked?.wall ?? 0)) > CHECK_MS) this.#ask();
  }

  /** The page is on another network. */
  moved() {
    this.#memory.moved(this.#parts.config);
    this.#parts.attempts.moved();
    this.wake();
  }

  /** Timers may have stood still, or the network changed: whatever is in use has to show that it works. */
  wake() {
    const { attempts } = this.#parts;
    const { current } = attempts;
    if (current === null) attempts.use(attempts.forced, 'online');
    else if (isSocket(current.kind)) this.#ask();
    else attempts.renew('online');
  }

  /** @param {string} name */
  #onTimer(name) {
    if (name === 'look') this.look();
    else if (name === 'answer') this.#judge();
    else {
      const { attempts } = this.#parts;
      this.#stepping = attempts.better !== null && !attempts.trying;
      attempts.stepUp();
    }
  }

  /** Looks whether the transport in use has been silent for too long. */
  look() {
    const { attempts, session, config } = this.#parts;
    this.#timers.after('look', LOOK_MS);
    const { current } = attempts;
    const asking = this.#timers.has('answer');
    // Where an iframe that was quiet is asked, the network may be what does not work.
    if (current === null || (asking && !this.#quiet)) return;
    const silentMs = Date.now() - current.heardAt;
    const heartbeat = session.silenceMs / DEAD_HEARTBEATS;
    if (heartbeat > 0 && silentMs > heartbeat * DOUBTFUL_HEARTBEATS) this.wake();
    else if (!asking && current.kind === 'htmlfile' && silentMs > QUIET_PROBES * config.timing.probeMs) {
      this.#quiet = true;
      this.#ask();
    }
  }

  /** Only what comes in a reply without end can be held back by somebody who waits for the end. */
  #mayBeHeldBack() {
    const { attempts } = this.#parts;
    const { current } = attempts;
    return current !== null && attempts.forced === null && ['stream', 'sse', 'htmlfile'].includes(current.kind);
  }

  /** @param {number} [t] an answer to any PING that has it will do */
  #ask(t = this.#doubts += 1) {
    const { attempts: { current }, session, config } = this.#parts;
    if (current === null) return;
    const wall = Date.now();
    this.#asked = { n: current.n, t, wall, at: Timers.now() };
    // What was heard in this very millisecond is no answer.
    current.heardAt = Math.min(current.heardAt, wall - 1);
    session.probe(t);
    this.#timers.after('answer', Math.max(config.timing.probeMs, 4 * (current.welcomedAt - current.startedAt)));
  }

  /** Time is up for an answer. */
  #judge() {
    const { attempts, uplink } = this.#parts;
    const { current } = attempts;
    if (current === null || current.n !== this.#asked?.n) return;
    const { t } = this.#asked;
    const heard = current.heardAt >= this.#asked.wall;
    const posted = (uplink()?.answeredAt ?? 0) > this.#asked.at;
    if (heard) {
      this.#misses = 0;
      this.#quiet = false;
    }
    if (current.answered === t) return;
    if (heard) {
      // Who holds back passes on what fills his buffers, answers before it too: what counts is an answer that nothing follows.
      if (this.#mayBeHeldBack()) this.#ask(t);
    } else if (isSocket(current.kind) || (this.#quiet && posted)) {
      attempts.cut('silence');
    } else {
      // Without an answer to a POST it is the network that does not work, and the session's own timeout decides.
      if (posted) this.#misses += 1;
      if (this.#misses < MISSES) this.#ask(t);
      else {
        this.#stepping = current.why === 'step-up';
        attempts.giveUp('held back', true);
      }
    }
  }
}

/**
 * How long to wait before better rungs are tried: twice as long after each time it was in vain, at most an hour.
 * @param {number} stepUpAfterMs
 * @param {number} inVain
 */
export function stepUpDelay(stepUpAfterMs, inVain) {
  return Math.min(stepUpAfterMs * 2 ** inVain, Math.max(stepUpAfterMs, 3_600_000));
}
