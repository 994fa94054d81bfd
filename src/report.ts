/** What the running engine looks like from outside: put together when somebody asks, from the parts as they are. */
import { performance } from 'node:perf_hooks';
import { shortageText } from './checkpoint/parking.ts';
import { formatTs } from './source/position.ts';
import type { Checkpointer } from './checkpoint/checkpointer.ts';
import type { CheckpointRecord } from './checkpoint/record.ts';
import type { Config } from './config/config.ts';
import type { Feed } from './feed/feed.ts';
import type { FeedGroup } from './feed/feed-group.ts';
import type { Stores } from './feed/route.ts';
import type { Lane } from './lanes/lane.ts';
import type { HealthFacts } from './observe/health.ts';
import { readiness } from './observe/health.ts';
import type { Metrics } from './observe/metrics.ts';
import type {
  GapReason,
  LaneStatus,
  ProcessStatus,
  SourceStatus,
  SnapshotStatus,
  StatusReport,
  SubscriptionStatus,
} from './observe/status.ts';
import { shownSnapshot } from './snapshot/shown.ts';
import type { SnapshotBook } from './snapshot/runs.ts';
import type { AmqpSink } from './sinks/amqp-sink.ts';
import type { SinkLock } from './sinks/lock.ts';
import type { Ts } from './source/position.ts';
import type { SourceState } from './source/source.ts';
import type { WorkerPool } from './worker/pool.ts';

/** The member is looked at every second. */
const WINDOW_STALE_MS = 5_000;

export interface EngineParts {
  readonly config: Config;
  /** By source. */
  readonly groups: readonly FeedGroup[];
  readonly sinks: readonly AmqpSink[];
  readonly locks: readonly SinkLock[];
  readonly pool: WorkerPool;
  readonly checkpointer: Checkpointer;
  readonly stores: Stores;
  readonly metrics: Pick<Metrics, 'readBy' | 'sentBy'>;
  readonly book: SnapshotBook;
}

export function statusReport(
  parts: EngineParts & { readonly version: string; readonly uptimeMs: number },
): StatusReport {
  const { groups, sinks, stores, pool, config, metrics, version, uptimeMs } = parts;
  return {
    version,
    uptimeSeconds: Math.floor(uptimeMs / 1000),
    notReady: readiness(healthFacts(parts), performance.now()).map(({ text }) => text),
    sources: Object.fromEntries(
      groups.map((group) => [group.name, { ...sourceStatus(group, parts), ...metrics.readBy(group.name) }]),
    ),
    subscriptions: Object.fromEntries(
      groups.flatMap((group) => {
        const counts = (name: string) => ({ parked: stores.parking.count(name), ...metrics.sentBy(name) });
        const read = eachRoute(group, (feed, s, name): [string, SubscriptionStatus] => [
          name,
          subscriptionStatus(feed, s, { detached: group.isDetached(feed), ...counts(name) }),
        ]);
        const paused = pausedOf(group, parts).map((record): [string, SubscriptionStatus] => [
          record.subscription,
          pausedStatus(group, record, counts(record.subscription)),
        ]);
        return [...read, ...paused];
      }),
    ),
    sinks: Object.fromEntries(
      sinks.map((sink) => [sink.name, { state: sink.state, blocked: sink.blockedFor ?? null }]),
    ),
    workers: { threads: pool.threadsUp },
    process: processStatus(),
    parking: { bytes: stores.parking.totalBytes, maxBytes: config.parked.maxBytes },
    snapshots: config.subscriptions.flatMap(({ name, source }) => snapshotsOf(parts, name, source)),
    gaps: stores.checkpoints.gaps().map(({ source, from, to, reason, at }) => ({
      source,
      from: formatTs(from),
      to: formatTs(to),
      reason: reason as GapReason,
      at: new Date(at).toISOString(),
    })),
  };
}

/** As far as nobody reads for it now, as its checkpoint has them. */
function snapshotsOf({ book, stores, groups }: EngineParts, subscription: string, source: string): SnapshotStatus[] {
  const known = book.known(subscription)?.records ?? stores.checkpoints.get(subscription)?.snapshots ?? [];
  const progress = book.progress(subscription);
  if (known.length === 0) return [];
  const isPaused = stores.checkpoints.get(subscription)?.pausedAt !== undefined;
  const holds = groups
    .flatMap((group) => eachRoute(group, (feed, number, name) => (name === subscription ? feed.lanesOf(number) : [])))
    .flatMap((lanes) => lanes.flatMap(({ hold }) => hold ?? []));
  const stands = isPaused ? 'its subscription is paused' : holds[0] && `a lane is held: ${holds[0].detail}`;
  return known.map((record) => shownSnapshot(record, { source, subscription, progress, stands }));
}

/** Of every subscription of a source: its feed, its number there, and its name. */
function eachRoute<T>({ feeds }: FeedGroup, use: (feed: Feed, subscription: number, name: string) => T): T[] {
  return feeds.flatMap((feed) => feed.members.map(({ number, route }) => use(feed, number, route.config.name)));
}

export function healthFacts({ groups, sinks, locks, pool, checkpointer, stores }: EngineParts): HealthFacts {
  return {
    // Where nobody is read for, nothing is to be said of it.
    sources: groups.flatMap(({ feeds, shared }) =>
      feeds.filter((feed) => feed === shared || feed.keepsStates).map(sourceFacts),
    ),
    sinks: sinks.map((sink) => ({
      name: sink.name,
      connected: sink.state === 'connected',
      ...(sink.blockedFor !== undefined && { blocked: sink.blockedFor }),
      ...(sink.down && { down: sink.down }),
    })),
    subscriptions: groups.flatMap((group) =>
      eachRoute(group, (feed, s, name) => ({
        name,
        lock: locks.map((lock) => lock.trouble(name)).find((trouble) => trouble !== undefined),
        ...(feed !== group.shared && feed.lost && { lost: { reason: feed.lost.reason, text: feed.lost.message } }),
        lanes: feed.lanesOf(s).map((lane) => ({
          partition: lane.partition,
          ...(lane.hold && { held: lane.hold }),
          oldestUnconfirmedAt: lane.waitingSince,
        })),
      })),
    ),
    checkpoint: {
      ...(checkpointer.failing !== undefined && { failing: checkpointer.failing }),
    },
    parking: parkingFacts(stores.parking),
    workers: { oldestJobAt: pool.oldestJobAt, lastResultAt: pool.lastResultAt },
  };
}

function sourceFacts(feed: Feed): HealthFacts['sources'][number] {
  return {
    name: feed.name,
    state: stateOf(feed),
    verified: feed.started,
    startStored: feed.started,
    lastReplyAt: feed.source.lastReplyAt,
    heldBy: feed.heldBy,
    majorityLateSince: feed.source.window?.majorityLateSince,
    ...(feed.lost && { lost: feed.lost.reason }),
    ...troubleOf(feed),
  };
}

function parkingFacts({ failing, shortage }: Stores['parking']): HealthFacts['parking'] {
  return { ...(failing !== undefined && { failing }), ...(shortage && { full: shortageText(shortage) }) };
}

/** What it may not read it waits for as for one that is away. */
function stateOf({ lost, withoutDocuments, source }: Feed): SourceState {
  return lost ? 'position_lost' : withoutDocuments === undefined ? source.state : 'reconnecting';
}

function troubleOf({ lost, withoutDocuments, source }: Feed): { readonly trouble?: string } {
  const trouble = lost?.message ?? withoutDocuments ?? source.downFor;
  return trouble === undefined ? {} : { trouble };
}

/** The subscriptions of a source that are not read for, as they stand: somebody has paused them. */
function pausedOf(group: FeedGroup, { config, stores }: EngineParts): CheckpointRecord[] {
  const read = new Set(eachRoute(group, (_feed, _s, name) => name));
  return config.subscriptions.flatMap(({ name, source }) => {
    const record = source === group.name && !read.has(name) ? stores.checkpoints.get(name) : undefined;
    // One that is being changed is neither.
    return record?.pausedAt === undefined ? [] : record;
  });
}

function sourceStatus(group: FeedGroup, parts: EngineParts): Omit<SourceStatus, 'entriesRead' | 'bytesRead'> {
  const inFlightBytes = group.feeds.reduce((total, { budget }) => total + budget.used, 0);
  if (!group.shared) return { ...NOBODY_READS, inFlightBytes };
  const { source, position, heldBy } = group.shared;
  const { window } = source;
  // A paused one's position leaves the oplog like anybody's.
  const paused = pausedOf(group, parts).map(({ resume }) => resume.ts);
  const resumes = [...eachRoute(group, (feed, s) => feed.resume(s)?.ts ?? []).flat(), ...paused];
  const furthestBehind =
    resumes.length === 0 ? undefined : resumes.reduce((a, b) => (secondsBetween(a, b) >= 0 ? a : b));
  return {
    state: stateOf(group.shared),
    member: window?.member ?? null,
    position: position ? formatTs(position.ts) : null,
    lagSeconds: lagOf(source, position?.ts),
    majorityLagSeconds: window ? Math.max(0, secondsBetween(window.majority.ts, window.newest.ts)) : null,
    windowSeconds: window?.oldest ? secondsBetween(window.oldest.ts, window.newest.ts) : null,
    headroomSeconds: headroomOf(source, furthestBehind),
    checkpointLagSeconds: lagOf(source, furthestBehind),
    inFlightBytes,
    heldBy,
  };
}

const NOBODY_READS = {
  state: 'idle',
  member: null,
  position: null,
  lagSeconds: null,
  majorityLagSeconds: null,
  windowSeconds: null,
  headroomSeconds: null,
  checkpointLagSeconds: null,
  heldBy: [],
} as const;

function processStatus(): ProcessStatus {
  const { user, system } = process.cpuUsage();
  return {
    residentBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1_000_000,
    eventLoopBusySeconds: performance.eventLoopUtilization().active / 1_000,
  };
}

function lagOf(source: Feed['source'], reached: Ts | undefined): number | null {
  const { window } = source;
  if (!window || !reached) return null;
  // While the member is away its newest entry is not known; it must not look as if nothing had happened since.
  const unseenMs = performance.now() - window.seenAt;
  const unseen = unseenMs < WINDOW_STALE_MS ? 0 : Math.floor(unseenMs / 1000);
  return Math.max(0, secondsBetween(reached, window.newest.ts)) + unseen;
}

function headroomOf({ window }: Feed['source'], resumes: Ts | undefined): number | null {
  return window?.oldest && resumes ? secondsBetween(window.oldest.ts, resumes) : null;
}

function subscriptionStatus(
  feed: Feed,
  subscription: number,
  counts: Pick<SubscriptionStatus, 'detached' | 'parked' | 'eventsPublished' | 'messagesConfirmed'>,
): SubscriptionStatus {
  const lanes = feed.lanesOf(subscription);
  const resume = feed.resume(subscription);
  return {
    source: feed.name,
    state: subscriptionState(feed, lanes),
    watermark: resume && resume.kind !== 'from' ? formatTs(resume.ts) : null,
    lagSeconds: lagOf(feed.source, resume?.ts),
    headroomSeconds: headroomOf(feed.source, resume?.ts),
    ...counts,
    kept: feed.states ?? null,
    lanes: lanes.map(laneStatus),
  };
}

function pausedStatus(
  { name, shared }: FeedGroup,
  { resume }: CheckpointRecord,
  counts: Pick<SubscriptionStatus, 'parked' | 'eventsPublished' | 'messagesConfirmed'>,
): SubscriptionStatus {
  return {
    source: name,
    state: 'paused',
    watermark: resume.kind === 'from' ? null : formatTs(resume.ts),
    lagSeconds: shared ? lagOf(shared.source, resume.ts) : null,
    headroomSeconds: shared ? headroomOf(shared.source, resume.ts) : null,
    detached: false,
    ...counts,
    kept: null,
    lanes: [],
  };
}

function subscriptionState(feed: Feed, lanes: readonly Lane[]): SubscriptionStatus['state'] {
  if (feed.lost || feed.source.state === 'stopped') return 'stopped';
  if (!feed.started) return 'starting';
  return lanes.some((lane) => lane.hold) ? 'held' : 'flowing';
}

function laneStatus(lane: Lane): LaneStatus {
  const { partition, queued, unconfirmed, hold } = lane;
  if (!hold) return { partition, queued, unconfirmed };
  const { reason, detail, since } = hold;
  return {
    partition,
    queued,
    unconfirmed,
    held: { reason, detail, forSeconds: Math.floor((performance.now() - since) / 1000) },
  };
}

function secondsBetween(from: Ts, to: Ts): number {
  return to.seconds - from.seconds;
}
