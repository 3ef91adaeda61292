/** The STOMP console, as a person uses it. */

import assert from 'node:assert/strict';
import { until } from './wait.js';

export class StompPage {
  /** @param {import('puppeteer-core').Page} page */
  constructor(page) {
    this.page = page;
  }

  /**
   * @param {import('./browsers.js').Browser} browser
   * @param {string} site
   * @param {{ width?: number, height?: number, query?: string }} [options]
   */
  static async open(browser, site, { query = '', ...size } = {}) {
    const { page, log } = await browser.open(`${site}/stomp.html${query}`, size);
    // What a browser saves, it saves from here.
    await page.evaluate(() => {
      const make = URL.createObjectURL.bind(URL);
      URL.createObjectURL = (/** @type {Blob} */ blob) => {
        Object.assign(globalThis, { exported: blob.text() });
        return make(blob);
      };
    });
    return { stomp: new StompPage(page), log };
  }

  async connect() {
    await this.click('connect');
    await this.phase('connected');
  }

  /** @param {string} phase */
  async phase(phase) {
    await this.page.waitForSelector(`[data-testid=stomp][data-phase=${phase}]`);
  }

  /** @param {string} destination @param {string} [ack] */
  async subscribe(destination, ack = 'auto') {
    await this.fill('sub-destination', destination);
    await this.page.select('[data-testid=sub-ack]', ack);
    await this.click('subscribe');
    await this.page.waitForSelector(`[data-testid=subscription][data-destination="${destination}"]`);
  }

  /** @param {{ destination: string, body: string, headers?: string, form?: string }} what @param {RegExp} [answer] */
  async send({ destination, body, headers = '', form = 'text' }, answer = /a receipt after/) {
    await this.fill('destination', destination);
    await this.fill('body', body);
    await this.fill('headers', headers);
    await this.page.select('[data-testid=form]', form);
    await this.page.$eval('[data-testid=sent]', (element) => { element.textContent = ''; });
    await this.click('send');
    await until('it is sent', async () => answer.test(await this.text('sent')));
  }

  /** @param {string} testid @param {string} value */
  async fill(testid, value) {
    await this.page.$eval(`[data-testid="${testid}"]`, (field, text) => {
      /** @type {HTMLInputElement} */ (field).value = text;
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }, value);
  }

  /** @param {string} testid */
  async click(testid) {
    await this.page.click(`[data-testid="${testid}"]`);
  }

  /** @param {string} testid */
  text(testid) {
    return this.page.$eval(`[data-testid="${testid}"]`, (element) => element.textContent ?? '');
  }

  rows() {
    return this.page.$$eval('[data-testid=row]', (rows) => rows.map((row) => ({
      destination: row.dataset.destination ?? '', fate: row.dataset.fate ?? '', preview: row.querySelector('.row-preview')?.textContent ?? '',
    })));
  }

  /** @param {number} row */
  async look(row) {
    await this.page.$$eval('[data-testid=message]', (rows, n) => /** @type {HTMLElement} */ (rows[n]).click(), row);
    await this.page.waitForSelector('[data-testid=detail]:not([hidden])');
  }

  /** @param {number} row */
  async mark(row) {
    await this.page.$$eval('[data-testid=row]', (rows, n) => /** @type {HTMLElement} */ (rows[n]?.querySelector('[data-testid=mark]')).click(), row);
  }

  /** @returns {Promise<Record<string, string>>} of the message that is looked at */
  async headers() {
    return Object.fromEntries(await this.page.$$eval('[data-testid=detail-headers] tr', (rows) => rows.map((row) => [row.cells[0]?.textContent ?? '', row.cells[1]?.textContent ?? ''])));
  }

  /** What Export saves. @returns {Promise<any[]>} */
  async exported() {
    await this.click('export');
    const text = await this.page.evaluate(() => /** @type {{ exported?: Promise<string> }} */ (globalThis).exported);
    assert.ok(text?.endsWith('\n'), 'something was saved');
    return text.trimEnd().split('\n').map((line) => JSON.parse(line));
  }
}
