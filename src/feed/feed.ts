/**
 * One source's way through the engine: where its subscriptions begin, batches to the workers, results back in the order they were
 * read (`sequence.ts`), and messages to the lanes. Subscriptions come and go while it reads (`members.ts`). What the checkpoint says of
 * it all is in `standings.ts`.
 * Invariant: nothing is published before every start is stored.
 */
import { PositionLostError } from '../errors.ts';
import { allBefore, doneBy, Floors } from '../lanes/floors.ts';
import { Ledger } from '../lanes/ledger.ts';
import { endsWithin, settled } from '../waits.ts';
import { AnyOf } from '../source/any-of.ts';
import { compareTs, formatTs, pointAfter } from '../source/position.ts';
import { costOf, isSmall } from '../source/source.ts';
import { LaneSet } from './lane-set.ts';
import { Members } from './members.ts';
import { Pause } from './pause.ts';
import { Reached } from './reached.ts';
import { Sequence } from './sequence.ts';
import { FeedSnapshots } from './snapshots.ts';
import { SnapshotBook } from '../snapshot/runs.ts';
import { SetAside } from './set-aside.ts';
import { Standings } from './standings.ts';
import { Starts } from './starts.ts';
import { refuseTimeSeries } from './time-series.ts';
import { Transactions } from './transactions.ts';
import { WholeDocuments, refuseImages } from './whole-documents.ts';
import { beginStates } from './begin-states.ts';
import { LocalDocuments } from './local-documents.ts';
import type { Showing } from './whole-documents.ts';
import type { KeptStates } from '../states/kept-states.ts';
import type { StateStore } from '../states/state-store.ts';
import type { PipelineConfig, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import type { CheckpointRecord } from '../checkpoint/record.ts';
import type { SourceMeter } from '../observe/metrics.ts';
import type { Log } from '../observe/log.ts';
import { ByteBudget } from '../source/byte-budget.ts';
import type { OpTime, ResumePoint, Ts } from '../source/position.ts';
import type { RawBatch, Source } from '../source/source.ts';
import type { Lane } from '../lanes/lane.ts';
import type { Watchers } from '../watch/watchers.ts';
import type { SharedPlan } from '../worker/plan.ts';
import type { JobOptions, WorkerPool } from '../worker/pool.ts';
import type { Member } from './members.ts';
import type { Checkpoints, Parking, Route } from './route.ts';
import type { Standing } from './starts.ts';

export interface FeedOptions {
  readonly source: Source;
  /** Of those that have these numbers. */
  readonly planOf: (places: readonly (Route | undefined)[]) => SharedPlan;
  readonly config: SourceConfig;
  readonly routes: readonly Route[];
  readonly pipeline: PipelineConfig;
  readonly budget: ByteBudget;
  readonly pool: WorkerPool;
  readonly checkpoints: Checkpoints;
  readonly parking: Parking;
  readonly watchers: Pick<Watchers, 'watches' | 'take'>;
  readonly meter: SourceMeter;
  readonly log: Log;
  readonly repartition: boolean;
  /** Which snapshots there are, and how far they have come; nothing is known of any where left out. */
  readonly book?: SnapshotBook;
  /** Where `images: local` keeps the last states of documents, and how often they are stored; needed for those alone. */
  readonly states?: StateStore | undefined;
  readonly statesIntervalMs?: number;
  /** Something was confirmed, or a position moved. */
  readonly touch: () => void;
}

/**
 * For how long nothing more is asked for behind a small batch: one that commits a large transaction is not dealt with before that
 * has been read again, and a source that asks for nothing looks as if it were dead.
 */
const SMALL_WAIT_MS = 1_000;
const SETTLE_LOOK_MS = 20;

export class Feed {
  readonly name: string;
  readonly source: Source;
  readonly #o: FeedOptions;
  readonly #members: Members;
  #plan: SharedPlan;
  #ledger: Ledger;
  readonly #lanes: LaneSet;
  readonly #starts: Starts;
  readonly #setAside: SetAside;
  readonly #documents: Showing;
  /** Of a feed whose one subscription keeps the last states of its documents. */
  readonly #local: LocalDocuments | undefined;
  readonly #transactions: Transactions;
  readonly #standings: Standings;
  readonly #sequence: Sequence;
  readonly #book: SnapshotBook;
  readonly #snapshots: FeedSnapshots;
  #entries = 0;
  /** Fires when a batch could not be delivered. */
  readonly #broken = new AbortController();
  /** Ends the cursor, so that another is opened where it was. */
  #reopen = new AbortController();
  #pause: Pause | undefined;
  /** Known once it has started. */
  #reached: Reached | undefined;
  #floors: Floors | undefined;
  #position: OpTime | undefined;
  /** Numbers of those that another feed still delivers for. */
  readonly #admitted = new Set<number>();
  #started = false;
  #isClosed = false;
  #lost: PositionLostError | undefined;

  constructor(options: FeedOptions) {
    this.#o = options;
    this.name = options.config.name;
    this.source = options.source;
    this.#members = new Members(options.routes);
    this.#plan = options.planOf(this.#members.places);
    const members = this.#members;
    const { partitions } = options.pipeline;
    this.#starts = new Starts({ ...options, members });
    this.#setAside = new SetAside({ ...options, members, reading: () => this.#known.origin(this.#configs) });
    const local = options.routes.some(keepsStates) ? new LocalDocuments(options) : undefined;
    const documents = local ?? new WholeDocuments({ ...options, members });
    this.#local = local;
    this.#documents = documents;
    this.#transactions = new Transactions({ ...options, members, documents, local });
    this.#lanes = new LaneSet({ ...options, members, partitions, setAside: this.#setAside });
    this.#ledger = this.#newLedger();
    const parts = { members, partitions, ledger: () => this.#ledger, lanes: this.#lanes, setAside: this.#setAside };
    const book = options.book ?? new SnapshotBook();
    this.#book = book;
    this.#standings = new Standings({ ...parts, source: this.name, open: this.#transactions.open, book });
    this.#sequence = new Sequence({
      ...options,
      ...parts,
      source: this.name,
      documents,
      local,
      transactions: this.#transactions,
      standings: this.#standings,
      // Once a message is done nobody looks at its bytes any more; what a program was handed is its own.
      ownsBodies: options.routes.every(({ config: { to } }) => to.kind !== 'port' || to.letsGo === true),
      touched: (touched, at) => this.#snapshots.note(touched, at),
      fail: (error) => this.#broken.abort(error),
    });
    const { pool, pipeline, source } = options;
    this.#snapshots = new FeedSnapshots({
      ...options,
      members,
      book,
      budget: new ByteBudget(pipeline.inFlightBytes / 2),
      way: {
        reads: source.collections,
        position: () => this.#standsAt(),
        liveEntries: () => this.#entries,
        windowSeconds: () => {
          const { window } = source;
          return window?.oldest && window.newest.ts.seconds - window.oldest.ts.seconds;
        },
        encode: (bytes, entries, chunk) => {
          return pool.encode({ bytes, entries, last: undefined }, { ...this.#job(), chunk });
        },
        insert: (make) => this.#sequence.insert(make),
        ...(local && { stored: async (stop: AbortSignal) => local.kept?.stored(stop) }),
      },
    });
  }

  get members(): readonly Member[] {
    return this.#members.all;
  }

  /** It keeps the last states of its one subscription's documents, which no other feed may change. */
  get keepsStates(): boolean {
    return this.#local !== undefined;
  }

  /** What its one subscription keeps of documents; undefined where that is nothing. */
  get states(): KeptStates['size'] | undefined {
    return this.#local?.kept?.size;
  }

  /** The last entry read. */
  get position(): OpTime | undefined {
    return this.#position;
  }

  get lost(): PositionLostError | undefined {
    return this.#lost;
  }

  /** Why events wait for documents that they are to carry; undefined while they do not. */
  get withoutDocuments(): string | undefined {
    return this.#documents.trouble;
  }

  /** Known once it has started. */
  get replicaSetId(): string {
    return this.#reached?.identity.replicaSetId ?? '';
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
    const slowest = new Set(this.#ledger.slowest());
    return this.members.filter(({ number }) => slowest.has(number)).map(({ route }) => route.config.name);
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
    await refuseTimeSeries({ source, members: this.#members, log }, stop);
    refuseImages(this.name, identity.serverVersion, this.#configs);
    const reached = await Reached.of(identity, this.#o, this.#configs, stop);
    this.#reached = reached;
    try {
      const standings = await this.#starts.find({ identity, routing: (route) => reached.routing(route) }, stop);
      for (const { name } of this.#configs) this.#book.load(name, this.#o.checkpoints.get(name)?.snapshots);
      this.#stand(await this.#withStates(standings, stop));
    } catch (error) {
      if (error instanceof PositionLostError) this.#lost = error;
      throw error;
    }
    await this.#store();
    this.#started = true;
    this.#snapshots.start(this.members);
    log.info({ source: this.name, ...identity, from: formatTs(this.#standings.start.ts) }, 'Reading begins.');
  }

  /** Reads until `stop`, or until it is closed; rejects with `PositionLostError` where the policy is to stop. */
  async run(stop: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([stop, this.#broken.signal]);
    let from = this.#standings.start;
    while (!signal.aborted && !this.#isClosed) {
      try {
        from = await this.#read(from, signal);
      } catch (error) {
        if (!(error instanceof PositionLostError)) throw error;
        this.#lost = error;
        if (this.#o.config.onPositionLost === 'stop') throw error;
        await this.#goOn(error, signal);
        from = this.#standings.start;
        this.#lost = undefined;
      }
    }
    if (!this.#broken.signal.aborted || stop.aborted) return;
    const failure: unknown = this.#broken.signal.reason;
    if (failure instanceof PositionLostError) this.#lost = failure;
    throw failure;
  }

  /** With one cursor, until `stop` or until another is wanted; returns where it would go on. */
  async #read(from: ResumePoint, stop: AbortSignal): Promise<ResumePoint> {
    this.#reopen = new AbortController();
    using either = new AnyOf([stop, this.#reopen.signal]);
    const { signal } = either;
    let at = from;
    for await (const batch of this.source.read(from, signal)) {
      while (!signal.aborted && this.#pause?.isDue(this.#position)) await settled(this.#pause.ended, signal);
      if (signal.aborted) {
        this.#o.budget.give(costOf(batch));
        break;
      }
      if (batch.entries === 0) this.#moveOn(batch.last);
      else this.#take(batch);
      if (batch.last) at = pointAfter(batch.last);
      this.#pause?.isDue(this.#position);
      if (isSmall(batch)) await settled(this.#sequence.delivered, signal, SMALL_WAIT_MS);
    }
    return at;
  }

  // Subscriptions that come and go.

  /** Takes nothing more until `release`, once it has read `at`, which may move on until then; resolves when it has. */
  hold(at: () => OpTime | undefined): Promise<void> {
    this.#pause = new Pause(at);
    this.#pause.isDue(this.#position);
    return this.#pause.reached;
  }

  release(): void {
    this.#pause?.end();
    this.#pause = undefined;
  }

  /** Everything read until now has been confirmed, or `stop` has fired: whether it has. */
  async settle(stop: AbortSignal): Promise<boolean> {
    await settled(this.#sequence.delivered, stop);
    while (!this.#ledger.settled && !stop.aborted) await new Promise((resolve) => setTimeout(resolve, SETTLE_LOOK_MS));
    return !stop.aborted;
  }

  /** Whether the two make the same of an entry, so that one can go on where the other was. */
  readsAs(other: Feed): boolean {
    return other.#reached !== undefined && this.#reached?.readsAs(other.#reached) === true;
  }

  /**
   * Reads for one more from the next batch on, of which another feed has read everything up to `floor` and still delivers it. What
   * comes for it waits until `begin`; `leave` takes it back. Must not be called while a batch is being taken. Returns its number.
   */
  admit(route: Route, floor: OpTime): number {
    const { partitions } = this.#o.pipeline;
    const number = this.#members.add(route);
    this.#admitted.add(number);
    this.#ledger.join(number);
    this.#setAside.hold(number);
    this.#lanes.hold(number);
    this.#snapshots.expect({ number, route });
    this.#floors = Floors.joined(this.#floors, { number, floor: doneBy(floor), size: this.#members.size, partitions });
    this.#replan();
    return number;
  }

  /** The other feed has delivered everything, and ended here. False where this one has been given up meanwhile. */
  begin(number: number, standing: Standing): boolean {
    if (!this.#admitted.delete(number)) return false;
    this.#standings.join(number, standing);
    this.#setAside.release(number, (s) => this.#standings.lanesNow(s));
    this.#lanes.release(number);
    this.#snapshots.start(this.members.filter((one) => one.number === number));
    return true;
  }

  /** There is a snapshot more for this one. */
  snapshotAdded(number: number): void {
    if (this.#started && !this.#admitted.has(number)) {
      this.#snapshots.start(this.members.filter((one) => one.number === number));
    }
  }

  /** Publishes nothing more of this one, which is about to leave, and waits for answers to what is under way. */
  async quieten(number: number, mostMs: number): Promise<void> {
    this.#lanes.hold(number);
    await endsWithin(mostMs, Promise.all(this.#lanes.of(number).map(async (lane) => lane.drain())));
  }

  /** Where this one stands, which is read for no more; what it was not answered for is dropped. */
  leave(number: number): CheckpointRecord | undefined {
    const { name } = this.#members.route(number).config;
    const record = this.snapshot().find(({ subscription }) => subscription === name);
    this.#snapshots.stop(number);
    this.#members.remove(number);
    this.#admitted.delete(number);
    this.#standings.leave(number);
    this.#setAside.leave(number);
    this.#lanes.drop(number);
    this.#ledger.leave(number);
    this.#floors?.leave(number, this.#o.pipeline.partitions);
    this.#replan();
    void this.#sequence.delivered.then(() => this.#members.free(number));
    return record;
  }

  standing(number: number): Standing | undefined {
    return this.#standings.now().get(number);
  }

  #replan(): void {
    const before = this.#plan;
    const { places } = this.#members;
    this.#plan = this.#o.planOf(places);
    before.end();
    const configs = this.#configs;
    if (configs.length > 0 && this.source.adapt(configs)) this.#reopen.abort(new Error('something else is to be read'));
  }

  /**
   * Position lost, and the policy is to go on. First everything that was read before is delivered: the oplog does not have
   * it any more. Then lanes and ledger begin anew, as nothing of the old positions may be held against the new ones; and the
   * new ones are stored before anything is read, or a kill would go on from later still.
   */
  async #goOn(error: PositionLostError, stop: AbortSignal): Promise<void> {
    for (const number of this.#admitted) this.leave(number);
    // What was read beside it belongs to what is lost; what becomes of collections meanwhile is still told.
    this.#snapshots.halt();
    await this.settle(stop);
    this.#snapshots.stopAll();
    stop.throwIfAborted();
    const standings = await this.#starts.goOn(error, this.#standings.now(), stop);
    for (const lane of this.#lanes.all) lane.forgetPosition();
    this.#transactions.open.forgetAll();
    this.#ledger = this.#newLedger();
    // Nothing is read yet from where it goes on: nobody may join where it was.
    this.#position = undefined;
    this.#stand(await this.#withStates(standings, stop));
    await this.#store();
    this.#snapshots.start(this.members);
  }

  /** Where they are to be read from for the states that are kept. */
  async #withStates(
    standings: ReadonlyMap<number, Standing>,
    stop: AbortSignal,
  ): Promise<ReadonlyMap<number, Standing>> {
    const { states: store, source, checkpoints, statesIntervalMs, log } = this.#o;
    const local = this.#local;
    const [member] = this.members;
    const standing = member && standings.get(member.number);
    const config = member?.route.config.images?.local;
    if (!local || !standing || !config) return standings;
    if (!store) throw new Error('there is no store for the states of documents');
    const { replicaSetId } = this;
    const { route } = member;
    const its = { local, store, config, route, standing, replicaSetId, source, checkpoints, log };
    return new Map([[member.number, await beginStates({ ...its, intervalMs: statesIntervalMs ?? 1_000 }, stop)]]);
  }

  #stand(standings: ReadonlyMap<number, Standing>): void {
    const { sharded = false } = this.#known.identity;
    const begun = sharded
      ? [...standings].map(
          ([number, one]) => [number, { ...one, lanes: one.lanes.map((lane) => lane && allBefore(lane)) }] as const,
        )
      : standings;
    this.#standings.begin(new Map(begun));
    this.#floors = this.#standings.floors();
    const { start } = this.#standings;
    if (start.kind === 'after') this.#sequence.startAt(start);
    for (const { number, route } of this.members) {
      const { name } = route.config;
      const { snapshot: cause, isBeyondGap } = standings.get(number) ?? {};
      // Nobody knows of it any more: it has had another life.
      if (cause === 'start') this.#book.forget(name);
      const runs = this.#book.of(name);
      if (isBeyondGap) runs.restart({ byOne: cause !== undefined });
      if (cause) runs.add({ cause });
    }
  }

  async #store(): Promise<void> {
    await this.#o.checkpoints.put(this.snapshot());
    await this.#o.checkpoints.flushed();
  }

  /** Publishes nothing more and waits for what is under way to be answered. */
  async drain(): Promise<void> {
    this.#snapshots.halt();
    this.#sequence.halt(new Error('nothing more is delivered'));
    await Promise.all(this.#lanes.all.map(async (lane) => lane.drain()));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#snapshots.stopAll();
    this.#sequence.halt(new Error('the feed is being closed'));
    this.#setAside.close();
    for (const lane of this.#lanes.all) lane.close();
    this.#plan.end();
    await this.#local?.close();
    await this.source.close();
  }

  /** A confirm that never comes must not go unnoticed; called about every second. */
  checkOverdue(now: number): void {
    for (const lane of this.#lanes.all) lane.checkOverdue(now);
  }

  /** Of all subscriptions, at this moment. */
  snapshot(): CheckpointRecord[] {
    const reached = this.#reached;
    if (!reached) return [];
    const { replicaSetId } = reached.identity;
    return this.#standings.snapshot({ replicaSetId, routing: (route) => reached.routing(route) });
  }

  #newLedger(): Ledger {
    const { budget } = this.#o;
    return new Ledger({ subscriptions: this.#members.size, release: (bytes) => budget.give(bytes) });
  }

  #take(batch: RawBatch): void {
    const floors = this.#floors;
    const { watches } = this.#o.watchers;
    const { touching } = this.#snapshots;
    this.#entries += batch.entries;
    this.#o.meter.read(batch.entries, batch.bytes.byteLength);
    this.#sequence.take(batch, {
      ...this.#job(),
      ...(floors && { floors: floors.table }),
      ...(watches && { watches }),
      ...(touching && { touching }),
    });
    this.#position = batch.last ?? this.#position;
    // What follows a batch that reaches the floors' end lies above them all.
    if (floors && batch.last && isBeyond(batch.last, floors.end)) this.#floors = undefined;
  }

  #job(): JobOptions {
    return { plan: this.#plan, ...this.#known.job };
  }

  /**
   * What was taken last, where something may be put behind it that is no batch's. Not while there are floors ahead: what lies below
   * them was delivered in an earlier life, and is not looked at again.
   */
  #standsAt(): OpTime | undefined {
    if (this.#pause || this.#lost || !this.#started || this.#isClosed) return undefined;
    const { start } = this.#standings;
    const at = this.#position ?? (start.kind === 'after' ? start : undefined);
    return at && !(this.#floors && compareTs(at.ts, this.#floors.end) < 0) ? at : undefined;
  }

  /** The position of a change stream, and of an oplog that the server filters, moves on without entries too. */
  #moveOn(last: OpTime | undefined): void {
    if (last === undefined) return;
    if (last.token !== undefined && last.token.data === this.#position?.token?.data) return;
    this.#position = last;
    this.#sequence.moveOn(last);
  }

  get #known(): Reached {
    if (!this.#reached) throw new Error('the source has not been reached yet');
    return this.#reached;
  }

  get #configs(): readonly SubscriptionConfig[] {
    return this.members.map(({ route }) => route.config);
  }
}

/** Such a subscription has a feed of its own. */
export function keepsStates({ config }: Route): boolean {
  return config.images?.local !== undefined;
}

/** Whether nothing at or before `end` can follow: a batch of a change stream may end inside a transaction. */
function isBeyond(last: OpTime, end: Ts): boolean {
  const order = compareTs(last.ts, end);
  return order > 0 || (order === 0 && last.token === undefined);
}
