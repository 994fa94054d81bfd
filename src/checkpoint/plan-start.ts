/**
 * Decides what a start does with a stored checkpoint. Pure. The rule behind all of it: when in doubt whether something was
 * confirmed, deliver it again; when in doubt whether a position means this data at all, refuse.
 */
import { UserError } from '../errors.ts';
import type { Position, ResumePoint, Ts } from '../source/position.ts';
import type { SourceIdentity } from '../source/source.ts';
import type { CheckpointRecord, LanePosition } from './record.ts';

export interface SubscriptionFacts {
  readonly name: string;
  readonly source: string;
  readonly routing: string;
  readonly layout: string;
  readonly partitions: number;
  /** Its queue's name holds `{partition}`. */
  readonly usesPartitionQueues: boolean;
  /** The queue's name as it is written, for people. */
  readonly queue?: string | undefined;
}

export interface StartInput {
  readonly subscription: SubscriptionFacts;
  readonly stored: CheckpointRecord | undefined;
  readonly connected: Pick<SourceIdentity, 'replicaSetId' | 'setName'>;
  /** The user says that what had to be emptied is empty. */
  readonly repartition: boolean;
}

export type StartPlan =
  | { readonly kind: 'fresh' }
  | {
      readonly kind: 'resume';
      readonly resume: ResumePoint;
      readonly watermark: Position | undefined;
      readonly torn?: Ts;
      /** As many as there are partitions now; all undefined where the stored ones mean nothing any more. */
      readonly lanes: readonly (LanePosition | undefined)[];
      readonly warning?: string;
    };

/** Throws `UserError` `other-replica-set` or `repartition-needed`. */
export function planStart({ subscription, stored, connected, repartition }: StartInput): StartPlan {
  if (stored === undefined) return { kind: 'fresh' };
  const warnings: string[] = [];

  const same = sameReplicaSet(stored.replicaSetId, connected);
  if (same === 'no' || (same === 'unknown' && stored.source !== subscription.source)) {
    throw otherReplicaSet(subscription, stored, connected);
  }
  if (same === 'unknown') {
    warnings.push(
      `whether "${subscription.source}" is still the replica set of the checkpoint cannot be told (stored ` +
        `${stored.replicaSetId}, connected ${connected.replicaSetId}): grant \`find\` on local.system.replset for good`,
    );
  }
  // The same set under a new name: the positions hold, and a new start would skip or repeat for no reason.
  if (stored.source !== subscription.source) {
    warnings.push(
      `source "${stored.source}" is now called "${subscription.source}": event ids begin with the new name, so a repeat of ` +
        `an earlier event has another id`,
    );
  }

  if (stored.layout !== subscription.layout && stored.partitionQueues && subscription.usesPartitionQueues) {
    if (!repartition) throw repartitionNeeded(subscription, stored);
    warnings.push('partitions changed: an event may be in another queue than earlier ones of the same document');
  }
  const lanesHold =
    stored.routing === subscription.routing &&
    stored.layout === subscription.layout &&
    stored.lanes.length === subscription.partitions;
  if (!lanesHold) warnings.push('what decides the way of an event changed: some events already delivered come again');

  return {
    kind: 'resume',
    resume: stored.resume,
    watermark: stored.watermark,
    ...(stored.torn && { torn: stored.torn }),
    lanes: lanesHold ? stored.lanes : Array.from({ length: subscription.partitions }, () => undefined),
    ...(warnings.length > 0 && { warning: `Subscription "${subscription.name}": ${warnings.join('; ')}.` }),
  };
}

/** An id is compared with an id and a name with a name; the connected set's name is always known, the stored one's not. */
function sameReplicaSet(stored: string, connected: StartInput['connected']): 'yes' | 'no' | 'unknown' {
  if (stored === connected.replicaSetId) return 'yes';
  if (stored.startsWith(NAME)) return stored === NAME + connected.setName ? 'unknown' : 'no';
  return connected.replicaSetId.startsWith(NAME) ? 'unknown' : 'no';
}

const NAME = 'name:';

function otherReplicaSet(
  { name, source }: SubscriptionFacts,
  stored: CheckpointRecord,
  { replicaSetId, setName }: StartInput['connected'],
): UserError {
  return new UserError(
    'other-replica-set',
    `The checkpoint of subscription "${name}" belongs to replica set ${stored.replicaSetId} (source "${stored.source}"), but ` +
      `source "${source}" is ${replicaSetId} (set "${setName}"): its positions mean nothing there. If the URI is wrong, correct ` +
      `it. If this is a new set, run \`tailrace checkpoint forget ${name}\`: the subscription then begins at the source's ` +
      `\`start\`, so take a new copy of the data first.`,
  );
}

function repartitionNeeded(subscription: SubscriptionFacts, stored: CheckpointRecord): UserError {
  return new UserError(
    'repartition-needed',
    `\`pipeline.partitions\` or \`pipeline.partitionBy\` changed (${stored.partitions} partitions then, ` +
      `${subscription.partitions} now), and subscription "${subscription.name}" has a queue for each partition: events of one ` +
      `document that are still in its old queue could be consumed after later ones in another. Let the consumers empty ` +
      `${queueNames(subscription.queue, stored.partitions)} first, then start once with \`--repartition\`; or undo the change.`,
  );
}

function queueNames(queue: string | undefined, partitions: number): string {
  if (queue === undefined) return `the queues of partitions 0 to ${partitions - 1}`;
  const nameOf = (partition: number): string => queue.replaceAll('{partition}', String(partition));
  return partitions === 1 ? `queue ${nameOf(0)}` : `queues ${nameOf(0)} to ${nameOf(partitions - 1)}`;
}
