/**
 * Decides whether a cursor that was opened at a position may be read on from. The server gives no error when the position
 * has left the oplog (it just begins with the oldest entry), so this check is the only thing between a gap and silence.
 * Invariant: `oldest` was read AFTER the cursor opened. Read before, the oplog could move on between the two and hide a gap.
 */
import { compareTs, sameOpTime } from './position.ts';
import type { OpTime, ResumePoint } from './position.ts';

export type Verdict =
  /** Read on; `skipFirst`: the first entry is the position itself, which was dealt with before. */
  | { readonly kind: 'valid'; readonly skipFirst: boolean }
  | { readonly kind: 'lost'; readonly reason: 'truncated' | 'diverged'; readonly oldest: OpTime }
  /** Nothing at or behind the position: this member has not got there yet, or never will. */
  | { readonly kind: 'behind' };

export interface Opening {
  readonly point: ResumePoint;
  /** The first entry of the cursor; undefined while it is empty. */
  readonly first: OpTime | undefined;
  /** Asked for only where the answer depends on it. */
  readonly oldest: () => Promise<OpTime>;
}

export async function checkResume({ point, first, oldest }: Opening): Promise<Verdict> {
  if (point.kind === 'after') {
    if (first === undefined) return { kind: 'behind' };
    if (sameOpTime(first, point)) return { kind: 'valid', skipFirst: true };
  }
  const oldestNow = await oldest();
  if (compareTs(oldestNow.ts, point.ts) > 0) return { kind: 'lost', reason: 'truncated', oldest: oldestNow };
  return point.kind === 'from'
    ? { kind: 'valid', skipFirst: false }
    : { kind: 'lost', reason: 'diverged', oldest: oldestNow };
}
