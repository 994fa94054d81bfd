/**
 * What the workers make of a feed's batches, back in the order in which they were read: to the ledger, the lanes and the parking store,
 * and the transactions that take effect at their places.
 * Invariant: results are delivered in batch order, and once halted nothing more is.
 */
import { START, deliver, endOf, heldBytes, isWhole, wholeOf } from '../lanes/deliver.ts';
import { compareTs } from '../source/position.ts';
import { costOf } from '../source/source.ts';
import { END_INDEX } from '../worker/protocol.ts';
import type { Place, Stretch } from '../lanes/deliver.ts';
import type { Ledger } from '../lanes/ledger.ts';
import type { Log } from '../observe/log.ts';
import type { SourceMeter } from '../observe/metrics.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import type { OpTime, Ts } from '../source/position.ts';
import type { RawBatch } from '../source/source.ts';
import type { Watchers } from '../watch/watchers.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { BatchResult, Seen, Touched, TransactionCommit } from '../worker/protocol.ts';
import { placedAt } from '../snapshot/insertion.ts';
import type { Insertion } from '../snapshot/insertion.ts';
import type { LaneSet } from './lane-set.ts';
import type { Members } from './members.ts';
import type { SetAside } from './set-aside.ts';
import type { Standings } from './standings.ts';
import type { Transactions } from './transactions.ts';
import type { LocalDocuments } from './local-documents.ts';
import type { Showing } from './whole-documents.ts';

export interface SequenceOptions {
  /** The source's name. */
  readonly source: string;
  readonly members: Members;
  readonly partitions: number;
  readonly budget: ByteBudget;
  readonly pool: WorkerPool;
  readonly documents: Showing;
  /** Where the last states of documents are kept. */
  readonly local: LocalDocuments | undefined;
  readonly meter: SourceMeter;
  readonly log: Log;
  /** The one that counts now. */
  readonly ledger: () => Ledger;
  readonly lanes: LaneSet;
  readonly setAside: SetAside;
  readonly transactions: Transactions;
  readonly standings: Standings;
  readonly watchers: Pick<Watchers, 'take'>;
  /** Whether buffers may be used again once their messages are done. */
  readonly ownsBodies: boolean;
  /** Of a batch, before anything of it is put in order. */
  readonly touched: (touched: Touched, at: OpTime) => void;
  /** A batch could not be delivered, so none behind it may be. */
  readonly fail: (error: unknown) => void;
  /** Something was confirmed, or a position moved. */
  readonly touch: () => void;
}

export class Sequence {
  readonly #o: SequenceOptions;
  /** Fires when nothing more is to be delivered. */
  readonly #halt = new AbortController();
  /** The last entry that was put in order. */
  #delivering: OpTime = { ts: { seconds: 0, increment: 0 }, t: -1 };
  #delivered: Promise<void> = Promise.resolve();
  #broken = false;

  constructor(options: SequenceOptions) {
    this.#o = options;
  }

  /** All that was taken until now has been put in order. */
  get delivered(): Promise<void> {
    return this.#delivered;
  }

  halt(reason: Error): void {
    this.#halt.abort(reason);
  }

  take(batch: RawBatch, job: JobOptions): void {
    const { documents, pool, budget, touch } = this.#o;
    if (documents.wants(job)) {
      this.#takeShown(batch, job);
      return;
    }
    const readAt = performance.now();
    const encoded = pool.encode(batch, job);
    this.#next(async (before) => {
      const results = await encoded;
      const encodedAt = performance.now();
      await before;
      if (this.#over) return;
      this.#observe(results, readAt, encodedAt);
      // The batch's own bytes and the worker's copy make room for what was made of them.
      budget.give(costOf(batch));
      for (const result of results) {
        await this.#put(result, batch, job);
        // A lane that is new by now would not be drained.
        if (this.#over) return;
      }
      // A change stream's batches say themselves how far they reach; the events do not.
      if (batch.last?.token) this.#settleAt(batch.last);
      batch.letGo?.();
      touch();
    });
  }

  /** One whose events carry whole documents: part by part, since all of it may be more than there is memory for. */
  #takeShown(batch: RawBatch, job: JobOptions): void {
    const { documents, budget, touch } = this.#o;
    const readAt = performance.now();
    const parts = documents.parts({ batch, job, turn: this.#delivered, stop: this.#halt.signal });
    const first = parts.next();
    first.catch(() => undefined);
    this.#next(async (before) => {
      try {
        await first;
        await before;
        for (let part = await first; part.done !== true; part = await parts.next()) {
          if (this.#over) return;
          this.#observe([part.value], readAt, performance.now());
          await this.#put(part.value, batch, job, documents.budget);
          if (this.#over) return;
          touch();
        }
      } finally {
        // Whoever comes next may wait for its turn.
        await parts.return();
      }
      budget.give(costOf(batch));
      batch.letGo?.();
      touch();
    });
  }

  /** Nothing lies between what was taken before and `last`. */
  moveOn(last: OpTime): void {
    this.#next(async (before) => {
      await before;
      if (this.#over) return;
      this.#settleAt(last);
      this.#o.local?.reach(last);
      this.#o.touch();
    });
  }

  /** Everything up to here was delivered before this life. */
  startAt(at: OpTime): void {
    if (compareTs(at.ts, this.#delivering.ts) > 0) this.#delivering = at;
  }

  /**
   * What is no batch's, behind all that was taken until now: `make` is asked when its turn has come, and nothing that is taken later
   * is put before what it gives. Resolves once that is in order; false where nothing of it is, or ever will be. Rejects with what
   * `make` does.
   */
  insert(make: (at: OpTime) => readonly Insertion[] | Promise<readonly Insertion[]>): Promise<boolean> {
    const { local } = this.#o;
    // What it shows is known to all that is taken later.
    const turn = local?.enter();
    const inserted = new Promise<boolean>((resolve, reject) => {
      this.#next(async (before) => {
        await before;
        if (this.#over) return resolve(false);
        const at = this.#delivering;
        let made: readonly Insertion[];
        try {
          made = await make(at);
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
          return;
        }
        if (this.#over || !made.every(({ isWanted }) => isWanted())) return resolve(false);
        for (const { result, budget, over, states } of made) {
          this.#deliver(wholeOf(placedAt(result, at)), at, { budget, over });
          if (states) local?.kept?.putDocuments(states(), at);
        }
        this.#o.touch();
        resolve(true);
      });
    });
    if (turn) void this.#delivered.then(turn.leave);
    return inserted;
  }

  get #over(): boolean {
    return this.#broken || this.#halt.signal.aborted;
  }

  #next(work: (before: Promise<void>) => Promise<void>): void {
    const before = this.#delivered;
    this.#delivered = work(before).catch((error: unknown) => {
      this.#broken = true;
      if (!this.#halt.signal.aborted) this.#o.fail(error);
    });
  }

  /** Up to here everything is delivered once what was put in order before it is. */
  #settleAt(at: OpTime): void {
    const { ledger, members } = this.#o;
    ledger().open(at, 0, new Uint32Array(members.size));
    this.#delivering = at;
  }

  /** A result in order, and the transactions that take effect in it at their places. */
  async #put(result: BatchResult, batch: RawBatch, job: JobOptions, budget = this.#o.budget): Promise<void> {
    const { open } = this.#o.transactions;
    let from: Place = START;
    if (result.touched) this.#o.touched(result.touched, batch.last ?? this.#delivering);
    for (const mark of result.marks) {
      switch (mark.kind) {
        case 'open':
          open.opened(mark.session, mark.before ?? this.#delivering, mark.first);
          break;
        case 'aborted':
          open.aborted(mark.session);
          break;
        case 'commit':
          this.#deliver({ result, from, to: mark }, mark.before ?? this.#delivering, { budget });
          from = mark;
          open.committed(mark.session, mark.at);
          await this.#commit(mark, batch, job);
          if (this.#halt.signal.aborted) return;
      }
    }
    this.#deliver({ result, from, to: endOf(result) }, result.last ?? this.#delivering, { budget });
    if (result.seen !== undefined) this.#show(result.seen);
  }

  /** But for what is delivered to nobody any more. */
  #show(seen: readonly Seen[]): void {
    const { lanes, members, watchers } = this.#o;
    watchers.take(
      seen.map((one) => ({ ...one, samples: one.samples.filter(({ number }) => members.has(number)) })),
      ({ number, partition }) => lanes.at(number, partition)?.hold?.reason,
    );
  }

  async #commit(commit: TransactionCommit, batch: RawBatch, job: JobOptions): Promise<void> {
    const { transactions, standings, local } = this.#o;
    const isDone = hasAll(commit.at.ts, job.floors);
    if (isDone && (!local || local.has(commit.at.ts))) {
      this.#settleAt(commit.at);
      return;
    }
    // Until it is whole, everything counts to the entry before it.
    const before = this.#delivering;
    await transactions.deliver(
      {
        commit,
        batch,
        job,
        torn: standings.torn,
        isDone,
        deliver: (result) => {
          if (result.touched) this.#o.touched(result.touched, batch.last ?? commit.at);
          this.#deliver(wholeOf(result), before, { budget: transactions.budget });
          if (result.seen !== undefined) this.#show(result.seen);
        },
      },
      this.#halt.signal,
    );
    this.#settleAt(commit.at);
  }

  #deliver(
    stretch: Stretch,
    last: OpTime,
    { budget = this.#o.budget, over }: Partial<Pick<Insertion, 'budget' | 'over'>> = {},
  ): void {
    const { source, members, partitions, ledger, lanes, setAside, standings, pool, ownsBodies } = this.#o;
    budget.take(heldBytes(stretch));
    // Before the lanes take anything of this batch: see there.
    const { parked } = stretch.result;
    const park = setAside.begin(parked.slice(stretch.from.parked, stretch.to.parked), (s) => standings.lanesNow(s));
    const whole = isWhole(stretch);
    const ticket = deliver(stretch, {
      source,
      subscriptions: members.size,
      has: (number) => members.has(number),
      partitions,
      ledger: ledger(),
      last,
      release: (bytes, reuse) => {
        budget.give(bytes);
        if (reuse && whole && ownsBodies) pool.takeBack(stretch.result.bodies);
        over?.(reuse);
      },
      lane: (number) => lanes.lane(number),
    });
    this.#delivering = last;
    park(ticket);
  }

  #observe(results: readonly BatchResult[], readAt: number, encodedAt: number): void {
    const { meter, log, source } = this.#o;
    let decodeMs = 0;
    for (const result of results) {
      decodeMs += result.decodeMs;
      meter.filtered(result.filtered);
      if (Object.keys(result.unknownOps).length > 0) {
        log.warn(
          { code: 'unknown-operations', source, ops: result.unknownOps },
          'The oplog holds operations that this version does not know; where subscribed, they are parked.',
        );
      }
    }
    meter.batch('decode', decodeMs / 1000);
    meter.batch('wait', Math.max(0, encodedAt - readAt - decodeMs) / 1000);
    meter.batch('order', (performance.now() - encodedAt) / 1000);
  }
}

/** Whether every lane had all of the transaction that takes effect here in an earlier life. */
function hasAll(ts: Ts, floors: Uint32Array | undefined): boolean {
  if (!floors) return false;
  for (let at = 0; at < floors.length; at += 3) {
    const order = compareTs({ seconds: floors[at]!, increment: floors[at + 1]! }, ts);
    if (order < 0 || (order === 0 && floors[at + 2]! < END_INDEX)) return false;
  }
  return true;
}
