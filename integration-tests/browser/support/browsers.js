/** Headless browsers, one process each, with a profile of their own. */

import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import puppeteer from 'puppeteer-core';
import { PageLog } from './page-log.js';
import { until } from './wait.js';

const ARTIFACTS = new URL('../../artifacts/', import.meta.url);

/** @type {Record<string, { executables: string[], launch: import('puppeteer-core').LaunchOptions }>} */
const KNOWN = {
  chromium: {
    executables: [process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'],
    launch: {
      browser: 'chrome',
      // A container has no user namespaces for the sandbox; nothing but our own pages is opened.
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update',
        '--disable-default-apps', '--disable-sync', '--no-first-run', '--mute-audio'],
    },
  },
  firefox: {
    executables: [process.env.FIREFOX_BIN ?? '/usr/bin/firefox-esr', '/usr/bin/firefox'],
    launch: { browser: 'firefox', protocol: 'webDriverBiDi' },
  },
};

/** What puppeteer has Chromium do so that tabs are all alike. */
const UNTHROTTLED = ['--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding'];

export class Browser {
  #browser;
  #profile;
  /** @type {Set<import('puppeteer-core').Page>} */
  #pages = new Set();

  /** @param {string} name @param {import('puppeteer-core').Browser} browser @param {string} profile */
  constructor(name, browser, profile) {
    this.name = name;
    this.#browser = browser;
    this.#profile = profile;
  }

  /**
   * `throttles`: tabs that are not shown have slow timers, as they have for people, and not for puppeteer.
   * @param {string} name
   * @param {{ acceptInsecureCerts?: boolean, throttles?: boolean }} [options]
   */
  static async launch(name, { acceptInsecureCerts = false, throttles = false } = {}) {
    const { launch } = KNOWN[name];
    const ignoreDefaultArgs = throttles && name === 'chromium' ? UNTHROTTLED : false;
    const start = async () => {
      const profile = await mkdtemp(join(tmpdir(), `perigee-${name}-`));
      const browser = await puppeteer.launch({
        ...launch, headless: true, ignoreDefaultArgs, acceptInsecureCerts, executablePath: executable(name), userDataDir: profile, protocolTimeout: 120_000,
      }).catch(async (error) => {
        await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
        throw error;
      });
      return { browser, profile };
    };
    // One that ends while it starts says nothing of what is to be tested; one that does so twice is broken.
    const { browser, profile } = await start().catch((error) => {
      console.warn(`${name} did not start and is started again: ${error.message}`);
      return start();
    });
    return new Browser(name, browser, profile);
  }

  /**
   * A new tab.
   * @param {string} url
   * @param {{ width?: number, height?: number }} [size]
   */
  async open(url, { width = 1280, height = 800 } = {}) {
    const page = await this.#browser.newPage();
    this.#pages.add(page);
    const log = new PageLog(page);
    await resize(page, { width, height });
    await page.goto(url, { waitUntil: 'load' });
    return { page, log };
  }

  /** Closes the tabs that a test left open. */
  async tidy() {
    for (const page of this.#pages) if (!page.isClosed()) await page.close();
    this.#pages.clear();
  }

  /** For people to look at. @param {import('puppeteer-core').Page} page @param {string} name */
  async picture(page, name) {
    await mkdir(ARTIFACTS, { recursive: true });
    await page.screenshot({ path: /** @type {`${string}.png`} */ (new URL(`${this.name}-${name}.png`, ARTIFACTS).pathname) });
  }

  async stop() {
    await this.#browser.close();
    // The browser's helpers may still be writing when it is gone.
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/**
 * Gives a tab another size. Puppeteer also asks for an orientation, which Firefox 140 does not know of; its size is set
 * all the same.
 * @param {import('puppeteer-core').Page} page
 * @param {{ width: number, height: number }} size
 */
export async function resize(page, size) {
  await page.setViewport(size).catch((error) => {
    if (!/unknown command emulation\.setScreenOrientationOverride/.test(error.message)) throw error;
  });
  await until(`the tab is ${size.width} by ${size.height}`, () => page.evaluate(({ width, height }) => innerWidth === width && innerHeight === height, size));
}

/** @param {string} name */
function executable(name) {
  return KNOWN[name].executables.find(existsSync);
}

/**
 * The same tests in every browser. One that is not installed is an error in CI and is skipped, with a word, elsewhere.
 * @param {string} subject
 * @param {(name: 'chromium' | 'firefox') => void} define
 */
export function describeInBrowsers(subject, define) {
  for (const name of /** @type {const} */ (['chromium', 'firefox'])) {
    const missing = executable(name) === undefined;
    if (missing && process.env.CI) throw new Error(`${name} is not installed; looked at ${KNOWN[name].executables.join(', ')}`);
    describe(`${subject} (${name})`, { skip: missing && `${name} is not installed` }, () => define(name));
  }
}
