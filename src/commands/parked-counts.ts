/** Parked events, many of which have one reason, counted for a person. */
import type { Count } from '../replay/counts.ts';
import { table } from './table.ts';

export const NOTHING_PARKED = 'Nothing that was asked for is parked.\n';

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
