/**
 * Reads what a subscription's snapshots are to give, beside its feed, and puts it in order there. A collection is read in pieces:
 *
 *     P, where the feed stands ──▶ the piece as it stood at P ──▶ encoded ──▶ at P2, when its turn in the feed has come
 *                                                              less what was touched in (P, P2]: that is read again
 *
 * So what is put at P2 is what is there at P2: behind every change that it holds, before every one that it does not. A document that
 * was touched again while it was read again is read with the feed's order held: then P is P2, however often it changes.
 *
 * Invariants:
 * - What a run says is delivered was confirmed, pieces in the order of `_id` without a gap, and whatever was taken out of them as well.
 * - Nothing is put behind a command that ended its collection.
 */
import { BSON } from 'mongodb';
import type { Document } from 'mongodb';
import { Backoff } from '../backoff.ts';
import { settled, sleep } from '../waits.ts';
import { codeOf } from '../source/failures.ts';
import { compareTs } from '../source/position.ts';
import { documentAt } from '../source/reply.ts';
import { idOf } from '../source/collection-reads.ts';
import { ByteBudget } from '../source/byte-budget.ts';
import { AnyOf } from '../source/any-of.ts';
import { snapshotId, snapshotIdPrefix } from '../worker/snapshot-id.ts';
import { cutOut } from './cut.ts';
import { Pace } from './pace.ts';
import { followedBy, isActive, openOf } from './runs.ts';
import type { SnapshotRecord } from '../checkpoint/record.ts';
import type { SnapshotConfig, SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { CollectionReads, FoundCollection, Piece, PieceRequest } from '../source/collection-reads.ts';
import type { OpTime, Ts } from '../source/position.ts';
import type { BatchResult, ChunkJob, TouchingCommand } from '../worker/protocol.ts';
import type { Insertion } from './insertion.ts';
import type { Runs } from './runs.ts';
import type { TouchedSince, Touches } from './touches.ts';
import type { SnapshotProgress } from './progress.ts';

/** The feed, as a snapshot sees it. */
export interface SnapshotWay {
  readonly touches: Touches;
  readonly reads: CollectionReads | undefined;
  /** Where reading stands; undefined while no snapshot may be put beside it. */
  position(): OpTime | undefined;
  encode(bytes: Uint8Array, documents: number, chunk: ChunkJob): Promise<readonly BatchResult[]>;
  /**
   * Puts what `make` gives behind all that was taken until now, where `at` is the last of it; nothing that is taken later is put
   * before it. Resolves once it is in order; false where it never will be.
   */
  insert(make: (at: OpTime) => readonly Insertion[] | Promise<readonly Insertion[]>): Promise<boolean>;
  /** Entries read until now. */
  liveEntries(): number;
  /** How far back the oplog reaches; undefined where that is not known. */
  windowSeconds(): number | undefined;
}

export interface RunnerOptions {
  readonly source: string;
  readonly subscription: SubscriptionConfig;
  readonly config: SnapshotConfig;
  /** The subscription's. */
  readonly number: number;
  readonly runs: Runs;
  readonly way: SnapshotWay;
  readonly progress: SnapshotProgress;
  readonly budgetBytes: number;
  readonly log: Log;
  /** What is stored of it has changed. */
  readonly touch: () => void;
  /** Nothing is left to read. */
  readonly onIdle: () => void;
}

/** A collection while it is being read. */
interface Reading {
  readonly run: SnapshotRecord;
  readonly found: FoundCollection;
  /** Fires when nothing of it may be put in order any more. */
  readonly over: AbortController;
  /** In the order of `_id`: those that are not yet part of what the run says is delivered. */
  readonly parts: Part[];
  /** There is nothing behind the last part. */
  isAtEnd: boolean;
}

interface Part {
  readonly last: string;
  readonly documents: number;
  isDone: boolean;
}

/** A piece that was read. */
interface Read {
  readonly piece: Piece;
  readonly since: TouchedSince;
  readonly at: Ts;
}

const LOOK_MS = 20;
/** Behind the beginning, before a pace is told. */
const PACE_MS = 15_000;
const FIRST_DOCUMENTS = 500;
/** Read again without holding the feed's order; then with it. */
const FREE_TRIES = 1;
/** Pieces that are under way to the broker: one that waits while another is being confirmed. */
const UNDER_WAY = 2;
const NO_COLLECTION: ReadonlySet<number> = new Set([26, 166, 168]);
/** There is no index over `_id`. */
const NO_INDEX: ReadonlySet<number> = new Set([2, 291]);
/** What stood there then cannot be read (any more, or so early); another position will do. */
const OTHER_POSITION: ReadonlySet<number> = new Set([239, 246]);

export class SnapshotRunner {
  readonly #o: RunnerOptions;
  readonly #stop = new AbortController();
  readonly #budget: ByteBudget;
  readonly #follows: (record: SnapshotRecord, ns: string) => boolean;
  readonly #readings = new Map<string, Reading>();
  readonly #pace: Pace;
  #underWay = 0;
  #isHalted = false;
  /** Collections that somebody is about to read, or reads. */
  readonly #taken = new Set<string>();

  constructor(options: RunnerOptions) {
    this.#o = options;
    this.#budget = new ByteBudget(options.budgetBytes);
    this.#follows = followedBy(options.subscription.namespaces);
    this.#pace = new Pace(options.config);
  }

  /** The collections that are being read; a rename of any is told as well. */
  get namespaces(): Iterable<string> {
    return this.#readings.keys();
  }

  get isOver(): boolean {
    return this.#stop.signal.aborted;
  }

  start(): void {
    void this.#work(this.#stop.signal).catch((error: unknown) => {
      if (!this.isOver)
        this.#o.log.error({ code: 'snapshot-failed', ...this.#names(), err: error }, 'A snapshot failed.');
    });
  }

  /** Nothing more is read or put in order; what is under way comes to its end. */
  halt(): void {
    this.#isHalted = true;
  }

  /** What is under way means nothing any more, either. */
  stop(): void {
    this.#stop.abort(new Error('the snapshot is read no more'));
    for (const { over } of this.#readings.values()) over.abort(this.#stop.signal.reason);
  }

  /** Of a batch that is being put in order. */
  command(command: TouchingCommand): void {
    for (const ns of this.#o.runs.command(command, this.#follows)) {
      this.#readings.get(ns)?.over.abort(new Error('the collection is not what it was'));
    }
    this.#o.touch();
  }

  async #work(stop: AbortSignal): Promise<void> {
    const { runs, onIdle } = this.#o;
    while (!stop.aborted && !this.#isHalted) {
      const run = runs.current;
      if (run) await this.#run(run.run, stop);
      else if (runs.records.some(isActive)) await sleep(LOOK_MS * 5, stop);
      else return onIdle();
    }
  }

  /** Until it is over, or stands still. */
  async #run(name: string, stop: AbortSignal): Promise<void> {
    const { runs, progress, log, touch } = this.#o;
    const collections = await this.#list(name, stop);
    if (!collections) return;
    const found = new Map(collections.map((one) => [one.ns, one]));
    const run = runs.get(name);
    if (!run || stop.aborted) return;
    progress.begin(
      name,
      collections.map(({ ns }) => ns),
    );
    void this.#count(collections, name, stop).then(() => this.#warnOfWindow(name, stop));
    log.info({ ...this.#names(), run: name, collections: collections.length }, 'A snapshot is being read.');
    const queue = collections.map(({ ns }) => ns);
    const next = (): string | undefined => {
      const now = runs.get(name);
      if (now?.state !== 'running' || stop.aborted || this.#isHalted) return undefined;
      const open = now.open.find(({ ns }) => !this.#taken.has(ns));
      if (open) return open.ns;
      const again = now.again.find((ns) => !this.#taken.has(ns));
      if (again !== undefined) return again;
      while (queue.length > 0 && queue[0]! <= now.begun) queue.shift();
      return queue.shift();
    };
    const one = async (): Promise<void> => {
      for (let ns = next(); ns !== undefined; ns = next()) {
        this.#taken.add(ns);
        try {
          await this.#next(name, ns, found, stop);
        } finally {
          this.#taken.delete(ns);
        }
      }
    };
    await Promise.all(Array.from({ length: this.#o.config.parallel }, one));
    const now = runs.get(name);
    if (stop.aborted || now?.state !== 'running' || now.open.length > 0 || now.again.length > 0) return;
    runs.end(name);
    touch();
    const { documents, collections: read } = runs.get(name)!;
    log.info({ ...this.#names(), run: name, documents, collections: read }, 'A snapshot is complete.');
  }

  async #next(
    name: string,
    ns: string,
    listed: ReadonlyMap<string, FoundCollection>,
    stop: AbortSignal,
  ): Promise<void> {
    const { runs, touch } = this.#o;
    const isAgain = runs.get(name)?.again.includes(ns);
    // What was renamed is another one than was listed.
    const found = isAgain ? undefined : listed.get(ns);
    const its = found ?? (await this.#list(name, stop))?.find((other) => other.ns === ns);
    const run = runs.get(name);
    if (stop.aborted || this.#isHalted || run?.state !== 'running') return;
    if (isAgain || !openOf(run, ns)) runs.begin(name, ns);
    touch();
    if (its) await this.#collection(name, its, stop);
    else runs.finish(name, ns);
  }

  #names(): { readonly source: string; readonly subscription: string } {
    return { source: this.#o.source, subscription: this.#o.subscription.name };
  }

  /** Undefined where it is not to go on. */
  async #list(name: string, stop: AbortSignal): Promise<readonly FoundCollection[] | undefined> {
    return await this.#tried(name, stop, async (signal) => {
      const { runs, way, log } = this.#o;
      const run = runs.get(name);
      if (!run || !way.reads) return undefined;
      const all = await way.reads.list((ns) => this.#follows(run, ns), signal);
      const others = all.filter(({ kind }) => kind !== 'collection');
      if (others.length > 0) {
        log.warn(
          { code: 'snapshot-left-out', ...this.#names(), run: name, namespaces: others.map(({ ns }) => ns) },
          'Views and time-series collections have no snapshot: they are left out.',
        );
      }
      return all.filter(({ kind }) => kind === 'collection');
    });
  }

  async #count(collections: readonly FoundCollection[], run: string, stop: AbortSignal): Promise<void> {
    const { way, progress } = this.#o;
    for (const { ns } of collections) {
      if (stop.aborted) return;
      try {
        progress.expect(run, ns, (await way.reads?.count(ns, stop)) ?? 0);
      } catch {
        // It is an estimate only.
      }
    }
  }

  /** Once there is a pace to tell by. */
  async #warnOfWindow(name: string, stop: AbortSignal): Promise<void> {
    const { progress, runs, way, log } = this.#o;
    await sleep(PACE_MS, stop);
    const run = runs.get(name);
    const { expected, perSecond } = progress.of(name);
    const windowSeconds = way.windowSeconds();
    if (stop.aborted || run?.state !== 'running' || !expected || windowSeconds === undefined || perSecond <= 0) return;
    const secondsLeft = Math.round((expected - run.documents) / perSecond);
    if (secondsLeft < windowSeconds) return;
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
  }

  async #collection(name: string, found: FoundCollection, stop: AbortSignal): Promise<void> {
    const { runs } = this.#o;
    const run = runs.get(name)!;
    const reading: Reading = { run, found, over: new AbortController(), parts: [], isAtEnd: false };
    this.#readings.set(found.ns, reading);
    try {
      await this.#read(reading, stop);
      // What could not be put in order is read again.
      const isWhole = reading.isAtEnd && reading.parts.length === 0;
      if (isWhole && !reading.over.signal.aborted && isGoingOn(runs, name)) runs.finish(name, found.ns);
      else if (!reading.over.signal.aborted) await sleep(LOOK_MS * 5, stop);
    } finally {
      reading.over.abort(new Error('the collection has been read'));
      this.#readings.delete(found.ns);
      this.#o.touch();
    }
  }

  async #read(reading: Reading, stop: AbortSignal): Promise<void> {
    const { run, found, over } = reading;
    const { runs } = this.#o;
    const { signal } = over;
    const stored = openOf(runs.get(run.run)!, found.ns)?.last;
    let after = stored === undefined ? undefined : Buffer.from(stored, 'base64');
    let most = FIRST_DOCUMENTS;
    const parts: Promise<void>[] = [];
    while (!signal.aborted && isGoingOn(runs, run.run)) {
      await this.#budget.room(signal);
      await this.#pace.allowed(signal);
      const read = await this.#piece(reading, { ...(after && { after }), most }, signal);
      if (!read) {
        reading.isAtEnd = !signal.aborted && !this.#isHalted;
        break;
      }
      const { piece } = read;
      const { documents } = piece;
      if (piece.isEnd || !piece.last) {
        read.since[Symbol.dispose]();
        reading.isAtEnd = true;
        break;
      }
      after = Buffer.from(piece.last);
      this.#pace.took(documents);
      const part = { last: after.toString('base64'), documents, isDone: false };
      reading.parts.push(part);
      // Under its own signal: what is under way when the run is paused comes to its end.
      parts.push(this.#part(reading, read, part));
      most = this.#pace.documents(piece.bytes.length / Math.max(1, documents));
    }
    await settled(
      Promise.all(parts).then(() => undefined),
      signal,
    );
    if (stop.aborted) over.abort(stop.reason);
  }

  async #part(reading: Reading, read: Read, part: Part): Promise<void> {
    const { signal } = reading.over;
    const { runs, touch, progress } = this.#o;
    try {
      let again = await this.#deliver(reading, read, signal);
      for (let tries = 1; again && again.length > 0 && !signal.aborted; tries++) {
        if (tries <= FREE_TRIES || reading.found.capped) {
          if (tries > 3) await sleep(LOOK_MS, signal);
          const next = await this.#piece(reading, { ids: again, most: again.length }, signal);
          again = next && (await this.#deliver(reading, next, signal));
        } else again = await this.#deliverHeld(reading, again, signal);
      }
      if (!again || signal.aborted) return;
      part.isDone = true;
      const { parts, run, found } = reading;
      while (parts[0]?.isDone) {
        const { last, documents } = parts.shift()!;
        runs.advance(run.run, found.ns, last, documents);
        progress.delivered(run.run, documents);
      }
      touch();
    } catch (error) {
      if (signal.aborted) return;
      this.#o.progress.trouble(reading.run.run, String(error));
      this.#o.log.error(
        { code: 'snapshot-failed', ...this.#names(), err: error },
        'A piece of a snapshot failed; it is read again.',
      );
    }
  }

  /** Read where the feed stands; until it can be. Undefined where the collection is over. */
  async #piece(
    reading: Reading,
    asked: Pick<PieceRequest, 'after' | 'ids' | 'most'>,
    signal: AbortSignal,
  ): Promise<Read | undefined> {
    return await this.#tried(reading.run.run, signal, async () => {
      for (;;) {
        if (!(await this.#stands(signal))) return undefined;
        // Asked once more in one breath with what follows: a batch may have been taken since.
        const at = this.#o.way.position();
        if (at) return await this.#pieceAt(reading, asked, at.ts, signal);
      }
    });
  }

  async #pieceAt(
    { found: { ns, capped }, run: { filter } }: Reading,
    asked: Pick<PieceRequest, 'after' | 'ids' | 'most'>,
    at: Ts,
    signal: AbortSignal,
  ): Promise<Read | undefined> {
    const { way } = this.#o;
    const since = way.touches.from(at);
    try {
      const query = filter === undefined ? undefined : queryOf(filter);
      const piece = await way.reads!.read({ ns, at, capped, ...asked, ...(query && { filter: query }) }, signal);
      return { piece, since, at };
    } catch (error) {
      since[Symbol.dispose]();
      const code = codeOf(error);
      if (code !== undefined && NO_COLLECTION.has(code)) return undefined;
      if (code !== undefined && NO_INDEX.has(code)) {
        this.#o.log.warn(
          { code: 'snapshot-left-out', ...this.#names(), namespaces: [ns], err: error },
          'A collection without an index over _id has no snapshot: it is left out.',
        );
        return undefined;
      }
      throw error;
    }
  }

  /** Where the feed stands, once it may. */
  async #stands(signal: AbortSignal): Promise<OpTime | undefined> {
    for (;;) {
      if (signal.aborted || this.#isHalted) return undefined;
      const at = this.#o.way.position();
      if (at) return at;
      await sleep(LOOK_MS, signal);
    }
  }

  /** Until it works, or `signal` fires. */
  async #tried<T>(run: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const { progress, log } = this.#o;
    const backoff = new Backoff();
    for (;;) {
      if (signal.aborted) return undefined;
      try {
        const result = await work(signal);
        progress.trouble(run, undefined);
        return result;
      } catch (error) {
        if (signal.aborted) return undefined;
        const reason = error instanceof Error ? error.message.slice(0, 300) : String(error);
        const code = codeOf(error);
        if (backoff.tries > 2 || code === undefined || !OTHER_POSITION.has(code)) progress.trouble(run, reason);
        if (backoff.tries === 3) {
          log.warn(
            { code: 'snapshot-waits', ...this.#names(), run, serverCode: code, reason },
            'A snapshot cannot read on; trying again.',
          );
        }
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** Puts it in order; resolves once it was confirmed, with the `_id`s of what had to be taken out. Undefined: it will never be. */
  async #deliver(reading: Reading, { piece, since, at }: Read, signal: AbortSignal): Promise<Uint8Array[] | undefined> {
    using watching = since;
    if (piece.documents === 0) return [];
    const cost = piece.bytes.length * 2;
    this.#budget.take(cost);
    try {
      return await this.#deliverPiece(reading, { piece, at, since: watching }, signal);
    } finally {
      this.#budget.give(cost);
    }
  }

  async #deliverPiece(
    reading: Reading,
    { piece, at, since }: Read,
    signal: AbortSignal,
  ): Promise<Uint8Array[] | undefined> {
    const { way } = this.#o;
    const results = await this.#encoded(reading, piece, at);
    // What is read may be newer than the position; the feed has to have come as far.
    for (let waitMs = 1; ; waitMs = Math.min(LOOK_MS, waitMs * 2)) {
      const stands = await this.#stands(signal);
      if (!stands) return undefined;
      if (compareTs(stands.ts, piece.shows) >= 0 && this.#underWay < UNDER_WAY) break;
      await sleep(waitMs, signal);
    }
    return await this.#confirmed(reading, signal, (insert) =>
      way.insert(() => {
        const touched = since.of(reading.found.ns);
        return insert(results.map((result) => ({ result, touched, piece })));
      }),
    );
  }

  /** Reads and encodes these while the feed's order waits for it: nothing lies between. */
  async #deliverHeld(
    reading: Reading,
    ids: readonly Uint8Array[],
    signal: AbortSignal,
  ): Promise<Uint8Array[] | undefined> {
    const { way } = this.#o;
    await this.#stands(signal);
    let failed = false;
    const again = await this.#confirmed(reading, signal, (insert) =>
      way.insert(async (at) => {
        // Long before anybody is held up by it.
        using soon = new AnyOf([signal]).within(HELD_MS, new Error('it took too long'));
        try {
          const read = await this.#pieceAt(reading, { ids, most: ids.length }, at.ts, soon.signal);
          if (!read) return [];
          read.since[Symbol.dispose]();
          if (read.piece.documents === 0) return [];
          const results = await this.#encoded(reading, read.piece, at.ts);
          return insert(results.map((result) => ({ result, touched: NOTHING_TOUCHED, piece: read.piece })));
        } catch {
          failed = true;
          return [];
        }
      }),
    );
    if (!failed) return again;
    await sleep(LOOK_MS * 5, signal);
    return [...ids];
  }

  async #encoded({ run, found: { ns } }: Reading, piece: Piece, at: Ts): Promise<readonly BatchResult[]> {
    const { way, number } = this.#o;
    return await way.encode(piece.bytes, piece.documents, { subscription: number, ns, run: run.run, at });
  }

  /** `put` is given what makes insertions of results; resolves once those are confirmed. */
  async #confirmed(
    reading: Reading,
    signal: AbortSignal,
    put: (insert: (parts: readonly Encoded[]) => readonly Insertion[]) => Promise<boolean>,
  ): Promise<Uint8Array[] | undefined> {
    const { subscription, source } = this.#o;
    const again: Uint8Array[] = [];
    const waits: Promise<boolean>[] = [];
    const { ns } = reading.found;
    const prefix = snapshotIdPrefix({ source, run: reading.run.run, ns });
    this.#underWay += 1;
    const began = performance.now();
    const live = this.#o.way.liveEntries();
    try {
      const isInOrder = await put((parts) => {
        if (signal.aborted) return [];
        return parts.map(({ result, touched, piece }) => {
          const document = (number: number): Uint8Array =>
            documentAt(piece.bytes, number + (result.firstDocument ?? 0));
          const idText = (number: number): string => {
            const id = idOf(document(number));
            return snapshotId(prefix, id, 4, id.length - 1);
          };
          const cut = cutOut(result, touched, { isDivisible: subscription.compression === undefined, idOf: idText });
          for (const number of cut.out) again.push(idOf(document(number)));
          let over: (confirmed: boolean) => void = () => undefined;
          waits.push(new Promise((resolve) => (over = resolve)));
          return { result: cut.result, budget: this.#budget, isWanted: () => !signal.aborted, over };
        });
      });
      if (!isInOrder) return undefined;
      let confirmed = false;
      await settled(
        Promise.all(waits).then((all) => void (confirmed = all.every(Boolean))),
        signal,
      );
      if (signal.aborted || !confirmed) return undefined;
      await this.#pace.rest(performance.now() - began, this.#o.way.liveEntries() > live, signal);
      return again;
    } finally {
      this.#underWay -= 1;
    }
  }
}

interface Encoded {
  readonly result: BatchResult;
  readonly touched: ReadonlySet<number> | 'all';
  readonly piece: Piece;
}

const NOTHING_TOUCHED: ReadonlySet<number> = new Set();
const HELD_MS = 500;

function queryOf(filter: string): Document {
  const query: Document = BSON.EJSON.parse(filter, { relaxed: false });
  return query;
}

function isGoingOn(runs: Runs, run: string): boolean {
  return runs.get(run)?.state === 'running';
}
