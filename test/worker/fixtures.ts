/** What the workers' tests share: plans, entries, batches, and a reader of results. */
import { BSON, Binary, Long, Timestamp } from 'bson';
import type { Document } from 'bson';
import { encodeBatch } from '../../src/worker/encode-batch.ts';
import { Field, MESSAGE_TYPES, RECORD_FIELDS } from '../../src/worker/protocol.ts';
import type { BatchJob, BatchResult, MessageHeaders, SubscriptionPlan, WorkerPlan } from '../../src/worker/protocol.ts';

export const START_SECONDS = 1_795_327_615;
export const WALL = new Date(1_795_327_615_756);

function subscription(given: Partial<SubscriptionPlan> = {}): SubscriptionPlan {
  return {
    name: 'orders',
    namespaces: ['shop.*'],
    operations: ['insert', 'update', 'replace', 'delete'],
    expanded: false,
    transactions: false,
    format: 'json',
    maxEvents: 1,
    maxBytes: 65_536,
    maxMessageBytes: 16 * 1024 * 1024,
    routingKey: '{db}.{coll}.{operationType}',
    ...given,
  };
}

export function plan(
  subscriptions: readonly Partial<SubscriptionPlan>[] = [{}],
  given: Partial<WorkerPlan> = {},
): WorkerPlan {
  return {
    source: { name: 'shop', subscriptions: subscriptions.map(subscription) },
    partitions: 1,
    partitionBy: [],
    ...given,
  };
}

/** An oplog entry as the server writes it; `i` is the increment of its `ts`. */
export function entry(i: number, fields: Document): Document {
  return {
    op: 'i',
    ns: 'shop.orders',
    ui: new Binary(Buffer.alloc(16, 7), 4),
    o: {},
    ts: new Timestamp({ t: START_SECONDS, i }),
    t: Long.fromInt(3),
    v: Long.fromInt(2),
    wall: WALL,
    ...fields,
  };
}

export function insert(i: number, o: Document, ns = 'shop.orders'): Document {
  return entry(i, { op: 'i', ns, o, o2: { _id: o['_id'] } });
}

/** The BSON array that `nextBatch` is, of documents or of their bytes. */
export function batchOf(entries: readonly (Document | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 5;
  for (const [k, one] of entries.entries()) {
    const bytes = one instanceof Uint8Array ? one : BSON.serialize(one);
    const head = Buffer.from(`\u0003${k}\0`, 'latin1');
    parts.push(head, bytes);
    length += head.length + bytes.length;
  }
  const size = Buffer.alloc(4);
  size.writeInt32LE(length);
  return new Uint8Array(Buffer.concat([size, ...parts, Buffer.alloc(1)]));
}

export function run(
  of: WorkerPlan,
  entries: readonly (Document | Uint8Array)[] | Uint8Array,
  job: Partial<BatchJob> = {},
): BatchResult {
  const bytes = entries instanceof Uint8Array ? entries : batchOf(entries);
  return encodeBatch(of, { bytes, wallTime: true, collated: [], ...job });
}

export interface Message {
  readonly lane: number;
  readonly key: string;
  readonly type: string;
  readonly events: number;
  readonly body: Uint8Array;
  readonly first: readonly [number, number, number];
  readonly last: readonly [number, number, number];
  readonly wallSeconds: number;
  readonly headers: MessageHeaders | undefined;
}

export function messages(result: BatchResult): Message[] {
  const { records, bodies, routingKeys } = result;
  return Array.from({ length: records.length / RECORD_FIELDS }, (_, k) => {
    const at = (field: number): number => records[k * RECORD_FIELDS + field]!;
    return {
      lane: at(Field.lane),
      key: routingKeys[at(Field.routingKey)]!,
      type: MESSAGE_TYPES[at(Field.type)]!,
      events: at(Field.events),
      body: bodies.subarray(at(Field.offset), at(Field.offset) + at(Field.length)),
      first: [at(Field.firstSeconds), at(Field.firstIncrement), at(Field.firstIndex)],
      last: [at(Field.lastSeconds), at(Field.lastIncrement), at(Field.lastIndex)],
      wallSeconds: at(Field.wallSeconds),
      headers: result.headers?.[at(Field.headers) - 1],
    };
  });
}

const strict = new TextDecoder('utf-8', { fatal: true });

/** Throws when a body is not valid UTF-8. */
export function text(body: Uint8Array): string {
  return strict.decode(body);
}

export function json(message: Message): Document {
  const parsed: Document = JSON.parse(text(message.body));
  return parsed;
}

/** All events of a result in the order of its records. */
export function jsonEvents(result: BatchResult): Document[] {
  return messages(result).flatMap((message) =>
    text(message.body)
      .split('\n')
      .filter((line) => line !== '')
      .map((line): Document => JSON.parse(line)),
  );
}
