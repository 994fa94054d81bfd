/**
 * Compares what was written with what arrived. Deliveries are at least once, so repeats are counted and left out; then
 * every change must be there, nothing else, and each collection's changes – so each document's too – in the order in which
 * they were written, with ids that rise.
 */
import { EJSON } from 'bson';
import { z } from 'zod';
import type { Written } from './workload.ts';

export interface Delivered {
  readonly body: string;
  readonly routingKey: string;
}

export interface Tally {
  readonly ns: string;
  readonly written: Readonly<Record<Written['operation'], number>>;
  readonly arrived: number;
  readonly missing: number;
  readonly outOfOrder: number;
}

export interface Verdict {
  readonly tallies: readonly Tally[];
  readonly repeats: number;
  /** Arrived, but never written. */
  readonly strangers: number;
  /** Events whose id does not come after the one before it in the same collection. */
  readonly fallingIds: number;
  readonly held: boolean;
}

export function judge(written: readonly Written[], delivered: readonly Delivered[]): Verdict {
  const tallies = new Map<string, Counts>();
  const places = new Map<string, number>();
  for (const [place, change] of written.entries()) {
    const tally = tallies.get(change.ns) ?? new Counts(change.ns);
    tallies.set(change.ns, tally);
    tally.written[change.operation] += 1;
    tally.missing += 1;
    places.set(keyOf({ ...change, id: EJSON.stringify(change.id) }), place);
  }

  const seen = new Set<string>();
  const last = new Map<string, { readonly place: number; readonly id: string }>();
  let [repeats, strangers, fallingIds] = [0, 0, 0];
  for (const { body } of delivered) {
    const { id, ns, key } = read(body);
    const place = places.get(key);
    const tally = tallies.get(ns);
    if (seen.has(id)) repeats += 1;
    else if (place === undefined || tally === undefined) strangers += 1;
    else {
      // Under a second id the same change would be a stranger.
      places.delete(key);
      tally.arrived += 1;
      tally.missing -= 1;
      const before = last.get(ns);
      if (before !== undefined && place < before.place) tally.outOfOrder += 1;
      if (before !== undefined && compareIds(id, before.id) <= 0) fallingIds += 1;
      last.set(ns, { place, id });
    }
    seen.add(id);
  }
  const all = [...tallies.values()].toSorted((a, b) => a.ns.localeCompare(b.ns));
  const complete = written.length > 0 && all.every(({ missing, outOfOrder }) => missing === 0 && outOfOrder === 0);
  return { tallies: all, repeats, strangers, fallingIds, held: complete && strangers === 0 && fallingIds === 0 };
}

class Counts implements Tally {
  readonly ns: string;
  readonly written = { insert: 0, update: 0, replace: 0, delete: 0 };
  arrived = 0;
  missing = 0;
  outOfOrder = 0;

  constructor(ns: string) {
    this.ns = ns;
  }
}

/** Of a change event what tells it from every other one. */
const Event = z.object({
  _id: z.string(),
  operationType: z.enum(['insert', 'update', 'replace', 'delete']),
  ns: z.object({ db: z.string(), coll: z.string() }),
  documentKey: z.object({ _id: z.unknown() }),
  fullDocument: z.object({ rev: z.number() }).optional(),
  updateDescription: z.object({ updatedFields: z.object({ rev: z.number() }) }).optional(),
});

function read(body: string): { id: string; ns: string; key: string } {
  const event = Event.parse(JSON.parse(body));
  const ns = `${event.ns.db}.${event.ns.coll}`;
  const rev = event.fullDocument?.rev ?? event.updateDescription?.updatedFields.rev ?? 0;
  const id = JSON.stringify(event.documentKey._id);
  return { id: event._id, ns, key: keyOf({ ns, id, operation: event.operationType, rev }) };
}

/** A document is deleted once, and its event does not say what it was. */
function keyOf({ ns, id, operation, rev }: Omit<Written, 'id'> & { readonly id: string }): string {
  return operation === 'delete' ? `${ns} ${id} delete` : `${ns} ${id} ${operation} ${rev}`;
}

/** `source:seconds.increment.index`, by the three numbers. */
function compareIds(a: string, b: string): number {
  const [left, right] = [numbers(a), numbers(b)];
  for (const [place, number] of left.entries()) {
    const difference = number - (right[place] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function numbers(id: string): number[] {
  return id
    .slice(id.lastIndexOf(':') + 1)
    .split('.')
    .map(Number);
}
