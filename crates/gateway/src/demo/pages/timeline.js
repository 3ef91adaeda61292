// @ts-check
/**
 * The last minute of a link as a picture: bytes up and down, by transport, and the gaps between.
 *
 * It shows samples it is given; the numbers beside it say the same in words, so it is hidden from
 * screen readers.
 */

/** @typedef {{ up: number, down: number, transport: string | null, attached: boolean }} Sample */

const SAMPLES = 240;

export class Timeline {
  /** @type {Sample[]} */
  #samples = [];
  #canvas;
  #quiet = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  /** @param {Sample} sample */
  push(sample) {
    this.#samples.push(sample);
    if (this.#samples.length > SAMPLES) this.#samples.shift();
    // An idle link draws a flat line; once all of it has been drawn there is nothing new to draw.
    this.#quiet = sample.up + sample.down > 0 || !sample.attached ? 0 : this.#quiet + 1;
    if (this.#quiet <= SAMPLES && !document.hidden) this.#draw();
  }

  #draw() {
    const canvas = this.#canvas;
    const context = canvas.getContext('2d');
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!context || width === 0) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.scale(ratio, ratio);

    const style = getComputedStyle(canvas);
    const color = /** @param {string} name */ (name) => style.getPropertyValue(name).trim();
    const middle = Math.round(height / 2);
    const step = width / SAMPLES;
    const peak = Math.max(64, ...this.#samples.map((s) => Math.max(s.up, s.down)));
    // A logarithm, so that a line of chat is seen beside a transfer of megabytes.
    const scale = /** @param {number} bytes */ (bytes) => (bytes === 0 ? 0 : Math.max(1.5, (Math.log1p(bytes) / Math.log1p(peak)) * (middle - 3)));

    this.#samples.forEach((sample, i) => {
      const x = width - (this.#samples.length - i) * step;
      if (!sample.attached && sample.transport !== null) {
        context.fillStyle = color('--bad');
        context.globalAlpha = 0.28;
        context.fillRect(x, 0, step + 0.5, height);
        context.globalAlpha = 1;
      }
      context.fillStyle = color(sample.transport ? `--${sample.transport}` : '--line');
      context.fillRect(x, middle - scale(sample.up), Math.max(1, step - 0.4), scale(sample.up));
      context.globalAlpha = 0.6;
      context.fillRect(x, middle + 1, Math.max(1, step - 0.4), scale(sample.down));
      context.globalAlpha = 1;
    });
    context.fillStyle = color('--line-strong');
    context.fillRect(0, middle, width, 1);
  }
}
