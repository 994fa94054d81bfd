/**
 * Which batches are done with: the watermark of each subscription of a source. Confirms come in any order; a watermark moves
 * only over a gapless prefix of batches, all of whose messages for that subscription are confirmed or safely parked. Batches
 * that held nothing for a subscription count as done as soon as they are in order, so that positions move on an idle feed.
 * A batch's bytes leave the in-flight budget when its last message of any subscription is done: lanes hold slices of its buffer.
 */
import type { OpTime } from '../source/position.ts';

export interface LedgerOptions {
  readonly subscriptions: number;
  readonly release: (bytes: number) => void;
}

export class Ledger {
  readonly #release: (bytes: number) => void;
  readonly #tickets: Ticket[] = [];
  /** Number of the first ticket in `#tickets`: tickets are numbered from 0 for ever. */
  #first = 0;
  /** Per subscription: the number of the first ticket that is not done. */
  readonly #heads: number[];
  readonly #watermarks: (OpTime | undefined)[];

  constructor({ subscriptions, release }: LedgerOptions) {
    this.#release = release;
    this.#heads = Array.from({ length: subscriptions }, () => 0);
    this.#watermarks = Array.from({ length: subscriptions }, () => undefined);
  }

  /** In batch order only. `pending[s]`: messages and parked events of subscription s that must be done. */
  open(last: OpTime, bytes: number, pending: Uint32Array): Ticket {
    const ticket = new Ticket(this, last, bytes, pending);
    this.#tickets.push(ticket);
    if (ticket.total === 0) this.#release(bytes);
    for (let s = 0; s < pending.length; s++) if (pending[s] === 0) this.advance(s);
    return ticket;
  }

  /** The last entry up to which everything of this subscription is done; undefined before the first. */
  watermark(subscription: number): OpTime | undefined {
    return this.#watermarks[subscription];
  }

  /** The subscriptions that the oldest unfinished batch waits for: they are who holds the source back. */
  slowest(): number[] {
    const oldest = this.#tickets[0];
    if (!oldest) return [];
    return this.#heads.flatMap((head, subscription) => (head === this.#first ? [subscription] : []));
  }

  /** Nothing is under way. */
  get settled(): boolean {
    return this.#tickets.length === 0;
  }

  released(ticket: Ticket): void {
    this.#release(ticket.bytes);
  }

  advance(subscription: number): void {
    const end = this.#first + this.#tickets.length;
    let head = this.#heads[subscription]!;
    while (head < end) {
      const ticket = this.#tickets[head - this.#first]!;
      if (ticket.pending[subscription] !== 0) break;
      this.#watermarks[subscription] = ticket.last;
      head++;
    }
    this.#heads[subscription] = head;
    const drop = Math.min(...this.#heads) - this.#first;
    if (drop > 0) {
      this.#tickets.splice(0, drop);
      this.#first += drop;
    }
  }
}

export class Ticket {
  readonly last: OpTime;
  readonly bytes: number;
  readonly pending: Uint32Array;
  total = 0;
  readonly #ledger: Ledger;

  constructor(ledger: Ledger, last: OpTime, bytes: number, pending: Uint32Array) {
    this.#ledger = ledger;
    this.last = last;
    this.bytes = bytes;
    this.pending = pending;
    for (const count of pending) this.total += count;
  }

  /** `count` messages (or parked events) of this subscription need nothing more. */
  done(subscription: number, count: number): void {
    this.pending[subscription]! -= count;
    this.total -= count;
    if (this.total === 0) this.#ledger.released(this);
    if (this.pending[subscription] === 0) this.#ledger.advance(subscription);
  }
}
