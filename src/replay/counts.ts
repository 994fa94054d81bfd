/** Parked events, many of which have one reason, counted. */
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
  for (const event of events) add(counts, { ...event, events: 1 });
  return [...counts.values()];
}

export function eventsIn(counts: readonly Count[]): number {
  return counts.reduce((sum, { events }) => sum + events, 0);
}

/** Of several, each by subscription and reason, one. */
export function mergeCounts(counts: Iterable<Count>): Count[] {
  const merged = new Map<string, Count>();
  for (const count of counts) add(merged, count);
  return [...merged.values()];
}

function add(counts: Map<string, Count>, { events, subscription, reason, detail }: Count): void {
  const key = JSON.stringify([subscription, reason]);
  const count = counts.get(key);
  if (count) counts.set(key, { ...count, events: count.events + events });
  else counts.set(key, { events, subscription, reason, ...(detail !== undefined && { detail }) });
}
