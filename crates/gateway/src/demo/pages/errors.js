// @ts-check
/**
 * A sentence for every code of the client: what happened, where, and what to do about it.
 *
 * It knows the codes of `docs/protocol.md` section 6 and those the client adds, and no page.
 */

/**
 * @param {unknown} error
 * @returns {string} the code of a PerigeeError, 'internal' for anything else
 */
export function codeOf(error) {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return 'internal';
}

/**
 * @param {string} code
 * @param {{ target: string, gateway: string }} where  backend as it was asked for, URL of the gateway
 * @returns {{ title: string, advice: string }}
 */
export function explain(code, { target, gateway }) {
  const texts = TEXTS[code];
  if (!texts) return { title: `The connection to ${target} ended (${code}).`, advice: 'Connect again.' };
  const fill = /** @param {string} text */ (text) => text.replaceAll('{target}', target).replaceAll('{gateway}', gateway);
  return { title: fill(texts[0]), advice: fill(texts[1]) };
}

/** @type {Record<string, [title: string, advice: string]>} */
const TEXTS = {
  closed: ['{target} closed the connection in good order.', 'Connect again whenever you like.'],
  denied: [
    'The gateway does not allow {target}.',
    'Use a backend from its allow-list, for example “echo” or “irc” in the demo, or add a rule for this target to the gateway’s configuration.',
  ],
  refused: ['{target} refused the connection.', 'Nothing listens on that port: check the port, or start the server.'],
  timeout: ['{target} did not answer in time.', 'Check that the server is up and that no firewall is in the way, then try again.'],
  dns: ['The name of {target} has no usable address.', 'Check the spelling of the host.'],
  tls: ['The gateway could not agree on TLS with {target}.', 'Check that the port speaks TLS and that the certificate is valid for this name.'],
  unreachable: [
    'The gateway could not reach {target}.',
    'Check host and port. The gateway does not say more for addresses that a page chose.',
  ],
  reset: ['{target} broke the connection off.', 'What it had not read may be lost on its side. Connect again.'],
  aborted: ['The connection to {target} was given up on this side.', 'Connect again to start over.'],
  lost: [
    'The gateway no longer knows this session.',
    'It was restarted, or this page was away for longer than sessions are kept. Connect again.',
  ],
  protocol: ['Gateway and page misunderstood each other.', 'Reload this page, so that both have the same version; if it happens again, please report it.'],
  version: ['This page and the gateway speak different versions.', 'Reload this page.'],
  flow: ['More was sent to {target} than the gateway had room for.', 'This is a fault of the client; connect again and please report it.'],
  limit: ['A limit of the gateway is reached.', 'Close connections you no longer need, or ask the operator to raise the limit.'],
  overloaded: ['The gateway has no memory or connections to spare.', 'Wait a minute, then try again.'],
  going_away: ['The gateway is stopping.', 'Connect again in a moment: another one may take over.'],
  rotate: ['The gateway asked to attach again.', 'Connect again.'],
  idle: ['The connection to {target} was silent for too long.', 'Connect again.'],
  internal: ['Something failed that should not fail.', 'Connect again; if it happens again, please report it with the gateway’s log.'],
  offline: [
    'There is no way to the gateway at {gateway}.',
    'Check that it is running and that this computer is online, then try again.',
  ],
};
