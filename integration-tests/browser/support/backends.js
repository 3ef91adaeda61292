/** TCP servers to reach through the gateway, in the process of the test. */

import net from 'node:net';

export class Backend {
  #server;
  /** @type {Set<net.Socket>} */
  sockets = new Set();
  /** Connections so far. */
  accepted = 0;
  port = 0;

  /** @param {(socket: net.Socket) => void} serve */
  constructor(serve) {
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.accepted += 1;
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
      serve(socket);
    });
  }

  /** @param {(socket: net.Socket) => void} serve */
  static async start(serve) {
    const backend = new Backend(serve);
    await new Promise((resolve) => backend.#server.listen(0, '127.0.0.1', () => resolve(undefined)));
    backend.port = /** @type {net.AddressInfo} */ (backend.#server.address()).port;
    return backend;
  }

  /** Sends everything back, and its end after ours. */
  static echo() {
    return Backend.start((socket) => socket.pipe(socket));
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  async stop() {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A port of this machine where nothing listens. */
export async function closedPort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether something listens there. @param {number} port @returns {Promise<boolean>} */
export function connects(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
