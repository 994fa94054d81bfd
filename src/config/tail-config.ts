/** The configuration behind `tailrace tail`: one source, everything to standard output, nothing kept. */
import { UserError } from '../errors.ts';
import type { Config, Start } from './config.ts';
import { patternFault } from './patterns.ts';
import { autoWorkers } from './resolve.ts';
import { parseStart } from './start.ts';

export interface TailOptions {
  readonly uri: string;
  /** Empty for everything. */
  readonly namespaces: readonly string[];
  readonly from: string;
  readonly format: string;
  readonly mode?: string;
  /** Of a change stream. */
  readonly watch?: string;
}

const CLOUD_EVENTS = {
  mode: 'structured',
  source: '/{source}/{db}/{coll}',
  type: 'mongodb.{operationType}',
  headerPrefix: 'cloudEvents:',
} as const;

export function tailConfig({
  uri,
  namespaces,
  from,
  format,
  mode = 'oplog',
  watch = 'deployment',
}: TailOptions): Config {
  if (mode !== 'oplog' && mode !== 'changeStream') {
    throw new UserError('usage', `--mode ${JSON.stringify(mode)}: expected oplog or changeStream`);
  }
  const start = checkStart(from);
  if (mode === 'changeStream' && start.kind === 'earliest') {
    throw new UserError(
      'usage',
      '--from earliest: a change stream cannot be asked how far back it reaches; expected latest or a date',
    );
  }
  if (!/^mongodb(?:\+srv)?:\/\/./.test(uri)) {
    throw new UserError('usage', 'URI: expected one that begins with mongodb:// or mongodb+srv://');
  }
  for (const pattern of namespaces) {
    const fault = patternFault(pattern);
    if (fault !== undefined) throw new UserError('usage', `--ns ${JSON.stringify(pattern)}: expected ${fault}`);
  }
  if (format !== 'json' && format !== 'json-canonical' && format !== 'bson' && format !== 'cloudevents') {
    throw new UserError(
      'usage',
      `--format ${JSON.stringify(format)}: expected json, json-canonical, bson or cloudevents`,
    );
  }
  // Only exclusions given: of everything.
  const includes = namespaces.some((pattern) => !pattern.startsWith('!')) ? [] : ['*'];
  return {
    folder: process.cwd(),
    sources: [
      {
        name: 'tail',
        uri,
        mode,
        start,
        onPositionLost: 'stop',
        ...(mode === 'changeStream' && {
          changeStream: { watch, fullDocument: 'default', fullDocumentBeforeChange: 'off', onOversizeEvent: 'park' },
        }),
      },
    ],
    sinks: [],
    subscriptions: [
      {
        name: 'tail',
        source: 'tail',
        namespaces: [...includes, ...namespaces],
        operations: ['insert', 'update', 'replace', 'delete'],
        expanded: false,
        format,
        ...(format === 'cloudevents' && { cloudEvents: CLOUD_EVENTS }),
        batch: { maxEvents: 1, maxBytes: 64 * 2 ** 10, lingerMs: 0 },
        order: 'pipelined',
        transactions: false,
        onUnroutable: 'hold',
        to: { kind: 'stdout' },
      },
    ],
    // One partition: what a person reads is in the oplog's order.
    pipeline: { workers: autoWorkers(), partitions: 1, partitionBy: [], inFlightBytes: 64 * 2 ** 20 },
    checkpoint: { path: '', intervalMs: 500 },
    parked: { maxBytes: 0 },
    http: undefined,
    shutdownTimeoutMs: 2_000,
    log: { level: 'warn' },
  };
}

function checkStart(from: string): Start {
  const start = parseStart(from);
  if (start === undefined) {
    throw new UserError(
      'usage',
      `--from ${JSON.stringify(from)}: expected latest, earliest, an ISO date or seconds:increment`,
    );
  }
  return start;
}
