/**
 * Where a gateway has what our own protocol needs.
 * @param {{ url: string }} config
 * @param {string} path below /perigee/v1/
 */
export function endpoint({ url }, path) {
  return `${url}/perigee/v1/${path}`;
}
