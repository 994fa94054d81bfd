/**
 * What `/status` answers: one JSON of everything a person would ask, and where the metrics that mirror live state are read
 * from. It is put together when somebody asks, never kept. Every field is always there: `null` says "not known yet", so
 * that a missing field can only be a mistake. It holds names and positions, no URI and no document.
 */
import { LOST_REASONS } from '../errors.ts';
import type { SourceState } from '../source/source.ts';

export interface StatusReport {
  readonly version: string;
  readonly uptimeSeconds: number;
  /** Why `/readyz` answers 503, in its own words; empty when the engine is ready. */
  readonly notReady: readonly string[];
  readonly sources: Readonly<Record<string, SourceStatus>>;
  readonly subscriptions: Readonly<Record<string, SubscriptionStatus>>;
  readonly sinks: Readonly<Record<string, SinkStatus>>;
  readonly workers: WorkersStatus;
  readonly process: ProcessStatus;
  readonly parking: ParkingStatus;
  /** Those that go on, and the last few that are over, oldest first. */
  readonly snapshots: readonly SnapshotStatus[];
  /** Every gap on record, oldest first; they outlive the process. */
  readonly gaps: readonly GapStatus[];
}

export interface SourceStatus {
  /** `idle`: all its subscriptions are paused, so nothing is read. */
  readonly state: SourceState | 'idle';
  /** `host:port` of the member that is being read. */
  readonly member: string | null;
  /** The last entry read, `seconds:increment`. */
  readonly position: string | null;
  /** From the last entry read to the member's newest: how far reading is behind. */
  readonly lagSeconds: number | null;
  /** From the majority's newest entry to the member's newest: what no reader may see yet. */
  readonly majorityLagSeconds: number | null;
  /** From the oldest entry in the oplog to the newest: how long a stop may last. */
  readonly windowSeconds: number | null;
  /** From the oldest entry to where a restart would read on: how much of the window is left. */
  readonly headroomSeconds: number | null;
  /** From the watermark of the subscription furthest behind to the member's newest entry: how old deliveries are. */
  readonly checkpointLagSeconds: number | null;
  /** Read and not yet confirmed. */
  readonly inFlightBytes: number;
  /** Since the engine started; who asks twice has the rate. */
  readonly entriesRead: number;
  readonly bytesRead: number;
  /** Subscriptions whose unconfirmed bytes keep this source from reading on; empty while it reads. */
  readonly heldBy: readonly string[];
}

export interface SubscriptionStatus {
  readonly source: string;
  readonly state: SubscriptionState;
  /** It held its source for too long, and reads by itself until it has caught up with the others. */
  readonly detached: boolean;
  /** Everything up to it has been confirmed: `seconds:increment:index`. */
  readonly watermark: string | null;
  /** From the watermark to the member's newest entry: how old deliveries are. */
  readonly lagSeconds: number | null;
  /** From the oldest entry in the oplog to the watermark: how much of the window is left. */
  readonly headroomSeconds: number | null;
  /** Events that lie in the parking store now. */
  readonly parked: number;
  /** Since the engine started, those sent again included. */
  readonly eventsPublished: number;
  /** Since the engine started. */
  readonly messagesConfirmed: number;
  /** Of `images: local`; `null` where nothing is kept, or not now. */
  readonly kept: KeptStatus | null;
  readonly lanes: readonly LaneStatus[];
}

/** The last states of documents that a subscription keeps. */
export interface KeptStatus {
  readonly documents: number;
  /** On disk. */
  readonly bytes: number;
  /** `localImages.maxSize` */
  readonly maxBytes: number;
  /** In memory, until it is stored. */
  readonly memoryBytes: number;
  /** Since it began to be read: states that were not kept, as there was no room. */
  readonly leftOut: number;
}

/** `held`: at least one of its lanes is; `paused`: somebody has paused it. */
export const SUBSCRIPTION_STATES = ['starting', 'flowing', 'held', 'paused', 'stopped'] as const;

export type SubscriptionState = (typeof SUBSCRIPTION_STATES)[number];

export interface LaneStatus {
  readonly partition: number;
  /** Messages that wait for their turn. */
  readonly queued: number;
  /** Messages that were sent and not yet confirmed. */
  readonly unconfirmed: number;
  /** Only while nothing passes. */
  readonly held?: LaneHold;
}

export interface LaneHold {
  readonly reason: HoldReason;
  /** For people: the broker's own words, the exchange, the routing key. */
  readonly detail: string;
  readonly forSeconds: number;
}

/** Few and fixed: it becomes a metric's label. */
export const HOLD_REASONS = [
  'unroutable',
  'nacked',
  /** The broker closed the channel: 403, 404, 406. */
  'refused',
  'blocked',
  'disconnected',
  'confirm-timeout',
  /** An event lacks a document that it may not be delivered without. */
  'no-image',
] as const;

export type HoldReason = (typeof HOLD_REASONS)[number];

export interface SinkStatus {
  readonly state: SinkState;
  /** The broker's reason for taking no more ("low on memory"); `null` while it takes. */
  readonly blocked: string | null;
}

export type SinkState = 'connecting' | 'connected' | 'reconnecting' | 'stopped';

export interface WorkersStatus {
  /** Those that are up; with `auto` their number follows the load. */
  readonly threads: number;
}

/** Totals since the process started: who asks twice knows how busy it was in between. */
export interface ProcessStatus {
  /** Memory it holds now. */
  readonly residentBytes: number;
  /** Of all its threads. */
  readonly cpuSeconds: number;
  /** That the main thread's event loop had something to do; near one a second it is the bottleneck. */
  readonly eventLoopBusySeconds: number;
}

export interface ParkingStatus {
  readonly bytes: number;
  /** `parked.maxBytes`: once it is reached, lanes hold instead of parking. */
  readonly maxBytes: number;
}

/** What is read of collections beside their changes. */
export interface SnapshotStatus {
  readonly id: string;
  readonly source: string;
  readonly subscription: string;
  /** What asked for it. */
  readonly cause: SnapshotCause;
  readonly state: SnapshotState;
  /** Patterns; `null`: all that the subscription follows. */
  readonly namespaces: readonly string[] | null;
  /** A query, as Extended JSON. */
  readonly filter: string | null;
  /** Confirmed. */
  readonly documents: number;
  /** About how many there are; `null` while they are being counted, and with a filter. */
  readonly expectedDocuments: number | null;
  /** That it is done with. */
  readonly collections: number;
  readonly reading: readonly { readonly ns: string; readonly documents: number }[];
  /** Of the last seconds. */
  readonly documentsPerSecond: number;
  readonly secondsLeft: number | null;
  /** Why it does not go on. */
  readonly waitsFor: string | null;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string | null;
}

export const SNAPSHOT_STATES = ['running', 'paused', 'done', 'cancelled'] as const;
export type SnapshotState = (typeof SNAPSHOT_STATES)[number];
export const SNAPSHOT_CAUSES = ['start', 'asked', 'position-lost'] as const;
export type SnapshotCause = (typeof SNAPSHOT_CAUSES)[number];

export interface GapStatus {
  readonly source: string;
  /** `seconds:increment` of the last change that was delivered, as far as is known. */
  readonly from: string;
  /** Where reading went on. */
  readonly to: string;
  readonly reason: GapReason;
  /** When it was noticed, ISO 8601. */
  readonly at: string;
}

/** `skipped`: a user moved the checkpoint forward, or forgot it. */
export const GAP_REASONS = [...LOST_REASONS, 'skipped'] as const;

export type GapReason = (typeof GAP_REASONS)[number];
