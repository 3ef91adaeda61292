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
   * @param {{ nick: string, channel: string, gateway?: string, shown?: string }} settings `shown`: the one of several channels to look at
   */
  static async join(browser, site, { shown, ...settings }) {
    const { page, log } = await browser.open(`${site}/chat.html?${new URLSearchParams(settings)}`);
    const chat = new ChatPage(page, settings.nick, shown ?? settings.channel);
    await page.keyboard.press('Enter');
    await chat.sees(settings.nick, ({ kind, nick }) => kind === 'join' && nick === settings.nick);
    if (shown !== undefined) await chat.choose(shown);
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

  /** Sends a line with characters that no keyboard has. @param {string} text */
  async paste(text) {
    await this.page.bringToFront();
    await this.page.$eval('[data-testid=input]', (input, value) => { /** @type {HTMLInputElement} */ (input).value = value; }, text);
    await this.page.keyboard.press('Enter');
  }

  /** @param {string} testid */
  text(testid) {
    return this.page.$eval(`[data-testid=${testid}]`, (element) => element.textContent ?? '');
  }

  /** Goes to a buffer. @param {string} name */
  async choose(name) {
    await this.page.bringToFront();
    await this.page.click(`[data-testid=buffer][data-buffer="${name}"]`);
    await this.page.waitForSelector(`[data-testid=log][data-buffer="${name}"]:not([hidden])`);
  }

  /** What is not read, by buffer; '' for none. @returns {Promise<Record<string, string>>} */
  async unread() {
    return Object.fromEntries(await this.page.$$eval('[data-testid=buffer]', (tabs) => tabs.map((tab) => [tab.dataset.buffer, tab.querySelector('[data-testid=unread]')?.textContent ?? ''])));
  }

  members() {
    return this.page.$$eval('[data-testid=member]', (members) => members.map((member) => member.dataset.nick).sort());
  }
}
