// The README, tested as it is written: its configuration is checked and served, its page runs in Chromium.
//
// Nothing in the blocks is changed but the backend's port, which is the system's choice here. The listener's port is, too:
// Chromium is told that the README's localhost:8000 and localhost:3000 are those of this run, so the script in the page is
// the README's to the letter, origins included.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';

const ROOT = new URL('..', import.meta.url).pathname;
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const PERIGEE = process.env.PERIGEE_BIN ?? join(ROOT, 'target/debug/perigee');
const CHROMIUM = [process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const DEADLINE_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'perigee-readme-'));
// The browser's helpers may still be writing when it is gone; what they leave then is no fault of the README.
test.after(() => rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }).catch(() => {}));

/** The blocks of one language, without their fences. */
function blocks(language) {
  return [...README.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text);
}

function oneBlock(language) {
  const found = blocks(language);
  assert.equal(found.length, 1, `the README has ${found.length} blocks of ${language}`);
  return found[0];
}

async function listen(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

/** Starts a program that ends with the test. */
function start(t, program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill();
    await ended;
  });
  return child;
}

test('the configuration is five lines, and good as it stands', () => {
  const config = oneBlock('toml');
  assert.equal(config.trim().split('\n').length, 5);
  const file = join(folder, 'gateway.toml');
  writeFileSync(file, config);
  const said = execFileSync(PERIGEE, ['check', file], { encoding: 'utf8' });
  assert.match(said, /127\.0\.0\.1:8000/);
  assert.match(said, /http:\/\/localhost:3000 to irc/);
  const explain = (origin, target) => execFileSync(
    PERIGEE, ['explain', '--config', file, '--origin', origin, target], { encoding: 'utf8', stdio: 'pipe' },
  );
  explain('http://localhost:3000', 'irc');
  assert.throws(() => explain('http://localhost:3001', 'irc'), { status: 1 });
  assert.throws(() => explain('http://localhost:3000', '127.0.0.1:22'), { status: 1 });
});

test('every command is one that exists', () => {
  const lines = blocks('sh').join('').trim().split('\n');
  assert.ok(lines.length >= 5, `${lines.length} commands`);
  const targets = readFileSync(join(ROOT, 'Makefile'), 'utf8');
  for (const line of lines) {
    const [program, command, ...rest] = line.split(' ');
    if (program === 'make') {
      assert.match(targets, new RegExp(`^${command}:.*##`, 'm'), line);
      continue;
    }
    assert.equal(program, 'target/release/perigee', line);
    const help = execFileSync(PERIGEE, [command, '--help'], { encoding: 'utf8' });
    for (const flag of rest.filter((word) => word.startsWith('--'))) assert.ok(help.includes(flag), line);
  }
});

test('every link leads somewhere, in the README and in what it links to', () => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)];
  let links = 0;
  for (const page of pages) {
    const text = readFileSync(join(ROOT, page), 'utf8');
    for (const [, path, anchor] of text.matchAll(/\]\((?!http)([^)#]*)(?:#([^)]*))?\)/g)) {
      links += 1;
      const linked = path === '' ? text : readFileSync(join(ROOT, dirname(page), path), 'utf8');
      if (anchor === undefined) continue;
      const anchors = [...linked.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-'));
      assert.ok(anchors.includes(anchor), `${page}: ${path}#${anchor}`);
    }
  }
  assert.ok(links > 25, `${links} links`);
});

test('the fields of the access log are those that operators are told of', () => {
  const source = readFileSync(join(ROOT, 'crates/gateway/src/ops/access_log.rs'), 'utf8');
  const written = /info!\(((?:(?!info!)[^])*)"stream closed"/.exec(source)?.[1] ?? '';
  const fields = [...written.matchAll(/^\s*(?:\{ )?([a-z_.]+) = /gm)].map(([, name]) => name);
  const section = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8').split('message `stream closed`:')[1]?.split('\n\n')[1] ?? '';
  const told = [...section.matchAll(/^\| `([a-z_.]+)` \|/gm)].map(([, name]) => name);
  assert.ok(fields.length > 10, `${fields.length} fields`);
  assert.deepEqual(told, fields);
});

test('the page of the README talks to the server behind the gateway', { timeout: 2 * DEADLINE_MS }, async (t) => {
  const script = oneBlock('js');
  assert.equal(script.trim().split('\n').length, 5);

  // The backend: greets whoever says NICK.
  const backend = net.createServer((socket) => {
    t.after(() => socket.destroy());
    socket.on('error', () => {});
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes;
      const nick = /^NICK (\S+)\r\n(?=[^]*\r\n)/.exec(text)?.[1];
      if (nick !== undefined) socket.write(`:irc.example 001 ${nick} :Welcome, ${nick}\r\n`);
    });
  });
  t.after(() => backend.close());
  const backendPort = await listen(backend);

  // The gateway.
  const file = join(folder, 'serve.toml');
  const config = oneBlock('toml').replace('127.0.0.1:6667', `127.0.0.1:${backendPort}`);
  writeFileSync(file, `${config}[[listener]]\naddress = "127.0.0.1:0"\n`);
  const gateway = start(t, PERIGEE, ['serve', '--config', file]);
  let gatewayPort;
  for await (const line of createInterface(gateway.stderr)) {
    gatewayPort = /ready.*127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (gatewayPort !== undefined) break;
  }
  assert.ok(gatewayPort, 'the gateway did not say that it is ready');
  gateway.stderr.resume();

  // The page, which tells what it logs.
  let tell;
  const said = new Promise((resolve) => {
    tell = resolve;
  });
  const tellPage = '<!doctype html><script>'
    + 'const tell = (text) => fetch("/said", { method: "POST", body: text });'
    + 'console.log = tell; addEventListener("error", (event) => tell(`error: ${event.message}`));'
    + 'addEventListener("unhandledrejection", (event) => tell(`rejection: ${event.reason}`));'
    + `</script><script type="module" src="/page.js"></script>`;
  const site = http.createServer(async (request, response) => {
    if (request.url === '/said') {
      let body = '';
      for await (const chunk of request) body += chunk;
      tell(body);
      response.end();
    } else if (request.url === '/page.js') {
      response.setHeader('content-type', 'text/javascript');
      response.end(script);
    } else {
      response.setHeader('content-type', 'text/html');
      response.end(tellPage);
    }
  });
  t.after(() => {
    site.close();
    site.closeAllConnections();
  });
  const sitePort = await listen(site);

  assert.ok(CHROMIUM, 'Chromium is missing; install it or set CHROMIUM_BIN');
  const profile = mkdtempSync(join(folder, 'profile-'));
  const chromium = start(t, CHROMIUM, [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', `--user-data-dir=${profile}`,
    `--host-resolver-rules=MAP localhost:8000 127.0.0.1:${gatewayPort}, MAP localhost:3000 127.0.0.1:${sitePort}`,
    'http://localhost:3000/',
  ]);
  let complaints = '';
  chromium.stderr.on('data', (bytes) => {
    complaints = (complaints + bytes).slice(-4000);
  });
  const late = AbortSignal.timeout(DEADLINE_MS);
  const gaveUp = new Promise((_, reject) => {
    late.addEventListener('abort', () => reject(new Error(`the page said nothing; Chromium said: ${complaints}`)));
    chromium.on('error', reject);
    chromium.on('exit', (code) => reject(new Error(`Chromium ended with ${code}: ${complaints}`)));
  });
  assert.equal(await Promise.race([said, gaveUp]), ':irc.example 001 newcomer :Welcome, newcomer\r\n');
});
