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
  return mergeCounts([...events].map((event) => ({ ...event, events: 1 })));
}

/** Of several, each by subscription and reason, one. */
export function mergeCounts(counts: Iterable<Count>): Count[] {
  const merged = new Map<string, Count>();
  for (const { events, subscription, reason, detail } of counts) {
    const key = JSON.stringify([subscription, reason]);
    const before = merged.get(key);
    if (before) merged.set(key, { ...before, events: before.events + events });
    else merged.set(key, { events, subscription, reason, ...(detail !== undefined && { detail }) });
  }
  return [...merged.values()];
}

export function eventsIn(counts: readonly Count[]): number {
  return counts.reduce((sum, { events }) => sum + events, 0);
}
