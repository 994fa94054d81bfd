/** What a subscription's lanes come to, for a person who does not ask for each of them. */
import type { LaneHold, LaneStatus } from './status.ts';

/** The longest held lane's hold, for all lanes that the same reason holds. */
export interface Hold extends LaneHold {
  readonly lanes: number;
}

/** The longest first. By reason: a broker that is away holds all lanes for the same one. */
export function holdsByReason(lanes: readonly LaneStatus[]): Hold[] {
  const byReason = new Map<string, Hold>();
  for (const { held } of lanes) {
    if (!held) continue;
    const same = byReason.get(held.reason);
    const longest = same && same.forSeconds >= held.forSeconds ? same : held;
    byReason.set(held.reason, { ...held, ...longest, lanes: (same?.lanes ?? 0) + 1 });
  }
  return [...byReason.values()].sort((a, b) => b.forSeconds - a.forSeconds);
}

/** Messages of all lanes. */
export function underWay(lanes: readonly LaneStatus[]): { readonly queued: number; readonly unconfirmed: number } {
  let queued = 0;
  let unconfirmed = 0;
  for (const lane of lanes) {
    queued += lane.queued;
    unconfirmed += lane.unconfirmed;
  }
  return { queued, unconfirmed };
}
