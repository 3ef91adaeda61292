/** What a page says that nobody should have to read: console, exceptions, failed requests. */

export class PageLog {
  /** @type {string[]} */
  entries = [];

  /** @param {import('puppeteer-core').Page} page */
  constructor(page) {
    page.on('console', (message) => this.entries.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.entries.push(`uncaught: ${error instanceof Error ? error.stack : String(error)}`));
    page.on('requestfailed', (request) => this.entries.push(`request failed: ${request.method()} ${request.url()} ${request.failure()?.errorText}`));
    page.on('response', (response) => {
      if (response.status() >= 400) this.entries.push(`${response.status()}: ${response.url()}`);
    });
  }
}
