/**
 * Whether what a checkpoint says of single lanes still holds. `routing` covers all that decides which event goes to which
 * lane and where a lane leads; `layout` the part of it that decides an event's partition number, which the names of
 * `{partition}` queues are made of.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';
import type { Destination, ImagesConfig, PipelineConfig, SubscriptionConfig } from './config.ts';
import { usesPartition } from './templates.ts';

type Layout = Pick<PipelineConfig, 'partitions' | 'partitionBy'>;

export function routingHash(subscription: SubscriptionConfig, { partitions, partitionBy }: Layout): string {
  return hash({
    partitions,
    partitionBy,
    namespaces: subscription.namespaces,
    operations: subscription.operations.toSorted(),
    // Shows what happens to views. Left out where it is off, as checkpoints have it from before there was the setting.
    ...(subscription.expanded && { expanded: true }),
    where: subscription.where ?? null,
    // A condition may ask for more of an event that has more.
    ...(subscription.where && subscription.images && { images: shown(subscription.images) }),
    destination: place(subscription.to),
  });
}

export function layoutHash({ partitions, partitionBy }: Layout): string {
  return hash({ partitions, partitionBy });
}

/** Of what a subscription hides; without keys, since what was hashed under another one is hidden all the same. */
export function shapeHash({ fields, mask = [] }: Pick<SubscriptionConfig, 'fields' | 'mask'>): string {
  return hash({ fields: fields ?? null, mask: mask.map((one) => ({ ...one, key: null })) });
}

/** Does the destination carry `{partition}`, so that another layout sends a document's changes to another queue? */
export function usesPartitionQueues({ to }: SubscriptionConfig): boolean {
  if (to.kind === 'queue') return usesPartition(to.queue);
  return to.kind === 'exchange' && usesPartition(to.routingKey);
}

/** How much is kept moves no event. */
function shown({ after, before, local }: ImagesConfig): object {
  return { after, before, ...(local && { local: true }) };
}

/** Where messages go; not how the queues there are made, which moves no event. */
function place(to: Destination): unknown {
  if (to.kind === 'exchange') return { exchange: to.exchange, sink: to.sink, routingKey: to.routingKey };
  if (to.kind === 'port') return { kind: to.kind };
  return to.kind === 'queue' ? { queue: to.queue, sink: to.sink } : to;
}

function hash(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex').slice(0, 16);
}
