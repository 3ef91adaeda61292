/**
 * The pictures of the pages in docs/images: each is there, small and shown by a document. `PERIGEE_WRITE_DOCS=1` takes
 * them anew, in Chromium, of pages in use.
 */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { closedPort } from './support/backends.js';
import { Browser, resize } from './support/browsers.js';
import { ChatPage } from './support/chat-page.js';
import { Gateway } from './support/gateway.js';
import { StompPage } from './support/stomp-page.js';
import { until } from './support/wait.js';
import { DOMAIN, PASSWORD, Prosody, ROOMS } from './support/xmpp-servers.js';

const DOCS = new URL('../../docs/', import.meta.url);
const MAX_BYTES = 150_000;
const WIDE = { width: 1040, height: 640 };
const NARROW = { width: 360, height: 700 };

/** By the document that shows them. */
const PICTURES = { 'irc.md': ['irc', 'irc-narrow'], 'stomp.md': ['stomp', 'stomp-narrow'], 'xmpp.md': ['xmpp', 'xmpp-narrow'], '../README.md': ['irc'] };

describe('the pictures of the pages', { skip: process.env.PERIGEE_WRITE_DOCS ? false : 'PERIGEE_WRITE_DOCS=1 takes them' }, () => {
  /** @type {Browser} */
  let browser;
  /** @type {Gateway} */
  let demo;
  before(async () => {
    demo = await Gateway.demo();
    browser = await Browser.launch('chromium');
  });
  after(async () => {
    await browser?.stop();
    await demo?.stop();
  });

  /** @param {import('puppeteer-core').Page} page @param {string} name @param {boolean} [dark] */
  const take = async (page, name, dark = false) => {
    await page.bringToFront();
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }, { name: 'prefers-reduced-motion', value: 'reduce' }]);
    await page.screenshot({ path: /** @type {`${string}.png`} */ (new URL(`images/${name}.png`, DOCS).pathname), optimizeForSpeed: false });
  };

  test('IRC', async () => {
    const vega = await ChatPage.join(browser, demo.url, { nick: 'vega', channel: '#perigee' });
    const luna = await ChatPage.join(browser, demo.url, { nick: 'luna', channel: '#perigee,#telescopes', shown: '#perigee' });
    await resize(luna.chat.page, WIDE);
    await vega.chat.type('/topic The point of an orbit that is nearest to the ground: https://en.wikipedia.org/wiki/Apsis');
    await vega.chat.type('luna: the first pass is at 21:40, are you in?');
    await luna.chat.paste('\x02yes\x02, with the \x0303green\x03 filter this time');
    await vega.chat.type('/me packs the tripod');
    await luna.chat.type('the chart is at https://example.org/charts/(perigee)');
    await luna.chat.page.click('[data-testid=cut]');
    await vega.chat.type('your train is in the tunnel again, I see');
    await luna.chat.sees('that', ({ text }) => text.startsWith('your train'));
    await luna.chat.page.focus('[data-testid=input]');
    await luna.chat.type('it is, and nothing was lost');
    await vega.chat.type('/msg luna bring the red torch');
    await until('it is unread', async () => (await luna.chat.unread()).vega === '1 unread');
    await take(luna.chat.page, 'irc');
    await resize(luna.chat.page, NARROW);
    await take(luna.chat.page, 'irc-narrow', true);
  });

  test('STOMP', async () => {
    const { stomp } = await StompPage.open(browser, demo.url, WIDE);
    await stomp.connect();
    await stomp.subscribe('/topic/weather');
    await stomp.subscribe('/queue/orders', 'client-individual');
    await stomp.send({ destination: '/topic/weather', body: 'Clear skies over the observatory until midnight.' });
    await stomp.send({ destination: '/queue/orders', form: 'json', body: '{"order":4711,"item":"eyepiece 32 mm","count":2,"ship":{"to":"Köln","express":true}}', headers: 'priority: 7' });
    await stomp.send({ destination: '/queue/orders', form: 'hex', body: '89 50 4e 47 0d 0a 1a 0a' });
    await stomp.send({ destination: '/queue/orders', form: 'json', body: '{"order":4712,"item":"dew shield","count":1}' });
    await until('they are listed', async () => (await stomp.rows()).length === 4);
    await stomp.mark(2);
    await stomp.click('ack');
    await stomp.mark(3);
    await stomp.click('begin');
    await stomp.page.waitForSelector('[data-testid=transaction]');
    await stomp.look(1);
    await take(stomp.page, 'stomp');
    await resize(stomp.page, NARROW);
    await stomp.page.$eval('.messages', (section) => section.scrollIntoView());
    await take(stomp.page, 'stomp-narrow', true);
  });

  test('XMPP', async () => {
    const prosody = await Prosody.start();
    const port = await closedPort();
    const gateway = await Gateway.serve(`
      [backend.talk]
      address = "${prosody.address}"
      service = "xmpp"
      tls_ca = "${prosody.ca}"
      page = true
      [backend.talk.xmpp]
      domain = "${DOMAIN}"
      [[allow]]
      origins = ["http://127.0.0.1:${port}"]
      to = ["talk"]
    `, '', port);
    try {
      const people = [];
      for (const user of ['alice', 'bob']) {
        const { page } = await browser.open(`${gateway.url}/xmpp.html?jid=${user}@${DOMAIN}`, WIDE);
        await page.$eval('[data-testid=password]', (field, text) => { /** @type {HTMLInputElement} */ (field).value = text; }, PASSWORD);
        await page.click('[data-testid=connect]');
        await page.waitForSelector('[data-testid=xmpp][data-phase=chat]');
        people.push(new ChatPage(page, user, `observers@${ROOMS}`));
      }
      const [alice, bob] = /** @type {[ChatPage, ChatPage]} */ (people);
      await alice.type(`/add bob@${DOMAIN} Bob`);
      for (const each of [bob, alice]) {
        await each.page.waitForSelector('[data-testid=allow]');
        await each.page.$eval('[data-testid=allow]', (button) => /** @type {HTMLElement} */ (button).click());
      }
      for (const each of people) {
        await each.type(`/join observers@${ROOMS}`);
        await each.page.waitForSelector(`[data-testid=log][data-buffer="${each.channel}"]:not([hidden])`);
      }
      await alice.type('/subject Who brings what on Saturday');
      await bob.type('I have the big refractor, and two thermos flasks');
      await alice.type('then I bring the mount, and a chart: https://example.org/chart');
      await bob.type('/me looks at the clouds');
      await bob.type(`/msg alice@${DOMAIN}`);
      await bob.type('and a red torch, please');
      await until('it is unread', async () => (await alice.unread())[`bob@${DOMAIN}`] === '1 unread');
      await alice.page.waitForSelector(`[data-testid=contact][data-jid="bob@${DOMAIN}"][data-show=here]`);
      await take(alice.page, 'xmpp');
      await resize(alice.page, NARROW);
      await take(alice.page, 'xmpp-narrow', true);
    } finally {
      await gateway.stop();
      await prosody.stop();
    }
  });
});

test('each picture is there, small, and shown where it belongs', async () => {
  for (const [document, names] of Object.entries(PICTURES)) {
    const url = new URL(document, DOCS);
    const text = await readFile(url, 'utf8');
    for (const name of names) {
      const picture = new URL(`images/${name}.png`, DOCS);
      const shown = document.startsWith('..') ? `docs/images/${name}.png` : `images/${name}.png`;
      assert.match(text, new RegExp(`!\\[[^\\]]{10,}\\]\\(${shown.replaceAll('.', '\\.')}\\)`), `${document} shows ${name}, and says what is on it`);
      const bytes = await readFile(picture);
      assert.equal(bytes.toString('latin1', 1, 4), 'PNG', name);
      assert.equal(bytes.readUInt32BE(16), name.endsWith('narrow') ? NARROW.width : WIDE.width, `the width of ${name}`);
      assert.ok(bytes.length < MAX_BYTES, `${name} has ${bytes.length} bytes`);
    }
  }
});
