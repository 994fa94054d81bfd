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
  for (const { subscription, reason, detail } of events) {
    const key = JSON.stringify([subscription, reason]);
    const count = counts.get(key);
    if (count) counts.set(key, { ...count, events: count.events + 1 });
    else counts.set(key, { events: 1, subscription, reason, ...(detail !== undefined && { detail }) });
  }
  return [...counts.values()];
}
