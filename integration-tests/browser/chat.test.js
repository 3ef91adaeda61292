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
const LINES = 40;
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
      const want = Array.from({ length: LINES }, (_, i) => `line ${i}: ${'é'.repeat(i + 1)}`);
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
  });
});
