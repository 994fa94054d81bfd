/**
 * Which transactions have begun and not yet taken effect, so that a checkpoint never moves past the first entry of one: until
 * then the oplog's window is counted from there. One that has ended still counts for a subscription until that has delivered it.
 */
import { compareTs } from '../source/position.ts';
import type { OpTime } from '../source/position.ts';

interface Open {
  readonly session: string;
  /** The entry before its first. */
  readonly before: OpTime;
  /** The entry at which it took effect. */
  committed: OpTime | undefined;
}

export class OpenTransactions {
  #all: Open[] = [];

  /** `first`: the entry begins a transaction, so that an earlier one of the session cannot go on. */
  opened(session: string, before: OpTime, first: boolean): void {
    if (first) this.aborted(session);
    if (!this.#all.some((one) => one.session === session && !one.committed)) {
      this.#all.push({ session, before, committed: undefined });
    }
  }

  aborted(session: string): void {
    this.#all = this.#all.filter((one) => one.session !== session || one.committed);
  }

  committed(session: string, at: OpTime): void {
    for (const one of this.#all) if (one.session === session) one.committed ??= at;
  }

  /** Where a subscription that has everything up to `watermark` must read on from, at the latest; undefined: anywhere. */
  bound(watermark: OpTime | undefined): OpTime | undefined {
    let bound: OpTime | undefined;
    for (const { before, committed } of this.#all) {
      if (isDelivered(committed, watermark)) continue;
      if (!bound || compareTs(before.ts, bound.ts) < 0) bound = before;
    }
    return bound;
  }

  /** Reading goes on elsewhere, and may never see how they end. */
  forgetAll(): void {
    this.#all = [];
  }

  /** Forgets those that every subscription has delivered. */
  forget(watermarks: readonly (OpTime | undefined)[]): void {
    if (this.#all.length === 0) return;
    this.#all = this.#all.filter(
      ({ committed }) => !watermarks.every((watermark) => isDelivered(committed, watermark)),
    );
  }
}

function isDelivered(committed: OpTime | undefined, watermark: OpTime | undefined): boolean {
  return committed !== undefined && watermark !== undefined && compareTs(watermark.ts, committed.ts) >= 0;
}
