/** What the engine says, in the very types of who says it: nothing of it is written twice, and nothing of zod comes along. */
import type { z } from 'zod';
import type {
  checkpointAnswer,
  codeDetail,
  definitionsAnswer,
  differenceAnswer,
  findingAnswer,
  gapAnswer,
  messageAnswer,
  parkedAnswer,
  parkedDetail,
  problemSchema,
  reasonAnswer,
  sinkAnswer,
  sourceAnswer,
  subscriptionAnswer,
  subscriptionDetail,
  versionAnswer,
  versionDetail,
  watchedEvent,
} from '../../src/api/schemas.ts';

export type { SnapshotStatus, StatusReport, SubscriptionStatus } from '../../src/observe/status.ts';

export type Problem = z.input<typeof problemSchema>;
export type Reason = z.input<typeof reasonAnswer>;
export type Source = z.input<typeof sourceAnswer>;
export type Sink = z.input<typeof sinkAnswer>;
export type Subscription = z.input<typeof subscriptionAnswer>;
export type SubscriptionDetail = z.input<typeof subscriptionDetail>;
export type Checkpoint = z.input<typeof checkpointAnswer>;
export type Gap = z.input<typeof gapAnswer>;
export type Parked = z.input<typeof parkedAnswer>;
export type ParkedDetail = z.input<typeof parkedDetail>;
export type CodePage = z.input<typeof codeDetail>;

export type Definitions = z.input<typeof definitionsAnswer>;
export type Difference = z.input<typeof differenceAnswer>;
export type Version = z.input<typeof versionAnswer>;
export type VersionDetail = z.input<typeof versionDetail>;
export type Kind = Difference['kind'];
export type WatchedEvent = z.input<typeof watchedEvent>;
export type Finding = z.input<typeof findingAnswer>;
export type SampleMessage = z.input<typeof messageAnswer>;

export interface Health {
  readonly ready: boolean;
  readonly live: boolean;
  readonly reasons: readonly Reason[];
  readonly stuck: readonly Reason[];
}
