/** What the running engine looks like from outside: put together when somebody asks, from the parts as they are. */
import { shortageText } from './checkpoint/parking.ts';
import { formatTs } from './source/position.ts';
import type { Checkpointer } from './checkpoint/checkpointer.ts';
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
  StatusReport,
  SubscriptionStatus,
} from './observe/status.ts';
import type { AmqpSink } from './sinks/amqp-sink.ts';
import type { SinkLock } from './sinks/lock.ts';
import type { Ts } from './source/position.ts';
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
      groups.map((group) => [group.name, { ...sourceStatus(group), ...metrics.readBy(group.name) }]),
    ),
    subscriptions: Object.fromEntries(
      groups.flatMap((group) =>
        eachRoute(group, (feed, s, name) => [
          name,
          subscriptionStatus(feed, s, {
            detached: feed !== group.shared,
            parked: stores.parking.count(name),
            ...metrics.sentBy(name),
          }),
        ]),
      ),
    ),
    sinks: Object.fromEntries(
      sinks.map((sink) => [sink.name, { state: sink.state, blocked: sink.blockedFor ?? null }]),
    ),
    workers: { threads: pool.threadsUp },
    process: processStatus(),
    parking: { bytes: stores.parking.totalBytes, maxBytes: config.parked.maxBytes },
    gaps: stores.checkpoints.gaps().map(({ source, from, to, reason, at }) => ({
      source,
      from: formatTs(from),
      to: formatTs(to),
      reason: reason as GapReason,
      at: new Date(at).toISOString(),
    })),
  };
}

/** Of every subscription of a source: its feed, its number there, and its name. */
function eachRoute<T>({ feeds }: FeedGroup, use: (feed: Feed, subscription: number, name: string) => T): T[] {
  return feeds.flatMap((feed) => feed.members.map(({ number, route }) => use(feed, number, route.config.name)));
}

export function healthFacts({ groups, sinks, locks, pool, checkpointer, stores }: EngineParts): HealthFacts {
  return {
    sources: groups.map(({ shared: feed }) => ({
      name: feed.name,
      state: feed.lost ? 'position_lost' : feed.source.state,
      verified: feed.started,
      startStored: feed.started,
      lastReplyAt: feed.source.lastReplyAt,
      heldBy: feed.heldBy,
      majorityLateSince: feed.source.window?.majorityLateSince,
      ...(feed.lost && { lost: feed.lost.reason }),
      ...troubleOf(feed),
    })),
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

function parkingFacts({ failing, shortage }: Stores['parking']): HealthFacts['parking'] {
  return { ...(failing !== undefined && { failing }), ...(shortage && { full: shortageText(shortage) }) };
}

function troubleOf({ lost, source }: Feed): { readonly trouble?: string } {
  const trouble = lost?.message ?? source.downFor;
  return trouble === undefined ? {} : { trouble };
}

function sourceStatus(group: FeedGroup): Omit<SourceStatus, 'entriesRead' | 'bytesRead'> {
  const { source, position, heldBy, lost } = group.shared;
  const { window } = source;
  const resumes = eachRoute(group, (feed, s) => feed.resume(s)?.ts ?? []).flat();
  const furthestBehind =
    resumes.length === 0 ? undefined : resumes.reduce((a, b) => (secondsBetween(a, b) >= 0 ? a : b));
  return {
    state: lost ? 'position_lost' : source.state,
    member: window?.member ?? null,
    position: position ? formatTs(position.ts) : null,
    lagSeconds: lagOf(source, position?.ts),
    majorityLagSeconds: window ? Math.max(0, secondsBetween(window.majority.ts, window.newest.ts)) : null,
    windowSeconds: window?.oldest ? secondsBetween(window.oldest.ts, window.newest.ts) : null,
    headroomSeconds: headroomOf(source, furthestBehind),
    checkpointLagSeconds: lagOf(source, furthestBehind),
    inFlightBytes: group.feeds.reduce((total, { budget }) => total + budget.used, 0),
    heldBy,
  };
}

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
    lanes: lanes.map(laneStatus),
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
