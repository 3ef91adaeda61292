/** A dedicated worker that carries bytes: it imports the client from the gateway it is told, and answers with a result. */

import { echo } from './in-page.js';

addEventListener('message', async ({ data }) => {
  try {
    postMessage({ echoed: await echo(data) });
  } catch (error) {
    postMessage({ failed: String(error) });
  }
});
