/** Runs steps against a server: one connection, one after the other, with session fields as a driver would send them. */
import { Binary, Long } from 'bson';
import type { Document } from 'bson';
import type { Step } from './steps.ts';
import type { Wire } from './wire.ts';

/** Not majority: a set of one member would sync its disk for each. What ends a round waits for the majority. */
const WRITE_CONCERN = { w: 1 };

export class Performer {
  readonly #wire: Wire;
  /** How often which error came; for a look at whether the workload still does something. */
  readonly errors = new Map<string, number>();
  failed = 0;
  performed = 0;
  // Higher than in any run before on the same server.
  #number = Date.now() * 1000;
  readonly #session = { id: sessionId(1) };
  readonly #transactions = { id: sessionId(2) };

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  async perform(step: Exclude<Step, { kind: 'restart' }>): Promise<void> {
    this.performed += 1;
    switch (step.kind) {
      case 'write': {
        const { db, body } = step.command;
        const session = step.retryable ? { lsid: this.#session, txnNumber: this.#nextNumber() } : {};
        const command = { ...body, ...session, writeConcern: WRITE_CONCERN };
        this.#note(body, await this.#wire.command(db, command));
        if (step.retried) await this.#wire.command(db, command);
        return;
      }
      case 'admin': {
        const { db, body } = step.command;
        this.#note(body, await this.#wire.command(db, { ...body, writeConcern: WRITE_CONCERN }));
        return;
      }
      case 'transaction':
        await this.#transaction(step);
    }
  }

  async #transaction({ commands, commit }: Extract<Step, { kind: 'transaction' }>): Promise<void> {
    const session = { lsid: this.#transactions, txnNumber: this.#nextNumber(), autocommit: false };
    for (const [index, { db, body }] of commands.entries()) {
      const start = index === 0 ? { startTransaction: true } : {};
      const reply = await this.#wire.command(db, { ...body, ...session, ...start });
      this.#note(body, reply);
      // The server has aborted it by itself.
      if (reply['ok'] !== 1 || reply['writeErrors'] !== undefined) return;
    }
    const end = commit ? { commitTransaction: 1 } : { abortTransaction: 1 };
    this.#note(end, await this.#wire.command('admin', { ...end, ...session, writeConcern: WRITE_CONCERN }));
  }

  #nextNumber(): Long {
    this.#number += 1;
    return Long.fromNumber(this.#number);
  }

  #note(body: object, reply: Document): void {
    const trouble =
      reply['ok'] === 1 ? (reply['writeErrors'] as Document[] | undefined)?.[0]?.['errmsg'] : reply['errmsg'];
    if (trouble === undefined) return;
    this.failed += 1;
    const text = `${Object.keys(body)[0]}: ${String(trouble).slice(0, 40)}`;
    this.errors.set(text, (this.errors.get(text) ?? 0) + 1);
  }
}

function sessionId(number: number): Binary {
  return new Binary(Buffer.from(String(number).padStart(16, '\u0007')), 4);
}
