/**
 * One source's way through the engine: where its subscriptions begin, batches to the workers, results back in the order they
 * were read, and messages to the lanes. What the checkpoint says of it all is in `standings.ts`.
 * Invariants: nothing is published before every start is stored; results are delivered in batch order.
 */
import { createHash } from 'node:crypto';
import { PositionLostError } from '../errors.ts';
import { START, deliver, endOf, heldBytes, isWhole, wholeOf } from '../lanes/deliver.ts';
import { allBefore } from '../lanes/floors.ts';
import { Ledger } from '../lanes/ledger.ts';
import { compareTs, formatTs } from '../source/position.ts';
import { costOf, isSmall } from '../source/source.ts';
import { compilePatterns } from '../worker/pattern.ts';
import { LaneSet } from './lane-set.ts';
import { SetAside } from './set-aside.ts';
import { Standings } from './standings.ts';
import { Starts } from './starts.ts';
import { wantsExpanded } from '../source/make-source.ts';
import { refuseTimeSeries } from './time-series.ts';
import { Transactions } from './transactions.ts';
import type { PipelineConfig, SourceConfig } from '../config/config.ts';
import type { CheckpointRecord, ParkedOrigin } from '../checkpoint/record.ts';
import type { Floors } from '../lanes/floors.ts';
import type { SourceMeter } from '../observe/metrics.ts';
import type { Log } from '../observe/log.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import type { OpTime, ResumePoint, Ts } from '../source/position.ts';
import type { RawBatch, Source, SourceIdentity } from '../source/source.ts';
import type { Lane } from '../lanes/lane.ts';
import type { Place, Stretch } from '../lanes/deliver.ts';
import { END_INDEX } from '../worker/protocol.ts';
import type { SharedPlan } from '../worker/plan.ts';
import type { BatchResult, TransactionCommit } from '../worker/protocol.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { Checkpoints, Parking, Route } from './route.ts';
import type { Standing } from './starts.ts';

export interface FeedOptions {
  readonly source: Source;
  /** Of these routes. */
  readonly plan: SharedPlan;
  readonly config: SourceConfig;
  readonly routes: readonly Route[];
  readonly pipeline: PipelineConfig;
  readonly budget: ByteBudget;
  readonly pool: WorkerPool;
  readonly checkpoints: Checkpoints;
  readonly parking: Parking;
  readonly meter: SourceMeter;
  readonly log: Log;
  readonly repartition: boolean;
  /** Something was confirmed, or a position moved. */
  readonly touch: () => void;
}

/**
 * For how long nothing more is asked for behind a small batch: one that commits a large transaction is not dealt with before that
 * has been read again, and a source that asks for nothing looks as if it were dead.
 */
const SMALL_WAIT_MS = 1_000;

export class Feed {
  readonly name: string;
  readonly source: Source;
  readonly routes: readonly Route[];
  readonly #o: FeedOptions;
  #ledger: Ledger;
  readonly #lanes: LaneSet;
  readonly #starts: Starts;
  readonly #setAside: SetAside;
  readonly #transactions: Transactions;
  readonly #standings: Standings;
  /** Fires when nothing more is to be delivered. */
  readonly #halt = new AbortController();
  #identity: SourceIdentity | undefined;
  #floors: Floors | undefined;
  #collated: readonly string[] = [];
  #position: OpTime | undefined;
  /** The last entry that was put in order. */
  #delivering: OpTime = { ts: { seconds: 0, increment: 0 }, t: -1 };
  #delivered: Promise<void> = Promise.resolve();
  #started = false;
  /** Once a message is done nobody looks at its bytes any more; what a program was handed is its own. */
  readonly #ownsBodies: boolean;
  /** A batch could not be delivered, so none behind it may be. */
  #broken = false;
  #lost: PositionLostError | undefined;

  constructor(options: FeedOptions) {
    this.#o = options;
    this.name = options.config.name;
    this.source = options.source;
    this.routes = options.routes;
    this.#ownsBodies = options.routes.every(({ config: { to } }) => to.kind !== 'port' || to.letsGo === true);
    this.#starts = new Starts(options);
    this.#setAside = new SetAside({ ...options, reading: () => this.#reading() });
    this.#transactions = new Transactions(options);
    this.#lanes = new LaneSet({ ...options, partitions: options.pipeline.partitions, setAside: this.#setAside });
    this.#ledger = this.#newLedger();
    this.#standings = new Standings({
      source: this.name,
      routes: this.routes,
      partitions: options.pipeline.partitions,
      ledger: () => this.#ledger,
      lanes: this.#lanes,
      open: this.#transactions.open,
      setAside: this.#setAside,
    });
  }

  /** The last entry read. */
  get position(): OpTime | undefined {
    return this.#position;
  }

  get lost(): PositionLostError | undefined {
    return this.#lost;
  }

  /** Known once it has started. */
  get replicaSetId(): string {
    return this.#identity?.replicaSetId ?? '';
  }

  /** Every position is verified, and every start stored. */
  get started(): boolean {
    return this.#started;
  }

  get budget(): ByteBudget {
    return this.#o.budget;
  }

  /** Those that keep the source from reading; empty while it may. */
  get heldBy(): string[] {
    if (this.source.state !== 'held') return [];
    return this.#ledger.slowest().map((s) => this.routes[s]!.config.name);
  }

  lanesOf(subscription: number): Lane[] {
    return this.#lanes.of(subscription);
  }

  /** Where this subscription would read on after a crash; undefined before its start is known. */
  resume(subscription: number): ResumePoint | undefined {
    return this.#standings.resume(subscription);
  }

  /** Connects, finds out where each subscription begins, and stores it. Throws `UserError` and `PositionLostError`. */
  async start(stop: AbortSignal): Promise<void> {
    const { source, log } = this.#o;
    const identity = await source.connect(stop);
    this.#identity = identity;
    await refuseTimeSeries(this.#o, stop);
    this.#warnOfOldServer();
    this.#collated = await this.#collatedNamespaces(stop);
    try {
      this.#stand(await this.#starts.find({ identity, routing: (route) => this.#routing(route) }, stop));
    } catch (error) {
      if (error instanceof PositionLostError) this.#lost = error;
      throw error;
    }
    await this.#store();
    this.#started = true;
    log.info({ source: this.name, ...this.#identity, from: formatTs(this.#standings.start.ts) }, 'Reading begins.');
  }

  /** Reads until `stop`; rejects with `PositionLostError` where the policy is to stop. */
  async run(stop: AbortSignal): Promise<void> {
    const broken = new AbortController();
    const signal = AbortSignal.any([stop, broken.signal]);
    let failure: unknown;
    while (!signal.aborted) {
      try {
        for await (const batch of this.source.read(this.#standings.start, signal)) {
          if (batch.entries === 0) {
            this.#moveOn(batch.last);
            continue;
          }
          this.#take(batch, (error) => {
            failure = error;
            broken.abort();
          });
          if (isSmall(batch)) await settled(this.#delivered, signal, SMALL_WAIT_MS);
        }
      } catch (error) {
        if (!(error instanceof PositionLostError)) throw error;
        this.#lost = error;
        if (this.#o.config.onPositionLost === 'stop') throw error;
        await this.#goOn(error, signal);
        this.#lost = undefined;
      }
    }
    if (failure === undefined || stop.aborted) return;
    if (failure instanceof PositionLostError) this.#lost = failure;
    throw failure;
  }

  /**
   * Position lost, and the policy is to go on. First everything that was read before is delivered: the oplog does not have
   * it any more. Then lanes and ledger begin anew, as nothing of the old positions may be held against the new ones; and the
   * new ones are stored before anything is read, or a kill would go on from later still.
   */
  async #goOn(error: PositionLostError, stop: AbortSignal): Promise<void> {
    await this.settle(stop);
    stop.throwIfAborted();
    const standings = await this.#starts.goOn(error, this.#standings.now(), stop);
    for (const lane of this.#lanes.all) lane.forgetPosition();
    this.#transactions.open.forgetAll();
    this.#ledger = this.#newLedger();
    this.#stand(standings);
    await this.#store();
  }

  #stand(standings: readonly Standing[]): void {
    const { sharded = false } = this.#identity ?? {};
    this.#standings.begin(
      sharded
        ? standings.map((one) => ({ ...one, lanes: one.lanes.map((lane) => lane && allBefore(lane)) }))
        : standings,
    );
    this.#floors = this.#standings.floors();
  }

  async #store(): Promise<void> {
    await this.#o.checkpoints.put(this.snapshot());
    await this.#o.checkpoints.flushed();
  }

  /** Resolves when everything read has been confirmed, or `stop` fires. */
  async settle(stop: AbortSignal): Promise<void> {
    await settled(this.#delivered, stop);
    while (!this.#ledger.settled && !stop.aborted) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** Publishes nothing more and waits for what is under way to be answered, except of these subscriptions: of them nobody does. */
  async drain(but: ReadonlySet<string> = new Set()): Promise<void> {
    this.#halt.abort(new Error('nothing more is delivered'));
    await Promise.all(
      this.#lanes.all.map(async (lane) => {
        if (but.has(this.routes[lane.subscription]!.config.name)) lane.close();
        else await lane.drain();
      }),
    );
  }

  async close(): Promise<void> {
    this.#halt.abort(new Error('the feed is being closed'));
    this.#setAside.close();
    for (const lane of this.#lanes.all) lane.close();
    this.#o.plan.end();
    await this.source.close();
  }

  /** A confirm that never comes must not go unnoticed; called about every second. */
  checkOverdue(now: number): void {
    for (const lane of this.#lanes.all) lane.checkOverdue(now);
  }

  /** Of all subscriptions, at this moment. */
  snapshot(): CheckpointRecord[] {
    if (!this.#identity) return [];
    const { replicaSetId } = this.#identity;
    return this.#standings.snapshot({ replicaSetId, routing: (route) => this.#routing(route) });
  }

  #newLedger(): Ledger {
    const { routes, budget } = this.#o;
    return new Ledger({ subscriptions: routes.length, release: (bytes) => budget.give(bytes) });
  }

  /** Which collections have a collation decides lanes too, and is known only here. */
  #routing({ routing }: Route): string {
    if (this.#collated.length === 0) return routing;
    return createHash('sha256')
      .update([routing, ...this.#collated.toSorted()].join('\n'))
      .digest('hex')
      .slice(0, routing.length);
  }

  async #collatedNamespaces(stop: AbortSignal): Promise<readonly string[]> {
    const patterns = this.#o.pipeline.partitionBy
      .filter((rule) => rule.key === 'document')
      .flatMap((it) => it.namespaces);
    if (patterns.length === 0) return [];
    const collated = await this.source.collatedNamespaces(compilePatterns(patterns), stop);
    if (collated.length > 0) {
      this.#o.log.warn(
        { code: 'collation-by-namespace', source: this.name, namespaces: collated },
        'These collections have a default collation, under which different `_id`s can be equal: partitioned by namespace.',
      );
    }
    return collated;
  }

  #take(batch: RawBatch, fail: (error: unknown) => void): void {
    const { meter, pool, plan } = this.#o;
    const floors = this.#floors;
    const readAt = performance.now();
    meter.read(batch.entries, batch.bytes.byteLength);
    const job = {
      plan,
      wallTime: this.#hasWallTime(),
      serverVersion: this.#serverVersion(),
      collated: this.#collated,
      ...(floors && { floors: floors.table }),
    };
    const encoded = pool.encode(batch, job);
    this.#position = batch.last ?? this.#position;
    // What follows a batch that reaches the floors' end lies above them all.
    if (floors && batch.last && isBeyond(batch.last, floors.end)) this.#floors = undefined;
    const before = this.#delivered;
    this.#delivered = (async () => {
      try {
        const results = await encoded;
        const encodedAt = performance.now();
        await before;
        if (this.#broken || this.#halt.signal.aborted) return;
        this.#observe(results, readAt, encodedAt);
        // The batch's own bytes and the worker's copy make room for what was made of them.
        this.#o.budget.give(costOf(batch));
        for (const result of results) {
          await this.#put(result, batch, job);
          // A lane that is new by now would not be drained.
          if (this.#halt.signal.aborted) return;
        }
        // A change stream's batches say themselves how far they reach; the events do not.
        if (batch.last?.token) this.#settleAt(batch.last);
        batch.letGo?.();
        this.#o.touch();
      } catch (error) {
        this.#broken = true;
        if (!this.#halt.signal.aborted) fail(error);
      }
    })();
  }

  /** The position of a change stream, and of an oplog that the server filters, moves on without entries too. */
  #moveOn(last: OpTime | undefined): void {
    if (last === undefined) return;
    if (last.token !== undefined && last.token.data === this.#position?.token?.data) return;
    this.#position = last;
    const before = this.#delivered;
    this.#delivered = (async () => {
      await before;
      if (this.#broken || this.#halt.signal.aborted) return;
      this.#settleAt(last);
      this.#o.touch();
    })();
  }

  /** Up to here everything is delivered once what was put in order before it is. */
  #settleAt(at: OpTime): void {
    this.#ledger.open(at, 0, new Uint32Array(this.routes.length));
    this.#delivering = at;
  }

  /** A result in order, and the transactions that take effect in it at their places. */
  async #put(result: BatchResult, batch: RawBatch, job: JobOptions): Promise<void> {
    const { open } = this.#transactions;
    let from: Place = START;
    for (const mark of result.marks) {
      switch (mark.kind) {
        case 'open':
          open.opened(mark.session, mark.before ?? this.#delivering, mark.first);
          break;
        case 'aborted':
          open.aborted(mark.session);
          break;
        case 'commit':
          this.#deliver({ result, from, to: mark }, mark.before ?? this.#delivering);
          from = mark;
          open.committed(mark.session, mark.at);
          if (isDone(mark.at.ts, job.floors)) this.#settleAt(mark.at);
          else await this.#commit(mark, batch, job);
          if (this.#halt.signal.aborted) return;
      }
    }
    this.#deliver({ result, from, to: endOf(result) }, result.last ?? this.#delivering);
  }

  async #commit(commit: TransactionCommit, batch: RawBatch, job: JobOptions): Promise<void> {
    const { budget } = this.#transactions;
    // Until it is whole, everything counts to the entry before it.
    const before = this.#delivering;
    await this.#transactions.deliver(
      {
        commit,
        batch,
        job,
        torn: this.#standings.torn,
        deliver: (result) => this.#deliver(wholeOf(result), before, budget),
      },
      this.#halt.signal,
    );
    this.#settleAt(commit.at);
  }

  #deliver(stretch: Stretch, last: OpTime, budget = this.#o.budget): void {
    budget.take(heldBytes(stretch));
    // Before the lanes take anything of this batch: see there.
    const { parked } = stretch.result;
    const setAside = this.#setAside.begin(parked.slice(stretch.from.parked, stretch.to.parked), (s) =>
      this.#standings.lanesNow(s),
    );
    const whole = isWhole(stretch);
    const ticket = deliver(stretch, {
      source: this.name,
      subscriptions: this.routes.length,
      partitions: this.#o.pipeline.partitions,
      ledger: this.#ledger,
      last,
      release: (bytes) => {
        budget.give(bytes);
        if (whole && this.#ownsBodies) this.#o.pool.takeBack(stretch.result.bodies);
      },
      lane: (number) => this.#lanes.lane(number),
    });
    this.#delivering = last;
    setAside(ticket);
  }

  #observe(results: readonly BatchResult[], readAt: number, encodedAt: number): void {
    const { meter, log } = this.#o;
    let decodeMs = 0;
    for (const result of results) {
      decodeMs += result.decodeMs;
      meter.filtered(result.filtered);
      if (Object.keys(result.unknownOps).length > 0) {
        log.warn(
          { code: 'unknown-operations', source: this.name, ops: result.unknownOps },
          'The oplog holds operations that this version does not know; where subscribed, they are parked.',
        );
      }
    }
    meter.batch('decode', decodeMs / 1000);
    meter.batch('wait', Math.max(0, encodedAt - readAt - decodeMs) / 1000);
    meter.batch('order', (performance.now() - encodedAt) / 1000);
  }

  #warnOfOldServer(): void {
    const { config, log } = this.#o;
    if (config.changeStream === undefined || this.#hasWallTime() || !wantsExpanded(this.routes.map((it) => it.config)))
      return;
    log.warn(
      { code: 'stream-commands-missing', source: this.name, serverVersion: this.#identity?.serverVersion },
      'Change streams tell of create, createIndexes, dropIndexes and modify, and what `expanded` adds, from MongoDB 6.0 on: none of it comes from this server. `mode: oplog` tells of them.',
    );
  }

  #reading(): Pick<ParkedOrigin, 'serverVersion' | 'collated' | 'stream'> {
    const expanded = wantsExpanded(this.routes.map(({ config }) => config));
    return {
      serverVersion: this.#serverVersion(),
      ...(this.#collated.length > 0 && { collated: this.#collated }),
      ...(this.#o.config.changeStream && { stream: expanded ? 'expanded' : 'plain' }),
    };
  }

  /** Change events have `wallTime`, and streams `showExpandedEvents`, from 6.0 on. */
  #hasWallTime(): boolean {
    return this.#serverVersion() >= 600;
  }

  #serverVersion(): number {
    const [major = 0, minor = 0] = (this.#identity?.serverVersion ?? '6.0').split('.').map(Number);
    return major * 100 + minor;
  }
}

/** Whether every lane had all of the transaction that takes effect here in an earlier life. */
function isDone(ts: Ts, floors: Uint32Array | undefined): boolean {
  if (!floors) return false;
  for (let at = 0; at < floors.length; at += 3) {
    const order = compareTs({ seconds: floors[at]!, increment: floors[at + 1]! }, ts);
    if (order < 0 || (order === 0 && floors[at + 2]! < END_INDEX)) return false;
  }
  return true;
}

/** Resolves with `work`, or when `signal` fires, or after `mostMs`. */
function settled(work: Promise<void>, signal: AbortSignal, mostMs?: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = mostMs === undefined ? undefined : setTimeout(() => done(), mostMs);
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    if (signal.aborted) done();
    signal.addEventListener('abort', done, { once: true });
    void work.finally(() => done());
  });
}

/** Whether nothing at or before `end` can follow: a batch of a change stream may end inside a transaction. */
function isBeyond(last: OpTime, end: Ts): boolean {
  const order = compareTs(last.ts, end);
  return order > 0 || (order === 0 && last.token === undefined);
}
