/** The XMPP page, on Prosody: two people who log in, see each other, talk and meet in a room; and what it says without a server. */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { ChatPage } from './support/chat-page.js';
import { closedPort } from './support/backends.js';
import { Gateway } from './support/gateway.js';
import { until } from './support/wait.js';
import { DOMAIN, PASSWORD, Prosody, ROOMS } from './support/xmpp-servers.js';

/** @type {Prosody} */
let prosody;
/** @type {Gateway} */
let gateway;

before(async () => {
  prosody = await Prosody.start();
  const port = await closedPort();
  gateway = await Gateway.serve(`
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
});
after(async () => {
  await gateway?.stop();
  await prosody?.stop();
});

describeInBrowsers('the XMPP page', (name) => {
  /** @type {Browser} */
  let browser;
  before(async () => {
    browser = await Browser.launch(name);
  });
  after(() => browser?.stop());
  afterEach(() => browser.tidy());

  /** @param {string} user @param {string} [password] */
  const open = async (user, password = PASSWORD) => {
    const { page, log } = await browser.open(`${gateway.url}/xmpp.html?${new URLSearchParams({ jid: `${user}@${DOMAIN}` })}`);
    await page.$eval('[data-testid=password]', (field, text) => { /** @type {HTMLInputElement} */ (field).value = text; }, password);
    await page.click('[data-testid=connect]');
    return { page, log };
  };
  /** @param {string} user */
  const logIn = async (user) => {
    const { page, log } = await open(user);
    await page.waitForSelector('[data-testid=xmpp][data-phase=chat]');
    return { chat: new ChatPage(page, user, ''), page, log };
  };

  test('log in, see who is there, talk, and meet in a room', async () => {
    const [alice, bob] = [await logIn('alice'), await logIn('bob')];
    const [atAlice, atBob] = [`alice@${DOMAIN}`, `bob@${DOMAIN}`];

    // Each asks to see the other, and allows it.
    if (!(await alice.page.$(`[data-testid=contact][data-jid="${atBob}"]`))) {
      await alice.chat.type(`/add ${atBob} Bob`);
      await bob.page.waitForSelector('[data-testid=allow]');
      await bob.page.$eval('[data-testid=allow]', (button) => /** @type {HTMLElement} */ (button).click());
      await alice.page.waitForSelector('[data-testid=allow]');
      await alice.page.$eval('[data-testid=allow]', (button) => /** @type {HTMLElement} */ (button).click());
    }
    await alice.page.waitForSelector(`[data-testid=contact][data-jid="${atBob}"][data-show=here]`);
    await bob.page.waitForSelector(`[data-testid=contact][data-jid="${atAlice}"][data-show=here]`);
    await bob.chat.type('/away lunch');
    await alice.page.waitForSelector(`[data-testid=contact][data-jid="${atBob}"][data-show=away]`);

    const hostile = '<img src=x onerror=alert(1)> & </body> ä€😀 https://example.org/';
    await alice.page.$eval(`[data-testid=contact][data-jid="${atBob}"]`, (button) => /** @type {HTMLElement} */ (button).click());
    alice.chat.channel = atBob;
    bob.chat.channel = atAlice;
    await alice.chat.paste(hostile);
    await bob.chat.sees('what was said', ({ nick, text }) => nick === 'alice' && text === hostile);
    assert.deepEqual(await bob.page.$$eval('main img', (images) => images.length), 0);
    await until('it is unread', async () => (await bob.chat.unread())[atAlice] === '1 unread');
    await bob.chat.choose(atAlice);
    await bob.chat.type('/me nods');
    await alice.chat.sees('the nod', ({ kind, text }) => kind === 'action' && text.endsWith('nods'));

    const room = `${name}@${ROOMS}`;
    for (const { chat } of [alice, bob]) {
      await chat.type(`/join ${room}`);
      chat.channel = room;
      await chat.page.waitForSelector(`[data-testid=log][data-buffer="${room}"]:not([hidden])`);
    }
    for (const { chat } of [alice, bob]) await until('both are there', async () => String(await chat.members()) === 'alice,bob');
    await alice.chat.type('hello, room');
    await bob.chat.sees('the hello', ({ nick, text }) => nick === 'alice' && text === 'hello, room');
    await alice.chat.type('/subject <b>what we talk about</b>');
    await until('the subject is shown', async () => (await bob.chat.text('topic')) === '<b>what we talk about</b>');
    await bob.chat.type('/nick bobby');
    await until('the new nick is shown', async () => String(await alice.chat.members()) === 'alice,bobby');

    // The connection is cut, and the session goes on with what was said meanwhile.
    await alice.page.bringToFront();
    await alice.page.click('[data-testid=cut]');
    await bob.chat.type('while you were away');
    await alice.chat.sees('what was said meanwhile', ({ nick, text }) => nick === 'bobby' && text === 'while you were away');
    await bob.chat.type('/close');
    await alice.chat.sees('bobby goes', ({ kind, nick }) => kind === 'part' && nick === 'bobby');
    await alice.page.bringToFront();
    await alice.page.click('[data-testid=quit]');
    await until('alice is logged out', async () => (await alice.chat.text('ended-title')) === 'You are logged out.');
    assert.deepEqual([...alice.log.entries, ...bob.log.entries], []);
  });

  test('a wrong password is told in words, and other pages are not there', async () => {
    const { page } = await open('alice', 'wrong');
    await page.waitForSelector('[data-testid=setup-problem]:not([hidden])');
    assert.equal(await page.$eval('[data-testid=setup-problem-title]', (title) => title.textContent), 'The login failed.');
    assert.deepEqual(await page.$$eval('nav a:not([hidden])', (links) => links.map(({ textContent }) => textContent)), ['XMPP']);
    for (const path of ['/chat.html', '/stomp.html', '/console.html']) assert.equal((await fetch(`${gateway.url}${path}`)).status, 404, path);
    await page.goto(`${gateway.url}/`);
    assert.deepEqual(await page.$$eval('.card:not([hidden]) h2', (heads) => heads.map(({ textContent }) => textContent)), ['XMPP chat']);
  });

  test('without a server the page says what to configure', async () => {
    const demo = await Gateway.demo();
    try {
      const { page, log } = await browser.open(`${demo.url}/xmpp.html`);
      await page.waitForSelector('[data-testid=missing]:not([hidden])');
      assert.match(await page.$eval('[data-testid=missing]', (card) => card.textContent ?? ''), new RegExp(`service = "xmpp"\\s+page = true[^]*origins = \\["${demo.url}"\\]`));
      assert.deepEqual(log.entries, []);
    } finally {
      await demo.stop();
    }
  });
});
