/**
 * The same requests to Prosody's own BOSH and to the gateway in front of the same Prosody: what matters to a client has
 * to be the same. `PERIGEE_WRITE_DOCS=1` writes both transcripts, side by side, into bosh-prosody.md.
 */

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { BoshClient } from './support/bosh.js';
import { Gateway } from './support/gateway.js';
import { DOMAIN, PASSWORD, Prosody } from './support/xmpp-servers.js';

const ORIGIN = 'https://page.example';
const TRANSCRIPT = new URL('bosh-prosody.md', import.meta.url);

/** @typedef {Awaited<ReturnType<BoshClient['post']>>} Answer */
/** @typedef {{ name: string, does: (client: BoshClient) => Promise<Answer[]> }} Step */

const plain = Buffer.from(`\0alice\0${PASSWORD}`).toString('base64');
const BIND = "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>here</resource></bind></iq>";
const PING = `<iq xmlns='jabber:client' type='get' id='ping' to='${DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>`;

/** @type {Step[]} */
const STEPS = [
  { name: 'begins', does: async (client) => [await client.begin(undefined, DOMAIN)] },
  { name: 'logs in', does: async (client) => [await client.request(1, '', `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${plain}</auth>`)] },
  { name: 'begins a new stream', does: async (client) => [await client.request(2, `xmpp:restart='true' to='${DOMAIN}' xml:lang='en'`)] },
  { name: 'binds a resource', does: async (client) => [await client.request(3, '', BIND)] },
  { name: 'repeats that request', does: async (client) => [await client.request(3, '', BIND)] },
  {
    name: 'has one request held, and pings with the next',
    does: async (client) => {
      const held = client.request(4);
      held.catch(() => {});
      const pinging = client.request(5, '', PING);
      // It may be left without an answer when the server stops.
      pinging.catch(() => {});
      const answers = [await held];
      // The answer to the ping may come with the first or with the second.
      if (!answers[0].text.includes('<iq ')) answers.push(await pinging);
      return answers;
    },
  },
  { name: 'asks for a session of nobody', does: async () => [] },
  { name: 'asks far out of the window', does: async (client) => [await client.request(40)] },
];

/** @type {Prosody} */
let server;
/** @type {Gateway} */
let gateway;

before(async () => {
  server = await Prosody.start();
  gateway = await Gateway.serve(`
    [backend.talk]
    address = "${server.address}"
    tls_ca = "${server.ca}"
    service = "xmpp"
    [backend.talk.xmpp]
    domain = "${DOMAIN}"
    [[allow]]
    origins = ["${ORIGIN}"]
    to = ["talk"]
  `);
});
after(async () => {
  await gateway?.stop();
  await server?.stop();
});

/** All that a client does, and what it is answered. @param {string} url */
async function transcript(url) {
  const client = new BoshClient(url, ORIGIN);
  const said = [];
  for (const { name, does } of STEPS) {
    if (name === 'asks for a session of nobody') {
      const nobody = new BoshClient(url, ORIGIN);
      nobody.sid = 'nobody';
      said.push({ name, answers: [await nobody.request(1)] });
    } else {
      said.push({ name, answers: await does(client) });
    }
  }
  return said;
}

/** What of an answer a client acts on. @param {Answer} answer */
function essence({ status, attributes, text }) {
  const { type, condition, wait, hold, requests, polling } = attributes;
  // Prosody offers over BOSH what a client of BOSH cannot do.
  const elements = [...text.replace(/^<body[^>]*>/, '').replace(/<starttls.*<\/starttls>/, '').matchAll(/<([\w:]+)/g)].map(([, name]) => name).sort();
  return { status, type, condition, ...(attributes.sid && wait ? { hold, requests, polling } : {}), elements };
}

test('clients get the same from Prosody itself and through the gateway', async () => {
  const own = await transcript(`http://127.0.0.1:${server.httpPort}/http-bind`);
  const ours = await transcript(`${gateway.url}/xmpp/talk`);
  const brief = (/** @type {Awaited<ReturnType<typeof transcript>>} */ all) => all.map(({ name, answers }) => ({
    name,
    // Whether an answer waits for the one before is the server's time, not a rule.
    answers: name.includes('held') ? [answers.flatMap((answer) => essence(answer).elements)] : answers.map(essence),
  }));
  const repeated = (/** @type {typeof own} */ all) => all[4].answers[0].text === all[3].answers[0].text;
  assert.ok(repeated(own) && repeated(ours), 'a repeated request has the same answer');
  if (process.env.PERIGEE_WRITE_DOCS) await writeFile(TRANSCRIPT, document(own, ours));
  assert.deepEqual(brief(ours), brief(own));
});

/** @param {Awaited<ReturnType<typeof transcript>>} own @param {Awaited<ReturnType<typeof transcript>>} ours */
function document(own, ours) {
  const shown = (/** @type {Answer} */ { status, text }) => `${status} ${text}`
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|p-[\w-]{22}/g, 'RANDOM')
    .replaceAll(/></g, '>\n<');
  const block = (/** @type {Answer[]} */ answers) => `\`\`\`xml\n${answers.map(shown).join('\n')}\n\`\`\`\n`;
  const steps = own.map(({ name, answers }, n) => `## A client ${name}\n\nProsody:\n\n${block(answers)}\nThe gateway:\n\n${block(ours[n].answers)}`);
  return `# BOSH of Prosody, and of the gateway in front of it

Written by \`PERIGEE_WRITE_DOCS=1 node --test bosh-prosody.test.js\`, which fails where the two differ in what a client acts on.
Ids are random; Prosody offers STARTTLS to clients that cannot use it, and the gateway does not.

${steps.join('\n')}`;
}
