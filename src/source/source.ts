/** What a source gives the engine, whatever it reads from. */
import type { Start, SubscriptionConfig } from '../config/config.ts';
import type { DocumentReader } from './documents.ts';
import type { CollectionReads } from './collection-reads.ts';
import type { OplogHistory } from './history.ts';
import type { OpTime, ResumePoint } from './position.ts';

/**
 * One reply of the server, undecoded. `bytes` is the BSON array `nextBatch`; empty replies (entries 0) are a sign of life, and
 * where they carry a position, it moves on.
 */
export interface RawBatch {
  readonly bytes: Uint8Array;
  readonly entries: number;
  /**
   * The last entry's; undefined when there is none. Without entries: how far a change stream (its
   * `postBatchResumeToken`), or a cursor that leaves out what nobody wants, has come.
   */
  readonly last: OpTime | undefined;
  /** To be called once nobody looks at `bytes` any more; where it is not, they are left to the collector. */
  readonly letGo?: () => void;
}

/** Up to here what a thread keeps for itself is enough for what it makes of a batch. */
const LARGE_BYTES = 8 * 2 ** 20;

/**
 * What a batch takes from the budget: the reply's bytes, and the copy that is made for a worker; of a large one also where the worker
 * writes and the room for its result (bench `memory`, `large`: 48 MiB less at most). A sign of life is free.
 */
export function costOf({ bytes, entries }: RawBatch): number {
  return entries === 0 ? 0 : bytes.byteLength * (bytes.byteLength > LARGE_BYTES ? 4 : 2);
}

const SMALL_BYTES = 32 * 1024;

/**
 * It came because somebody waited for it, not out of a backlog. The next is asked for once this one has been dealt with: what is
 * written meanwhile comes in one reply, and single entries cost no more than there is time for (bench `latency`, 1,000/s).
 */
export function isSmall({ bytes, entries }: RawBatch): boolean {
  return entries > 0 && bytes.byteLength < SMALL_BYTES;
}

export interface SourceIdentity {
  /** Hex of `settings.replicaSetId`, or `name:<set>` where it may not be read. */
  readonly replicaSetId: string;
  readonly setName: string;
  readonly serverVersion: string;
  /** Read through a mongos: changes of several shards can share a position. */
  readonly sharded?: boolean;
}

/** What is known of the member that is being read, refreshed about every second, or every other while nothing is written. */
export interface SourceWindow {
  readonly member: string;
  readonly newest: OpTime;
  readonly majority: OpTime;
  /** Undefined where the oplog may not be read. */
  readonly oldest: OpTime | undefined;
  /** Since when (`performance.now()`) newer entries have waited for a majority that took in none of them; undefined while none do. */
  readonly majorityLateSince: number | undefined;
  /** `performance.now()` when it was so. */
  readonly seenAt: number;
}

export interface Source {
  readonly name: string;
  /** Retries for ever while nobody answers; throws `UserError` for what only the user can mend. */
  connect(stop: AbortSignal): Promise<SourceIdentity>;
  /** Turns the configured start into a point that can be stored: `latest` is the majority's newest entry. */
  resolve(start: Start, stop: AbortSignal): Promise<ResumePoint>;
  /** Throws `PositionLostError`; waits while the member is merely behind. */
  verify(point: ResumePoint, stop: AbortSignal): Promise<void>;
  /** Reconnects for ever by itself; ends when `stop` fires; throws `PositionLostError` when the point is or gets lost. */
  read(point: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch>;
  /** It is read for these now. True: what they want comes with the next cursor only. */
  adapt(subscriptions: readonly SubscriptionConfig[]): boolean;
  /** Matching namespaces whose default collation makes `_id`s equal that differ in bytes; as far as may be seen. */
  collatedNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]>;
  /** Matching time-series collections, as far as may be seen. */
  timeSeriesNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]>;
  /** The newest knowledge, undefined before the first. */
  readonly window: SourceWindow | undefined;
  readonly state: SourceState;
  /** Why it is connecting or reconnecting, for people and without secrets. */
  readonly downFor: string | undefined;
  /** Single entries by position; undefined where what is read is no oplog, and transactions come whole. */
  readonly history: OplogHistory | undefined;
  /** Whole documents for events; undefined where they come with what is read. */
  readonly documents: DocumentReader | undefined;
  /** Collections as they stand; undefined where they cannot be read at a position. */
  readonly collections: CollectionReads | undefined;
  /** `performance.now()` of the newest reply, an empty one too. */
  readonly lastReplyAt: number | undefined;
  close(): Promise<void>;
}

export type SourceState = 'connecting' | 'reading' | 'held' | 'reconnecting' | 'position_lost' | 'stopped';
