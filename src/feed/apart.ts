/**
 * Says when a subscription should read by itself, and when with the others again. Pure but for what it remembers: it is asked a few
 * times a second how the feeds are.
 */
import type { Regrouping } from './feed-group.ts';
import type { Route } from './route.ts';
import type { Feed } from './feed.ts';

/** Caught up for so long before it joins the others: it must not hold them again at once. */
const STEADY_MS = 5_000;
/** Behind the others by so little, reading is all but at one place. */
const NEAR_SECONDS = 1;
/** Looks that come late say nothing about the time between. */
const MOST_BETWEEN_MS = 2_000;

export class Apart {
  readonly #afterMs: number | undefined;
  /** By subscription of the shared feed: for how long it has held, of late. */
  readonly #holding = new Map<string, number>();
  /** By feed: since when it has been where the shared one is. */
  readonly #nearSince = new WeakMap<Feed, number>();
  #lookedAt: number | undefined;

  /** Undefined: never. */
  constructor(afterMs: number | undefined) {
    this.#afterMs = afterMs;
  }

  /** What is due now. The first feed is the shared one. */
  change(feeds: readonly Feed[], now: number): Regrouping | undefined {
    const [shared, ...alone] = feeds;
    if (shared === undefined || this.#afterMs === undefined) return undefined;
    const betweenMs = Math.min(MOST_BETWEEN_MS, now - (this.#lookedAt ?? now));
    this.#lookedAt = now;
    if (!isFlowing(shared)) return undefined;
    return this.#tooSlow(shared, betweenMs) ?? this.#caughtUp(shared, alone, now);
  }

  #tooSlow(shared: Feed, betweenMs: number): Regrouping | undefined {
    const { routes, heldBy } = shared;
    const isStuck = (route: Route): boolean => (this.#holding.get(route.config.name) ?? 0) >= this.#afterMs!;
    for (const { config } of routes) {
      const before = this.#holding.get(config.name) ?? 0;
      // Where all are as slow nobody is in anybody's way. A slow one lets go for moments.
      const holds = heldBy.includes(config.name) && heldBy.length < routes.length;
      this.#holding.set(config.name, Math.max(0, before + (holds ? betweenMs : -2 * betweenMs)));
    }
    const stuck = routes.filter(isStuck);
    if (stuck.length === 0 || stuck.length === routes.length) return undefined;
    this.#holding.clear();
    return {
      ends: [shared],
      begins: [routes.filter((route) => !stuck.includes(route)), ...stuck.map((route) => [route])],
      stuck: new Set(stuck.map(({ config }) => config.name)),
    };
  }

  #caughtUp(shared: Feed, alone: readonly Feed[], now: number): Regrouping | undefined {
    const isFree = shared.source.state === 'reading' && !isHeld(shared);
    for (const feed of alone) {
      if (!isFree || !isNear(feed, shared)) this.#nearSince.delete(feed);
      else if (!this.#nearSince.has(feed)) this.#nearSince.set(feed, now);
    }
    const joins = alone.filter((feed) => now - (this.#nearSince.get(feed) ?? now) >= STEADY_MS);
    if (joins.length === 0) return undefined;
    const ends = [shared, ...joins];
    return { ends, begins: [ends.flatMap(({ routes }) => routes)], stuck: new Set() };
  }
}

/** It could end now without being missed. */
function isFlowing({ started, lost, source }: Feed): boolean {
  return started && lost === undefined && (source.state === 'reading' || source.state === 'held');
}

function isNear(feed: Feed, shared: Feed): boolean {
  const [here, there] = [feed.position, shared.position];
  if (!here || !there || !isFlowing(feed) || feed.source.state === 'held') return false;
  const delivered = feed.resume(0);
  return (
    delivered !== undefined &&
    Math.abs(there.ts.seconds - here.ts.seconds) <= NEAR_SECONDS &&
    here.ts.seconds - delivered.ts.seconds <= NEAR_SECONDS &&
    !isHeld(feed)
  );
}

function isHeld(feed: Feed): boolean {
  return feed.routes.some((_, s) => feed.lanesOf(s).some((lane) => lane.hold !== undefined));
}
