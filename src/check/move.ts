/**
 * Where a subscription is to read on, as a user decides: the record that says so, and what it skips or repeats. Nothing is stored here.
 */
import { planStart } from '../checkpoint/plan-start.ts';
import { RECORD_VERSION } from '../checkpoint/record.ts';
import type { CheckpointRecord, GapRecord } from '../checkpoint/record.ts';
import type { Config, Start, SubscriptionConfig } from '../config/config.ts';
import { layoutHash, routingHash, usesPartitionQueues } from '../config/routing-hash.ts';
import { UserError } from '../errors.ts';
import { floorOf } from '../lanes/floors.ts';
import { Runs } from '../snapshot/runs.ts';
import { compareTs } from '../source/position.ts';
import type { ResumePoint, Ts } from '../source/position.ts';
import type { Look } from './source-look.ts';

interface Found {
  readonly config: Config;
  readonly subscription: SubscriptionConfig;
  readonly stored: CheckpointRecord | undefined;
  readonly look: Look;
}

export interface Move {
  readonly record: CheckpointRecord;
  /** Where it stands; undefined where there is no checkpoint. */
  readonly from: Ts | undefined;
  /** Of what was written between the two positions. */
  readonly effect: 'none' | 'skipped' | 'repeated';
  /** To be kept before the record is: a skip must not go unsaid. */
  readonly gap?: GapRecord;
}

/** Throws `UserError` where the position would be one of another replica set. */
export function planMove(found: Found, start: Start): Move {
  const { config, subscription, stored, look } = found;
  const { name, source } = subscription;
  const resume: ResumePoint = look.kind === 'seen' ? look.resume : { kind: 'from', ts: (start as { ts: Ts }).ts };
  const partitions = stored?.partitions ?? config.pipeline.partitions;
  const record: CheckpointRecord = {
    version: RECORD_VERSION,
    subscription: name,
    source,
    replicaSetId: checkedId(found),
    resume,
    watermark: undefined,
    ...(start.kind === 'earliest' && { torn: resume.ts }),
    routing: stored?.routing ?? routingHash(subscription, config.pipeline),
    layout: stored?.layout ?? layoutHash(config.pipeline),
    partitions,
    partitionQueues: stored?.partitionQueues ?? usesPartitionQueues(subscription),
    lanes: Array.from({ length: partitions }, () => undefined),
    updatedAt: Date.now(),
    ...(stored?.pausedAt !== undefined && { pausedAt: stored.pausedAt }),
    ...(stored?.snapshots && { snapshots: stored.snapshots }),
  };
  if (stored === undefined) return { record, from: undefined, effect: 'none' };
  const floor = floorOf(stored);
  const next = floorOf(record);
  // Within one time, too: a token may stand in the middle of a transaction.
  const order = compareTs(next.ts, floor.ts) || next.index - floor.index;
  if (order === 0) return { record, from: floor.ts, effect: 'none' };
  if (order < 0) {
    // Of one that reads meanwhile the newest entry may be behind it by now.
    if (start.kind === 'latest') return { record: stored, from: floor.ts, effect: 'none' };
    return { record, from: floor.ts, effect: 'repeated' };
  }
  const gap = { source, subscription: name, from: floor.ts, to: resume.ts, reason: 'skipped', at: Date.now() };
  return { record: withSnapshotsAnew(record), from: floor.ts, effect: 'skipped', gap };
}

/** What they have delivered may be changed by what is skipped. */
function withSnapshotsAnew(record: CheckpointRecord): CheckpointRecord {
  if (!record.snapshots) return record;
  const runs = new Runs(record.snapshots);
  runs.restart({ byOne: false });
  return { ...record, snapshots: runs.records };
}

function checkedId({ config, subscription, stored, look }: Found): string {
  if (look.kind === 'seen') {
    planStart({
      subscription: {
        name: subscription.name,
        source: subscription.source,
        routing: routingHash(subscription, config.pipeline),
        layout: layoutHash(config.pipeline),
        partitions: config.pipeline.partitions,
        usesPartitionQueues: usesPartitionQueues(subscription),
      },
      stored,
      connected: look.identity,
      repartition: true,
    });
    return look.identity.replicaSetId;
  }
  if (stored) return stored.replicaSetId;
  throw new UserError(
    'usage',
    `source "${subscription.source}" cannot be reached, and there is no checkpoint yet that says which replica set it is. Try again ` +
      'when it can be, or let `start` say where to begin.',
  );
}
