/**
 * What a restart must not deliver again: per lane, the last operation that is known to be confirmed. Subscriptions of one
 * source may stand at different positions; reading begins at the earliest, and the floors of the others lie higher.
 * Invariant: a floor is never above what was confirmed, so an operation is repeated when in doubt, never skipped.
 */
import { compareTs } from '../source/position.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { OpTime, Position, ResumePoint, Ts } from '../source/position.ts';

/** Above any operation's number inside its entry: the whole entry. */
const WHOLE_ENTRY = 0xffff_ffff;
/** A floor above everything. */
const NOTHING_WANTED = 0xffff_ffff;
const NO_END: Ts = { seconds: 0, increment: 0 };

export interface SubscriptionFloor {
  /** Where reading begins. */
  readonly resume: ResumePoint;
  /** Everything up to here is done; it may lie behind where reading begins, as a transaction was open then. */
  readonly watermark: Position | undefined;
  readonly lanes: readonly (LanePosition | undefined)[];
}

export class Floors {
  /** (seconds, increment, index) per lane, as the workers take it. */
  readonly table: Uint32Array;
  /** Once reading is at or behind this, no floor matters any more. */
  readonly end: Ts;

  /** By number, of which there are `size`; where nobody has one, nothing is wanted. */
  static of(subscriptions: ReadonlyMap<number, SubscriptionFloor>, size: number, partitions: number): Floors {
    const floors = new Map<number, readonly LanePosition[]>();
    for (const [number, { lanes, ...subscription }] of subscriptions) {
      const base = floorOf(subscription);
      floors.set(
        number,
        Array.from({ length: partitions }, (_, p) => later(lanes[p], base)),
      );
    }
    return new Floors(floors, new Uint32Array(size * partitions * 3).fill(NOTHING_WANTED), NO_END);
  }

  private constructor(floors: ReadonlyMap<number, readonly LanePosition[]>, table: Uint32Array, end: Ts) {
    for (const [number, lanes] of floors) {
      for (const [p, { ts, index }] of lanes.entries()) {
        table.set([ts.seconds, ts.increment, index], (number * lanes.length + p) * 3);
        if (compareTs(ts, end) > 0) end = ts;
      }
    }
    this.table = table;
    this.end = end;
  }

  /** The same, and one subscription more, all of whose lanes have everything up to `floor`. */
  static joined(
    before: Floors | undefined,
    { number, floor, size, partitions }: { number: number; floor: LanePosition; size: number; partitions: number },
  ): Floors {
    const table = new Uint32Array(size * partitions * 3);
    if (before) table.set(before.table);
    const lanes = Array.from({ length: partitions }, () => floor);
    return new Floors(new Map([[number, lanes]]), table, before?.end ?? NO_END);
  }

  /** Nothing is wanted for this number any more. */
  leave(number: number, partitions: number): void {
    this.table.fill(NOTHING_WANTED, number * partitions * 3, (number + 1) * partitions * 3);
  }
}

/** The last position of which everything is known to be done, in all lanes of a subscription. */
export function floorOf({ resume, watermark }: Omit<SubscriptionFloor, 'lanes'>): LanePosition {
  return later(watermark, resume.kind === 'from' ? wholeBefore(resume.ts) : doneBy(resume));
}

/** What a position that was read or confirmed says is done: its whole entry, or what its token says. */
export function doneBy({ ts, token }: Pick<OpTime, 'ts' | 'token'>): LanePosition {
  if (token === undefined) return { ts, index: WHOLE_ENTRY };
  return token.index < 0 ? wholeBefore(ts) : { ts, index: token.index };
}

/** Everything before a position, where changes of several shards may share it. */
export function allBefore({ ts, index }: LanePosition): LanePosition {
  return index > 0 ? { ts, index: index - 1 } : wholeBefore(ts);
}

function wholeBefore(ts: Ts): LanePosition {
  return { ts: before(ts), index: WHOLE_ENTRY };
}

export function later<T extends LanePosition>(position: T | undefined, base: T): T {
  if (!position) return base;
  const order = compareTs(position.ts, base.ts) || position.index - base.index;
  return order > 0 ? position : base;
}

/** The earliest of several points. At the same `ts`, a boundary comes first: it still wants that very entry. */
export function earliest(points: readonly ResumePoint[]): ResumePoint {
  return points.reduce((a, b) => (comparePoints(a, b) <= 0 ? a : b));
}

export function comparePoints(a: ResumePoint, b: ResumePoint): number {
  return compareTs(a.ts, b.ts) || doneAt(a) - doneAt(b) || compareTokens(a, b);
}

/** Through a mongos several events share a position; their tokens have the order in which they come, as text too. */
function compareTokens(a: ResumePoint, b: ResumePoint): number {
  if (a.kind !== 'token' || b.kind !== 'token' || a.token.watch !== b.token.watch) return 0;
  if (a.token.data === b.token.data) return 0;
  return a.token.data < b.token.data ? -1 : 1;
}

/** How many of the operations at its very time are done. */
function doneAt(point: ResumePoint): number {
  switch (point.kind) {
    case 'from':
      return 0;
    case 'token':
      return point.token.index + 1;
    case 'after':
      return WHOLE_ENTRY;
  }
}

/** The timestamp right before `ts`. */
function before(ts: Ts): Ts {
  if (ts.increment > 0) return { seconds: ts.seconds, increment: ts.increment - 1 };
  return ts.seconds > 0 ? { seconds: ts.seconds - 1, increment: 0xffff_ffff } : ts;
}
