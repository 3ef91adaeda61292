/**
 * strophe.js on a session: its own WebSocket replaced by one of ours.
 *
 * @typedef {object} Builder
 * @property {(name: string, attributes?: Record<string, string>) => Builder} c
 * @property {(text: string) => Builder} t
 * @property {() => Builder} up
 * @property {() => Element} tree
 *
 * @typedef {object} StropheConnection what we use of its Connection
 * @property {string} jid
 * @property {boolean} connected
 * @property {(jid: string, password: string, callback: (status: number, condition: string | null) => void) => void} connect
 * @property {(reason?: string) => void} disconnect
 * @property {() => void} reset
 * @property {(stanza: Element) => void} send
 * @property {(stanza: Element, done: (reply: Element) => void, failed: (reply: Element | null) => void, timeoutMs: number) => string} sendIQ
 * @property {(listener: (stanza: Element) => boolean, namespace: string | null, name: string | null, type?: string | null) => unknown} addHandler
 * @property {() => boolean} [hasResumed]
 * @property {{ _pendingResend?: { name: string, stanza: string }[] } | null} [sm]
 * @property {(condition?: string) => void} _doDisconnect
 * @property {object} _proto
 *
 * @typedef {object} StropheWebSocket what we use of its transport
 * @property {TCPWebSocket | null} socket
 * @property {() => void} _closeSocket
 * @property {() => void} _onOpen
 * @property {(event: Event) => void} _onError
 * @property {(event: CloseEvent) => void} _onClose
 * @property {(event: MessageEvent) => void} _onInitialMessage
 *
 * @typedef {object} Strophe the object of this name that strophe.js exports
 * @property {new (service: string, options?: object) => StropheConnection} Connection
 * @property {new (connection: any) => StropheWebSocket} Websocket
 * @property {new (name: string, attributes?: Record<string, string>) => Builder} Builder
 * @property {Record<string, number>} Status
 * @property {new () => object} [MemoryStorageBackend]
 *
 * @typedef {Omit<import('../clients/connection.js').Reach, 'socket'>} StropheReach
 */

import { TCPWebSocket } from '../websocket.js';

/**
 * A connection of strophe.js, to be used as any other: `connect`, handlers, plugins.
 * @template {Strophe} S
 * @param {S} strophe
 * @param {StropheReach} reach
 * @param {ConstructorParameters<S['Connection']>[1]} [options] of the connection
 * @returns {InstanceType<S['Connection']>}
 */
export function stropheConnection(strophe, reach, options) {
  return connectionOver(strophe, () => socketTo(reach), options);
}

/** @param {StropheReach} reach */
export function socketTo({ server, port, gateway, service = 'xmpp' }) {
  const target = port === undefined ? server : `${server.includes(':') ? `[${server}]` : server}:${port}`;
  return new TCPWebSocket(target, 'xmpp', { ...(gateway !== undefined && { gateway }), service: /** @type {'xmpp'} */ (service), framing: 'stanzas' });
}

/**
 * @template {Strophe} S
 * @param {S} strophe
 * @param {() => TCPWebSocket} make
 * @param {ConstructorParameters<S['Connection']>[1]} [options]
 * @returns {InstanceType<S['Connection']>}
 */
export function connectionOver(strophe, make, options = {}) {
  class OverSession extends strophe.Websocket {
    _connect() {
      this._closeSocket();
      const socket = make();
      socket.onopen = () => this._onOpen();
      socket.onerror = (event) => this._onError(event);
      socket.onclose = (event) => this._onClose(event);
      socket.onmessage = (event) => this._onInitialMessage(event);
      this.socket = socket;
    }
  }
  // The address is for strophe to see that it is about a WebSocket; where it goes is said to ours.
  const connection = new strophe.Connection('wss://perigee.invalid/', options);
  connection._proto = new OverSession(connection);
  return /** @type {InstanceType<S['Connection']>} */ (connection);
}

/**
 * Of what a stream that could not be resumed had left unconfirmed, strophe sends everything again on the new one. That is
 * right for what was said to somebody; presence, questions and the talk of rooms belonged to the old stream.
 * @param {StropheConnection} connection that has just logged in anew
 */
export function forgetStale({ sm }) {
  if (sm?._pendingResend) sm._pendingResend = sm._pendingResend.filter(({ name, stanza }) => name === 'message' && !/^<[^>]*\stype=["']groupchat/.test(stanza));
}
