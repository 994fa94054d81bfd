/** From settings without faults to the configuration that the rest works with: references and defaults that depend on others. */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { DEFAULT_SNAPSHOT } from './limits.ts';
import { uriHeartbeatMs } from './amqp-uri.ts';
import { withAbsoluteFiles } from './mongo-uri.ts';
import type {
  ImagesConfig,
  Config,
  Destination,
  MaskConfig,
  PipelineConfig,
  SinkConfig,
  SnapshotConfig,
  SinkTlsConfig,
  SubscriptionConfig,
} from './config.ts';
import type { FileSettings } from './schema.ts';

type SubscriptionSettings = FileSettings['subscriptions'][number];

const DEFAULT_ROUTING_KEY = '{db}.{coll}.{operationType}';
/** A message of several events has several operations: they must not cut it into pieces. */
const DEFAULT_BATCH_ROUTING_KEY = '{db}.{coll}';

export function resolveConfig(settings: FileSettings, folder: string): Config {
  const sinks: SinkConfig[] = Object.entries(settings.sinks).map(([name, sink]) => ({
    name,
    uri: sink.uri,
    ...(sink.uri.startsWith('amqps:') && { tls: resolveTls(sink.tls, folder) }),
    declare: sink.declare,
    lock: sink.lock,
    connections: sink.connections,
    window: sink.window,
    heartbeatMs: uriHeartbeatMs(sink.uri) ?? sink.heartbeat,
    confirmTimeoutMs: sink.confirmTimeout,
    maxMessageBytes: sink.maxMessageBytes,
  }));
  const { pipeline, checkpoint, parked, log } = settings;
  return {
    folder,
    management: settings.management,
    sources: Object.entries(settings.sources).map(([name, source]) => ({
      name,
      uri: withAbsoluteFiles(source.uri, folder),
      mode: source.mode,
      start: source.start,
      onPositionLost: source.onPositionLost,
      ...(source.serverFilter === 'on' && { serverFilter: true }),
      ...(source.mode === 'changeStream' && { changeStream: source.changeStream }),
    })),
    sinks,
    subscriptions: settings.subscriptions.map((subscription) =>
      resolveSubscription(subscription, settings, sinks, folder),
    ),
    pipeline: {
      workers: pipeline.workers === 'auto' ? autoWorkers() : { least: pipeline.workers, most: pipeline.workers },
      partitions: pipeline.partitions,
      partitionBy: pipeline.partitionBy,
      inFlightBytes: pipeline.inFlight,
      detachAfterMs: pipeline.detachAfter,
    },
    checkpoint: { path: resolve(folder, checkpoint.path), intervalMs: checkpoint.interval },
    parked: { maxBytes: parked.maxBytes },
    http: resolveHttp(settings.http),
    shutdownTimeoutMs: settings.shutdownTimeout,
    log: { level: log.level },
  };
}

function resolveHttp({ listen, token }: FileSettings['http']): Config['http'] {
  return listen && { ...listen, ...(token !== undefined && { token }) };
}

function resolveTls({ ca, cert, key, ...rest }: SinkTlsConfig, folder: string): SinkTlsConfig {
  const at = (path: string | undefined): string | undefined => path && resolve(folder, path);
  return { ...rest, ca: at(ca), cert: at(cert), key: at(key) };
}

/** Beyond 8 workers main is the limit. */
export function autoWorkers(cores: number = availableParallelism()): PipelineConfig['workers'] {
  return { least: 1, most: Math.min(cores, 8) };
}

function resolveSubscription(
  subscription: SubscriptionSettings,
  settings: FileSettings,
  sinks: readonly SinkConfig[],
  folder: string,
): SubscriptionConfig {
  const to = resolveDestination(subscription, settings, folder);
  const sink = 'sink' in to ? sinks.find(({ name }) => name === to.sink) : undefined;
  const { batch } = subscription;
  const source = subscription.source ?? onlyKey(settings.sources);
  const snapshot = resolveSnapshot(subscription.snapshot, settings.sources[source]?.snapshot);
  return {
    name: subscription.name,
    source,
    namespaces: subscription.namespaces,
    operations: [...new Set(subscription.operations)],
    expanded: subscription.expanded,
    ...resolveImages(subscription),
    format: subscription.format,
    ...resolveCraft(subscription),
    batch: {
      maxEvents: batch.maxEvents,
      maxBytes: Math.min(batch.maxBytes, sink?.maxMessageBytes ?? Infinity),
      lingerMs: batch.linger,
    },
    order: subscription.order,
    transactions: subscription.transactions,
    onUnroutable: subscription.onUnroutable,
    ...(snapshot && { snapshot }),
    to,
  };
}

function resolveImages(settings: SubscriptionSettings): { readonly images?: ImagesConfig } {
  const { fullDocument: after, fullDocumentBeforeChange: before, images, localImages } = settings;
  if (after === 'default' && before === 'off') return {};
  return { images: { after, before, ...(images === 'local' && { local: { maxBytes: localImages.maxSize } }) } };
}

/** What a subscription says goes before what its source says. */
function resolveSnapshot(
  own: SubscriptionSettings['snapshot'],
  of: SubscriptionSettings['snapshot'],
): SnapshotConfig | undefined {
  if (!own && !of) return undefined;
  const { parallel, maxRate, share } = DEFAULT_SNAPSHOT;
  return {
    parallel: own?.parallel ?? of?.parallel ?? parallel,
    maxRate: own?.maxRate ?? of?.maxRate ?? maxRate,
    share: own?.share ?? of?.share ?? share,
  };
}

function resolveCraft(subscription: SubscriptionSettings) {
  const { format, cloudevents, compression, headers, fields, mask, where, whenUnknown } = subscription;
  const masks = mask.map(({ fields, with: value, hash }): MaskConfig =>
    hash === undefined ? { fields, kind: 'constant', value: value ?? null } : { fields, kind: 'hash', ...hash },
  );
  return {
    ...(format === 'cloudevents' && { cloudEvents: cloudevents }),
    ...(compression !== 'none' && { compression }),
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(where !== undefined && whenUnknown !== undefined && { where: { condition: where, whenUnknown } }),
    ...((fields.include !== undefined || fields.exclude !== undefined) && { fields }),
    ...(masks.length > 0 && { mask: masks }),
  };
}

function resolveDestination({ to, batch }: SubscriptionSettings, settings: FileSettings, folder: string): Destination {
  if (to.file !== undefined) return { kind: 'file', path: resolve(folder, to.file) };
  if (to.exchange !== undefined) {
    return {
      kind: 'exchange',
      sink: to.sink ?? onlyKey(settings.sinks),
      exchange: to.exchange,
      routingKey: to.routingKey ?? (batch.maxEvents > 1 ? DEFAULT_BATCH_ROUTING_KEY : DEFAULT_ROUTING_KEY),
      queues: to.queues,
    };
  }
  if (to.queue !== undefined) {
    return {
      kind: 'queue',
      sink: to.sink ?? onlyKey(settings.sinks),
      queue: to.queue,
      queueType: to.queueType,
      queueArguments: to.queueArguments,
    };
  }
  return { kind: 'stdout' };
}

/** The checks made sure that there is exactly one where a reference was left out. */
function onlyKey(named: Readonly<Record<string, unknown>>): string {
  const [key] = Object.keys(named);
  if (key === undefined) throw new Error('resolving a file that was not checked');
  return key;
}
