/** What formats, headers, compression and shaping need of each other and of the destination. */
import { DATA_OPERATIONS } from './operations.ts';
import { ZSTD_KNOWN } from '../worker/compress.ts';
import type { DestinationKind, Subscription } from './checks.ts';
import { MAX_SHORT_STRING } from './limits.ts';
import type { Path } from './faults.ts';
import type { Reporter } from './reporter.ts';

const CRUD: ReadonlySet<string> = new Set(DATA_OPERATIONS);
/** RabbitMQ takes these for further routing keys, and closes the channel where they are no lists. */
const TAKEN_HEADERS: ReadonlySet<string> = new Set(['cc', 'bcc']);

interface Where {
  readonly path: Path;
  readonly kind: DestinationKind | undefined;
  readonly report: Reporter;
}

export function checkCraft(subscription: Subscription, at: Where): void {
  checkFormat(subscription, at);
  checkHeaders(subscription, at);
  checkCompression(subscription, at);
  checkShaping(subscription, at);
}

function checkFormat(
  { format, batch, operations, transactions, cloudevents }: Subscription,
  { path, kind, report }: Where,
): void {
  const batched = (batch?.maxEvents ?? 1) > 1;
  const formatPath = [...path, 'format'];
  if (kind === 'file' || kind === 'stdout') {
    if (format === 'bson') report.expected(formatPath, `json or json-canonical, because ${kind} takes lines of text`);
    if (format === 'debezium') {
      report.expected(
        formatPath,
        `another one, because the key is a header of the message, and ${kind} has no headers`,
      );
    }
    if (format === 'cloudevents' && cloudevents?.mode === 'binary') {
      report.expected(
        [...path, 'cloudevents', 'mode'],
        `structured, because ${kind} has no headers for the attributes`,
      );
    }
  }
  const maxEventsPath = [...path, 'batch', 'maxEvents'];
  if (format === 'cloudevents') {
    if (batched) report.expected(maxEventsPath, '1 with format cloudevents: its AMQP binding has no form for batches');
  } else if (report.isWritten([...path, 'cloudevents'])) {
    report.fault([...path, 'cloudevents'], 'found without `format: cloudevents`; expected only together with it');
  }
  if (format !== 'debezium') return;
  if (batched) report.expected(maxEventsPath, "1 with format debezium: an event's key is a header of its message");
  if (transactions) {
    report.expected(
      [...path, 'transactions'],
      'false with format debezium, whose envelope has no form for their events',
    );
  }
  const others = (operations ?? []).filter((one) => one !== undefined && !CRUD.has(one));
  if (others.length > 0) {
    report.fault(
      [...path, 'operations'],
      `found ${others.join(', ')}; expected only insert, update, replace and delete with format debezium, whose envelope has ` +
        'no form for anything else',
    );
  }
}

function checkHeaders({ headers, format, cloudevents }: Subscription, { path, kind, report }: Where): void {
  const names = Object.keys(headers ?? {});
  if (names.length > 0 && (kind === 'file' || kind === 'stdout')) {
    report.fault([...path, 'headers'], `found together with ${kind}, which has no headers; expected none`);
  }
  for (const name of names) {
    const at = [...path, 'headers', name];
    if (name === '' || Buffer.byteLength(name) > MAX_SHORT_STRING) {
      report.fault(at, `is no name for a header; expected one of 1 to ${MAX_SHORT_STRING} bytes`);
    } else if (TAKEN_HEADERS.has(name.toLowerCase())) {
      report.fault(at, 'is a header that RabbitMQ routes by; expected another name');
    } else if (format === 'debezium' && name === 'key') {
      report.fault(at, "is the header of the event's key in format debezium; expected another name");
    } else if (format === 'cloudevents' && name.startsWith(cloudevents?.headerPrefix ?? 'cloudEvents:')) {
      report.fault(at, 'begins like the attributes of a CloudEvent; expected another name');
    }
  }
}

function checkCompression({ compression }: Subscription, { path, kind, report }: Where): void {
  const at = [...path, 'compression'];
  if (compression === undefined || compression === 'none') return;
  if (kind === 'file' || kind === 'stdout') report.expected(at, `none, because ${kind} takes lines of text`);
  if (compression === 'zstd' && !ZSTD_KNOWN) {
    report.expected(at, `gzip or none: Node has zstd from version 22.15 on, and this is ${process.version}`);
  }
}

function checkShaping({ mask, where, whenUnknown }: Subscription, { path, report }: Where): void {
  for (const k of (mask ?? []).keys()) {
    const at = [...path, 'mask', k];
    if (report.isFaulty(at)) continue;
    const given = ['with', 'hash'].filter((key) => report.isWritten([...at, key]));
    if (given.length !== 1)
      report.fault(at, `found ${given.join(' and ') || 'neither with nor hash'}; expected one of the two`);
  }
  if (where !== undefined && whenUnknown === undefined && !report.isFaulty([...path, 'whenUnknown'])) {
    report.expected(
      [...path, 'whenUnknown'],
      'deliver or skip, because there is a where: not every event carries every field',
    );
  }
  if (whenUnknown !== undefined && !report.isWritten([...path, 'where'])) {
    report.fault([...path, 'whenUnknown'], 'found without where; expected only together with it');
  }
}
