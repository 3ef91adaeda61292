/**
 * XMPP clients as they come from npm, through the gateway to real servers: they log in, enter a room, send a thousand
 * messages and get them back, are told of a wrong password, and see the server go.
 */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, describe, test } from 'node:test';
import { client as xmppClient, xml } from '@xmpp/client';
import WebSocket from 'ws';
import { Browser } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { OriginServer } from './support/origin-server.js';
import { until } from './support/wait.js';
import { DOMAIN, Ejabberd, PASSWORD, Prosody, ROOMS } from './support/xmpp-servers.js';

const MESSAGES = 1000;
/** Messages that are typed, one after the other. */
const TYPED = 5;
const MODULES = new URL('node_modules/', import.meta.url);
/** A page waits for a server, and the test for the page. */
const PAGE_MS = 60_000;

/**
 * In the page: strophe.js logs in, enters a room, and says what a page would say.
 *
 * @param {{ service: string, jid: string, password: string, room: string, messages: number }} task
 */
async function strophe({ service, jid, password, room, messages }) {
  const { Strophe, $pres, $msg } = /** @type {any} */ (globalThis);
  const connection = new Strophe.Connection(service);
  /** @type {string[]} */
  const statuses = [];
  const names = Object.fromEntries(Object.entries(Strophe.Status).map(([name, value]) => [value, name]));
  Object.assign(globalThis, { statuses });
  const connected = await new Promise((resolve) => {
    connection.connect(jid, password, (/** @type {number} */ status, /** @type {string | null} */ condition) => {
      statuses.push(condition ? `${names[status]} ${condition}` : names[status]);
      if (['CONNECTED', 'AUTHFAIL', 'CONNFAIL', 'DISCONNECTED'].includes(names[status])) resolve(names[status] === 'CONNECTED');
    });
  });
  if (!connected) return { statuses, received: [] };
  const received = await new Promise((resolve) => {
    /** @type {string[]} */
    const bodies = [];
    connection.addHandler((/** @type {Element} */ message) => {
      const body = message.getElementsByTagName('body')[0]?.textContent;
      if (body) bodies.push(body);
      if (bodies.length === messages) resolve(bodies);
      return true;
    }, null, 'message', 'groupchat');
    connection.addHandler(() => {
      for (let n = 0; n < messages; n += 1) {
        connection.send($msg({ to: room, type: 'groupchat' }).c('body').t(`${n} ä€😀 <&>'"`));
      }
      return false;
    }, null, 'presence', null, null, `${room}/tester`);
    connection.send($pres());
    connection.send($pres({ to: `${room}/tester` }).c('x', { xmlns: 'http://jabber.org/protocol/muc' }));
  });
  Object.assign(globalThis, { connection });
  return { statuses, received };
}

/**
 * In the page: two people with the page's own client. They ask to see each other, talk, and meet in a room; what they
 * were told of is returned, and they are left in the room.
 *
 * @param {{ url: string, server: string, jids: [string, string], password: string, room: string, texts: string[], patienceMs: number }} task
 */
async function acquaint({ url, server, jids: [carolsJid, davesJid], password, room, texts, patienceMs }) {
  const { XMPPClient, XMPPError } = await import(`${url}/perigee/xmpp.js`);
  const strophe = /** @type {any} */ (globalThis).Strophe;
  /** @type {any[]} */
  const told = [];
  const [carol, dave] = [carolsJid, davesJid].map((jid) => {
    const xmpp = new XMPPClient({ strophe, server, gateway: url, jid: `${jid}/page`, password, reconnect: { minMs: 50, maxMs: 500 } });
    const who = jid.split('@')[0];
    for (const name of ['subscription', 'message', 'room', 'subject', 'error', 'state']) xmpp.on(name, (/** @type {any} */ event) => told.push({ ...event, who, name }));
    return xmpp;
  });
  /** @param {string} what @param {() => unknown} condition */
  const until = async (what, condition) => {
    const end = performance.now() + patienceMs;
    for (;;) {
      const found = condition();
      if (found) return found;
      if (performance.now() > end) throw new Error(`waited in vain until ${what}: ${told.map((event) => `${event.who} ${event.name} ${event.kind ?? event.state ?? event.error}`).join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  /** @param {string} who @param {object} event */
  const tells = (who, event) => until(`${who} is told of ${JSON.stringify(event)}`, () => told.find((one) => one.who === who && Object.entries(event).every(([key, value]) => one[key] === value)));
  const refusal = (/** @type {Promise<unknown>} */ promise) => promise.then(() => 'none', (error) => (error instanceof XMPPError ? `${error.code} ${error.condition}` : String(error)));
  const contact = (/** @type {any} */ { jid, name, subscription, asked, groups, devices }) => ({ jid, name, subscription, asked, groups: [...groups].sort(), devices: Object.fromEntries(devices) });
  Object.assign(globalThis, { carol, dave, told, until, tells, contact });

  await Promise.all([carol.connect(), dave.connect()]);
  await carol.addContact(davesJid, { name: 'Dave <ä>', groups: ['friends', 'ä & b'] });
  await tells('dave', { name: 'subscription', kind: 'subscribe', from: carolsJid });
  const asking = contact(carol.contacts.get(davesJid));
  await dave.allow(carolsJid);
  await tells('carol', { name: 'subscription', kind: 'subscribed', from: davesJid });
  await until('carol sees dave', () => carol.contacts.get(davesJid)?.devices.has('page'));
  await dave.addContact(carolsJid);
  await tells('carol', { name: 'subscription', kind: 'subscribe', from: davesJid });
  await carol.allow(davesJid);
  await until('dave sees carol', () => dave.contacts.get(carolsJid)?.devices.has('page'));
  await until('both see both', () => carol.contacts.get(davesJid).subscription === 'both' && dave.contacts.get(carolsJid).subscription === 'both');
  await dave.setPresence({ show: 'away', status: 'at lünch', priority: 5 });
  await until('carol sees it', () => carol.contacts.get(davesJid).devices.get('page')?.show === 'away');
  const known = contact(carol.contacts.get(davesJid));

  for (const text of texts) {
    await carol.say(davesJid, text);
    await tells('dave', { name: 'message', kind: 'chat', own: false, text });
    await dave.say(`${carolsJid}/page`, `↩ ${text}`);
    await tells('carol', { name: 'message', kind: 'chat', own: false, text: `↩ ${text}` });
  }
  await carol.say(`nobody@${carolsJid.split('@')[1]}`, 'hello?');
  const bounced = await tells('carol', { name: 'message', kind: 'error' });

  await carol.join(room, 'carol');
  await dave.join(room, 'dave');
  await carol.setSubject(room, 'Über <uns> & 🛰️');
  await tells('dave', { name: 'subject', subject: 'Über <uns> & 🛰️', by: 'carol' });
  const taken = await refusal(dave.join(room, 'carol'));
  const stayed = dave.rooms.get(room)?.nick;
  await dave.join(room, 'david');
  const renamed = await tells('carol', { name: 'room', kind: 'nick', was: 'dave', own: false });
  const { nick, text, own } = await dave.say(room, texts[0]);
  await tells('carol', { name: 'message', kind: 'room', nick: 'david', text: texts[0] });
  await dave.leave(room);
  const left = await tells('carol', { name: 'room', kind: 'leave', own: false });
  const outside = dave.rooms.size;
  await dave.join(room, 'david');
  const chats = told.filter(({ name, kind }) => name === 'message' && kind === 'chat');
  return {
    asking, known, taken, stayed, outside, said: { nick, text, own }, renamed: renamed.occupant.nick, left: left.occupant.nick, bounced: bounced.from,
    heard: ['carol', 'dave'].map((who) => chats.filter((one) => one.who === who && !one.own).map((one) => one.text)),
    saying: chats.filter((one) => one.own).length,
    errors: told.filter(({ name }) => name === 'error').map(({ who, error }) => `${who}: ${error}`),
  };
}

/**
 * In the page, when their server is back: they are where they were, and go their ways.
 *
 * @param {{ jids: [string, string], room: string, since: number }} task `since`: how much they had been told of
 */
async function part({ jids: [carolsJid, davesJid], room, since }) {
  const { carol, dave, told, until, contact } = /** @type {any} */ (globalThis);
  for (const who of ['carol', 'dave']) {
    await until(`${who} is back`, () => told.slice(since).some((/** @type {any} */ event) => event.who === who && event.state === 'connected'));
  }
  await until('both are in the room', () => [carol, dave].every(({ rooms }) => rooms.get(room)?.isIn && rooms.get(room).occupants.size === 2));
  await until('carol sees dave as he was', () => carol.contacts.get(davesJid)?.devices.get('page')?.show === 'away');
  const back = { contact: contact(carol.contacts.get(davesJid)), nicks: [...carol.rooms.get(room).occupants.keys()].sort() };
  await dave.say(room, 'back in the room');
  await dave.say(carolsJid, 'and here');
  await until('carol hears both', () => ['back in the room', 'and here'].every((text) => told.some((/** @type {any} */ event) => event.who === 'carol' && event.text === text)));

  await dave.allow(carolsJid, false);
  await until('carol sees no more of dave', () => carol.contacts.get(davesJid).subscription === 'from');
  await dave.removeContact(carolsJid);
  await until('nobody sees anybody', () => carol.contacts.get(davesJid).subscription === 'none');
  await carol.removeContact(davesJid);
  await until('the pushes came', () => !carol.contacts.has(davesJid) && !dave.contacts.has(carolsJid));
  const ends = told.filter((/** @type {any} */ event) => event.who === 'carol' && event.name === 'subscription').map((/** @type {any} */ { kind }) => kind);
  await Promise.all([carol.close(), dave.close()]);
  return { back, ends, states: [carol.state, dave.state] };
}

/** What a page of converse.js consists of. */
const CONVERSE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Converse</title><link rel="stylesheet" href="converse/converse.min.css"></head>
<body class="converse-fullscreen"><div id="conversejs-bg"></div><script type="module">
  import converse from '/converse/converse.min.js';
  converse.plugins.add('test', { initialize() { globalThis.api = this._converse.api; } });
  globalThis.start = (settings) => converse.initialize({
    assets_path: '/converse/', authentication: 'login', auto_login: true, clear_cache_on_logout: true, discover_connection_methods: false, i18n: 'en',
    loglevel: 'error', muc_fetch_members: false, view_mode: 'fullscreen', whitelisted_plugins: ['test'], ...settings,
  });
</script></body></html>`;

/** What everybody says, in order. */
const said = Array.from({ length: MESSAGES }, (_, n) => `${n} ä€😀 <&>'"`);

for (const [name, Server] of /** @type {const} */ ([['prosody', Prosody], ['ejabberd', Ejabberd]])) {
  describe(`XMPP clients and ${name}`, () => {
    /** @type {InstanceType<typeof Server>} */
    let server;
    /** @type {Gateway} */
    let gateway;
    /** @type {OriginServer} */
    let site;
    /** @type {Browser} */
    let browser;
    let rooms = 0;

    before(async () => {
      // Node's clients want a browser's WebSocket.
      globalThis.WebSocket ??= /** @type {any} */ (WebSocket);
      [server, site, browser] = await Promise.all([Server.start(), OriginServer.start(), Browser.launch('chromium')]);
      gateway = await Gateway.serve(`
        [backend.${name}]
        address = "${server.address}"
        tls_ca = "${server.ca}"
        service = "xmpp"
        [backend.${name}.xmpp]
        domain = "${DOMAIN}"
        [[allow]]
        origins = ["${site.origin}", "none"]
        to = ["${name}"]
      `);
      site.folders.converse = new URL('converse.js/dist/', MODULES);
      site.scripts['converse.html'] = CONVERSE;
      site.scripts['strophe.js'] = await readFile(new URL('strophe.js/dist/strophe.umd.min.js', MODULES), 'utf8');
    });
    after(async () => {
      await browser?.stop();
      await gateway?.stop();
      await site?.stop();
      await server?.stop();
    });
    afterEach(() => browser.tidy());

    const services = /** @type {const} */ (['websocket', 'bosh']);
    const serviceUrl = (/** @type {'websocket' | 'bosh'} */ way) => `${way === 'bosh' ? 'http' : 'ws'}://127.0.0.1:${gateway.port}/xmpp/${name}`;

    /** Bob, in a room, who answers everything. @param {string} room */
    const answering = async (room) => {
      const xmpp = xmppClient({ service: serviceUrl('websocket'), domain: DOMAIN, username: 'bob', password: PASSWORD });
      xmpp.reconnect.stop();
      xmpp.timeout = PAGE_MS;
      /** @type {string[]} */
      const bob = [];
      xmpp.on('error', () => {});
      const inRoom = new Promise((resolve) => {
        xmpp.on('stanza', async (/** @type {any} */ stanza) => {
          if (stanza.is('presence') && stanza.attrs.from === `${room}/bob`) resolve(undefined);
          const body = stanza.is('message') && stanza.attrs.from === `${room}/tester` && stanza.getChildText('body');
          if (!body) return;
          bob.push(body);
          await xmpp.send(xml('message', { to: room, type: 'groupchat' }, xml('body', {}, `↩ ${body}`)));
        });
      });
      await xmpp.start();
      await xmpp.send(xml('presence', { to: `${room}/bob` }, xml('x', { xmlns: 'http://jabber.org/protocol/muc' })));
      await inRoom;
      const say = (/** @type {string} */ body) => xmpp.send(xml('message', { to: room, type: 'groupchat' }, xml('body', {}, body)));
      return { bob, say, stop: () => xmpp.stop() };
    };

    /** @param {'websocket' | 'bosh'} way @param {object} [task] */
    const inPage = async (way, task) => {
      const { page, log } = await browser.open(site.origin);
      page.setDefaultTimeout(PAGE_MS);
      await page.addScriptTag({ url: `${site.origin}/strophe.js` });
      rooms += 1;
      const result = await page.evaluate(strophe, {
        service: serviceUrl(way), jid: `alice@${DOMAIN}`, password: PASSWORD, room: `room${rooms}@${ROOMS}`, messages: MESSAGES, ...task,
      });
      return { page, log, ...result };
    };

    for (const way of services) {
      test(`strophe.js by ${way}: a thousand messages through a room`, async () => {
        const { statuses, received } = await inPage(way);
        assert.equal(statuses.at(-1), 'CONNECTED', `${statuses}`);
        assert.deepEqual(received, said);
      });

      test(`strophe.js by ${way}: a wrong password`, async () => {
        const { statuses } = await inPage(way, { password: 'wrong' });
        assert.ok(statuses.some((status) => status.startsWith('AUTHFAIL')), `${statuses}`);
      });
    }

    test('@xmpp/client: a thousand messages through a room, and a wrong password', async () => {
      const room = `node@${ROOMS}`;
      const xmpp = xmppClient({ service: serviceUrl('websocket'), domain: DOMAIN, username: 'bob', password: PASSWORD, resource: 'node' });
      xmpp.reconnect.stop();
      xmpp.timeout = PAGE_MS;
      /** @type {string[]} */
      const received = [];
      let entered = () => {};
      const inRoom = new Promise((resolve) => (entered = () => resolve(undefined)));
      xmpp.on('error', () => {});
      xmpp.on('stanza', (/** @type {any} */ stanza) => {
        if (stanza.is('presence') && stanza.attrs.from === `${room}/bob`) entered();
        const body = stanza.is('message') && stanza.attrs.type === 'groupchat' && stanza.getChildText('body');
        if (body) received.push(body);
      });
      await xmpp.start();
      await xmpp.send(xml('presence', { to: `${room}/bob` }, xml('x', { xmlns: 'http://jabber.org/protocol/muc' })));
      await inRoom;
      for (const text of said) await xmpp.send(xml('message', { to: room, type: 'groupchat' }, xml('body', {}, text)));
      await until('all came back', () => received.length >= MESSAGES, PAGE_MS);
      assert.deepEqual(received, said);
      await xmpp.stop();

      const stranger = xmppClient({ service: serviceUrl('websocket'), domain: DOMAIN, username: 'bob', password: 'wrong' });
      stranger.reconnect.stop();
      stranger.timeout = PAGE_MS;
      stranger.on('error', () => {});
      await assert.rejects(stranger.start(), (/** @type {any} */ error) => error.condition === 'not-authorized');
      await stranger.stop();
    });

    for (const way of services) {
      test(`converse.js by ${way}: typing in a room, and reading what somebody answers`, async () => {
        rooms += 1;
        const room = `room${rooms}@${ROOMS}`;
        const { bob, stop } = await answering(room);
        const { page } = await browser.open(`${site.origin}/converse.html`);
        page.setDefaultTimeout(PAGE_MS);
        await page.waitForFunction(() => 'start' in globalThis);
        await page.evaluate(async (settings, room) => {
          const { start } = /** @type {any} */ (globalThis);
          await start(settings);
          const { api } = /** @type {any} */ (globalThis);
          await api.waitUntil('connected');
          await api.rooms.open(room, { nick: 'tester' }, true);
        }, {
          jid: `alice@${DOMAIN}`, password: PASSWORD,
          ...(way === 'bosh' ? { bosh_service_url: serviceUrl(way) } : { websocket_url: serviceUrl(way) }),
        }, room);
        await (await page.waitForSelector('.chat-textarea:not([disabled])'))?.click();
        for (const text of said.slice(0, TYPED)) {
          await page.keyboard.type(text);
          await page.keyboard.press('Enter');
          await page.waitForFunction((text) => [...document.querySelectorAll('.chat-msg__text')].some(({ textContent }) => textContent?.trim() === text), {}, `↩ ${text}`);
        }
        assert.deepEqual(bob, said.slice(0, TYPED));
        await browser.picture(page, `converse-${name}-${way}`);
        await stop();
      });
    }

    test('converse.js: a thousand messages in a room that is not shown', async () => {
      rooms += 1;
      const room = `room${rooms}@${ROOMS}`;
      const { say, stop } = await answering(room);
      const { page } = await browser.open(`${site.origin}/converse.html`);
      page.setDefaultTimeout(PAGE_MS);
      await page.waitForFunction(() => 'start' in globalThis);
      await page.evaluate(async (settings, room) => {
        await /** @type {any} */ (globalThis).start(settings);
        const { api } = /** @type {any} */ (globalThis);
        await api.waitUntil('connected');
        // What is shown is drawn anew with each message.
        const { messages, session } = await api.rooms.open(room, { nick: 'tester', hidden: true, minimized: true });
        Object.assign(globalThis, { heard: () => messages.map((/** @type {any} */ one) => one.get('body')).filter(Boolean), entered: () => session.get('connection_status') });
      }, { jid: `alice@${DOMAIN}`, password: PASSWORD, websocket_url: serviceUrl('websocket') }, room);
      await page.waitForFunction(() => /** @type {any} */ (globalThis).entered() === 5);
      for (const text of said) await say(text);
      const heard = () => page.evaluate(() => /** @type {any} */ (globalThis).heard());
      await until('all is heard', async () => (await heard()).length >= said.length, PAGE_MS);
      assert.deepEqual(await heard(), said);
      await stop();
    });

    test('host-meta tells where to connect', async () => {
      const response = await fetch(`${gateway.url}/.well-known/host-meta.json`);
      assert.equal(response.headers.get('access-control-allow-origin'), '*');
      assert.deepEqual((await response.json()).links.map((/** @type {any} */ { href }) => href), services.map(serviceUrl));
      const { page } = await browser.open(site.origin);
      const document = await page.evaluate(async (url) => (await fetch(url)).text(), `${gateway.url}/.well-known/host-meta`);
      assert.match(document, new RegExp(`<Link rel='urn:xmpp:alt-connections:xbosh' href='${serviceUrl('bosh')}'/>`));
    });

    test("the page's own client: contacts, presence, talk, rooms, and a server that is started again", async () => {
      const jids = /** @type {[string, string]} */ ([`carol@${DOMAIN}`, `dave@${DOMAIN}`]);
      const { page } = await browser.open(site.origin);
      await page.addScriptTag({ url: `${site.origin}/strophe.js` });
      const room = `own@${ROOMS}`;
      const texts = said.slice(0, TYPED);
      const seen = await page.evaluate(acquaint, { url: gateway.url, server: name, jids, password: PASSWORD, room, texts, patienceMs: PAGE_MS });
      const friend = { jid: jids[1], name: 'Dave <ä>', groups: ['friends', 'ä & b'] };
      const there = { ...friend, subscription: 'both', asked: false, devices: { page: { show: 'away', status: 'at lünch', priority: 5 } } };
      assert.deepEqual(seen, {
        asking: { ...friend, subscription: 'none', asked: true, devices: {} },
        known: there,
        taken: 'refused conflict', stayed: 'dave', outside: 0, renamed: 'david', left: 'david', bounced: `nobody@${DOMAIN}`,
        said: { nick: 'david', text: texts[0], own: true },
        heard: [texts.map((text) => `↩ ${text}`), texts],
        saying: 2 * texts.length + 1,
        // Nobody but the promise tells of the nick that was taken.
        errors: seen.errors.filter((error) => /^dave: .*conflict/.test(error)),
      });

      const since = await page.evaluate(() => /** @type {any} */ (globalThis).told.length);
      await server.restart(async () => {
        await page.waitForFunction(() => ['carol', 'dave'].every((who) => /** @type {any} */ (globalThis)[who].state !== 'connected'), { timeout: PAGE_MS });
      });
      const { back, ends, states } = await page.evaluate(part, { jids, room, since });
      assert.deepEqual(back, { contact: there, nicks: ['carol', 'david'] });
      assert.deepEqual(ends.filter((kind) => kind === 'unsubscribed' || kind === 'unsubscribe').sort(), ['unsubscribe', 'unsubscribed']);
      assert.deepEqual(states, ['idle', 'idle']);
    });

    test('the server goes: clients are told by both ways', async () => {
      const pages = await Promise.all(services.map((way) => inPage(way, { messages: 1 })));
      await server.stop();
      for (const [n, { page }] of pages.entries()) {
        const statuses = () => page.evaluate(() => /** @type {any} */ (globalThis).statuses);
        await until(`${services[n]} is told`, async () => (await statuses()).some((/** @type {string} */ status) => status.startsWith('DISCONNECTED')), PAGE_MS);
        assert.ok((await statuses()).some((/** @type {string} */ status) => /remote-(connection-failed|stream-error)|system-shutdown/.test(status)), `${services[n]}: ${await statuses()}`);
      }
    });
  });
}
