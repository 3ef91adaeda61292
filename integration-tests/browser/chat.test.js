/**
 * Two tabs that chat through the gateway, over the IRC server of the demo and over a real one: both see everything that
 * happens, in any script, and nothing is lost when the connection is cut while they talk.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { ChatPage } from './support/chat-page.js';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { Gateway } from './support/gateway.js';
import { Ngircd } from './support/ngircd.js';
import { until } from './support/wait.js';

const SCRIPTS = ['Grüße aus Köln', 'Привет, мир', '你好，世界', 'مرحبا بالعالم', '🛰️ 👩‍🚀 perigee'];
const LINES = 32;
const CUTS = 4;

describeInBrowsers('chat', (name) => {
  /** @type {Browser} */
  let browser;
  /** @type {CuttingProxy} */
  let proxy;
  /** @type {Gateway} */
  let demo;
  /** Each meeting has names of its own: a browser may not get to say goodbye when a tab is closed, and then its nick is taken for a while. */
  let meetings = 0;

  before(async () => {
    proxy = await CuttingProxy.start();
    demo = await Gateway.demo([proxy.url]);
    proxy.aim(demo.port);
    browser = await Browser.launch(name);
  });
  after(async () => {
    await browser?.stop();
    await proxy?.stop();
    await demo?.stop();
  });
  afterEach(() => browser.tidy());

  /** @param {() => { cut: () => void, gateway?: string }} link how the pages get to their gateway */
  const stories = (link) => {
    /** Two people in a channel of their own. */
    const meet = async () => {
      const { gateway } = link();
      meetings += 1;
      const settings = { channel: `#perigee${meetings}`, ...(gateway && { gateway }) };
      const luna = await ChatPage.join(browser, proxy.url, { nick: `luna${meetings}`, ...settings });
      const vega = await ChatPage.join(browser, proxy.url, { nick: `vega${meetings}`, ...settings });
      return { luna, vega };
    };

    test('both see each other join, talk, set a topic and part', async () => {
      const { luna, vega } = await meet();
      await luna.chat.sees('vega joins', ({ kind, nick }) => kind === 'join' && nick === vega.chat.nick);
      for (const { chat } of [luna, vega]) await until('both are members', async () => String(await chat.members()) === `${luna.chat.nick},${vega.chat.nick}`);
      for (const text of SCRIPTS) {
        await luna.chat.type(text);
        await vega.chat.type(`${text}!`);
      }
      for (const { chat } of [luna, vega]) {
        await chat.sees('the last words', ({ nick, text }) => nick === vega.chat.nick && text === `${SCRIPTS.at(-1)}!`);
        assert.deepEqual(await chat.said(luna.chat.nick), SCRIPTS);
        assert.deepEqual(await chat.said(vega.chat.nick), SCRIPTS.map((text) => `${text}!`));
      }
      await luna.chat.type('/topic Тема: перигей 🌍');
      for (const { chat } of [luna, vega]) await until('the topic is shown', async () => (await chat.text('topic')) === 'Тема: перигей 🌍');
      await browser.picture(vega.chat.page, 'chat');
      await luna.chat.type('/part good night');
      await vega.chat.sees('luna parts', ({ kind, nick, text }) => kind === 'part' && nick === luna.chat.nick && text.includes('good night'));
      await until('vega is alone', async () => String(await vega.chat.members()) === vega.chat.nick);
      assert.deepEqual([...luna.log.entries, ...vega.log.entries], []);
    });

    test('nothing is lost when the connections are cut while both talk', async () => {
      const { luna, vega } = await meet();
      const want = Array.from({ length: LINES }, (_, i) => `line ${i}: ${'é'.repeat(1 + (i % 7))}`);
      const talk = async () => {
        for (const [i, text] of want.entries()) {
          await (i % 2 === 0 ? luna : vega).chat.type(text);
          if (i % (LINES / CUTS) === LINES / CUTS / 2) link().cut();
        }
      };
      await talk();
      for (const { chat } of [luna, vega]) {
        await chat.sees('the last line', ({ text }) => text === want.at(-1));
        await chat.sees('the last but one', ({ text }) => text === want.at(-2));
        assert.deepEqual(await chat.said(luna.chat.nick), want.filter((_, i) => i % 2 === 0));
        assert.deepEqual(await chat.said(vega.chat.nick), want.filter((_, i) => i % 2 === 1));
        await until('every own line is known to be delivered', async () => (await chat.lines()).every(({ delivery = 'delivered' }) => delivery === 'delivered'));
        const resumes = Number(await chat.text('link-resumes'));
        assert.ok(resumes >= 1, `${resumes} resumes`);
      }
    });
  };

  describe('with the IRC server of the demo', () => {
    stories(() => ({ cut: () => proxy.cut() }));

    test('several conversations: what is unread is counted, the reader stays where they are, and markup is text', async () => {
      meetings += 1;
      const [channel, other] = [`#markup${meetings}`, `#aside${meetings}`];
      const luna = await ChatPage.join(browser, proxy.url, { nick: `lena${meetings}`, channel: `${channel},${other}`, shown: channel });
      const vega = await ChatPage.join(browser, proxy.url, { nick: `vero${meetings}`, channel });
      const hostile = '<img src=x onerror=alert(1)> \x02</div><script>alert(1)</script>\x02 javascript:alert(1) http://example.org/"onclick="x';
      await vega.chat.paste(`/topic ${hostile}`);
      await vega.chat.paste(hostile);
      await luna.chat.sees('the markup', ({ nick, text }) => nick === vega.chat.nick && text === hostile.replaceAll('\x02', ''));
      await until('the topic is shown', async () => (await luna.chat.text('topic')) === hostile.replaceAll('\x02', ''));
      assert.deepEqual(await luna.chat.page.$$eval('main :is(img, script, [onerror], [onclick])', (found) => found.map(({ outerHTML }) => outerHTML)), []);
      assert.deepEqual(await luna.chat.page.$$eval('[data-kind=message] a', (links) => links.map(({ href, rel }) => [href, rel])), [['http://example.org/', 'noopener noreferrer nofollow']]);

      // A private conversation, and a nick that changes in the middle of it.
      await vega.chat.paste(`/msg ${luna.chat.nick} \x02psst\x02`);
      await until('it is unread', async () => (await luna.chat.unread())[vega.chat.nick] === '1 unread');
      assert.match(await luna.chat.page.title(), /^\([12]\) /);
      await vega.chat.type(`/nick veto${meetings}`);
      await until('it has the new name', async () => (await luna.chat.unread())[`veto${meetings}`] === '1 unread');
      await luna.chat.choose(`veto${meetings}`);
      luna.chat.channel = `veto${meetings}`;
      assert.equal((await luna.chat.lines())[0]?.text, 'psst');
      assert.equal(await luna.chat.page.$eval('[data-testid=log]:not([hidden]) .f-bold', (bold) => bold.textContent), 'psst');

      // Whoever reads further up stays there.
      luna.chat.channel = channel;
      await luna.chat.choose(channel);
      await vega.chat.choose(channel);
      const say = async (/** @type {number} */ from, /** @type {number} */ to) => {
        for (let n = from; n < to; n += 1) await vega.chat.paste(`line ${n}`);
        await luna.chat.sees(`line ${to - 1}`, ({ text }) => text === `line ${to - 1}`);
      };
      await say(0, 30);
      const top = () => luna.chat.page.$eval(`[data-testid=log][data-buffer="${channel}"]`, (log) => log.scrollTop);
      await until('the end is shown', async () => (await top()) > 0);
      await luna.chat.page.bringToFront();
      await luna.chat.page.$eval(`[data-testid=log][data-buffer="${channel}"]`, (log) => { log.scrollTop = 0; });
      await luna.chat.page.waitForSelector('[data-testid=jump]:not([hidden])');
      await say(30, 33);
      assert.equal(await top(), 0);
      await luna.chat.choose(other);
      await luna.chat.choose(channel);
      assert.equal(await top(), 0);
      await luna.chat.page.click('[data-testid=jump]');
      await until('the end is shown again', async () => (await top()) > 0);
      assert.deepEqual([...luna.log.entries, ...vega.log.entries], []);
    });
  });

  describe('with ngIRCd', { skip: Ngircd.missing }, () => {
    /** @type {Ngircd} */
    let server;
    /** @type {Gateway} */
    let gateway;
    /** @type {CuttingProxy} */
    let gatewayProxy;
    before(async () => {
      server = await Ngircd.start();
      gateway = await Gateway.serve(`
        [backend.irc]
        address = "${server.address}"
        service = "irc"
        [[allow]]
        origins = ["${proxy.url}"]
        to = ["irc"]
      `);
      gatewayProxy = await CuttingProxy.start(gateway.port);
    });
    after(async () => {
      await gatewayProxy?.stop();
      await gateway?.stop();
      await server?.stop();
    });
    stories(() => ({ cut: () => gatewayProxy.cut(), gateway: gatewayProxy.url }));

    test('ranks and people who are sent away; a connection that is lost comes back to its channels by itself', async () => {
      meetings += 1;
      const channel = `#ranks${meetings}`;
      const settings = { channel, gateway: gatewayProxy.url };
      const luna = await ChatPage.join(browser, proxy.url, { nick: `lu${meetings}`, ...settings });
      const vega = await ChatPage.join(browser, proxy.url, { nick: `ve${meetings}`, ...settings });
      const ranks = () => luna.chat.page.$$eval('[data-testid=member]', (members) => members.map(({ dataset }) => `${dataset.prefix}${dataset.nick}`));
      await until('who came first may', async () => String(await ranks()) === `@${luna.chat.nick},${vega.chat.nick}`);
      await luna.chat.type(`/voice ${vega.chat.nick}`);
      await until('a voice is shown', async () => String(await ranks()) === `@${luna.chat.nick},+${vega.chat.nick}`);
      await luna.chat.type(`/kick ${vega.chat.nick} too loud`);
      await vega.chat.sees('the kick', ({ kind, text }) => kind === 'part' && text.includes(`was kicked by ${luna.chat.nick} (too loud)`));
      await vega.chat.type(`/whois ${luna.chat.nick}`);
      await vega.chat.sees('an answer in words', ({ kind, text }) => kind === 'info' && text.startsWith(`${luna.chat.nick} is `));
      await vega.chat.type(`/join ${channel}`);
      await luna.chat.sees('vega again', ({ kind, nick, text }) => kind === 'join' && nick === vega.chat.nick && text.includes('joined'));
      await gateway.crash();
      gatewayProxy.cut();
      for (const { chat } of [luna, vega]) {
        await chat.sees('that the session was lost', ({ kind, text }) => kind === 'error' && text.includes('no longer knows this session'));
        await until('the channel is there again', async () => (await chat.members()).length === 2);
      }
      await luna.chat.type('here again');
      await vega.chat.sees('what is said', ({ kind, text }) => kind === 'message' && text === 'here again');
    });
  });
});
