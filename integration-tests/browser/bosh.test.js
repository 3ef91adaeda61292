/**
 * The rules of BOSH (XEP-0124, XEP-0206), one test for each, at the gateway's address: what a client is answered, and
 * what the server gets of it.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { Backend, closedPort } from './support/backends.js';
import { BoshClient, HEADER, ScriptedServer } from './support/bosh.js';
import { Gateway } from './support/gateway.js';
import { until } from './support/wait.js';
import { certifyDomain } from './support/xmpp-servers.js';

const ORIGIN = 'https://page.example';
/** How long the gateway of these tests holds a request, and keeps a client that asks no more. */
const [HOLD, INACTIVITY] = [2, 10];

/** @type {ScriptedServer} */
let server;
/** @type {Gateway} */
let gateway;
/** @type {string} */
let url;
/** For certificates. @type {string} */
let folder;

before(async () => {
  server = await ScriptedServer.start();
  folder = await mkdtemp(join(tmpdir(), 'perigee-bosh-'));
  const dead = await closedPort();
  const backend = (/** @type {string} */ name, /** @type {string} */ address) => `
    [backend.${name}]
    address = "${address}"
    service = "xmpp"
    resume_timeout = "${INACTIVITY}s"
    [backend.${name}.xmpp]
    domain = "a.example"
    starttls = "off"
    max_stanza = "10000B"
  `;
  gateway = await Gateway.serve(`
    ${backend('chat', server.backend.address)}
    ${backend('dead', `127.0.0.1:${dead}`)}
    [[allow]]
    origins = ["${ORIGIN}"]
    to = ["chat", "dead"]
    [timeouts]
    hold = "${HOLD}s"
    [limits]
    max_sessions_per_client = 60
  `);
  url = `${gateway.url}/xmpp/chat`;
});
after(async () => {
  await gateway?.stop();
  await server?.backend.stop();
  if (folder) await rm(folder, { recursive: true });
});

const client = () => new BoshClient(url, ORIGIN);

/** A client whose session has begun. @param {string} [attributes] */
async function begun(attributes) {
  const one = client();
  const creation = await one.begin(attributes);
  assert.ok(one.sid, creation.text);
  return { one, creation, connection: server.last };
}

/** @param {Awaited<ReturnType<BoshClient['post']>>} answer @param {string | undefined} condition */
function assertTerminated(answer, condition, status = 200) {
  assert.equal(answer.attributes.type, 'terminate', answer.text);
  assert.equal(answer.attributes.condition, condition, answer.text);
  assert.equal(answer.status, status);
}

describe('a session', () => {
  test('begins with what was agreed on, and the features of the server without what is not the client\'s', async () => {
    const { creation, connection } = await begun("wait='600' hold='5' ver='1.11' ack='1'");
    assert.match(connection.got, /<stream:stream[^>]* to='a\.example'[^>]* xml:lang='en'/);
    const { attributes } = creation;
    assert.deepEqual([attributes.wait, attributes.hold, attributes.requests, attributes.ver], [`${HOLD}`, '1', '2', '1.11']);
    assert.deepEqual([attributes.inactivity, attributes.maxpause], [`${INACTIVITY}`, `${2 * INACTIVITY}`]);
    assert.deepEqual([attributes.from, attributes.authid, attributes['xmpp:restartlogic']], ['a.example', 's1', 'true']);
    assert.match(creation.text, /<stream:features xmlns='jabber:client' xmlns:stream='http:\/\/etherx.jabber.org\/streams'>.*PLAIN/);
    assert.equal(creation.type, 'text/xml; charset=utf-8');
    assert.equal(creation.headers.get('access-control-allow-origin'), ORIGIN);
    assert.equal(creation.headers.get('cache-control'), 'no-store, no-transform');
  });

  test('begins again after the log-in', async () => {
    const { one, connection } = await begun();
    const success = one.request(1, '', "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>");
    await server.gets('<auth ');
    connection.socket.write("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert.match((await success).text, /<success /);
    const features = await one.request(2, "xmpp:restart='true' to='a.example'");
    assert.match(features.text, /<stream:features /);
    assert.equal(connection.got.split('<stream:stream').length - 1, 2);
  });

  test('is for the domain of its backend', async () => {
    assertTerminated(await client().begin(undefined, 'b.example'), 'host-unknown');
    assertTerminated(await client().begin(undefined, ''), 'improper-addressing');
  });

  test('is told of a server that cannot be reached', async () => {
    const one = new BoshClient(`${gateway.url}/xmpp/dead`, ORIGIN);
    assertTerminated(await one.begin(), 'remote-connection-failed');
  });

  test('is found by its page and its backend only', async () => {
    const { one } = await begun();
    const other = new BoshClient(`${gateway.url}/xmpp/dead`, ORIGIN);
    Object.assign(other, { sid: one.sid });
    assertTerminated(await other.request(1), 'item-not-found');
    const stranger = new BoshClient(url, 'https://evil.example');
    Object.assign(stranger, { sid: one.sid });
    assert.equal((await stranger.request(1)).status, 403);
    assertTerminated(await one.request(1, "type='terminate'"), undefined);
  });
});

describe('requests', () => {
  test('wait until the server says something, or as long as was agreed on', async () => {
    const { one, connection } = await begun();
    const first = one.request(1);
    connection.socket.write('<message><body>ä</body></message>');
    assert.match((await first).text, /<message xmlns='jabber:client'><body>ä<\/body><\/message>/);
    const began = performance.now();
    const second = await one.request(2);
    assert.match(second.text, /^<body xmlns='http:\/\/jabber.org\/protocol\/httpbind'( [\w:]+='[^']*')*\/>$/);
    assert.ok(performance.now() - began > HOLD * 900, 'it waited');
  });

  test('are at most as many as were agreed on: one more makes the first answered', async () => {
    const { one } = await begun();
    const first = one.request(1);
    const second = one.request(2);
    assert.doesNotMatch((await first).text, /terminate/);
    server.say('<m/>');
    assert.match((await second).text, /<m /);
  });

  test('are taken in their order', async () => {
    const { one, connection } = await begun();
    const second = one.request(2, '', '<b/>');
    const first = one.request(1, '', '<a/>');
    await Promise.all([first, server.gets("<a xmlns='jabber:client'/><b xmlns='jabber:client'/>")]);
    connection.socket.write('<m/>');
    assert.match((await second).text, /<m /);
  });

  test('that are repeated get the very same answer, and the server nothing', async () => {
    const { one, connection } = await begun();
    const first = one.request(1, '', '<a/>');
    await server.gets('<a ');
    connection.socket.write('<m/>');
    const answer = await first;
    const again = await one.request(1, '', '<a/>');
    assert.equal(again.text, answer.text);
    connection.socket.write('<n/>');
    assert.match((await one.request(2)).text, /<n /);
    assert.equal(connection.got.split('<a ').length - 1, 1);
  });

  test('whose answer was lost on the way are answered when they come again', async () => {
    const { one, connection } = await begun();
    const cut = new AbortController();
    const lost = one.request(1, '', '<a/>', cut.signal);
    await server.gets('<a ');
    cut.abort();
    await assert.rejects(lost);
    const again = one.request(1, '', '<a/>');
    connection.socket.write('<m/>');
    assert.match((await again).text, /<m /);
    assert.equal(connection.got.split('<a ').length - 1, 1);
  });

  test('tell what they have, and are told of what they have not', async () => {
    const { one, connection } = await begun();
    const first = one.request(1);
    connection.socket.write('<m/>');
    await first;
    const second = one.request(2, `ack='${one.rid}'`);
    connection.socket.write('<n/>');
    const { attributes } = await second;
    assert.equal(attributes.report, `${one.rid + 1}`);
    assert.match(attributes.time, /^\d+$/);
  });

  test('out of the window end the session', async () => {
    const { one, connection } = await begun();
    assertTerminated(await one.request(5), 'item-not-found');
    await until('the server is left', () => connection.ended);
    assertTerminated(await one.request(1), 'item-not-found');
    const far = await begun();
    for (let rid = 1; rid <= 3; rid += 1) {
      const answer = far.one.request(rid, `ack='${far.one.rid + rid - 1}'`);
      far.connection.socket.write('<m/>');
      await answer;
    }
    assertTerminated(await far.one.request(1), 'item-not-found');
  });

  test('that are repeated without end end the session', async () => {
    const { one } = await begun();
    const answers = await Promise.all(Array.from({ length: 5 }, () => one.request(1)));
    for (const answer of answers) assertTerminated(answer, 'policy-violation');
  });

  test('of a client that polls are not too many', async () => {
    const { one } = await begun("wait='0' hold='0' ver='1.6'");
    assert.equal((await one.request(1)).attributes.type, undefined);
    assertTerminated(await one.request(2), 'policy-violation');
  });

  test('carry keys, where the first one did', async () => {
    const hash = (/** @type {string} */ text) => createHash('sha1').update(text).digest('hex');
    const keys = ['seed'];
    for (let n = 0; n < 3; n += 1) keys.push(hash(keys[n]));
    const { one, connection } = await begun(`wait='60' hold='1' ver='1.6' newkey='${keys[3]}'`);
    const first = one.request(1, `key='${keys[2]}'`);
    connection.socket.write('<m/>');
    assert.match((await first).text, /<m /);
    assertTerminated(await one.request(2, `key='${keys[2]}'`), 'item-not-found');
  });
});

describe('the end', () => {
  test('is the client\'s, with last words', async () => {
    const { one, connection } = await begun();
    const held = one.request(1);
    const last = one.request(2, "type='terminate'", "<presence type='unavailable'/>");
    for (const answer of await Promise.all([held, last])) assertTerminated(answer, undefined);
    await until('the server is left', () => connection.ended);
    assert.ok(connection.got.endsWith("<presence xmlns='jabber:client' type='unavailable'/></stream:stream>"), connection.got);
  });

  test('is the server\'s, with its error', async () => {
    const { one, connection } = await begun();
    const held = one.request(1);
    connection.socket.write("<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>");
    const answer = await held;
    assertTerminated(answer, 'remote-stream-error');
    assert.match(answer.text, /<stream:error [^>]*><conflict /);
  });

  test('of a server that breaks off is told, also to a request that comes later', async () => {
    const { one, connection } = await begun();
    connection.socket.write('<m/>');
    connection.socket.destroy();
    const answer = await until('it is told', async () => {
      const answer = await one.request(1);
      return answer.attributes.type && answer;
    });
    assertTerminated(answer, 'remote-connection-failed');
    assert.match(answer.text, /<m /);
  });

  test('comes without a word to who asks no more, and later in a pause', async () => {
    const [gone, paused] = [await begun(), await begun()];
    const pause = await paused.one.request(1, `pause='${2 * INACTIVITY}'`);
    assert.equal(pause.attributes.type, undefined);
    const began = performance.now();
    await until('the one is forgotten', () => gone.connection.ended, 60_000);
    assert.ok(performance.now() - began > INACTIVITY * 900);
    assertTerminated(await gone.one.request(1), 'item-not-found');
    assert.equal(paused.connection.ended, false, 'the other is not');
    const next = paused.one.request(2);
    paused.connection.socket.write('<m/>');
    assert.match((await next).text, /<m /);
    assertTerminated(await paused.one.request(3, `pause='${2 * INACTIVITY + 1}'`), 'policy-violation');
  });

  test('comes with the gateway\'s own', async () => {
    const other = await Gateway.serve(`
      [backend.chat]
      address = "${server.backend.address}"
      service = "xmpp"
      [backend.chat.xmpp]
      domain = "a.example"
      starttls = "off"
      [[allow]]
      origins = ["${ORIGIN}"]
      to = ["chat"]
    `);
    const one = new BoshClient(`${other.url}/xmpp/chat`, ORIGIN);
    await one.begin();
    const connection = server.last;
    const held = one.request(1, '', '<a/>');
    await server.gets('<a ');
    const [answer] = await Promise.all([held, other.stop()]);
    assertTerminated(answer, 'system-shutdown');
    assert.ok(connection.got.endsWith('</stream:stream>'), connection.got);
  });
});

describe('STARTTLS', () => {
  const PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
  const OFFER = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";

  for (const [name, features, proceed, cause] of /** @type {const} */ ([
    ['is not offered', '<stream:features/>', '', 'does not offer STARTTLS'],
    ['is refused', OFFER, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", 'refused STARTTLS'],
    ['comes with something else', OFFER, `${PROCEED}<stream:features/>`, 'without encryption'],
    ['ends in another certificate', OFFER, PROCEED, 'certificate'],
  ])) {
    test(`that ${name} leaves no connection, and a server without a byte of the client`, async () => {
      const secrets = await certifyDomain(folder, 'b.example');
      const [cert, key] = await Promise.all([readFile(secrets.chain), readFile(secrets.key)]);
      let got = '';
      const backend = await Backend.start((socket) => {
        const read = (/** @type {Buffer} */ data) => {
          const text = data.toString();
          got += text;
          if (!text.includes('<starttls ')) {
            socket.write(`${HEADER}${features}`);
            return;
          }
          socket.off('data', read);
          if (!name.includes('certificate')) {
            socket.write(proceed);
            return;
          }
          socket.write(proceed, () => {
            const secure = new tls.TLSSocket(socket, { isServer: true, cert, key });
            secure.on('error', () => {}).on('data', (data) => (got += data));
          });
        };
        socket.on('data', read);
      });
      const other = await Gateway.serve(`
        [backend.chat]
        address = "${backend.address}"
        tls_ca = "${secrets.ca}"
        service = "xmpp"
        [backend.chat.xmpp]
        domain = "a.example"
        [[allow]]
        origins = ["${ORIGIN}"]
        to = ["chat"]
      `);
      try {
        assertTerminated(await new BoshClient(`${other.url}/xmpp/chat`, ORIGIN).begin(), 'remote-connection-failed');
        await other.logs(new RegExp(`code=tls reason=.*${cause}`));
        assert.doesNotMatch(got, /lang=/, 'the header is the gateway\'s own');
      } finally {
        await other.stop();
        await backend.stop();
      }
    });
  }
});

describe('streams', () => {
  test('are several in one session, by name', async () => {
    const { one, creation, connection } = await begun();
    assert.equal(creation.attributes.stream, '1');
    const held = one.request(1, "to='a.example'");
    const { attributes } = await held;
    assert.equal(attributes.stream, '2', (await held).text);
    assert.notEqual(server.last, connection);
    await Promise.race([one.request(2, "stream='1'", '<first/>'), until('the first gets it', () => connection.got.includes('<first '))]);
    assert.doesNotMatch(server.last.got, /<first /);
  });
});

describe('what is no BOSH', () => {
  const body = (/** @type {string} */ payload) => `<body rid='1001' sid='x' xmlns='http://jabber.org/protocol/httpbind'>${payload}</body>`;

  for (const [name, content, condition] of /** @type {const} */ ([
    ['nothing', '', 'bad-request'],
    ['no XML', 'GET / HTTP/1.1', 'bad-request'],
    ['another element', "<html rid='1'/>", 'bad-request'],
    ['no rid', "<body xmlns='http://jabber.org/protocol/httpbind'/>", 'bad-request'],
    ['a document type', `<!DOCTYPE a [<!ENTITY b "${'c'.repeat(50)}">]>${body('&b;&b;')}`, 'bad-request'],
    ['an entity', body('<a>&b;</a>'), 'bad-request'],
    ['a comment', body('<!-- -->'), 'bad-request'],
    ['an instruction', body('<?php ?>'), 'bad-request'],
    ['text', body('text'), 'bad-request'],
    ['a prefix of nobody', body('<a:b/>'), 'bad-request'],
    ['two bodies', body('') + body(''), 'bad-request'],
    ['an end too much', body('</body><body>'), 'bad-request'],
    ['depth', body('<a>'.repeat(40) + '</a>'.repeat(40)), 'policy-violation'],
    ['many attributes', body(`<a ${Array.from({ length: 70 }, (_, n) => `a${n}=''`).join(' ')}/>`), 'policy-violation'],
    ['many namespaces', body(`<a ${Array.from({ length: 40 }, (_, n) => `xmlns:a${n}='a'`).join(' ')}/>`), 'policy-violation'],
    ['a stanza too long', body(`<a>${'x'.repeat(10_001)}</a>`), 'policy-violation'],
    ['a body too long', body(`<a>${'x'.repeat(200_000)}</a>`), 'policy-violation'],
    ['no session', body(''), 'item-not-found'],
  ])) {
    test(`${name} is refused, and touches nobody`, async () => {
      const { one, connection } = await begun();
      assertTerminated(await one.post(content.replace("sid='x'", name === 'no session' ? "sid='x'" : `sid='${one.sid}'`)), condition);
      const next = one.request(1);
      connection.socket.write('<m/>');
      assert.match((await next).text, /<m /);
      assertTerminated(await one.request(2, "type='terminate'"), undefined);
    });
  }

  test('clients from before conditions get statuses', async () => {
    const old = client();
    assertTerminated(await old.begin("wait='60' hold='1'", ''), 'improper-addressing');
    const { one } = await begun("wait='60' hold='1'");
    assertTerminated(await one.request(5), 'item-not-found', 404);
  });

  test('TLS is not the client\'s to ask for', async () => {
    const { one, connection } = await begun();
    assertTerminated(await one.request(1, '', "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), 'bad-request');
    assert.doesNotMatch(connection.got, /starttls/);
  });

  test('other pages, backends and methods are refused; people are told what it is', async () => {
    assert.equal((await new BoshClient(url, 'https://evil.example').begin()).status, 403);
    assert.equal((await new BoshClient(`${gateway.url}/xmpp/nobody`, ORIGIN).begin()).status, 403);
    assert.equal((await fetch(url, { method: 'PUT', headers: { origin: ORIGIN } })).status, 405);
    const page = await fetch(url);
    assert.equal(page.status, 200);
    assert.match(await page.text(), /XMPP/);
    const preflight = await fetch(url, { method: 'OPTIONS', headers: { origin: ORIGIN, 'access-control-request-method': 'POST' } });
    assert.deepEqual([preflight.status, preflight.headers.get('access-control-allow-origin')], [204, ORIGIN]);
  });

  test('one client has a bounded number of sessions', async () => {
    const clients = [];
    let last;
    for (let n = 0; n < 61 && !last?.attributes.condition; n += 1) {
      const one = client();
      last = await one.begin();
      if (one.sid) clients.push(one);
    }
    assertTerminated(/** @type {any} */ (last), 'policy-violation');
    for (const one of clients) assertTerminated(await one.request(1, "type='terminate'"), undefined);
    assert.ok((await client().begin()).attributes.sid, 'and gives them back');
  });
});
