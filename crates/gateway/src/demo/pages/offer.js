// @ts-check
/** What the gateway of this page has pages for, and the links between them. */

/** @typedef {{ name: string, service: 'irc' | 'stomp' | 'xmpp', domain: string | null }} Offered */
/** @typedef {{ demo: boolean, backends: Offered[] }} Offer */

// @ts-expect-error: the gateway writes this module
import { offer as written } from '/demo/offered.js';

/** @type {Offer} */
export const offer = written;

/** @param {Offered['service']} service */
export const backendsOf = (service) => offer.backends.filter((backend) => backend.service === service);

// In the demo every page is there, to say at least what it would take.
if (!offer.demo) {
  for (const link of document.querySelectorAll('[data-service]')) {
    if (link instanceof HTMLElement) link.hidden = !offer.backends.some(({ service }) => service === link.dataset.service);
  }
}

/**
 * Puts the backends of a service into a field, the first of them as what is asked for.
 * @param {HTMLInputElement} field
 * @param {Offered['service']} service
 * @param {string | null} asked what the page's address says
 */
export function offerBackends(field, service, asked) {
  const backends = backendsOf(service);
  const list = document.createElement('datalist');
  list.id = `${field.id}-offered`;
  for (const { name } of backends) list.append(new Option(name, name));
  field.after(list);
  if (backends.length > 1) field.setAttribute('list', list.id);
  field.value = asked ?? backends[0]?.name ?? field.value;
}
