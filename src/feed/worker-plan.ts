/** What the configuration means to the workers. */
import { wantsExpanded } from '../source/make-source.ts';
import type { Config, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import type { CraftPlan, SubscriptionPlan, WorkerPlan } from '../worker/protocol.ts';

export function workerPlan(
  { sinks, pipeline }: Pick<Config, 'sinks' | 'pipeline'>,
  { name, changeStream }: SourceConfig,
  /** By number; undefined where nobody has it. */
  places: readonly (SubscriptionConfig | undefined)[],
): WorkerPlan {
  const subscriptions = places.filter((one) => one !== undefined);
  return {
    partitions: pipeline.partitions,
    partitionBy: pipeline.partitionBy,
    source: {
      name,
      ...(changeStream && { changeStream: { expanded: wantsExpanded(subscriptions) } }),
      subscriptions: places.map((one) => (one ? subscriptionPlan({ sinks }, one) : NOBODY)),
    },
  };
}

export function subscriptionPlan({ sinks }: Pick<Config, 'sinks'>, subscription: SubscriptionConfig): SubscriptionPlan {
  const { name, namespaces, operations, expanded, images, transactions, format, batch, to, compression, ...asked } =
    subscription;
  const sink = 'sink' in to ? sinks.find((one) => one.name === to.sink) : undefined;
  return {
    name,
    namespaces,
    operations,
    expanded,
    images,
    transactions,
    format,
    maxEvents: batch.maxEvents,
    maxBytes: batch.maxBytes,
    maxMessageBytes: sink?.maxMessageBytes ?? Number.MAX_SAFE_INTEGER,
    routingKey: keyTemplate(to),
    craft: craftPlan(asked),
    compression,
  };
}

/** Keeps a number that nobody has. */
const NOBODY: SubscriptionPlan = {
  name: '',
  namespaces: [],
  operations: [],
  expanded: false,
  transactions: false,
  format: 'json',
  maxEvents: 1,
  maxBytes: 0,
  maxMessageBytes: 0,
  routingKey: '',
};

/** What routing keys are made of: the queue's name where the default exchange is used; '' where there are none. */
export function keyTemplate(to: SubscriptionConfig['to']): string {
  return to.kind === 'exchange' ? to.routingKey : to.kind === 'queue' ? to.queue : '';
}

/** Undefined where an event is wanted as it is. */
function craftPlan({ where, fields, mask, headers, cloudEvents }: CraftPlan): CraftPlan | undefined {
  const parts = { where, fields, mask, headers, cloudEvents };
  return Object.values(parts).some((part) => part !== undefined) ? parts : undefined;
}
