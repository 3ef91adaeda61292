// @ts-check
/**
 * Which of our lines the server's socket has: the way to the server, with a count of what was written to it.
 *
 * Invariant: a line counts as delivered only when every byte that was written up to it was acked.
 */

/** @typedef {'pending' | 'delivered' | 'unknown'} Mark */

export class Delivery {
  /** @type {import('/perigee.js').TCPSocket | null} */
  #socket = null;
  #written = 0;
  /** @type {{ end: number, line: HTMLElement }[]} */
  #waiting = [];

  /**
   * A new connection, in place of the one before.
   * @param {import('/perigee.js').TCPSocket} socket
   */
  over(socket) {
    this.#socket = socket;
    this.#written = 0;
    const opened = async () => {
      const { readable, writable } = await socket.opened;
      const writer = writable.getWriter();
      const counted = new WritableStream({
        write: (/** @type {Uint8Array} */ bytes) => {
          this.#written += bytes.length;
          return writer.write(bytes);
        },
        close: () => writer.close(),
        abort: (reason) => writer.abort(reason),
      });
      return { readable, writable: counted };
    };
    return { opened: opened(), close: () => socket.close() };
  }

  /** What was written last is this line. @param {HTMLElement} line */
  wrote(line) {
    mark(line, 'pending');
    this.#waiting.push({ end: this.#written, line });
  }

  /** Looks at what was acked meanwhile. */
  look() {
    const acked = this.#socket?.stats.acked ?? 0;
    while (this.#waiting[0] && this.#waiting[0].end <= acked) mark(/** @type {{ line: HTMLElement }} */ (this.#waiting.shift()).line, 'delivered');
  }

  /** The connection is over. @returns {number} how many lines may not have arrived */
  end() {
    this.look();
    for (const { line } of this.#waiting) mark(line, 'unknown');
    const count = this.#waiting.length;
    this.#waiting = [];
    return count;
  }
}

/** @param {HTMLElement} line @param {Mark} as */
function mark(line, as) {
  line.dataset.delivery = as;
}
