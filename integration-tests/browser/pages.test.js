/** What every page of the demo owes its visitors: a quiet console, room on a small screen, and all of it by keyboard. */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { until } from './support/wait.js';

const PAGES = ['/', '/chat.html', '/stomp.html', '/xmpp.html', '/console.html'];
const WIDTHS = [360, 1280];
/** More stops than any page has on the way to one of its buttons. */
const MAX_TABS = 60;

/** @param {import('puppeteer-core').Page} page */
function links(page) {
  return page.$$eval('a[href]', (anchors) => anchors.map((anchor) => anchor.href));
}

/** Puts the focus on the first link, from where Tab has the whole page before it. @param {import('puppeteer-core').Page} page */
function startAtTheTop(page) {
  return page.$eval('a[href]', (link) => link.focus());
}

/** Tab until the element has the focus. @param {import('puppeteer-core').Page} page @param {string} testid */
async function tabTo(page, testid) {
  for (let i = 0; i < MAX_TABS; i += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate((id) => document.hasFocus() && document.activeElement?.getAttribute('data-testid') === id, testid)) return;
  }
  assert.fail(`Tab does not reach ${testid}`);
}

/** @param {import('puppeteer-core').Page} page @param {string} testid */
function text(page, testid) {
  return page.$eval(`[data-testid="${testid}"]`, (element) => element.textContent ?? '');
}

/** @param {import('puppeteer-core').Page} page */
async function assertFits(page) {
  const { wide, room } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, room: document.documentElement.clientWidth }));
  assert.ok(wide <= room, `${wide} px of page on ${room} px of screen`);
}

describeInBrowsers('pages', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {Gateway} */
  let demo;
  before(async () => {
    demo = await Gateway.demo();
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await demo?.stop();
  });
  afterEach(() => browser.tidy());

  for (const path of PAGES) {
    for (const width of WIDTHS) {
      test(`${path} at ${width} px is quiet and fits`, async () => {
        const { page, log } = await browser.open(`${demo.url}${path}`, { width });
        await page.waitForNetworkIdle({ idleTime: 100 });
        await assertFits(page);
        await browser.picture(page, `${path.replace(/\W/g, '') || 'index'}-${width}`);
        assert.deepEqual(log.entries, []);
      });
    }

    test(`${path} links to nothing that is not there`, async () => {
      const { page } = await browser.open(`${demo.url}${path}`);
      const found = (await links(page)).filter((link) => link.startsWith(demo.url));
      assert.ok(found.length >= 3, `${found.length} links`);
      for (const link of new Set(found)) assert.equal((await fetch(link)).status, 200, link);
    });
  }

  test('the front page runs what it shows, by keyboard', async () => {
    const { page, log } = await browser.open(`${demo.url}/`);
    await startAtTheTop(page);
    await tabTo(page, 'run');
    await page.keyboard.press('Enter');
    await page.waitForSelector('[data-testid=output][data-result=good]');
    assert.match(await text(page, 'output'), /hello, TCP/);
    assert.deepEqual(log.entries, []);
  });

  for (const width of WIDTHS) {
    test(`the chat is used by keyboard alone, at ${width} px`, async () => {
      const { page, log } = await browser.open(`${demo.url}/chat.html?nick=key${width}`, { width });
      await startAtTheTop(page);
      await tabTo(page, 'connect');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=chat][data-phase=chat]');
      await page.waitForSelector('[data-testid=log][data-buffer="#perigee"] [data-kind=join]');
      await page.keyboard.type('typed without a mouse');
      await tabTo(page, 'send');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=line][data-kind=message][data-delivery=delivered]');
      await assertFits(page);
      await browser.picture(page, `chat-in-use-${width}`);
      assert.deepEqual(log.entries, []);
    });

    test(`the console is used by keyboard alone, at ${width} px`, async () => {
      const { page, log } = await browser.open(`${demo.url}/console.html`, { width });
      await startAtTheTop(page);
      await tabTo(page, 'connect');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=console][data-phase=open]');
      await page.keyboard.type('hello, echo');
      await tabTo(page, 'send');
      await page.keyboard.press('Enter');
      await until('it comes back', async () => (await page.$$eval('[data-testid=block-in]', (blocks) => blocks.map((block) => block.textContent).join(''))).includes('hello, echo'));
      await assertFits(page);
      await browser.picture(page, `console-in-use-${width}`);
      assert.deepEqual(log.entries, []);
    });
  }

  test('the transfer test of the console survives cut after cut', async () => {
    const { page, log } = await browser.open(`${demo.url}/console.html?mib=8`);
    await page.click('[data-testid=transfer-start]');
    for (let cut = 1; cut <= 5; cut += 1) {
      await page.waitForSelector('[data-testid=transfer][data-state=running]');
      await page.waitForSelector('[data-testid=link][data-state=attached]');
      await page.click('[data-testid=cut]');
      await until(`cut ${cut} is mended`, async () => Number(await text(page, 'link-resumes')) >= cut);
    }
    await page.waitForSelector('[data-testid=transfer][data-state=done]', { timeout: 60_000 });
    assert.equal(await text(page, 'transfer-mismatches'), '0');
    assert.match(await text(page, 'transfer-verdict'), /Every byte came back, once and in order/);
    assert.match(await text(page, 'transfer-hash-sent'), /^[0-9a-f]{64}$/);
    assert.equal(await text(page, 'transfer-hash-received'), await text(page, 'transfer-hash-sent'));
    assert.ok(Number(await text(page, 'transfer-resumes')) >= 5);
    await browser.picture(page, 'console-transfer');
    assert.deepEqual(log.entries, []);
  });
});
