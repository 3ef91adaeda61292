/** What a page says that nobody should have to read: console, exceptions, failed requests. */

const GIVEN_UP = ['net::ERR_ABORTED', 'NS_BINDING_ABORTED'];

export class PageLog {
  /** @type {string[]} */
  entries = [];

  /** @param {import('puppeteer-core').Page} page */
  constructor(page) {
    page.on('console', (message) => this.entries.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => this.entries.push(`uncaught: ${error instanceof Error ? error.stack : String(error)}`));
    page.on('requestfailed', (request) => {
      const why = request.failure()?.errorText ?? '';
      // Given up by the page itself. Chromium says so too of replies that were read to their end as a stream.
      if (!GIVEN_UP.includes(why)) this.entries.push(`request failed: ${request.method()} ${request.url()} ${why}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) this.entries.push(`${response.status()}: ${response.url()}`);
    });
  }
}
