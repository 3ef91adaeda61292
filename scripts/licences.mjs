// Checks what the gateway is built from: every crate comes from crates.io or from this repository, under a licence that
// deny.toml allows. `make deny` does the same and more with cargo-deny, which takes minutes to install; this takes none.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const REGISTRY = 'registry+https://github.com/rust-lang/crates.io-index';

/** The `allow` list of the `[licenses]` table, the one place where licences are allowed. */
function allowedLicences(denyToml) {
  const table = denyToml.split(/^\[licenses\]$/m)[1]?.split(/^\[/m)[0] ?? '';
  const list = /^allow = \[([^\]]*)\]/m.exec(table)?.[1] ?? '';
  const names = [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name);
  if (names.length === 0) throw new Error('deny.toml has no licenses.allow');
  return new Set(names);
}

/** Whether an SPDX expression can be met with the allowed licences. AND binds tighter than OR (SPDX 2.3, annex D). */
export function satisfied(expression, allowed) {
  const tokens = expression.replaceAll('/', ' OR ').match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const either = () => {
    let result = both();
    while (tokens[at] === 'OR') {
      at += 1;
      result = both() || result;
    }
    return result;
  };
  const both = () => {
    let result = one();
    while (tokens[at] === 'AND') {
      at += 1;
      result = one() && result;
    }
    return result;
  };
  const one = () => {
    const token = tokens[at];
    at += 1;
    if (token === '(') {
      const result = either();
      if (tokens[at] !== ')') throw new Error(`unbalanced licence expression ${expression}`);
      at += 1;
      return result;
    }
    if (tokens[at] !== 'WITH') return allowed.has(token);
    at += 2;
    return allowed.has(`${token} WITH ${tokens[at - 1]}`);
  };
  const result = either();
  if (at !== tokens.length) throw new Error(`cannot read licence expression ${expression}`);
  return result;
}

const allowed = allowedLicences(readFileSync(new URL('../deny.toml', import.meta.url), 'utf8'));
for (const [expression, want] of [
  ['MIT', true], ['GPL-3.0', false], ['GPL-3.0 OR MIT', true], ['GPL-3.0 AND MIT', false], ['MIT/Apache-2.0', true],
  ['(MIT OR GPL-3.0) AND Apache-2.0', true], ['MIT OR GPL-3.0 AND GPL-2.0', true], ['(MIT OR GPL-3.0) AND GPL-2.0', false],
]) {
  if (satisfied(expression, allowed) !== want) throw new Error(`${expression} is read wrongly`);
}

const root = new URL('..', import.meta.url).pathname;
const metadata = JSON.parse(execFileSync('cargo', ['metadata', '--format-version', '1', '--locked'], { cwd: root, maxBuffer: 1 << 28 }));
const problems = [];
for (const { name, version, license, source } of metadata.packages) {
  if (source !== null && source !== REGISTRY) problems.push(`${name} ${version} comes from ${source}`);
  if (license === null) problems.push(`${name} ${version} names no licence`);
  else if (!satisfied(license, allowed)) problems.push(`${name} ${version} is under ${license}, which deny.toml does not allow`);
}
for (const problem of problems) console.error(`licences: ${problem}`);
if (problems.length > 0) process.exit(1);
console.log(`licences: ${metadata.packages.length} packages, all under licences that deny.toml allows`);
