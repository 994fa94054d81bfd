/**
 * The messages of a lane that are under way: a contiguous piece of it. They enter behind and leave in front, only once they
 * need nothing more, so that nothing is counted before what came before it.
 *
 * The first `sent` were published in this round, as tags `frontTag`, `frontTag + 1`, …; a new round begins when everything
 * is to be sent again from the front. A parked message that was sent keeps its place, and so the others' tags, until it is
 * in front or the round ends.
 */
import { messageIdOf } from './run.ts';
import type { Part } from './run.ts';

export interface Flight {
  readonly parts: readonly Part[];
  answer: 'none' | 'delivered' | 'undelivered' | 'parking' | 'parked';
  /** The broker's words when it came back. */
  returnedFor: string | undefined;
  sentAt: number;
}

export class Window {
  #flights: Flight[] = [];
  #sent = 0;
  #unanswered = 0;
  #frontTag = 1;
  #nextTag = 1;

  get size(): number {
    return this.#flights.length;
  }

  get front(): Flight | undefined {
    return this.#flights[0];
  }

  /** Published in this round. */
  get sent(): number {
    return this.#sent;
  }

  /** Published, and neither confirmed nor refused yet. */
  get unanswered(): number {
    return this.#unanswered;
  }

  /** Being set aside now. */
  get parking(): number {
    let count = 0;
    for (const flight of this.#flights) if (flight.answer === 'parking') count++;
    return count;
  }

  get oldestUnanswered(): Flight | undefined {
    for (let i = 0; i < this.#sent; i++) if (this.#flights[i]!.answer === 'none') return this.#flights[i];
    return undefined;
  }

  add(parts: readonly Part[]): void {
    this.#flights.push({ parts, answer: 'none', returnedFor: undefined, sentAt: 0 });
  }

  /** The next to publish; undefined when all were. */
  get next(): Flight | undefined {
    return this.#flights[this.#sent];
  }

  /** `next` is being published. */
  markSent(now: number): void {
    this.#flights[this.#sent]!.sentAt = now;
    this.#sent++;
    this.#unanswered++;
    this.#nextTag++;
  }

  markReturned(messageId: string, reason: string): void {
    for (let i = 0; i < this.#sent; i++) {
      const flight = this.#flights[i]!;
      if (flight.answer === 'none' && flight.returnedFor === undefined && messageIdOf(flight.parts) === messageId) {
        flight.returnedFor = reason;
        return;
      }
    }
  }

  /** Those of this round that `tag` (or, with `multiple`, every tag up to it) answers now. */
  answered(tag: number, multiple: boolean): Flight[] {
    const last = tag - this.#frontTag;
    const flights: Flight[] = [];
    for (let i = multiple ? 0 : last; i <= last && i < this.#sent; i++) {
      const flight = this.#flights[i];
      if (flight?.answer !== 'none') continue;
      this.#unanswered--;
      flights.push(flight);
    }
    return flights;
  }

  /** Takes out what is settled in front, in order. */
  takeSettled(): Flight[] {
    let n = 0;
    while (n < this.#sent && isSettled(this.#flights[n]!)) n++;
    if (n === 0) return NONE;
    this.#sent -= n;
    this.#frontTag += n;
    return this.#flights.splice(0, n);
  }

  /** Not sent in this round, it holds no tag, and no place. */
  dropParked(flight: Flight): void {
    const at = this.#flights.indexOf(flight);
    if (at >= this.#sent) this.#flights.splice(at, 1);
  }

  /** Everything is to be sent (again), from the front; with `reopened` on a way that counts tags from 1. */
  beginRound({ reopened }: { readonly reopened: boolean }): void {
    this.#flights = this.#flights.filter((flight) => flight.answer !== 'parked');
    for (const flight of this.#flights) {
      if (flight.answer !== 'parking') flight.answer = 'none';
      flight.returnedFor = undefined;
    }
    if (reopened) this.#nextTag = 1;
    this.#sent = 0;
    this.#unanswered = 0;
    this.#frontTag = this.#nextTag;
  }
}

const NONE: Flight[] = [];

function isSettled(flight: Flight): boolean {
  return flight.answer === 'delivered' || flight.answer === 'parked';
}
