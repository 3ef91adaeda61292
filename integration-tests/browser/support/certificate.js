/** A certificate of 127.0.0.1 and localhost that nobody vouches for. */

import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/**
 * @typedef {object} Certificate paths of PEM files
 * @property {string} chain
 * @property {string} key
 * @property {string} both in one file, as HAProxy wants them
 */

/** @param {string} folder where it is put @returns {Promise<Certificate>} */
export async function certify(folder) {
  const certificate = { chain: join(folder, 'gateway.pem'), key: join(folder, 'gateway.key'), both: join(folder, 'both.pem') };
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', certificate.key, '-out', certificate.chain]);
  await writeFile(certificate.both, await readFile(certificate.chain, 'utf8') + await readFile(certificate.key, 'utf8'));
  return certificate;
}

/** What WebTransport tells a certificate by. @param {string} chain its file */
export async function hashOf(chain) {
  return Buffer.from(new X509Certificate(await readFile(chain)).fingerprint256.replaceAll(':', ''), 'hex').toString('base64');
}
