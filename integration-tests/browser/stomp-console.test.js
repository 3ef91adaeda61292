/** The STOMP console, on the broker of the demo: what a person does there, and what it makes of what others send. */

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Browser, describeInBrowsers } from './support/browsers.js';
import { Gateway } from './support/gateway.js';
import { StompPage } from './support/stomp-page.js';
import { until } from './support/wait.js';

/** More than the page keeps. */
const FLOOD = 520;

describeInBrowsers('the STOMP console', (name) => {
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

  test('connect, subscribe, send, look at it, filter, pause, export and disconnect', async () => {
    const { stomp, log } = await StompPage.open(browser, demo.url);
    await stomp.connect();
    assert.match(await stomp.text('state'), /Connected to perigee.*STOMP 1\.2.*Heart-beats/);
    await stomp.subscribe('/topic/shown');
    const hostile = '<img src=x onerror=alert(1)><script>alert(1)</script>';
    await stomp.send({ destination: '/topic/shown', body: hostile, headers: `x-markup: ${hostile}\nx-colon: a:b` });
    await stomp.send({ destination: '/topic/shown', body: '{"order":[1,{"two":true}]}', form: 'json' });
    await stomp.send({ destination: '/topic/shown', body: '00 ff fe 41', form: 'hex' });
    await until('three are listed', async () => (await stomp.rows()).length === 3);

    await stomp.look(0);
    assert.equal(await stomp.text('detail-body'), hostile);
    assert.deepEqual((await stomp.headers())['x-markup'], hostile);
    assert.deepEqual((await stomp.headers())['x-colon'], 'a:b');
    assert.deepEqual(await stomp.page.$$eval('main :is(img[src="x"], script, [onerror])', (found) => found.length), 0);
    await stomp.look(1);
    assert.equal(await stomp.text('detail-body'), '{\n  "order": [\n    1,\n    {\n      "two": true\n    }\n  ]\n}');
    await stomp.look(2);
    assert.match(await stomp.text('detail-body'), /^000000 {2}00 ff fe 41 +···A$/);

    await stomp.fill('filter', 'two');
    await until('one is left', async () => (await stomp.rows()).length === 1);
    assert.equal((await stomp.exported()).length, 1);
    await stomp.fill('filter', '');
    await until('all are back', async () => (await stomp.rows()).length === 3);
    const lines = await stomp.exported();
    assert.deepEqual(lines.map(({ body, bodyBase64, size }) => [body ?? bodyBase64, size]), [[hostile, hostile.length], ['{"order":[1,{"two":true}]}', 26], ['AP/+QQ==', 4]]);

    await stomp.click('pause');
    await stomp.send({ destination: '/topic/shown', body: 'meanwhile' });
    await until('it is counted', async () => (await stomp.text('pause')) === 'Resume (1 new)');
    assert.equal((await stomp.rows()).length, 3);
    await stomp.click('pause');
    await until('it is shown', async () => (await stomp.rows()).length === 4);
    await stomp.click('clear');
    assert.deepEqual(await stomp.rows(), []);

    await stomp.fill('headers', 'no colon');
    await stomp.click('send');
    assert.match(await stomp.text('sent'), /Line 1 of the headers has no name/);
    await stomp.click('disconnect');
    await stomp.phase('idle');
    assert.match(await stomp.text('state'), /Disconnected/);
    assert.deepEqual(log.entries, []);
  });

  test('acknowledge, refuse, transactions, and an error of the broker in words', async () => {
    const { stomp } = await StompPage.open(browser, demo.url);
    await stomp.connect();
    const queue = `/queue/work-${name}`;
    await stomp.subscribe(queue, 'client-individual');
    for (const body of ['one', 'two', 'three']) await stomp.send({ destination: queue, body });
    await until('three wait', async () => (await stomp.rows()).filter(({ fate }) => fate === 'waiting').length === 3);
    await stomp.mark(0);
    await stomp.mark(1);
    assert.equal(await stomp.text('ack'), 'Ack 2');
    await stomp.click('ack');
    await until('two are acknowledged', async () => String((await stomp.rows()).map(({ fate }) => fate)) === 'acked,acked,waiting');
    await stomp.look(2);
    await stomp.click('detail-nack');
    await until('what was refused comes again', async () => String((await stomp.rows()).map(({ fate }) => fate)) === 'acked,acked,refused,waiting');

    // What is sent and acknowledged in a transaction counts when it is committed.
    await stomp.click('begin');
    await stomp.page.waitForSelector('[data-testid=transaction]');
    await stomp.send({ destination: queue, body: 'held back' }, /In transaction/);
    await stomp.mark(3);
    await stomp.click('ack');
    assert.equal((await stomp.rows()).length, 4);
    await stomp.click('commit');
    await until('it has come', async () => (await stomp.rows()).at(-1)?.preview === 'held back');
    await stomp.click('begin');
    await stomp.page.waitForSelector('[data-testid=transaction]');
    await stomp.mark(4);
    await stomp.click('ack');
    await until('it is acknowledged, for now', async () => (await stomp.rows()).at(-1)?.fate === 'acked');
    await stomp.click('abort');
    await until('it is to be acknowledged again', async () => (await stomp.rows()).at(-1)?.fate === 'waiting');
    await stomp.mark(4);
    await stomp.click('ack');
    await until('it is acknowledged', async () => (await stomp.rows()).at(-1)?.fate === 'acked');

    // The broker of the demo knows no wildcards, and says so.
    await stomp.fill('sub-destination', '/topic/*');
    await stomp.click('subscribe');
    await stomp.page.waitForSelector('[data-testid=problem]:not([hidden])');
    assert.match(await stomp.text('problem-title'), /stomp refused: .*wildcard/i);
    // It ends the connection, which comes back with the subscription that was there.
    await stomp.phase('connected');
    await stomp.send({ destination: queue, body: 'after it' });
    await until('messages come', async () => (await stomp.rows()).at(-1)?.preview === 'after it');
  });

  test('what is kept has a bound, and the page says so', async () => {
    const { stomp, log } = await StompPage.open(browser, demo.url);
    await stomp.connect();
    await stomp.subscribe(`/topic/flood-${name}`);
    await stomp.page.evaluate(async (destination, count) => {
      const { StompClient } = await import(/* @vite-ignore */ `${location.origin}/perigee/stomp.js`);
      const sender = new StompClient({ server: 'stomp' });
      await sender.connect();
      for (let n = 1; n < count; n += 1) void sender.send(destination, `message ${n}`, { receipt: false });
      await sender.send(destination, `message ${count}`);
      await sender.close();
    }, `/topic/flood-${name}`, FLOOD);
    await until('the last is listed', async () => (await stomp.rows()).at(-1)?.preview === `message ${FLOOD}`);
    assert.equal((await stomp.rows()).length, 500);
    assert.match(await stomp.text('kept'), /The last 500 of 520 messages are kept/);
    assert.deepEqual(log.entries, []);
  });
});
