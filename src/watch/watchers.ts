/**
 * Those who watch events as they are delivered. What each asked for goes to the workers with every batch, which choose and copy the
 * few events that it is shown (`worker/sampler.ts`); here they come back when their batch is handed to the lanes.
 * Invariants: while nobody watches a batch costs one question; nobody is waited for; what a watcher may be shown, and what is kept
 * for it, is bounded, and what it is not shown is counted.
 */
import type { MessageType, Sample, Seen, Watch } from '../worker/protocol.ts';

export const MOST_WATCHERS = 8;
export const MOST_PER_SECOND = 200;
/** Of what a watcher is shown, a second. */
const MOST_BYTES_PER_SECOND = 1024 * 1024;
/** How much the newest batch counts in the time from one to the next. */
const NEWEST = 1 / 4;

/** What is left out is everything. */
export interface WatchFilter {
  readonly subscriptions?: readonly string[] | undefined;
  readonly namespaces?: readonly string[] | undefined;
  readonly operations?: readonly MessageType[] | undefined;
  readonly perSecond: number;
}

export interface WatchedEvent extends Sample {
  /** Why its lane does not let it go yet. */
  readonly held: string | undefined;
}

export interface WatchReader {
  /** It has taken enough of what it was given to be given more. */
  readonly ready: boolean;
  show(events: readonly WatchedEvent[]): void;
  /** The engine stops. */
  end(): void;
}

/** Events that were asked for and not shown, since this was asked last. */
export interface LeftOut {
  /** There were more than a second may bring. */
  readonly overRate: number;
  /** The reader had not taken what came before. */
  readonly slowReader: number;
}

export interface Watching {
  takeLeftOut(): LeftOut;
  stop(): void;
}

export class Watchers {
  readonly #now: () => number;
  readonly #all = new Map<number, Watcher>();
  #last = 0;
  #closed = false;

  constructor(now = (): number => performance.now()) {
    this.#now = now;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Undefined where there are as many as there may be, or nothing comes any more. */
  open(filter: WatchFilter, reader: WatchReader): Watching | undefined {
    if (this.#closed || this.#all.size >= MOST_WATCHERS) return undefined;
    const number = ++this.#last;
    const watcher = new Watcher({ filter, reader, now: this.#now });
    this.#all.set(number, watcher);
    return { takeLeftOut: () => watcher.takeLeftOut(), stop: () => void this.#all.delete(number) };
  }

  /** What a batch that is sent to a worker now should be asked for. */
  get watches(): readonly Watch[] | undefined {
    if (this.#all.size === 0) return undefined;
    return [...this.#all].map(([number, watcher]) => watcher.watch(number));
  }

  /** A batch is being handed to the lanes. `heldFor`: why the lane of a sample holds, if it does. */
  take(seen: readonly Seen[], heldFor: (sample: Sample) => string | undefined): void {
    for (const { watcher, matched, samples } of seen) this.#all.get(watcher)?.take(matched, samples, heldFor);
  }

  /** Nothing comes any more. */
  close(): void {
    this.#closed = true;
    const readers = [...this.#all.values()].map(({ reader }) => reader);
    this.#all.clear();
    for (const reader of readers) reader.end();
  }
}

interface WatcherOptions {
  readonly filter: WatchFilter;
  readonly reader: WatchReader;
  readonly now: () => number;
}

class Watcher {
  readonly reader: WatchReader;
  readonly #filter: WatchFilter;
  readonly #now: () => number;
  #events: number;
  #bytes = MOST_BYTES_PER_SECOND;
  #filledAt: number;
  /** Between batches, in seconds. */
  #betweenBatches = 1;
  #askedAt: number;
  #overRate = 0;
  #slowReader = 0;

  constructor({ filter, reader, now }: WatcherOptions) {
    this.reader = reader;
    this.#filter = filter;
    this.#now = now;
    this.#events = filter.perSecond;
    this.#filledAt = now();
    this.#askedAt = now();
  }

  /** Of a batch no more is copied than may be shown once it comes back: what is due now, and what is due by the next one. */
  watch(watcher: number): Watch {
    const { perSecond, ...asked } = this.#filter;
    const now = this.#fill();
    const seconds = Math.min(1, (now - this.#askedAt) / 1000);
    this.#askedAt = now;
    this.#betweenBatches += (seconds - this.#betweenBatches) * NEWEST;
    const most = Math.min(perSecond, Math.ceil(this.#events + perSecond * this.#betweenBatches));
    return { watcher, ...asked, most: this.reader.ready ? most : 0 };
  }

  take(matched: number, samples: readonly Sample[], heldFor: (sample: Sample) => string | undefined): void {
    this.#fill();
    const shown: WatchedEvent[] = [];
    for (const sample of this.reader.ready ? samples : []) {
      if (this.#events < 1 || this.#bytes <= 0) break;
      this.#events -= 1;
      this.#bytes -= sample.text.length;
      shown.push({ ...sample, held: heldFor(sample) });
    }
    if (this.reader.ready) this.#overRate += matched - shown.length;
    else this.#slowReader += matched;
    if (shown.length > 0) this.reader.show(shown);
  }

  takeLeftOut(): LeftOut {
    const leftOut = { overRate: this.#overRate, slowReader: this.#slowReader };
    this.#overRate = 0;
    this.#slowReader = 0;
    return leftOut;
  }

  /** Returns what time it is. */
  #fill(): number {
    const now = this.#now();
    const seconds = (now - this.#filledAt) / 1000;
    this.#filledAt = now;
    this.#events = Math.min(this.#filter.perSecond, this.#events + seconds * this.#filter.perSecond);
    this.#bytes = Math.min(MOST_BYTES_PER_SECOND, this.#bytes + seconds * MOST_BYTES_PER_SECOND);
    return now;
  }
}
