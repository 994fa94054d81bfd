/** Parked events, many of which have one reason, counted for a person. */
import { table } from './table.ts';

export const NOTHING_PARKED = 'Nothing that was asked for is parked.\n';

interface Counted {
  readonly subscription: string;
  readonly reason: string;
  readonly detail?: string;
}

export interface Count extends Counted {
  readonly events: number;
}

/** By subscription and reason; `detail` is that of the first. */
export function countBy(events: Iterable<Counted>): Count[] {
  const counts = new Map<string, Count>();
  for (const { subscription, reason, detail } of events) {
    const key = JSON.stringify([subscription, reason]);
    const count = counts.get(key);
    if (count) counts.set(key, { ...count, events: count.events + 1 });
    else counts.set(key, { events: 1, subscription, reason, ...(detail !== undefined && { detail }) });
  }
  return [...counts.values()];
}

export function countTable(counts: readonly Count[]): string {
  const rows = counts.map(({ events, subscription, reason, detail }) => [
    String(events),
    subscription,
    reason,
    ...(detail === undefined ? [] : [detail.replaceAll(/\s+/g, ' ')]),
  ]);
  const isDetailed = rows.some((row) => row.length > 3);
  return table([['EVENTS', 'SUBSCRIPTION', 'REASON', ...(isDetailed ? ['FOR EXAMPLE'] : [])], ...rows]);
}
