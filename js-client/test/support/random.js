/** Random numbers from a seed (mulberry32), so that a failure can be repeated. */
export class Random {
  /** @param {number} seed */
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** 0 ≤ x < 1 */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `min` to `max`. @param {number} min @param {number} max */
  int(min, max) {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  /** @param {number} p */
  chance(p) {
    return this.next() < p;
  }

  /** @template T @param {readonly T[]} list @returns {T} */
  pick(list) {
    return /** @type {T} */ (list[this.int(0, list.length - 1)]);
  }
}

/** Bytes `from` to `to` of the text every test stream carries; each stream has its own. @param {number} id @param {number} from @param {number} to */
export function pattern(id, from, to) {
  const bytes = new Uint8Array(to - from);
  for (let i = from; i < to; i += 1) bytes[i - from] = (Math.imul(i + id * 7919, 2654435761) >>> 13) & 255;
  return bytes;
}
