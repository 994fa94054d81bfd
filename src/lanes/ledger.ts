/**
 * Which batches are done with: the watermark of each subscription of a source. Confirms come in any order; a watermark moves
 * only over a gapless prefix of batches, all of whose messages for that subscription are confirmed or safely parked. Batches
 * that held nothing for a subscription count as done as soon as they are in order, so that positions move on an idle feed.
 * A batch's bytes leave the in-flight budget when its last message of any subscription is done: lanes hold slices of its buffer.
 *
 * Tickets are a list in batch order, of which each subscription knows its first that is not done. Behind one that waits for
 * long, others get done without end; neighbours that are done become one, so that the list stays as short as what is open.
 */
import type { OpTime } from '../source/position.ts';

export interface LedgerOptions {
  readonly subscriptions: number;
  readonly release: Release;
}

/** `reuse`: the buffers that the bytes lie in are nobody's any more. */
export type Release = (bytes: number, reuse: boolean) => void;

/** How many tickets are opened between two looks for neighbours that are done. */
const COMPACT_EVERY = 1_024;

export class Ledger {
  readonly #release: Release;
  /** By subscription's number: its first ticket that is not done; undefined when all are. */
  readonly #heads: (Ticket | undefined)[];
  readonly #watermarks: (OpTime | undefined)[];
  #tail: Ticket | undefined;
  #opened = 0;

  constructor({ subscriptions, release }: LedgerOptions) {
    this.#release = release;
    this.#heads = Array.from({ length: subscriptions }, () => undefined);
    this.#watermarks = Array.from({ length: subscriptions }, () => undefined);
  }

  /**
   * In batch order only. `pending[s]`: messages and parked events of subscription s that must be done. `release` takes the
   * bytes back where another budget than the usual one has given them.
   */
  open(last: OpTime, bytes: number, pending: Uint32Array, release = this.#release): Ticket {
    const ticket = new Ticket(this, { number: this.#opened++, last, bytes, pending, release });
    if (this.#tail) this.#tail.next = ticket;
    this.#tail = ticket;
    ticket.releaseIfDone();
    for (let s = 0; s < pending.length; s++) {
      this.#heads[s] ??= ticket;
      this.#advance(s);
    }
    if (this.#opened % COMPACT_EVERY === 0) this.#compact();
    return ticket;
  }

  /** The last entry up to which everything of this subscription is done; undefined before the first. */
  watermark(subscription: number): OpTime | undefined {
    return this.#watermarks[subscription];
  }

  /** The subscriptions that the oldest unfinished batch waits for: they are who holds the source back. */
  slowest(): number[] {
    const oldest = this.#oldest();
    return this.#heads.flatMap((head, subscription) => (head && head === oldest ? [subscription] : []));
  }

  /** From here on tickets may hold messages of this subscription: one that is new, or has left before. */
  join(subscription: number): void {
    this.#heads[subscription] = undefined;
    this.#watermarks[subscription] = undefined;
  }

  /** Nothing of this subscription is waited for any more: who has its messages may drop them. */
  leave(subscription: number): void {
    for (let ticket = this.#heads[subscription]; ticket; ticket = ticket.next) ticket.drop(subscription);
    this.join(subscription);
  }

  /** Nothing is under way. */
  get settled(): boolean {
    return this.#heads.every((head) => head === undefined);
  }

  /** Tickets that are kept. */
  get size(): number {
    let size = 0;
    for (let ticket = this.#oldest(); ticket; ticket = ticket.next) size++;
    return size;
  }

  /** One of this subscription's counts on this ticket is down to 0. */
  done(ticket: Ticket, subscription: number): void {
    ticket.releaseIfDone();
    this.#advance(subscription);
  }

  #advance(subscription: number): void {
    let head = this.#heads[subscription];
    while (head?.pending[subscription] === 0) {
      this.#watermarks[subscription] = head.last;
      head = head.next;
    }
    this.#heads[subscription] = head;
  }

  #oldest(): Ticket | undefined {
    let oldest: Ticket | undefined;
    for (const head of this.#heads) if (head && (!oldest || head.number < oldest.number)) oldest = head;
    return oldest;
  }

  /** One that is done is nobody's first, so the later of two can go. */
  #compact(): void {
    for (let ticket = this.#oldest(); ticket; ticket = ticket.next) {
      while (ticket.total === 0 && ticket.next?.total === 0) {
        const { next } = ticket;
        if (this.#tail === next) this.#tail = ticket;
        ticket.last = next.last;
        ticket.next = next.next;
      }
    }
  }
}

export interface TicketOptions {
  readonly number: number;
  readonly last: OpTime;
  readonly bytes: number;
  readonly pending: Uint32Array;
  readonly release: Release;
}

export class Ticket {
  readonly number: number;
  readonly bytes: number;
  readonly pending: Uint32Array;
  last: OpTime;
  next: Ticket | undefined;
  total = 0;
  /** Some of its messages were dropped, and may lie in a socket's buffer yet. */
  #dropped = false;
  readonly #ledger: Ledger;
  #release: Release | undefined;

  constructor(ledger: Ledger, { number, last, bytes, pending, release }: TicketOptions) {
    this.#ledger = ledger;
    this.number = number;
    this.last = last;
    this.bytes = bytes;
    this.pending = pending;
    this.#release = release;
    for (const count of pending) this.total += count;
  }

  /** `count` messages (or parked events) of this subscription need nothing more. Of one that has left it means nothing. */
  done(subscription: number, count: number): void {
    if (this.pending[subscription] === 0) return;
    this.pending[subscription]! -= count;
    this.total -= count;
    if (this.pending[subscription] === 0) this.#ledger.done(this, subscription);
  }

  /** All of this subscription's. */
  drop(subscription: number): void {
    const count = this.pending[subscription] ?? 0;
    if (count === 0) return;
    this.pending[subscription] = 0;
    this.total -= count;
    this.#dropped = true;
    this.releaseIfDone();
  }

  releaseIfDone(): void {
    if (this.total > 0) return;
    const release = this.#release;
    // It knows the batch's buffers, and the ticket may stay for as long as an older one is waited for.
    this.#release = undefined;
    release?.(this.bytes, !this.#dropped);
  }
}
