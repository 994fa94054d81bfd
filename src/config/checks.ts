/**
 * What needs more than one setting to be judged: references, destinations, and subscriptions or queues that get in each
 * other's way. Works on what is sound of a file with faults, and concludes nothing from what is faulty.
 */
import { resolve } from 'node:path';
import { uriHeartbeatMs } from './amqp-uri.ts';
import { canonicalJson } from './canonical-json.ts';
import { checkCraft } from './craft-checks.ts';
import type { Path } from './faults.ts';
import { formatPath } from './faults.ts';
import { nearest } from './nearest.ts';
import { globsIntersect, overlapOf, splitPatterns } from './patterns.ts';
import type { Reporter } from './reporter.ts';
import type { Loose } from './salvage.ts';
import type { FileSettings } from './schema.ts';
import { templateAsGlob, usesPartition } from './templates.ts';

type Settings = Loose<FileSettings>;
export type Subscription = Loose<FileSettings['subscriptions'][number]>;

const DESTINATIONS = ['exchange', 'queue', 'file', 'stdout'] as const;
export type DestinationKind = (typeof DESTINATIONS)[number];

interface Checked {
  readonly path: Path;
  readonly subscription: Subscription;
  readonly source: string | undefined;
  readonly kind: DestinationKind | undefined;
  readonly sink: string | undefined;
}

export function checkTogether(settings: Settings, folder: string, report: Reporter): void {
  const checked: Checked[] = [];
  for (const [i, subscription] of (settings.subscriptions ?? []).entries()) {
    if (subscription !== undefined) checked.push(checkOne(settings, subscription, ['subscriptions', i], report));
  }
  checkChangeStreams(settings, checked, report);
  checkTls(settings, report);
  checkManagement(settings, report);
  checkHeartbeats(settings, report);
  checkNames(checked, report);
  checkOverlaps(checked, folder, report);
  checkQueues(checked, settings.pipeline?.partitions ?? 1, report);
}

/** Who may change definitions makes the engine read files and connect anywhere, with the engine's rights. */
function checkManagement({ management, http, subscriptions }: Settings, report: Reporter): void {
  if (management !== 'online') {
    if (subscriptions?.length === 0) report.expected(['subscriptions'], 'at least one subscription');
    return;
  }
  if (http !== undefined && http.listen === undefined) {
    report.fault(
      ['http', 'listen'],
      'found off together with management: online; expected "host:port", as it is managed over HTTP',
    );
  } else if (!report.isWritten(['http', 'token'])) {
    report.expected(
      ['http', 'token'],
      'a token, because of `management: online`: who may change subscriptions acts with the rights of the engine',
    );
  }
}

function checkTls(settings: Settings, report: Reporter): void {
  for (const [name, sink] of Object.entries(settings.sinks ?? {})) {
    const at = ['sinks', name, 'tls'];
    if (sink?.uri?.startsWith('amqp:') && report.isWritten(at)) {
      report.fault(at, 'found together with an amqp:// URI; expected only with amqps://, or nothing is encrypted');
    }
    const { cert, key, login } = sink?.tls ?? {};
    if (cert !== undefined && key === undefined && !report.isWritten([...at, 'key'])) {
      report.expected([...at, 'key'], "the path of the certificate's key (the same file may hold both)");
    }
    if (key !== undefined && cert === undefined && !report.isWritten([...at, 'cert'])) {
      report.expected([...at, 'cert'], "the path of the key's certificate (the same file may hold both)");
    }
    if (login === 'certificate' && cert === undefined && !report.isWritten([...at, 'cert'])) {
      report.expected([...at, 'cert'], 'the certificate to log in with, because of `login: certificate`');
    }
  }
}

function checkHeartbeats(settings: Settings, report: Reporter): void {
  for (const [name, sink] of Object.entries(settings.sinks ?? {})) {
    if (sink?.uri === undefined || !Number.isNaN(uriHeartbeatMs(sink.uri))) continue;
    const expected =
      'expected 1 to 3600, in whole seconds; without heartbeats nobody notices that the other end is gone';
    report.fault(['sinks', name, 'uri'], `found a heartbeat that is none; ${expected}`);
  }
}

/** What only one of the modes has. */
function checkChangeStreams(settings: Settings, checked: readonly Checked[], report: Reporter): void {
  for (const [name, source] of Object.entries(settings.sources ?? {})) {
    if (source?.mode === undefined) continue;
    const at = ['sources', name];
    if (source.mode === 'oplog') {
      if (report.isWritten([...at, 'changeStream'])) {
        report.fault([...at, 'changeStream'], 'found together with mode: oplog; expected only with mode: changeStream');
      }
      continue;
    }
    if (source.serverFilter === 'on') {
      report.expected(
        [...at, 'serverFilter'],
        'off: it is for mode: oplog, and what a change stream sends `changeStream.watch` decides',
      );
    }
    const reason = 'a change stream cannot be asked how far back it reaches';
    if (source.start?.kind === 'earliest') report.expected([...at, 'start'], `latest or a date, because ${reason}`);
    if (source.onPositionLost === 'earliest') {
      report.expected([...at, 'onPositionLost'], `stop or latest, because ${reason}`);
    }
    const exact = 'snapshots need the positions of an oplog: `mode: oplog`';
    if (source.start?.kind === 'snapshot') report.expected([...at, 'start'], `latest or a date, because ${exact}`);
    if (source.onPositionLost === 'snapshot') {
      report.expected([...at, 'onPositionLost'], `stop or latest, because ${exact}`);
    }
  }
  for (const { path, subscription, source } of checked) {
    if (source === undefined || settings.sources?.[source]?.mode !== 'changeStream') continue;
    if (subscription.transactions === true) {
      report.expected(
        [...path, 'transactions'],
        'false, because a change stream does not show where a transaction ends',
      );
    }
    const theirs = `the source's \`changeStream\` says which documents it sends`;
    const { fullDocument = 'default', fullDocumentBeforeChange = 'off' } = subscription;
    if (fullDocument !== 'default') report.expected([...path, 'fullDocument'], `default, because ${theirs}`);
    if (fullDocumentBeforeChange !== 'off') {
      report.expected([...path, 'fullDocumentBeforeChange'], `off, because ${theirs}`);
    }
    if (subscription.images === 'local') {
      report.expected(
        [...path, 'images'],
        'server, because the last states are kept of what an oplog says: `mode: oplog`',
      );
    }
  }
  for (const { path, subscription } of checked) {
    if (subscription.images === 'local') checkLocalImages(subscription, path, report);
  }
}

/** What comes before a document is known has no image, and to wait for it would hold the snapshot that makes it known. */
function checkLocalImages(
  { fullDocument = 'default', fullDocumentBeforeChange = 'off' }: Subscription,
  path: Path,
  report: Reporter,
): void {
  const why = 'because `images: local` leaves out what is not known yet';
  const after = fullDocument === 'default' || fullDocument === 'whenAvailable';
  const before = fullDocumentBeforeChange !== 'required';
  if (!after) report.expected([...path, 'fullDocument'], `whenAvailable or default, ${why}`);
  if (!before) report.expected([...path, 'fullDocumentBeforeChange'], `whenAvailable or off, ${why}`);
  if (after && before && fullDocument === 'default' && fullDocumentBeforeChange === 'off') {
    report.expected(
      [...path, 'images'],
      'server, or `fullDocument: whenAvailable`, `fullDocumentBeforeChange: whenAvailable` or both beside it',
    );
  }
}

function checkOne(settings: Settings, subscription: Subscription, path: Path, report: Reporter): Checked {
  const source = reference(
    'source',
    [...path, 'source'],
    subscription.source,
    Object.keys(settings.sources ?? {}),
    report,
  );
  const to = subscription.to;
  const at = [...path, 'to'];
  if (to === undefined) return { path, subscription, source, kind: undefined, sink: undefined };

  const kinds = DESTINATIONS.filter((kind) => report.isWritten([...at, kind]) && to[kind] !== false);
  const kind = kinds.length === 1 ? kinds[0] : undefined;
  if (kinds.length === 0) report.expected(at, `one of ${DESTINATIONS.join(', ')}`);
  if (kinds.length > 1) report.fault(at, `found ${kinds.join(' and ')}; expected only one of them`);
  if (kind !== undefined) {
    misplaced(kind, ['sink', 'routingKey', 'queues', 'queueType', 'queueArguments'], at, report);
  }
  const brokered = kind === 'exchange' || kind === 'queue';
  const sink = brokered
    ? reference('sink', [...at, 'sink'], to.sink, Object.keys(settings.sinks ?? {}), report)
    : undefined;
  checkCraft(subscription, { path, kind, report });
  const limit = sink === undefined ? undefined : settings.sinks?.[sink]?.maxMessageBytes;
  const { maxEvents = 1, maxBytes = 0 } = subscription.batch ?? {};
  if (maxEvents > 1 && maxBytes > (limit ?? Infinity) && report.isWritten([...path, 'batch', 'maxBytes'])) {
    report.expected([...path, 'batch', 'maxBytes'], "at most the sink's maxMessageBytes");
  }
  return { path, subscription, source, kind, sink };
}

/** A source or a sink, by name or by being the only one. */
function reference(
  what: 'source' | 'sink',
  path: Path,
  name: string | undefined,
  known: readonly string[],
  report: Reporter,
): string | undefined {
  if (report.isFaulty(path)) return undefined;
  if (name !== undefined) {
    if (known.includes(name)) return name;
    const meant = nearest(name, known);
    const list = known.length === 0 ? `none is defined under ${what}s` : `defined are: ${known.join(', ')}`;
    report.expected(path, `the name of a ${what}; ${list}`, meant === undefined ? undefined : `did you mean ${meant}?`);
    return undefined;
  }
  if (known.length === 1) return known[0];
  // Without a sound list of them there is a fault already.
  if (known.length === 0 && (what === 'source' || report.isFaulty(['sinks']))) return undefined;
  report.expected(
    path,
    known.length === 0
      ? 'a sink: none is defined under sinks'
      : `the name of a ${what}, because there are several: ${known.join(', ')}`,
  );
  return undefined;
}

const BELONGS_TO = {
  sink: ['exchange', 'queue'],
  routingKey: ['exchange'],
  queues: ['exchange'],
  queueType: ['queue'],
  queueArguments: ['queue'],
} as const satisfies Record<string, readonly DestinationKind[]>;

function misplaced(
  kind: DestinationKind,
  keys: readonly (keyof typeof BELONGS_TO)[],
  at: Path,
  report: Reporter,
): void {
  for (const key of keys) {
    const owners: readonly DestinationKind[] = BELONGS_TO[key];
    if (report.isWritten([...at, key]) && !owners.includes(kind)) {
      report.fault([...at, key], `found together with ${kind}; expected only together with ${owners.join(' or ')}`);
    }
  }
}

function checkNames(checked: readonly Checked[], report: Reporter): void {
  const seen = new Map<string, Path>();
  for (const { path, subscription } of checked) {
    const { name } = subscription;
    if (name === undefined) continue;
    const first = seen.get(name);
    if (first === undefined) seen.set(name, path);
    else report.expected([...path, 'name'], `a name of its own: ${formatPath(first)} has it already`);
  }
}

function checkOverlaps(checked: readonly Checked[], folder: string, report: Reporter): void {
  for (const [i, later] of checked.entries()) {
    for (const earlier of checked.slice(0, i)) {
      if (later.subscription.allowOverlap === true || earlier.subscription.allowOverlap === true) continue;
      // Other sources' changes are other changes.
      if (later.source === undefined || later.source !== earlier.source) continue;
      if (!sameDestination(earlier, later, folder)) continue;
      const shared = overlapOf(patternsOf(later), patternsOf(earlier));
      if (shared === undefined) continue;
      report.fault(
        [...later.path, 'namespaces'],
        `overlap with those of ${formatPath(earlier.path)}, which has the same destination: a change that both match would ` +
          `arrive twice; expected other namespaces or another destination, or \`allowOverlap: true\` on one of the two`,
      );
    }
  }
}

function patternsOf({ subscription }: Checked) {
  return splitPatterns((subscription.namespaces ?? []).filter((pattern) => pattern !== undefined));
}

/** May the two write to the same place? Templates are taken for everything they can become. */
function sameDestination(a: Checked, b: Checked, folder: string): boolean {
  const [toA, toB] = [a.subscription.to, b.subscription.to];
  if (a.kind === undefined || a.kind !== b.kind || toA === undefined || toB === undefined) return false;
  if (a.kind === 'stdout') return true;
  if (a.kind === 'file') {
    return toA.file !== undefined && toB.file !== undefined && resolve(folder, toA.file) === resolve(folder, toB.file);
  }
  if (a.sink === undefined || a.sink !== b.sink) return false;
  if (a.kind === 'queue') return meet(a, toA.queue, b, toB.queue);
  if (toA.exchange === undefined || toA.exchange !== toB.exchange) return false;
  return meet(a, toA.routingKey ?? '{db}.{coll}*', b, toB.routingKey ?? '{db}.{coll}*');
}

function meet(a: Checked, templateA: string | undefined, b: Checked, templateB: string | undefined): boolean {
  if (templateA === undefined || templateB === undefined) return false;
  return globsIntersect(templateAsGlob(fixed(templateA, a)), templateAsGlob(fixed(templateB, b)));
}

/** A template with the names in it that are known now. */
function fixed(template: string, { subscription, source }: Checked): string {
  return template
    .replaceAll('{subscription}', subscription.name ?? '{subscription}')
    .replaceAll('{source}', source ?? '{source}');
}

/** RabbitMQ refuses (406) to declare a queue again with another type or other arguments. */
function checkQueues(checked: readonly Checked[], partitions: number, report: Reporter): void {
  const seen = new Map<string, { path: Path; signature: string }>();
  const conflicts = new Set<string>();
  const declare = (sink: string, name: string, path: Path, signature: string): void => {
    const key = JSON.stringify([sink, name]);
    const first = seen.get(key);
    if (first === undefined) {
      seen.set(key, { path, signature });
    } else if (first.signature !== signature && !conflicts.has(formatPath(path))) {
      conflicts.add(formatPath(path));
      report.fault(
        path,
        `is the same queue as ${formatPath(first.path)}, with another type or other arguments; expected them to be the same`,
      );
    }
  };
  for (const one of checked) {
    const { subscription, sink, kind, path } = one;
    const { to } = subscription;
    if (to === undefined || sink === undefined) continue;
    if (kind === 'exchange') {
      for (const [i, queue] of (to.queues ?? []).entries()) {
        if (queue?.name === undefined || queue.type === undefined) continue;
        declare(sink, queue.name, [...path, 'to', 'queues', i], canonicalJson([queue.type, queue.arguments ?? {}]));
      }
    } else if (kind === 'queue' && to.queue !== undefined && to.queueType !== undefined) {
      const single = usesPartition(to.queue) && to.queueType !== 'stream' ? { 'x-single-active-consumer': true } : {};
      const signature = canonicalJson([to.queueType, { ...single, ...to.queueArguments }]);
      const template = fixed(to.queue, one);
      const count = usesPartition(template) ? partitions : 1;
      for (let partition = 0; partition < count; partition++) {
        declare(sink, template.replaceAll('{partition}', String(partition)), [...path, 'to', 'queue'], signature);
      }
    }
  }
}
