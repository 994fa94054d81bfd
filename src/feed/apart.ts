/**
 * Says when a subscription should read by itself, and when with the others again. Pure but for what it remembers: it is asked a few
 * times a second how the feeds are.
 */
import { hasRead } from './pause.ts';
import type { Feed } from './feed.ts';

/** Behind the others by so little, reading is all but at one place. */
const NEAR_SECONDS = 1;
/** The same where positions move in steps: behind a filter they do about every 5 seconds while nothing comes. */
const NEAR_IN_STEPS_SECONDS = 12;
/** Looks that come late say nothing about the time between. */
const MOST_BETWEEN_MS = 2_000;

export interface ApartOptions {
  /** Undefined: nobody is sent off. */
  readonly afterMs: number | undefined;
  /** Positions are not each entry's. */
  readonly inSteps: boolean;
}

/** A feed that reads by itself. */
export interface ByItself {
  readonly feed: Feed;
  /** For how long it must have kept up before it joins the others. */
  readonly steadyMs: number;
}

/** One of them is due. */
export type Due = { readonly leave: readonly number[] } | { readonly join: Feed };

export class Apart {
  readonly #o: ApartOptions;
  /** By subscription of the shared feed: for how long it has held, of late. */
  readonly #holding = new Map<string, number>();
  /** By feed: since when it has been where the shared one is. */
  readonly #nearSince = new WeakMap<Feed, number>();
  /** By feed: when it was last said to be due. */
  readonly #triedAt = new WeakMap<Feed, number>();
  #lookedAt: number | undefined;

  constructor(options: ApartOptions) {
    this.#o = options;
  }

  /** Somebody has left: who of the others holds is counted anew. */
  startOver(): void {
    this.#holding.clear();
  }

  /** What is due now. */
  due(shared: Feed, alone: readonly ByItself[], now: number): Due | undefined {
    const betweenMs = Math.min(MOST_BETWEEN_MS, now - (this.#lookedAt ?? now));
    this.#lookedAt = now;
    if (!isFlowing(shared)) return undefined;
    return this.#tooSlow(shared, betweenMs) ?? this.#caughtUp(shared, alone, now);
  }

  #tooSlow(shared: Feed, betweenMs: number): Due | undefined {
    const { afterMs } = this.#o;
    if (afterMs === undefined) return undefined;
    const { members, heldBy } = shared;
    for (const { route } of members) {
      const { name } = route.config;
      const before = this.#holding.get(name) ?? 0;
      // Where all are as slow nobody is in anybody's way. A slow one lets go for moments.
      const holds = heldBy.includes(name) && heldBy.length < members.length;
      this.#holding.set(name, Math.max(0, before + (holds ? betweenMs : -2 * betweenMs)));
    }
    const stuck = members.filter(({ route }) => (this.#holding.get(route.config.name) ?? 0) >= afterMs);
    if (stuck.length === 0 || stuck.length === members.length) return undefined;
    return { leave: stuck.map(({ number }) => number) };
  }

  #caughtUp(shared: Feed, alone: readonly ByItself[], now: number): Due | undefined {
    const isFree = shared.source.state === 'reading' && !isHeld(shared);
    for (const { feed } of alone) {
      if (!isFree || !this.#isNear(feed, shared)) this.#nearSince.delete(feed);
      else if (!this.#nearSince.has(feed)) this.#nearSince.set(feed, now);
    }
    // In steps, one that has not read as much would be waited for until the next.
    const able = alone.filter(
      ({ feed, steadyMs }) =>
        now - (this.#nearSince.get(feed) ?? Infinity) >= steadyMs &&
        (!this.#o.inSteps || hasRead(feed.position, shared.position)),
    );
    // One that does not come to it must not keep the others from it.
    const triedAt = ({ feed }: ByItself): number => this.#triedAt.get(feed) ?? -1;
    const [joins] = able.toSorted((a, b) => triedAt(a) - triedAt(b));
    if (!joins) return undefined;
    this.#triedAt.set(joins.feed, now);
    return { join: joins.feed };
  }

  #isNear(feed: Feed, shared: Feed): boolean {
    const near = this.#o.inSteps ? NEAR_IN_STEPS_SECONDS : NEAR_SECONDS;
    const [here, there] = [feed.position, shared.position];
    const [member] = feed.members;
    if (!here || !there || !member || !isFlowing(feed) || feed.source.state === 'held') return false;
    const delivered = feed.resume(member.number);
    return (
      delivered !== undefined &&
      Math.abs(there.ts.seconds - here.ts.seconds) <= near &&
      here.ts.seconds - delivered.ts.seconds <= near &&
      !isHeld(feed)
    );
  }
}

/** It reads, or would if it might. */
export function isFlowing({ started, lost, source }: Feed): boolean {
  return started && lost === undefined && (source.state === 'reading' || source.state === 'held');
}

function isHeld(feed: Feed): boolean {
  return feed.members.some(({ number }) => feed.lanesOf(number).some((lane) => lane.hold !== undefined));
}
