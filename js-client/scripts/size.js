/**
 * What the client costs a page, bundled, minified and gzipped: what every page loads, and what comes on top where a
 * module is loaded by `import()`. Each has a budget of its own, and what is loaded so by itself counts only there.
 *
 * What is loaded so imports only what came with the first: some browsers remember for good what failed once, and what was
 * imported cannot be asked for by another name as `import()` can (src/need.js).
 */

import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const FIRST = 'src/index.js';
/** @type {Readonly<Record<string, number>>} */
const BUDGET_BYTES = {
  [FIRST]: 15 * 1024,
  'src/origin.js': 512,
  'src/page.js': 640,
  'src/remember.js': 384,
  'src/snapshot.js': 768,
  'src/transports/http.js': 1792,
  'src/health.js': 1280,
  'src/transports/port.js': 768,
  'src/transports/webtransport.js': 1280,
  'src/transports/ticket.js': 640,
  'src/transports/form.js': 1280,
  'src/transports/sse.js': 512,
  'src/transports/htmlfile.js': 512,
  'src/transports/jsonp.js': 512,
  'src/reload.js': 1024,
};

/** What a page loads besides the first, by a name of its own. @type {Readonly<Record<string, number>>} */
const ENTRY_BYTES = {
  'src/irc.js': 11 * 1024,
  'src/stomp.js': 6 * 1024,
  'src/xmpp.js': 11 * 1024,
  'src/websocket.js': 6 * 1024,
  'src/net.js': 4 * 1024,
};

const root = new URL('..', import.meta.url).pathname;

/**
 * @param {string} entry
 * @param {ReadonlySet<string>} present modules that are there already, or count elsewhere
 */
async function measure(entry, present) {
  /** @type {Set<string>} */
  const later = new Set();
  const { metafile, outputFiles } = await build({
    entryPoints: [entry], absWorkingDir: root, bundle: true, minify: true, metafile: true, write: false, format: 'esm', target: 'esnext',
    plugins: [{
      name: 'pieces',
      setup: ({ onResolve }) => onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
        const file = join(resolveDir, path).slice(root.length);
        if (kind === 'dynamic-import') later.add(file);
        return kind === 'dynamic-import' || (file !== entry && present.has(file)) ? { path, external: true } : undefined;
      }),
    }],
  });
  const bytes = outputFiles[0]?.contents ?? new Uint8Array();
  return { modules: Object.keys(metafile.inputs), later, minified: bytes.length, gzipped: gzipSync(bytes, { level: 9 }).length };
}

/** @type {ReadonlySet<string>} */
let present = new Set();
const entries = new Set([FIRST, ...Object.keys(ENTRY_BYTES)]);
for (const entry of entries) {
  const { modules, later, minified, gzipped } = await measure(entry, present);
  if (entry === FIRST) present = new Set(modules);
  const own = modules.filter((file) => file !== entry);
  if (entry !== FIRST && !(entry in ENTRY_BYTES) && own.length > 0) throw new Error(`${entry} imports ${own}, which did not come with ${FIRST}: it may need() it`);
  // Also those that are loaded by what was loaded so.
  for (const file of later) entries.add(file);
  const budget = BUDGET_BYTES[entry] ?? ENTRY_BYTES[entry];
  process.stdout.write(`${entry}: ${minified} bytes minified, ${gzipped} gzipped, budget ${budget ?? 'missing in scripts/size.js'}\n`);
  if (budget === undefined || gzipped > budget) process.exitCode = 1;
}
for (const entry of Object.keys(BUDGET_BYTES)) if (!entries.has(entry)) throw new Error(`nothing loads ${entry} by import()`);
