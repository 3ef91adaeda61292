/**
 * A TCP proxy that behaves like a bad network: it breaks connections off, and refuses them for a while.
 *
 * It knows nothing of what it carries.
 */

import net from 'node:net';

export class CuttingProxy {
  #server;
  /** @type {Set<() => void>} */
  #open = new Set();
  #target = 0;
  #down = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  port = 0;
  /** What each direction of a connection carries at most, in bytes a second. */
  rate = Infinity;
  /** Connections are broken off when the client says this. @type {RegExp | null} */
  refusing = null;
  /** Connections it broke off. */
  cuts = 0;
  /** Connections it carried. */
  connections = 0;
  /** @type {Promise<void> | null} until it ends nothing passes, and nobody is told */
  #stalled = null;
  #wake = () => {};

  constructor() {
    this.#server = net.createServer({ allowHalfOpen: true }, (near) => this.#join(near));
  }

  /** Listens; `target` may be given later, so that a gateway can be told the proxy's address. @param {number} [target] port */
  static async start(target = 0) {
    const proxy = new CuttingProxy();
    proxy.#target = target;
    await new Promise((resolve) => proxy.#server.listen(0, '127.0.0.1', () => resolve(undefined)));
    proxy.port = /** @type {net.AddressInfo} */ (proxy.#server.address()).port;
    return proxy;
  }

  /** Connections that it carries now. */
  get open() {
    return this.#open.size;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** @param {number} port */
  aim(port) {
    this.#target = port;
  }

  /** Breaks off what is open. */
  cut() {
    for (const end of [...this.#open]) {
      this.cuts += 1;
      end();
    }
  }

  /** Breaks off everything, again and again, until `calm`. @param {number} everyMs */
  storm(everyMs) {
    this.calm();
    this.#timer = setInterval(() => this.cut(), everyMs);
  }

  calm() {
    clearInterval(this.#timer);
  }

  /** From now on no connection passes, and none stays. */
  goDown() {
    this.#down = true;
    this.cut();
  }

  comeBack() {
    this.#down = false;
  }

  /** From now on nothing passes and nothing breaks, as when a cable is pulled. */
  stall() {
    this.#stalled ??= new Promise((resolve) => (this.#wake = resolve));
  }

  flow() {
    this.#wake();
    this.#stalled = null;
  }

  /** As it was at first. */
  tidy() {
    this.calm();
    this.flow();
    this.comeBack();
    this.refusing = null;
    this.rate = Infinity;
  }

  async stop() {
    this.calm();
    this.flow();
    this.goDown();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** @param {net.Socket} near */
  #join(near) {
    near.on('error', () => {});
    if (this.#down) {
      breakOff(near);
      return;
    }
    this.connections += 1;
    const far = net.connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true });
    const end = () => {
      this.#open.delete(end);
      breakOff(near);
      breakOff(far);
    };
    this.#open.add(end);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.setNoDelay(true);
      from.on('data', async (chunk) => {
        if (from === near && this.refusing?.test(chunk.toString('latin1'))) {
          end();
          return;
        }
        if (this.#stalled) {
          from.pause();
          await this.#stalled;
          from.resume();
        }
        const ready = to.write(chunk);
        const ms = (1000 * chunk.length) / this.rate;
        if (ready && ms === 0) return;
        from.pause();
        if (ms > 0) setTimeout(() => from.resume(), ms);
        else to.once('drain', () => from.resume());
      });
      from.on('end', async () => {
        await this.#stalled;
        to.end();
      });
      from.on('error', end);
      from.on('close', () => {
        this.#open.delete(end);
        to.destroy();
      });
    }
  }
}

/**
 * By RST where that is possible: a socket that is sending its FIN cannot be reset, and Node 20 then never lets go of it
 * and spins when the process ends.
 * @param {net.Socket} socket
 */
function breakOff(socket) {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
