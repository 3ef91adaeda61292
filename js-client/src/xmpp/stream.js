/**
 * The stream to a server: a connection of strophe.js on a session that can be had again and again, and how each of them
 * ended.
 */

import { codeName } from '../codes.js';
import { PerigeeError, errorCode } from '../errors.js';
import { XMPPError } from './errors.js';
import { connectionOver, socketTo } from './strophe.js';

export class XMPPStream {
  /** That of strophe.js. */
  connection;

  #strophe;
  #jid;
  #password;
  #on;
  /** @type {import('../websocket.js').TCPWebSocket | null} */
  #socket = null;
  /** How the connection ended, where something said so. @type {Error | null} */
  #reason = null;

  /**
   * @param {import('./client.js').XMPPOptions} options
   * @param {object} on
   * @param {() => void} on.welcome
   * @param {(error: Error) => void} on.end may be called more than once
   */
  constructor(options, on) {
    const { strophe, jid, password, resume = true } = options;
    const storage = resume && strophe.MemoryStorageBackend ? new strophe.MemoryStorageBackend() : null;
    const resumable = storage ? { enableStreamManagement: true, streamManagement: { storage } } : {};
    this.#strophe = strophe;
    this.#jid = jid;
    this.#password = password;
    this.#on = on;
    this.connection = connectionOver(strophe, () => this.#dial(options), resumable);
  }

  /** Our address, with the resource once the server has said it. */
  get jid() {
    return this.connection.jid || this.#jid;
  }

  open() {
    this.#reason = null;
    this.connection.reset();
    this.connection.connect(this.#jid, this.#password, (status, condition) => this.#status(status, condition ?? ''));
  }

  /** Gives the connection up, at once. */
  drop() {
    this.connection.disconnect();
    this.#socket = null;
    this.#ended();
  }

  /** @param {import('./strophe.js').StropheReach} reach */
  #dial(reach) {
    const socket = socketTo(reach);
    this.#socket = socket;
    socket.addEventListener('close', (event) => {
      if (this.#socket !== socket) return;
      const { wasClean, code, reason } = /** @type {CloseEvent} */ (event);
      this.#socket = null;
      if (!wasClean) this.#reason ??= new PerigeeError(code === 1006 ? 'offline' : errorCode(codeName(code - 4000)), reason);
      // What strophe has to say of it comes first.
      setTimeout(() => this.#ended(), 0);
    });
    return socket;
  }

  /** @param {number} status @param {string} condition */
  #status(status, condition) {
    const { CONNECTED, AUTHFAIL, CONNFAIL, ERROR, DISCONNECTED } = this.#strophe.Status;
    switch (status) {
      case CONNECTED:
        this.#on.welcome();
        break;
      case AUTHFAIL:
        this.#reason = new XMPPError('login', condition);
        // strophe waits for another attempt.
        setTimeout(() => this.connection.disconnect(), 0);
        break;
      case ERROR:
        this.#reason = new XMPPError('stream', condition);
        break;
      case CONNFAIL:
        // A broken socket has said already what broke it.
        if (/^[a-z-]+$/.test(condition)) this.#reason ??= new XMPPError('stream', condition);
        break;
      case DISCONNECTED:
        // What was said on the way out is delivered first.
        if (this.#socket === null) this.#ended();
        break;
      default:
    }
  }

  #ended() {
    if (this.#socket === null) this.#on.end(this.#reason ?? new XMPPError('ended'));
  }
}
