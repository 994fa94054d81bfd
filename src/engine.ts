/**
 * Tailrace, put together. The one file that knows all parts:
 *
 *     source ──raw batch──▶ workers ──messages──▶ lanes, in batch order ──▶ sink
 *                                                   └──confirms──▶ ledger ──watermark──▶ checkpoint
 *
 * `feed/feed.ts` is that path for one source. Here the parts are built, started, watched, and stopped in two steps: nothing more
 * is read or published, what is under way is waited for; at the deadline the rest is dropped and comes again.
 */
import { Checkpointer } from './checkpoint/checkpointer.ts';
import { Feed } from './feed/feed.ts';
import { FeedGroup } from './feed/feed-group.ts';
import { FeedGroups } from './feed/feed-groups.ts';
import type { ExitCode } from './feed/feed-groups.ts';
import { sleep } from './waits.ts';
import { changeOver } from './changeover.ts';
import { InTurn } from './in-turn.ts';
import type { Change } from './changeover.ts';
import { NotNowError, UserError } from './errors.ts';
import type { PositionLostError } from './errors.ts';
import { formatTs } from './source/position.ts';
import { makeSource } from './source/make-source.ts';
import { AnyOf } from './source/any-of.ts';
import { ByteBudget } from './source/byte-budget.ts';
import { contentTypeOf } from './sinks/amqp-port.ts';
import { Destinations } from './sinks/destinations.ts';
import { SnapshotBook } from './snapshot/runs.ts';
import { SnapshotOrders } from './snapshot/orders.ts';
import { keepingStates } from './states/keeping.ts';
import { Watchers } from './watch/watchers.ts';
import { SharedPlan } from './worker/plan.ts';
import { WorkerPool } from './worker/pool.ts';
import { Metrics } from './observe/metrics.ts';
import type { SourceMeter } from './observe/metrics.ts';
import { workerPlan } from './feed/worker-plan.ts';
import { layoutHash, routingHash, usesPartitionQueues } from './config/routing-hash.ts';
import { healthFacts, statusReport } from './report.ts';
import type { Config, SourceConfig, Start, SubscriptionConfig } from './config/config.ts';
import type { Route, Stores } from './feed/route.ts';
import type { CheckpointRecord } from './checkpoint/record.ts';
import type { CheckpointStore } from './checkpoint/store.ts';
import type { Move } from './check/move.ts';
import type { LanePort } from './lanes/port.ts';
import type { HealthFacts } from './observe/health.ts';
import type { Log } from './observe/log.ts';
import type { StatusReport } from './observe/status.ts';

export interface EngineOptions {
  readonly config: Config;
  /** By subscription: where it begins where it has no checkpoint, if not where its source says. */
  readonly starts?: ReadonlyMap<string, Start>;
  /** The caller opens and closes them: they outlive an engine. */
  readonly stores: Stores;
  readonly log: Log;
  readonly version: string;
  /** The user says that what had to be emptied before a change of partitions is empty. */
  readonly repartition?: boolean;
  /** End with the first source that stops, not with the last. */
  readonly failFast?: boolean;
  /** What is said of a position that is lost, where that is not a configuration's; the error's message otherwise. */
  readonly adviceOnLoss?: (error: PositionLostError) => string;
  /** For tests: how long another engine may hold a subscription's lock before that is an error. */
  readonly lockWaitMs?: number;
}

/** A source that is to be read from must have answered by then. */
const REACH_MS = 15_000;
const OVERDUE_CHECK_MS = 1_000;
const STREAM_CONFIRM_TIMEOUT_MS = 60_000;
/** What may be under way to a file or standard output, per lane. */
const STREAM_WINDOW = 1_024;

export interface Moving {
  /** Told where it stands then. */
  readonly planned: (stored: CheckpointRecord | undefined) => Move;
  readonly checkpoints: Pick<CheckpointStore, 'get' | 'set' | 'addGap'>;
}

export class Engine {
  readonly metrics: Metrics;
  readonly watchers = new Watchers();
  readonly snapshots: SnapshotOrders;
  readonly #book = new SnapshotBook();
  readonly #o: EngineOptions;
  #config: Config;
  readonly #pool: WorkerPool;
  readonly #destinations: Destinations;
  readonly #sources: FeedGroups;
  readonly #checkpointer: Checkpointer;
  readonly #startedAt = performance.now();
  /** Ends every part, for a reason other than being asked to. */
  readonly #over = new AbortController();
  #closing: Promise<void> | undefined;
  readonly #changes = new InTurn();

  constructor(options: EngineOptions) {
    const { config, stores, log, version } = options;
    this.#o = options;
    this.#config = config;
    this.metrics = new Metrics({ version, status: () => this.status() });
    const paused = new Set(
      config.subscriptions
        .map(({ name }) => name)
        .filter((name) => stores.checkpoints.get(name)?.pausedAt !== undefined),
    );
    const { lockWaitMs } = options;
    this.#destinations = new Destinations({ config, log, metrics: this.metrics, lockWaitMs, paused });
    this.#checkpointer = new Checkpointer({
      store: stores.checkpoints,
      intervalMs: config.checkpoint.intervalMs,
      snapshot: () => this.#sources.feeds.flatMap((feed) => (feed.started ? feed.snapshot() : [])),
      log,
    });
    this.#pool = new WorkerPool({ threads: config.pipeline.workers, log });
    const groups = config.sources.flatMap((source) => {
      const subscriptions = config.subscriptions.filter((it) => it.source === source.name);
      if (subscriptions.length === 0) {
        log.warn(
          { code: 'source-unused', source: source.name },
          'No subscription reads from this source; it is left alone.',
        );
        return [];
      }
      const left = subscriptions.map(({ name }) => name).filter((name) => paused.has(name));
      if (left.length > 0) log.info({ source: source.name, subscriptions: left }, 'Paused, and left so.');
      return this.#group(
        source,
        subscriptions
          .filter(({ name }) => !paused.has(name))
          .map((it) => this.#route(it, options.starts?.get(it.name))),
      );
    });
    this.#sources = new FeedGroups(groups);
    this.snapshots = new SnapshotOrders({
      book: this.#book,
      checkpoints: stores.checkpoints,
      changes: this.#changes,
      log,
      find: (subscription) => this.#found(subscription),
      stop: this.#over.signal,
    });
  }

  /** What it runs with now. */
  get config(): Config {
    return this.#config;
  }

  /** Why a source was given up; undefined while none was. */
  get lost(): PositionLostError | undefined {
    return this.#sources.feeds.find((feed) => feed.lost)?.lost;
  }

  /** The workers' threads; for tests that end one. */
  get threads(): WorkerPool['threads'] {
    return this.#pool.threads;
  }

  /**
   * Runs until `stop` fires or no source is left, and has closed everything when it settles. Throws `UserError` for what
   * only the user can mend at a start.
   */
  async run(stop: AbortSignal): Promise<ExitCode> {
    const end = AbortSignal.any([stop, this.#over.signal]);
    const overdue = setInterval(() => this.#checkOverdue(), OVERDUE_CHECK_MS);
    try {
      // Sources do not wait for sinks: where a new subscription begins is settled, and stored, while a broker is still away.
      const sinks = this.#all(this.#destinations.start(end));
      const feeds = this.#all([this.#sources.run(end)]).finally(() => this.#over.abort());
      const [[outcome]] = await Promise.all([feeds, sinks]);
      return outcome === 3 && !stop.aborted ? 3 : 0;
    } finally {
      this.#over.abort();
      clearInterval(overdue);
      await this.close();
    }
  }

  /**
   * Delivers nothing more of this subscription, in this life or a later one, until `resume`; it keeps its checkpoint. Resolves once what
   * was under way has been answered, for 5 s at most: what has not comes again. Throws `NotNowError`.
   */
  async pause(subscription: string): Promise<void> {
    await this.#changes.run(async () => this.#pause(subscription));
  }

  /** Goes on where it was paused. Resolves once it is read again. Throws `NotNowError`, `UserError` and `PositionLostError`. */
  async resume(subscription: string): Promise<void> {
    await this.#changes.run(async () => this.#resume(subscription));
  }

  async #pause(subscription: string): Promise<void> {
    const { group, isPaused } = this.#found(subscription);
    if (isPaused) return;
    if (!(await group.remove(subscription, (record) => ({ ...record, pausedAt: Date.now() })))) {
      throw new NotNowError(
        `subscription "${subscription}" cannot be paused yet: where it begins is stored only once its source has been reached.`,
      );
    }
    this.#o.log.info({ subscription }, 'Paused.');
  }

  async #resume(subscription: string): Promise<void> {
    const { group, config, isPaused } = this.#found(subscription);
    if (!isPaused) return;
    await group.add(this.#route(config));
    this.#o.log.info({ subscription }, 'Resumed.');
  }

  /** Into the file or the standard output that it goes to, beside its lanes. */
  streamPort(config: SubscriptionConfig): LanePort {
    return this.#destinations.port(config);
  }

  /**
   * Reads on where `planned` says, once what is under way has been answered; the others go on. A paused one stays paused. Throws
   * `NotNowError`, `UserError` and `PositionLostError`: it reads on where it stood then.
   */
  async move(subscription: string, { planned, checkpoints }: Moving): Promise<Move> {
    return await this.#changes.run(async () => {
      const { group, config, isPaused } = this.#found(subscription);
      if (!isPaused && !(await group.remove(subscription, (record) => record))) {
        throw new NotNowError(
          `subscription "${subscription}" cannot be moved yet: where it begins is stored only once its source has been reached.`,
        );
      }
      const stored = checkpoints.get(subscription);
      try {
        const move = planned(stored);
        // First: a skip must not go unsaid.
        if (move.gap) await checkpoints.addGap(move.gap);
        await checkpoints.set(move.record);
        if (!isPaused) await group.add(this.#route(config));
        const { resume } = move.record;
        this.#o.log.info({ subscription, position: formatTs(resume.ts), effect: move.effect }, 'Moved.');
        return move;
      } catch (error) {
        if (stored) await checkpoints.set(stored);
        // It may be one whose position is lost: then that is what is said of it again.
        if (!isPaused) await group.launch(this.#route(config));
        throw error;
      }
    });
  }

  /** Throws `UserError`, `NotNowError` and `PositionLostError`: all is as it was then. */
  async change(change: Change): Promise<void> {
    await this.#changes.run(async () => {
      if (this.#closing || this.#over.signal.aborted) throw new NotNowError('The engine is stopping.');
      await changeOver(
        {
          config: this.#config,
          sources: this.#sources,
          destinations: this.#destinations,
          metrics: this.metrics,
          log: this.#o.log,
          adopt: (config) => (this.#config = config),
          group: (source) => this.#group(source, []),
          route: (config, start) => this.#route(config, start),
          reach: async (source) => this.#reach(source),
        },
        change,
      );
      this.#forgetStates();
    });
  }

  /** Of those who are not there any more, or do not keep any; in its own time, as what ends may still write some. */
  #forgetStates(): void {
    const { stores, log } = this.#o;
    stores.states
      ?.keepOnly(() => keepingStates(this.#config))
      .catch((error: unknown) => {
        log.error({ code: 'states-failing', err: error }, 'Documents kept for `images: local` could not be deleted.');
      });
  }

  async #reach(config: SourceConfig): Promise<void> {
    const budget = new ByteBudget(this.#config.pipeline.inFlightBytes);
    const source = makeSource({ config, subscriptions: [], budget, log: this.#o.log, onReconnect: () => undefined });
    using near = new AnyOf([this.#over.signal]).within(REACH_MS, new Error('it does not answer'));
    try {
      await source.connect(near.signal);
    } catch (error) {
      if (!near.signal.aborted || error instanceof UserError) throw error;
      throw new NotNowError(`Source "${config.name}" cannot be reached: ${source.downFor ?? 'it does not answer'}.`);
    } finally {
      await source.close();
    }
  }

  #found(subscription: string) {
    const config = this.#config.subscriptions.find(({ name }) => name === subscription);
    const group = this.#sources.get(config?.source ?? '');
    if (!config || !group) throw new NotNowError(`There is no subscription "${subscription}" any more.`);
    const its = group.feeds.flatMap((feed) => {
      const member = feed.members.find(({ route }) => route.config.name === subscription);
      return member ? [{ feed, number: member.number }] : [];
    });
    return { group, config, isPaused: its.length === 0, reading: its.find(({ feed }) => feed.started) };
  }

  /** Waits for what is under way, at most `shutdownTimeout`; then lets everything go. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  status(): StatusReport {
    return statusReport({ ...this.#parts(), version: this.#o.version, uptimeMs: performance.now() - this.#startedAt });
  }

  health(): HealthFacts {
    return healthFacts(this.#parts());
  }

  /** The first that fails ends everything. */
  async #all<T>(parts: readonly Promise<T>[]): Promise<T[]> {
    try {
      return await Promise.all(parts);
    } catch (error) {
      this.#over.abort();
      throw error;
    }
  }

  #group(source: SourceConfig, routes: readonly Route[]): FeedGroup {
    const { stores, log } = this.#o;
    const config = this.#config;
    const meter = this.metrics.source(source.name);
    return new FeedGroup({
      name: source.name,
      routes,
      makeFeed: (some) => this.#feed(source, some, meter),
      checkpoints: stores.checkpoints,
      // A program that takes its events in a loop is handed them in order, whoever else waits.
      detachAfterMs: routes.some(({ config: { to } }) => to.kind === 'port')
        ? undefined
        : config.pipeline.detachAfterMs,
      inSteps: source.serverFilter || source.mode === 'changeStream',
      log,
      onStarted: (feed) => {
        for (const { route } of feed.members) this.#destinations.begun(route.config.name, feed.replicaSetId);
      },
      onLost: async (feed, error, stop) => {
        const { adviceOnLoss = (): string => error.message } = this.#o;
        log.error({ code: `position-${error.reason}`, source: feed.name }, adviceOnLoss(error));
        // What was read before is still delivered, however long it takes: the oplog may not have it any more.
        if (this.#o.failFast) this.#over.abort();
        else await feed.settle(stop);
      },
    });
  }

  #feed(source: SourceConfig, routes: readonly Route[], meter: SourceMeter): Feed {
    const { stores, log, repartition = false } = this.#o;
    const config = this.#config;
    const { pipeline } = config;
    const budget = new ByteBudget(pipeline.inFlightBytes);
    const subscriptions = routes.map((route) => route.config);
    return new Feed({
      source: makeSource({ config: source, subscriptions, budget, log, onReconnect: () => meter.reconnected() }),
      planOf: (places) =>
        new SharedPlan(
          workerPlan(
            this.#config,
            source,
            places.map((route) => route?.config),
          ),
        ),
      config: source,
      routes,
      pipeline,
      budget,
      pool: this.#pool,
      checkpoints: stores.checkpoints,
      parking: stores.parking,
      states: stores.states,
      statesIntervalMs: config.checkpoint.intervalMs,
      watchers: this.watchers,
      meter,
      log,
      repartition,
      book: this.#book,
      touch: () => this.#checkpointer.touch(),
    });
  }

  async #close(): Promise<void> {
    const { log } = this.#o;
    this.watchers.close();
    // What is half changed is changed, or undone, before the stores it needs are closed.
    await this.#changes.settled();
    const late = new AbortController();
    const drained = Promise.all(this.#sources.all.map((group) => group.drain())).then(() => late.abort());
    await sleep(this.#config.shutdownTimeoutMs, late.signal);
    if (!late.signal.aborted) {
      log.warn({ code: 'shutdown-late' }, 'Not everything was confirmed in time; it comes again at the next start.');
    }
    // In one breath with the last confirms: nothing may be confirmed that the checkpoint does not know.
    try {
      await this.#checkpointer.flush();
    } catch (error) {
      log.error(
        { code: 'checkpoint-failing', err: error },
        'The last checkpoint could not be written; what was confirmed since the one before is repeated.',
      );
    }
    await this.#checkpointer.stop();
    await Promise.all(this.#sources.all.map((group) => group.close()));
    await drained;
    await Promise.all([this.#pool.close(), this.#destinations.close()]);
  }

  #checkOverdue(): void {
    const now = performance.now();
    for (const feed of this.#sources.feeds) feed.checkOverdue(now);
  }

  #route(config: SubscriptionConfig, start?: Start): Route {
    const { pipeline, sinks } = this.#config;
    const { to } = config;
    const sink = 'sink' in to ? sinks.find(({ name }) => name === to.sink) : undefined;
    return {
      config,
      ...(start && { start }),
      port: this.#destinations.port(config),
      window: sink?.window ?? STREAM_WINDOW,
      // A loop in this program may take its time over an event.
      confirmTimeoutMs: to.kind === 'port' ? Infinity : (sink?.confirmTimeoutMs ?? STREAM_CONFIRM_TIMEOUT_MS),
      meter: this.metrics.lane(config.name),
      contentType: contentTypeOf(config),
      routing: routingHash(config, pipeline),
      layout: layoutHash(pipeline),
      partitionQueues: usesPartitionQueues(config),
    };
  }

  #parts() {
    return {
      config: this.#config,
      groups: this.#sources.all,
      sinks: this.#destinations.sinks,
      locks: this.#destinations.locks,
      pool: this.#pool,
      checkpointer: this.#checkpointer,
      stores: this.#o.stores,
      metrics: this.metrics,
      book: this.#book,
    };
  }
}
