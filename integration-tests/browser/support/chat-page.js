/** The demo's chat page, as a person uses it: with the keyboard. */

import { until } from './wait.js';

/** @typedef {{ kind: string, nick: string, text: string, delivery: string | undefined }} Line */

export class ChatPage {
  /** @param {import('puppeteer-core').Page} page @param {string} nick @param {string} channel */
  constructor(page, nick, channel) {
    this.page = page;
    this.nick = nick;
    this.channel = channel;
  }

  /**
   * Opens the page, presses Enter and waits to be in the channel.
   * @param {import('./browsers.js').Browser} browser
   * @param {string} site where the page is
   * @param {{ nick: string, channel: string, gateway?: string }} settings
   */
  static async join(browser, site, settings) {
    const { page, log } = await browser.open(`${site}/chat.html?${new URLSearchParams(settings)}`);
    const chat = new ChatPage(page, settings.nick, settings.channel);
    await page.keyboard.press('Enter');
    await chat.sees(settings.nick, ({ kind, nick }) => kind === 'join' && nick === settings.nick);
    return { chat, log };
  }

  /** @returns {Promise<Line[]>} of the channel */
  lines() {
    return this.page.$$eval(`[data-testid=log][data-buffer="${this.channel}"] [data-testid=line]`, (lines) => lines.map((line) => ({
      kind: line.dataset.kind ?? '', nick: line.dataset.nick ?? '', text: line.querySelector('.text')?.textContent ?? '',
      delivery: line.dataset.delivery,
    })));
  }

  /** Waits for a line. @param {string} what @param {(line: Line) => boolean} wanted */
  async sees(what, wanted) {
    let lines = /** @type {Line[]} */ ([]);
    try {
      return await until(what, async () => (lines = await this.lines()).find(wanted));
    } catch (error) {
      throw new Error(`${what} is not in ${JSON.stringify(lines)}`, { cause: error });
    }
  }

  /** What somebody said, in order. @param {string} nick */
  async said(nick) {
    return (await this.lines()).filter((line) => line.kind === 'message' && line.nick === nick).map(({ text }) => text);
  }

  /** Types a line and sends it. The focus is where the page put it. @param {string} text */
  async type(text) {
    await this.page.bringToFront();
    await this.page.keyboard.type(text);
    await this.page.keyboard.press('Enter');
  }

  /** @param {string} testid */
  text(testid) {
    return this.page.$eval(`[data-testid=${testid}]`, (element) => element.textContent ?? '');
  }

  members() {
    return this.page.$$eval('[data-testid=member]', (members) => members.map((member) => member.dataset.nick).sort());
  }
}
