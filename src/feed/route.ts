/** What a feed is given for each subscription, and where it keeps what must outlive it. */
import type { StateStore } from '../states/state-store.ts';
import type { ParkingShortage } from '../checkpoint/parking.ts';
import type { CheckpointRecord, GapRecord, ParkedRecord } from '../checkpoint/record.ts';
import type { Start, SubscriptionConfig } from '../config/config.ts';
import type { LanePort } from '../lanes/port.ts';
import type { LaneMeter } from '../observe/metrics.ts';

export interface Route {
  readonly config: SubscriptionConfig;
  /** Where it begins where it has no checkpoint, if not where its source says. */
  readonly start?: Start;
  readonly port: LanePort;
  /** Unconfirmed messages per lane. */
  readonly window: number;
  readonly confirmTimeoutMs: number;
  readonly meter: LaneMeter;
  readonly contentType: string;
  /** Hashes of what its lanes mean; see `CheckpointRecord`. */
  readonly routing: string;
  readonly layout: string;
  readonly partitionQueues: boolean;
}

/** Where starts and gaps are kept; `tail` keeps none. */
export interface Checkpoints {
  get(subscription: string): CheckpointRecord | undefined;
  /** As a power cut would leave it. */
  durable(subscription: string): CheckpointRecord | undefined;
  put(records: readonly CheckpointRecord[]): Promise<void>;
  flushed(): Promise<void>;
  addGap(gap: GapRecord): Promise<void>;
}

export interface Parking {
  /** Resolves once it is on disk; rejects when `stop` fires before. */
  put(record: ParkedRecord, stop: AbortSignal): Promise<void>;
}

/** Where positions and parked events are kept, and what a report tells of them. */
export interface Stores {
  /** For `images: local`; there is none where nothing is kept. */
  readonly states?: StateStore | undefined;
  readonly checkpoints: Checkpoints & { gaps(): readonly GapRecord[] };
  readonly parking: Parking & {
    readonly failing: string | undefined;
    readonly shortage: ParkingShortage | undefined;
    readonly totalBytes: number;
    count(subscription: string): number;
  };
}
