/**
 * The snapshots of one subscription, one after another: which collections each has, in the order of their names, so many of them read at
 * a time (`reading.ts`), until all are.
 * Invariant: nothing that fails is final. What is not delivered is tried again, unless the collection cannot be read at all.
 */
import { Backoff } from '../backoff.ts';
import { sleep } from '../waits.ts';
import { reasonOf } from '../source/failures.ts';
import { compareTs } from '../source/position.ts';
import { Pace } from './pace.ts';
import { Reading } from './reading.ts';
import { followedBy, isActive, openOf } from './runs.ts';
import type { SnapshotRecord } from '../checkpoint/record.ts';
import type { SnapshotConfig } from '../config/config.ts';
import type { FoundCollection, FoundCollections } from '../source/collection-list.ts';
import type { TouchingCommand } from '../worker/protocol.ts';
import type { ReadingOptions } from './reading.ts';

export interface RunnerOptions extends Omit<ReadingOptions, 'pace'> {
  readonly config: SnapshotConfig;
  /** Nothing is left to read. */
  readonly onIdle: () => void;
}

const LOOK_MS = 100;
const PROGRESS_MS = 20;
/** Behind the beginning, before a pace is told. */
const PACE_MS = 15_000;
const QUIET_TRIES = 3;

export class SnapshotRunner {
  readonly #o: RunnerOptions;
  readonly #stop = new AbortController();
  readonly #follows: (record: SnapshotRecord, ns: string) => boolean;
  readonly #pace: Pace;
  readonly #readings = new Map<string, Reading>();
  /** Collections that somebody is about to read, or reads. */
  readonly #taken = new Set<string>();
  #isStarted = false;

  constructor(options: RunnerOptions) {
    this.#o = options;
    this.#follows = followedBy(options.subscription.namespaces);
    this.#pace = new Pace(options.config);
  }

  /** The collections that are being read; a rename of any is told as well. */
  get namespaces(): Iterable<string> {
    return this.#readings.keys();
  }

  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    void this.#work(this.#stop.signal);
  }

  /** Nothing more is read or put in order; what is under way comes to its end. */
  halt(): void {
    this.#stop.abort(new Error('the snapshot is read no more'));
    for (const reading of this.#readings.values()) reading.halt();
  }

  /** What is under way means nothing any more, either. */
  stop(): void {
    this.#stop.abort(new Error('the snapshot is read no more'));
    for (const reading of this.#readings.values()) reading.end(this.#stop.signal.reason);
  }

  /** What is to be read may have changed. */
  look(): void {
    const { runs } = this.#o;
    for (const reading of this.#readings.values()) {
      const run = runs.get(reading.run);
      if (!run || !isActive(run)) reading.end(new Error('the snapshot was ended'));
    }
  }

  /** Of a batch that is being put in order. */
  command(command: TouchingCommand): void {
    for (const ns of this.#o.runs.command(command, this.#follows)) {
      this.#readings.get(ns)?.end(new Error('the collection is not what it was'));
    }
    this.#o.touch();
  }

  async #work(stop: AbortSignal): Promise<void> {
    const { runs, progress, log, onIdle } = this.#o;
    const backoff = new Backoff();
    while (!stop.aborted) {
      const run = runs.current;
      if (!run) {
        if (!runs.records.some(isActive)) return onIdle();
        await sleep(LOOK_MS, stop);
        continue;
      }
      try {
        await this.#run(run.run, stop);
        backoff.reset();
      } catch (error) {
        if (stop.aborted) return;
        progress.trouble(run.run, reasonOf(error));
        log.error(
          { code: 'snapshot-failed', ...this.#names(), run: run.run, err: error },
          'A snapshot failed; it goes on.',
        );
        await sleep(backoff.next(), stop);
      }
    }
  }

  /** Until it is over, or stands still. */
  async #run(name: string, stop: AbortSignal): Promise<void> {
    const { runs, progress, log, touch, way } = this.#o;
    const collections = await this.#list(name, stop);
    const run = runs.get(name);
    if (!collections || !run || stop.aborted) return;
    const found = new Map(collections.map((one) => [one.ns, one]));
    progress.begin(
      name,
      collections.map(({ ns }) => ns),
    );
    const ended = new AbortController();
    const end = (): void => ended.abort();
    stop.addEventListener('abort', end, { once: true });
    try {
      void this.#watch(collections, name, ended.signal);
      log.info(
        { ...this.#names(), run: name, collections: collections.length, windowSeconds: way.windowSeconds() },
        'A snapshot is being read.',
      );
      await this.#collections(name, found, stop);
    } finally {
      stop.removeEventListener('abort', end);
      end();
    }
    const now = runs.get(name);
    if (stop.aborted || now?.state !== 'running' || now.open.length > 0 || now.again.length > 0) return;
    runs.end(name);
    touch();
    const { documents, collections: read } = now;
    log.info({ ...this.#names(), run: name, documents, collections: read }, 'A snapshot is complete.');
  }

  async #collections(name: string, found: ReadonlyMap<string, FoundCollection>, stop: AbortSignal): Promise<void> {
    const { runs, config } = this.#o;
    const queue = [...found.keys()];
    let hasFailed = false;
    const next = (): string | undefined => {
      const now = runs.get(name);
      if (now?.state !== 'running' || stop.aborted || hasFailed) return undefined;
      const open = now.open.find(({ ns }) => !this.#taken.has(ns));
      if (open) return open.ns;
      const again = now.again.find((ns) => !this.#taken.has(ns));
      if (again !== undefined) return again;
      while (queue.length > 0 && (queue[0]! <= now.begun || this.#taken.has(queue[0]!))) queue.shift();
      return queue.shift();
    };
    const one = async (): Promise<void> => {
      const tries = new Map<string, Backoff>();
      for (let ns = next(); ns !== undefined; ns = next()) {
        this.#taken.add(ns);
        try {
          const backoff = tries.get(ns);
          if (backoff) await sleep(backoff.next(), stop);
          if (await this.#next(name, ns, backoff ? undefined : found.get(ns), stop)) tries.delete(ns);
          else if (!backoff) tries.set(ns, new Backoff());
        } catch (error) {
          // All of it is tried again: nothing of this try may be under way then.
          hasFailed = true;
          for (const reading of this.#readings.values()) reading.end(new Error('the snapshot is tried again'));
          throw error;
        } finally {
          this.#taken.delete(ns);
        }
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: config.parallel }, one));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  /** False where it is to be tried again. `found`: as it was listed; it is looked for where that may be so no more. */
  async #next(name: string, ns: string, listed: FoundCollection | undefined, stop: AbortSignal): Promise<boolean> {
    const { runs, touch } = this.#o;
    const isAgain = runs.get(name)?.again.includes(ns);
    // What was renamed is another one than was listed.
    const found = (isAgain ? undefined : listed) ?? (await this.#list(name, stop))?.find((other) => other.ns === ns);
    const run = runs.get(name);
    if (stop.aborted || run?.state !== 'running') return true;
    // It may have been renamed, or given up, while it was looked for.
    if (isAgain && !run.again.includes(ns)) return true;
    if (isAgain || !openOf(run, ns)) runs.begin(name, ns);
    touch();
    if (!found) {
      runs.finish(name, ns);
      return true;
    }
    const reading = new Reading({ ...this.#o, pace: this.#pace }, runs.get(name)!, found);
    this.#readings.set(ns, reading);
    try {
      const outcome = await reading.read();
      if (outcome === 'whole' || outcome === 'left-out') runs.finish(name, ns);
      return outcome !== 'again';
    } finally {
      if (this.#readings.get(ns) === reading) this.#readings.delete(ns);
      touch();
    }
  }

  /**
   * Looked for twice, as the feed comes to what the first look saw: a collection that is missing may have been dropped by what comes to
   * nothing when the primary fails. Undefined where it is not to go on.
   */
  async #list(name: string, stop: AbortSignal): Promise<readonly FoundCollection[] | undefined> {
    const { runs, way, progress, log, subscription } = this.#o;
    const backoff = new Backoff();
    for (;;) {
      const run = runs.get(name);
      if (stop.aborted || run?.state !== 'running' || !way.reads) return undefined;
      const patterns = run.namespaces ?? subscription.namespaces;
      const sought = { patterns, matches: (ns: string) => this.#follows(run, ns) };
      try {
        const { found: first, at } = await way.reads.list(sought, stop);
        while (this.#isRunning(name) && compareTs(way.position()?.ts ?? BEFORE_ALL, at ?? BEFORE_ALL) < 0) {
          await sleep(PROGRESS_MS, stop);
        }
        const second = await way.reads.list(sought, stop);
        const all = new Map([...first, ...second.found].map((one) => [one.ns, one]));
        progress.trouble(name, undefined);
        return this.#readable(name, { ...second, found: [...all.values()].toSorted((a, b) => (a.ns < b.ns ? -1 : 1)) });
      } catch (error) {
        if (stop.aborted) return undefined;
        const reason = reasonOf(error);
        progress.trouble(name, reason);
        if (backoff.tries === QUIET_TRIES) {
          log.warn(
            { code: 'snapshot-waits', ...this.#names(), run: name, reason },
            'Collections cannot be listed; trying again.',
          );
        }
        await sleep(backoff.next(), stop);
      }
    }
  }

  #readable(run: string, { found, unlisted }: FoundCollections): readonly FoundCollection[] {
    const { log } = this.#o;
    const others = found.filter(({ kind }) => kind !== 'collection');
    if (others.length > 0) {
      log.warn(
        { code: 'snapshot-left-out', ...this.#names(), run, namespaces: others.map(({ ns }) => ns) },
        'Views and time-series collections have no snapshot: they are left out.',
      );
    }
    if (unlisted.length > 0) {
      log.warn(
        { code: 'snapshot-left-out', ...this.#names(), run, databases: unlisted },
        'Collections that the user may not list are left out, if there are any (*: in databases that it has no right on): give it the role `read`.',
      );
    }
    return found.filter(({ kind }) => kind === 'collection');
  }

  async #watch(collections: readonly FoundCollection[], run: string, stop: AbortSignal): Promise<void> {
    const { way, progress } = this.#o;
    const isFiltered = this.#o.runs.get(run)?.filter !== undefined;
    // How many match is not known, and to count them would take as long as to read them.
    for (const { ns } of isFiltered ? [] : collections) {
      if (stop.aborted) return;
      // It is an estimate only.
      const count = await way.reads?.count(ns, stop).catch(() => 0);
      progress.expect(run, ns, count ?? 0);
    }
    while (!stop.aborted) {
      await sleep(PACE_MS, stop);
      if (this.#warnsOfWindow(run)) return;
    }
  }

  /** Once there is a pace to tell by. */
  #warnsOfWindow(name: string): boolean {
    const { progress, runs, way, log } = this.#o;
    const run = runs.get(name);
    const { expected, perSecond } = progress.of(name);
    const windowSeconds = way.windowSeconds();
    if (run?.state !== 'running' || !expected || windowSeconds === undefined || perSecond <= 0) return false;
    const secondsLeft = Math.round((expected - run.documents) / perSecond);
    if (secondsLeft < windowSeconds) return false;
    log.warn(
      {
        code: 'snapshot-window',
        ...this.#names(),
        run: name,
        documents: expected,
        perSecond: Math.round(perSecond),
        secondsLeft,
        windowSeconds,
      },
      'A snapshot will take longer than the oplog reaches back: nothing may hold its source for that long.',
    );
    return true;
  }

  #isRunning(name: string): boolean {
    return !this.#stop.signal.aborted && this.#o.runs.get(name)?.state === 'running';
  }

  #names(): { readonly source: string; readonly subscription: string } {
    return { source: this.#o.source, subscription: this.#o.subscription.name };
  }
}

const BEFORE_ALL = { seconds: 0, increment: 0 };
