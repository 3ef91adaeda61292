/** What a broker delivers, and groups of frames that count together. */

/**
 * @typedef {import('./frame.js').Headers} Headers
 * @typedef {Readonly<Record<string, string | number | boolean>>} MoreHeaders
 * @typedef {{ headers?: MoreHeaders, contentType?: string, receipt?: boolean }} SendOptions `receipt: false`: do not wait for the broker
 * @typedef {(command: string, headers: MoreHeaders, body?: string | Uint8Array | ArrayBuffer, receipt?: boolean) => Promise<void>} Tell
 * @typedef {(message: StompMessage, command: 'ACK' | 'NACK', headers: MoreHeaders) => Promise<void>} Answer
 */

export class StompMessage {
  #answer;

  /** @param {import('./frame.js').Frame} frame @param {Answer} answer */
  constructor({ headers, body }, answer) {
    this.headers = headers;
    this.body = body;
    this.#answer = answer;
  }

  get id() {
    return this.headers['message-id'] ?? '';
  }

  get destination() {
    return this.headers.destination ?? '';
  }

  get contentType() {
    return this.headers['content-type'];
  }

  /** The body as UTF-8. */
  get text() {
    return new TextDecoder().decode(this.body);
  }

  /** It was dealt with. Resolves when the broker knows. @param {MoreHeaders} [headers] */
  ack(headers = {}) {
    return this.#answer(this, 'ACK', headers);
  }

  /** It was not; what the broker does with it then is the broker's. @param {MoreHeaders} [headers] */
  nack(headers = {}) {
    return this.#answer(this, 'NACK', headers);
  }
}

/** What is in it is said without a receipt: some brokers give none before all of it has happened, which `commit` tells. */
export class Transaction {
  #tell;

  /** @param {string} id @param {Tell} tell fails once the connection is another one */
  constructor(id, tell) {
    this.id = id;
    this.#tell = tell;
  }

  /** @param {string} destination @param {string | Uint8Array | ArrayBuffer} body @param {Omit<SendOptions, 'receipt'>} [options] */
  send(destination, body, { headers = {}, contentType } = {}) {
    return this.#tell('SEND', { ...headers, ...(contentType !== undefined && { 'content-type': contentType }), destination, transaction: this.id }, body, false);
  }

  /** @param {StompMessage} message */
  ack(message) {
    return message.ack({ transaction: this.id });
  }

  /** @param {StompMessage} message */
  nack(message) {
    return message.nack({ transaction: this.id });
  }

  /** Resolves when all of it has happened. */
  commit() {
    return this.#tell('COMMIT', { transaction: this.id });
  }

  /** Resolves when nothing of it has. */
  abort() {
    return this.#tell('ABORT', { transaction: this.id });
  }
}
