/** The configuration behind `tailrace tail` and the library's `tail`: one source, everything in one order, nothing kept. */
import { UserError } from '../errors.ts';
import type { Config, Operation, Start } from './config.ts';
import { patternFault } from './patterns.ts';
import { autoWorkers } from './resolve.ts';
import { DATA_OPERATIONS, OPERATIONS } from './operations.ts';
import { WATCHED, watchError } from './schema.ts';
import { parseStart } from './start.ts';

export interface TailOptions {
  readonly uri: string;
  /** Empty for everything. */
  readonly namespaces: readonly string[];
  readonly from: string | Start;
  readonly format: string;
  readonly mode?: string;
  /** Of a change stream. */
  readonly watch?: string;
  /** Inserts, updates, replaces and deletes by default. */
  readonly operations?: readonly string[];
  readonly expanded?: boolean;
  readonly transactions?: boolean;
  /** What messages call the options. */
  readonly names?: OptionNames;
}

interface OptionNames {
  readonly uri: string;
  readonly mode: string;
  readonly watch: string;
  readonly from: string;
  readonly namespaces: string;
  readonly format: string;
  readonly operations: string;
}

const FLAGS: OptionNames = {
  uri: 'URI',
  mode: '--mode',
  watch: '--watch',
  from: '--from',
  namespaces: '--ns',
  format: '--format',
  operations: '--operations',
};

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
  operations = DATA_OPERATIONS,
  expanded = false,
  transactions = false,
  names = FLAGS,
}: TailOptions): Config {
  if (mode !== 'oplog' && mode !== 'changeStream') {
    throw new UserError('usage', `${names.mode} ${JSON.stringify(mode)}: expected oplog or changeStream`);
  }
  const start = typeof from === 'string' ? checkStart(from, names) : from;
  if (mode === 'changeStream' && start.kind === 'earliest') {
    throw new UserError(
      'usage',
      `${names.from} earliest: a change stream cannot be asked how far back it reaches; expected latest or a date`,
    );
  }
  if (mode === 'changeStream' && !WATCHED.test(watch)) {
    throw new UserError('usage', `${names.watch} ${JSON.stringify(watch)}: expected ${watchError}`);
  }
  if (mode === 'changeStream' && transactions) {
    throw new UserError(
      'usage',
      'transactions: a change stream does not show where a transaction ends; expected false',
    );
  }
  if (!/^mongodb(?:\+srv)?:\/\/./.test(uri)) {
    throw new UserError('usage', `${names.uri}: expected one that begins with mongodb:// or mongodb+srv://`);
  }
  for (const pattern of namespaces) {
    const fault = patternFault(pattern);
    if (fault !== undefined)
      throw new UserError('usage', `${names.namespaces} ${JSON.stringify(pattern)}: expected ${fault}`);
  }
  if (format !== 'json' && format !== 'json-canonical' && format !== 'bson' && format !== 'cloudevents') {
    throw new UserError(
      'usage',
      `${names.format} ${JSON.stringify(format)}: expected json, json-canonical, bson or cloudevents`,
    );
  }
  // Only exclusions given: of everything.
  const includes = namespaces.some((pattern) => !pattern.startsWith('!')) ? [] : ['*'];
  return {
    folder: process.cwd(),
    management: 'file',
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
        operations: checkOperations(operations, names),
        expanded,
        format,
        ...(format === 'cloudevents' && { cloudEvents: CLOUD_EVENTS }),
        batch: { maxEvents: 1, maxBytes: 64 * 2 ** 10, lingerMs: 0 },
        order: 'pipelined',
        transactions,
        onUnroutable: 'hold',
        to: { kind: 'stdout' },
      },
    ],
    // One partition: what a person reads is in the oplog's order.
    pipeline: {
      workers: autoWorkers(),
      partitions: 1,
      partitionBy: [],
      inFlightBytes: 64 * 2 ** 20,
      detachAfterMs: undefined,
    },
    checkpoint: { path: '', intervalMs: 500 },
    parked: { maxBytes: 0 },
    http: undefined,
    shutdownTimeoutMs: 2_000,
    log: { level: 'warn' },
  };
}

function checkStart(from: string, names: OptionNames): Start {
  const start = parseStart(from);
  if (start === undefined) {
    throw new UserError(
      'usage',
      `${names.from} ${JSON.stringify(from)}: expected latest, earliest, an ISO date or seconds:increment`,
    );
  }
  return start;
}

/** A name that is not known would be waited for without a word. */
function checkOperations(operations: readonly string[], names: OptionNames): Operation[] {
  const known = OPERATIONS.filter((operation) => operations.includes(operation));
  const unknown = operations.find((operation) => !OPERATIONS.some((one) => one === operation));
  if (known.length > 0 && unknown === undefined) return known;
  throw new UserError(
    'usage',
    `${names.operations} ${JSON.stringify(unknown ?? [])}: expected one or more of ${OPERATIONS.join(', ')}`,
  );
}
