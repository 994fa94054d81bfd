/**
 * The feeds of one source. Its subscriptions share one, the first, whose reading the slowest of them holds up. One that has done so
 * for `detachAfter` gets a feed of its own, and joins the others again once it has caught up.
 *
 *     one feed for all ──held by one for `detachAfter`──▶ the others' feed, and its own ──caught up──▶ one feed for all
 *
 * Regrouping is what a stop and a start do: a feed ends reading, what is under way is answered, positions are stored, and the next
 * feeds begin there. So nothing is lost by it, and repeated is at most what was under way of one that gets no answers.
 */
import { performance } from 'node:perf_hooks';
import { sleep } from '../backoff.ts';
import { PositionLostError, UserError } from '../errors.ts';
import { AnyOf } from '../source/any-of.ts';
import type { Log } from '../observe/log.ts';
import { Apart } from './apart.ts';
import type { Feed } from './feed.ts';
import type { Checkpoints, Route } from './route.ts';

export interface FeedGroupOptions {
  readonly name: string;
  readonly routes: readonly Route[];
  readonly makeFeed: (routes: readonly Route[]) => Feed;
  readonly checkpoints: Checkpoints;
  /** Undefined: the slowest holds all. */
  readonly detachAfterMs: number | undefined;
  readonly log: Log;
  /** The source is connected, and every start is stored. */
  readonly onStarted: (feed: Feed) => void;
  /** A position is lost, and the policy is to stop. Resolves once what was read before has been seen to. */
  readonly onLost: (feed: Feed, error: PositionLostError, stop: AbortSignal) => Promise<void>;
}

/** How a run ended: 0 as asked to, 3 with a position lost and nothing left to read. */
export type ExitCode = 0 | 3;

interface Running {
  readonly quit: AbortController;
  readonly done: Promise<ExitCode>;
}

const LOOK_MS = 250;
/** Longer, and another try later is better. */
const PREPARE_MS = 10_000;
const AGAIN_MS = 10_000;
/** What is not answered by then is repeated: everybody waits for it. */
const DRAIN_MS = 5_000;

export class FeedGroup {
  readonly name: string;
  readonly #o: FeedGroupOptions;
  readonly #apart: Apart;
  /** The first is the one that is shared. */
  #feeds: readonly Feed[];
  readonly #running = new Map<Feed, Running>();
  #regrouping: Promise<void> | undefined;
  /** Not regrouped again before this, `performance.now()`. */
  #notBefore = 0;
  #outcome: ExitCode = 0;
  /** Of feeds that were left. */
  readonly #closing = new Set<Promise<void>>();
  #settle: { readonly resolve: (outcome: ExitCode) => void; readonly reject: (error: unknown) => void } | undefined;

  constructor(options: FeedGroupOptions) {
    this.#o = options;
    this.name = options.name;
    this.#apart = new Apart(options.detachAfterMs);
    this.#feeds = [options.makeFeed(options.routes)];
  }

  get feeds(): readonly Feed[] {
    return this.#feeds;
  }

  get shared(): Feed {
    return this.#feeds[0]!;
  }

  /** Resolves when the last feed has ended; rejects with what ended one. */
  async run(stop: AbortSignal): Promise<ExitCode> {
    const looking = setInterval(() => this.#look(stop), LOOK_MS);
    try {
      return await new Promise<ExitCode>((resolve, reject) => {
        this.#settle = { resolve, reject };
        this.#launch(this.shared, stop);
      });
    } finally {
      clearInterval(looking);
      await this.#regrouping;
    }
  }

  async drain(): Promise<void> {
    await Promise.all(this.#feeds.map(async (feed) => feed.drain()));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#feeds.map(async (feed) => feed.close()), ...this.#closing]);
  }

  #launch(feed: Feed, stop: AbortSignal): void {
    const quit = new AbortController();
    const done = this.#runFeed(feed, stop, quit.signal);
    this.#running.set(feed, { quit, done });
    done.then(
      (outcome) => {
        this.#running.delete(feed);
        if (outcome === 3) this.#outcome = 3;
        if (this.#running.size === 0 && this.#regrouping === undefined) this.#settle?.resolve(this.#outcome);
      },
      (error: unknown) => this.#settle?.reject(error),
    );
  }

  async #runFeed(feed: Feed, stop: AbortSignal, quit: AbortSignal): Promise<ExitCode> {
    using either = new AnyOf([stop, quit]);
    const { signal } = either;
    try {
      await feed.start(signal);
      this.#o.onStarted(feed);
      await feed.run(signal);
      return 0;
    } catch (error) {
      if (signal.aborted && !(error instanceof UserError)) return 0;
      if (!(error instanceof PositionLostError)) throw error;
      await this.#o.onLost(feed, error, signal);
      return 3;
    }
  }

  #look(stop: AbortSignal): void {
    if (this.#regrouping !== undefined || stop.aborted) return;
    const now = performance.now();
    const change = this.#apart.change(this.#feeds, now);
    if (change === undefined || now < this.#notBefore) return;
    this.#regrouping = this.#regroup(change, stop)
      .catch((error: unknown) => this.#settle?.reject(error))
      .finally(() => {
        this.#regrouping = undefined;
        if (this.#running.size === 0) this.#settle?.resolve(this.#outcome);
      });
  }

  async #regroup({ ends, begins, stuck }: Regrouping, stop: AbortSignal): Promise<void> {
    const { makeFeed, checkpoints, log } = this.#o;
    const fresh = begins.map((routes) => makeFeed(routes));
    let begun = false;
    try {
      if (!(await this.#mayEnd(ends, fresh, stop))) {
        this.#notBefore = performance.now() + AGAIN_MS;
        return;
      }
      await Promise.all(ends.map(async (feed) => this.#end(feed, stuck)));
      // At a stop the feeds of before have ended as they would have; the others never begin.
      if (stop.aborted) return;
      await checkpoints.put(ends.flatMap((feed) => feed.snapshot()));
      begun = true;
    } finally {
      if (!begun) await Promise.all(fresh.map(async (feed) => feed.close()));
    }
    this.#feeds = [...fresh, ...this.#feeds.filter((feed) => !ends.includes(feed))];
    for (const feed of ends) this.#leave(feed);
    for (const feed of fresh) this.#launch(feed, stop);
    for (const name of stuck) {
      log.warn(
        { code: 'subscription-detached', source: this.name, subscription: name },
        'A subscription held its source for too long: it goes on by itself, from where it stands, and the others without it.',
      );
    }
    if (stuck.size === 0) {
      const names = ends.slice(1).flatMap(({ routes }) => routes.map(({ config }) => config.name));
      log.info({ source: this.name, subscriptions: names }, 'Caught up: reading with the others again.');
    }
  }

  /**
   * Whether those that take their place can go on where each subscription stands: what was read and is not delivered yet is given up
   * by it, and the oplog may not have it any more. What may take long, or go wrong, comes here, while all is still as it was.
   */
  async #mayEnd(ends: readonly Feed[], fresh: readonly Feed[], stop: AbortSignal): Promise<boolean> {
    const { checkpoints, log } = this.#o;
    const standing = new Map(ends.flatMap((feed) => feed.routes.map((route, s) => [route, feed.resume(s)] as const)));
    try {
      using near = new AnyOf([stop]).within(PREPARE_MS, new Error('the source could not be asked in time'));
      for (const { source, routes } of fresh) {
        await source.connect(near.signal);
        const points = routes.flatMap((route) => standing.get(route) ?? []);
        // Most stand at one and the same.
        const distinct = new Map(points.map((point) => [JSON.stringify(point), point]));
        for (const point of distinct.values()) await source.verify(point, near.signal);
      }
      await checkpoints.put(ends.flatMap((feed) => feed.snapshot()));
      await checkpoints.flushed();
    } catch (error) {
      log.info({ source: this.name, err: error }, 'Subscriptions cannot be regrouped now; another try follows.');
      return false;
    }
    return ends.every((feed) => feed.lost === undefined && this.#running.has(feed));
  }

  /** Reads nothing more, and waits until what is under way is answered, except of those that are stuck. */
  async #end(feed: Feed, stuck: ReadonlySet<string>): Promise<void> {
    const running = this.#running.get(feed);
    running?.quit.abort(new Error('its subscriptions are regrouped'));
    await running?.done;
    const answered = new AbortController();
    await Promise.race([feed.drain(stuck), sleep(DRAIN_MS, answered.signal)]);
    answered.abort();
  }

  /** It has ended; what is left of it goes in its own time. */
  #leave(feed: Feed): void {
    const closing = feed
      .close()
      .catch((error: unknown) => this.#o.log.info({ source: this.name, err: error }, 'A feed could not be closed.'))
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

/** Feeds that end, and the routes of those that take their place, the shared one's first. */
export interface Regrouping {
  readonly ends: readonly Feed[];
  readonly begins: readonly (readonly Route[])[];
  /** Names of the subscriptions that hold, of which no answer is waited for. */
  readonly stuck: ReadonlySet<string>;
}
