/**
 * What a subscription needs to exist in RabbitMQ: worked out from the configuration alone, then declared or, with
 * `declare: false`, checked passively. RabbitMQ closes the channel at the first refusal, so each run has one of its own.
 */
import { UserError } from '../errors.ts';
import type { Channel } from 'amqplib';
import type { BoundQueue, QueueType, SubscriptionConfig } from '../config/config.ts';

export interface Topology {
  readonly exchange: string | undefined;
  readonly queues: readonly QueueDeclaration[];
  /** Set where queue names depend on the event: how to declare one whose name has just come up. */
  readonly dynamic: { readonly type: QueueType; readonly arguments: Readonly<Record<string, unknown>> } | undefined;
}

export interface QueueDeclaration {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** The binding to the exchange; undefined for queues reached through the default exchange. */
  readonly bind: string | undefined;
}

export function topologyOf(subscription: SubscriptionConfig, partitions: number): Topology {
  const { to } = subscription;
  switch (to.kind) {
    case 'exchange':
      return { exchange: to.exchange, queues: to.queues.map((queue) => boundQueue(queue)), dynamic: undefined };
    case 'queue': {
      const names = new Set<string>();
      const perPartition = to.queue.includes('{partition}');
      const args = queueArguments(to.queueType, to.queueArguments, perPartition);
      const fixed = (name: string): string =>
        name.replaceAll('{subscription}', subscription.name).replaceAll('{source}', subscription.source);
      for (let p = 0; p < (perPartition ? partitions : 1); p++) {
        const name = fixed(to.queue).replaceAll('{partition}', String(p));
        if (!name.includes('{')) names.add(name);
      }
      return {
        exchange: undefined,
        queues: [...names].map((name) => ({ name, arguments: args, bind: undefined })),
        dynamic: names.size === 0 ? { type: to.queueType, arguments: args } : undefined,
      };
    }
    case 'port':
    case 'stdout':
    case 'file':
      return { exchange: undefined, queues: [], dynamic: undefined };
  }
}

function boundQueue(queue: BoundQueue): QueueDeclaration {
  return { name: queue.name, arguments: queueArguments(queue.type, queue.arguments, false), bind: queue.bind };
}

/** A partition's queue is read by one consumer at a time, or its order would be lost behind it; streams know no such flag. */
function queueArguments(
  type: QueueType,
  extra: Readonly<Record<string, unknown>>,
  singleConsumer: boolean,
): Readonly<Record<string, unknown>> {
  return {
    'x-queue-type': type,
    ...(singleConsumer && type !== 'stream' && { 'x-single-active-consumer': true }),
    ...extra,
  };
}

/** Declares everything; rejects with the broker's error, whose `code` says why. */
export async function declareTopology(channel: Channel, topology: Topology): Promise<void> {
  if (topology.exchange !== undefined && topology.exchange !== '') {
    await channel.assertExchange(topology.exchange, 'topic', { durable: true });
  }
  for (const queue of topology.queues) {
    await channel.assertQueue(queue.name, { durable: true, arguments: { ...queue.arguments } });
    if (queue.bind !== undefined && topology.exchange) {
      await channel.bindQueue(queue.name, topology.exchange, queue.bind);
    }
  }
}

/** Only looks whether everything is there; bindings cannot be looked at over AMQP. */
export async function checkTopology(channel: Channel, topology: Topology): Promise<void> {
  if (topology.exchange) await channel.checkExchange(topology.exchange);
  for (const queue of topology.queues) await channel.checkQueue(queue.name);
}

const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;

/** What the user must mend, where that is what the broker's refusal means; undefined for anything that may pass by itself. */
export function topologyFault(error: unknown, subscription: string): UserError | undefined {
  const code = amqpCode(error);
  const said = error instanceof Error ? error.message : String(error);
  if (code === NOT_FOUND) {
    return new UserError(
      'topology-missing',
      `subscription "${subscription}": the broker does not have what it publishes to (${said}). Create it, or let Tailrace do so with \`declare: true\`.`,
      { cause: error },
    );
  }
  if (code === PRECONDITION_FAILED) {
    return new UserError(
      'topology-conflict',
      `subscription "${subscription}": an exchange or queue is there already with other properties (${said}). Make the ` +
        `configuration (type, arguments) say what is there, or delete it, or take another name.`,
      { cause: error },
    );
  }
  if (code === ACCESS_REFUSED) {
    return new UserError(
      'rights-missing',
      `subscription "${subscription}": the broker's user may not do this (${said}). Grant it \`configure\` and \`write\` on ` +
        `these names, and \`read\` on the exchange to bind queues (docs/security.md); or create them yourself and set \`declare: false\`.`,
      { cause: error },
    );
  }
  return undefined;
}

export function amqpCode(error: unknown): number | undefined {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'number'
    ? error.code
    : undefined;
}
