/** Parked events, many of which have one reason, counted for a person. */
import { table } from './table.ts';

export const NOTHING_PARKED = 'Nothing that was asked for is parked.\n';

interface Counted {
  readonly subscription: string;
  readonly reason: string;
  readonly detail?: string;
}

/** By subscription and reason; `detail` is that of the first. */
export function countedBy(events: Iterable<Counted>): string {
  const groups = new Map<string, { count: number; readonly first: Counted }>();
  for (const event of events) {
    const key = JSON.stringify([event.subscription, event.reason]);
    const group = groups.get(key);
    if (group) group.count += 1;
    else groups.set(key, { count: 1, first: event });
  }
  const rows = [...groups.values()].map(({ count, first }) => [
    String(count),
    first.subscription,
    first.reason,
    ...(first.detail === undefined ? [] : [first.detail.replaceAll(/\s+/g, ' ')]),
  ]);
  const isDetailed = rows.some((row) => row.length > 3);
  return table([['EVENTS', 'SUBSCRIPTION', 'REASON', ...(isDetailed ? ['FOR EXAMPLE'] : [])], ...rows]);
}
