/**
 * Keeps one Session attached, and tells it and the application what happens. All of its inputs (transports, timers, the
 * page, the application) end in `#pump`, which does what the session then asks. What carries the session is the Attempts'
 * business.
 *
 * Invariant: a link that is closed has no timer, no transport and no POST in flight.
 *
 * @typedef {import('./codes.js').Code} Code
 * @typedef {import('./errors.js').ErrorCode} ErrorCode
 * @typedef {import('./options.js').Config} Config
 * @typedef {import('./session.js').Kind} Kind
 * @typedef {import('./stream.js').Stream} Stream
 * @typedef {import('./transports/http.js').Uplink} Uplink
 * @typedef {import('./transports/transport.js').End} End
 * @typedef {'connecting' | 'attached' | 'detached' | 'closed'} LinkState
 *
 * @typedef {import('./gateway.js').GatewayEvents} Events
 * @typedef {<Name extends keyof Events>(name: Name, event: Events[Name]) => void} Emit
 * @typedef {(code: ErrorCode | 'closed') => void} OnOver
 */

import { Timers } from './timers.js';
import { Session } from './session.js';
import { insist, need } from './need.js';
import { errorCode } from './errors.js';
import { Attempts, MAX_MESSAGE_BYTES } from './attempts.js';
import { loadHttp } from './transports/open.js';

/** With less room than this a WebSocket is left to drain first, so that messages do not get small. */
const LEAST_ROOM_BYTES = 8192;
/** A WebSocket does not say when its queue drained. */
const DRAIN_MS = 10;
/** @type {readonly Code[]} what it is of no use to try again after */
const FATAL = ['protocol', 'version', 'denied', 'lost'];

/**
 * Where what a page says last arrives though it goes: a browser lets go of what is on a stream of WebTransport then, but
 * not of a POST.
 * @type {readonly Kind[]}
 */
export const SAYS_GOODBYE = ['websocket', 'port'];

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
  /** @type {Uplink | null} comes when POSTs may be needed, so never while a WebSocket just works */
  #uplink = null;
  /** @type {Map<Stream, () => void>} */
  #listeners = new Map();
  #pumping = false;
  #pumpAgain = false;
  #kicked = false;
  /** When the session was last told the time. */
  #handledAt = 0;

  #attempts;
  /** @type {End} why the last attempt failed */
  #reason = { code: null, text: '' };
  /** @type {number | null} */
  #detachedAt = null;
  /** @type {Promise<void> | null} */
  #asking = null;
  /** @type {import('./health.js').Health | null} */
  #health = null;
  /** @type {Promise<void> | null} */
  #attending = null;
  #over = new AbortController();

  /**
   * @param {Config} config
   * @param {Emit} emit
   * @param {OnOver} onOver called when the link is closed
   * @param {import('./session.js').SessionState} [state] of a session to go on with
   * @param {number} [goneMs] for how long nobody has
   */
  constructor(config, emit, onOver, state, goneMs = 0) {
    this.#config = config;
    this.#emit = emit;
    this.#whenOver = onOver;
    this.session = new Session(config.timing, state);
    this.#timers = new Timers((name) => this.#onTimer(name));
    this.#attempts = new Attempts(config, this.session, this.#timers, {
      input: (change) => this.#input(change),
      attached: (attempt, from) => this.#onAttached(attempt, from),
      detached: (reason) => this.#onDetached(reason),
      ended: (end) => this.#endedBy(end),
      failed: (end) => this.#onFailed(end),
    });
    if (state === undefined) this.#timers.after('connect', config.timing.connectTimeoutMs);
    else this.#detachedSince(Timers.now() - goneMs);
    // The first socket is opened by the caller, so that its OPEN goes with the first HELLO.
    queueMicrotask(() => this.#input(() => this.state === 'connecting' && this.#attempts.start('first')));
  }

  // --- what the application does ---

  /** @type {Kind | null} */
  get transport() {
    return this.#attempts.current?.kind ?? null;
  }

  /**
   * @param {string} target
   * @param {() => void} listener called when something happened on the stream
   * @returns {Stream}
   */
  open(target, listener) {
    const stream = this.session.open(target);
    this.listen(stream, listener);
    this.kick();
    return stream;
  }

  /** @param {Stream} stream @param {() => void} listener */
  listen(stream, listener) {
    this.#listeners.set(stream, listener);
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
    this.#input(() => this.#attempts.use(kind));
  }

  /** Breaks what is in use, without a word to the other side. */
  cut() {
    this.#input(() => this.#attempts.cut('cut'));
  }

  /** Ends the session. */
  close() {
    this.#input(() => this.session.end('closed', ''));
  }

  /** Lets go of the session without a word to anybody. */
  leave() {
    this.#over.abort();
    this.#uplink?.abort();
    this.#timers.clearAll();
    this.#attempts.close();
    this.#setState('closed');
  }

  // --- what the attempts tell ---

  /** @param {import('./attempts.js').Attempt} attempt @param {Kind | null} from */
  #onAttached({ kind, why, welcomedAt }, from) {
    this.#timers.clear('connect', 'giveup');
    if (from !== kind) this.#emit('transport', { from, to: kind, reason: why });
    const since = this.#detachedAt;
    this.#detachedAt = null;
    this.#setState('attached');
    this.#health?.attached();
    this.#attending ??= insist(async () => {
      const { attend } = await need('health.js', () => import('./health.js'));
      this.#health = await attend({
        input: (change) => this.#input(change), config: this.#config, session: this.session, attempts: this.#attempts,
        uplink: () => this.#uplink,
      }, this.#over.signal);
    }, this.#config.timing, () => this.state === 'closed');
    if (!SAYS_GOODBYE.includes(kind)) this.#withUplink();
    if (since !== null) {
      this.resumes += 1;
      this.#emit('resume', { transport: kind, afterMs: welcomedAt - since });
    }
  }

  /** @param {string} reason */
  #onDetached(reason) {
    if (!this.#attempts.trying) this.#uplink?.abort();
    this.#withUplink();
    this.#detachedSince(Timers.now());
    this.#setState('detached');
    this.#emit('detach', { reason });
  }

  /** @param {number} at */
  #detachedSince(at) {
    this.#detachedAt ??= at;
    this.#timers.set('giveup', at + this.session.resumeMs + this.session.silenceMs);
  }

  /** @param {End} end */
  #onFailed(end) {
    this.#reason = end;
    if (this.#endedBy(end)) return true;
    if (!this.session.confirmed && end.code === null && !this.#attempts.trying) this.#askWhy();
    return false;
  }

  /** Whether what ended a transport ends the session too. @param {End} end */
  #endedBy({ code, text, broken }) {
    if (broken) this.session.end(code ?? 'protocol', text);
    else if (code !== null && FATAL.includes(code)) this.session.over(code, text);
    else return false;
    return true;
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
      if (this.#uplink) this.#uplink.pump();
      else this.#withUplink(() => this.kick());
    } else if (kind === 'socket' && this.#attempts.current?.n === n) {
      const { transport } = this.#attempts.current;
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
      case 'goaway': {
        const { afterMs, code } = event;
        if (code === 'going_away') {
          this.draining = true;
          this.#timers.clear('linger');
        } else this.#timers.after('rotate', afterMs);
        this.#emit('goaway', { afterMs, code });
        return;
      }
      case 'over':
        this.#onOver(event.code);
        return;
      default:
        if (event.type === 'welcome') this.attaches += 1;
        this.#attempts.onEvent(event);
    }
  }

  /** @param {(End & { blocked: boolean }) | null} failure */
  #onPosted(failure) {
    this.#input(() => {
      if (failure === null) return this.#health?.posted();
      // A session that just ended is not known to its uplink any more, while the downlink still says why it ended.
      const hearsay = failure.code === 'lost' && !failure.blocked && this.#attempts.current?.ended === false;
      if (hearsay || this.#endedBy(failure)) return;
      if (failure.blocked) this.#attempts.giveUp(failure.text);
    });
  }

  /** @param {string} name */
  #onTimer(name) {
    this.#input(() => {
      switch (name) {
        case 'connect':
          this.session.over(this.#reason.code ?? 'offline', this.#reason.text);
          return;
        case 'giveup':
          this.session.over('lost', 'out of reach for too long');
          return;
        case 'linger':
          if (this.session.size === 0) this.session.end('closed', '');
          return;
        default:
          this.#attempts.onTimer(name);
      }
    });
  }

  /** Nothing said why there is no way to the gateway. */
  #askWhy() {
    // A module that does not come says no more than a gateway that does not answer.
    this.#asking ??= need('origin.js', () => import('./origin.js')).then(({ askOrigin }) => askOrigin(this.#config, this.#over.signal)).catch(() => null).then((answer) => {
      this.#asking = null;
      if (answer) this.#input(() => this.session.confirmed || this.#endedBy(answer));
    });
  }

  /** @param {(uplink: Uplink) => void} [use] is called at once when it is there, because a page that goes does not wait */
  #withUplink(use = () => {}) {
    if (this.#uplink) use(this.#uplink);
    // What does not come now is asked for again by what needs it next.
    else loadHttp().then(({ Uplink }) => use(this.#uplink ??= new Uplink(this.#config, this.session, this.#timers, (failure) => this.#onPosted(failure))), () => {});
  }

  /** @param {import('./codes.js').EndCode} code */
  #onOver(code) {
    const { session } = this;
    const last = session.lastWords();
    if (last !== null) {
      const { current } = this.#attempts;
      if (current && SAYS_GOODBYE.includes(current.kind) && !current.ended) current.transport.send(last);
      else if (session.confirmed) this.#withUplink((uplink) => uplink.sendLast(last));
    }
    this.leave();
    this.#whenOver(code === 'aborted' ? 'closed' : errorCode(code));
  }

  /** @param {LinkState} state */
  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    if (state !== 'closed') this.#emit('state', { state });
  }
}
