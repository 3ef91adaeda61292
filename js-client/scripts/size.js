/** What the client costs a page: everything in one bundle, minified and gzipped, within its budget. */

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const BUDGET_BYTES = 15 * 1024;

const result = await build({
  entryPoints: [new URL('../src/index.js', import.meta.url).pathname],
  bundle: true, minify: true, format: 'esm', target: 'esnext', write: false,
});
const [file] = result.outputFiles;
if (file === undefined) throw new Error('esbuild made no bundle');
const size = gzipSync(file.contents, { level: 9 }).length;
process.stdout.write(`perigee.js: ${file.contents.length} bytes minified, ${size} gzipped, budget ${BUDGET_BYTES}\n`);
if (size > BUDGET_BYTES) process.exitCode = 1;
