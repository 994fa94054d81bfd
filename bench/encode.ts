/**
 * How long a worker takes for one oplog entry: raw BSON in, whole change event out. One thread, no servers.
 *
 * Each scenario is a batch as one `getMore` brings it, encoded again and again; the number is the median round. The baseline
 * is what a program does that decodes: `deserialize` of the same entries, then `EJSON.stringify` of the event.
 */
import { cpus } from 'node:os';
import { BSON, Binary, EJSON, Long, ObjectId, Timestamp } from 'bson';
import type { Document } from 'bson';
import { encodeBatch } from '../src/worker/encode-batch.ts';
import type { SubscriptionPlan, WorkerPlan } from '../src/worker/protocol.ts';
import { scenario } from './scenario.ts';

const ENTRIES = 5000;
const COLLECTIONS = 16;
const PARTITIONS = 16;
const START_SECONDS = 1_795_327_615;
const ROUNDS = 60;

/** A small generator of its own, so that every run encodes the same bytes. */
let state = 42;
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
  return (state >>> 8) % below;
}

function pick<T>(from: readonly T[]): T {
  return from[random(from.length)]!;
}

function order(): Document {
  return {
    customer: new ObjectId(),
    status: pick(['new', 'paid', 'shipped', 'returned']),
    total: random(100_000) / 100,
    quantity: random(50),
    created: new Date(START_SECONDS * 1000 - random(86_400_000)),
    address: {
      street: `${pick(['Main', 'Mill', 'Station'])} Street ${random(200)}`,
      city: 'Bern',
      zip: String(1000 + random(9000)),
    },
    items: [
      { sku: `sku-${random(10_000)}`, n: random(9), price: random(10_000) / 100 },
      { sku: `sku-${random(10_000)}`, n: random(9), price: random(10_000) / 100 },
    ],
    note: 'leave it at the door, please; the bell is out of order, so knock loudly or call first',
    paid: random(2) === 1,
  };
}

function batch(operation: (key: Document) => Document): Uint8Array {
  const entries = Array.from({ length: ENTRIES }, (_, k) => {
    const at = START_SECONDS + Math.floor(k / 1000);
    return {
      ...operation({ _id: new ObjectId() }),
      ui: new Binary(Buffer.alloc(16, k % COLLECTIONS), 4),
      ts: new Timestamp({ t: at, i: (k % 1000) + 1 }),
      t: Long.fromInt(3),
      v: Long.fromInt(2),
      wall: new Date(at * 1000 + random(1000)),
    };
  });
  return BSON.serialize(Object.fromEntries(entries.entries()));
}

function namespace(): string {
  return `shop.orders_${random(COLLECTIONS)}`;
}

const inserts = batch((key) => ({ op: 'i', ns: namespace(), o: { ...key, ...order() }, o2: key }));
const updates = batch((key) => {
  const u = { status: 'shipped', changed: new Date(START_SECONDS * 1000 + random(1e6)), quantity: random(50) };
  return {
    op: 'u',
    ns: namespace(),
    o: { $v: 2, diff: { u, saddress: { u: { zip: String(random(9999)) } } } },
    o2: key,
  };
});

interface Case {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly subscriptions: readonly Partial<SubscriptionPlan>[];
  readonly key?: 'namespace' | 'document';
}

const many = { maxEvents: 200, maxBytes: 65_536 } as const;
const cases: readonly Case[] = [
  { name: 'insert → JSON', bytes: inserts, subscriptions: [{}] },
  { name: 'insert → JSON, 200 events a message', bytes: inserts, subscriptions: [many] },
  { name: 'insert → JSON, partitioned by _id', bytes: inserts, subscriptions: [{}], key: 'document' },
  {
    name: 'insert → JSON, key {documentKey._id}',
    bytes: inserts,
    subscriptions: [{ routingKey: 'o.{documentKey._id}' }],
  },
  { name: 'insert → JSON, two subscriptions', bytes: inserts, subscriptions: [{}, {}] },
  { name: 'insert → canonical JSON', bytes: inserts, subscriptions: [{ format: 'json-canonical' }] },
  { name: 'insert → BSON', bytes: inserts, subscriptions: [{ format: 'bson' }] },
  { name: 'insert nobody asked for', bytes: inserts, subscriptions: [{ namespaces: ['other.*'] }] },
  { name: '$set update → JSON', bytes: updates, subscriptions: [{}] },
  { name: '$set update → BSON', bytes: updates, subscriptions: [{ format: 'bson' }] },
];

function planOf({ subscriptions, key }: Case): WorkerPlan {
  const usual: SubscriptionPlan = {
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
  };
  return {
    sources: [{ name: 'shop', subscriptions: subscriptions.map((one) => ({ ...usual, ...one })) }],
    partitions: PARTITIONS,
    partitionBy: key === undefined ? [] : [{ namespaces: ['*'], key }],
  };
}

/** The median round in ns per entry. */
function measure(work: () => unknown, times: number): number {
  const results: number[] = [];
  for (let round = 0; round < times; round++) {
    const started = process.hrtime.bigint();
    work();
    results.push(Number(process.hrtime.bigint() - started) / ENTRIES);
  }
  // The first half warms up the compiler.
  const counted = results.slice(results.length >> 1).sort((a, b) => a - b);
  return counted[counted.length >> 1]!;
}

function decodeAndStringify(bytes: Uint8Array): number {
  let length = 0;
  const { deserialize } = BSON;
  const entries: Document[] = Object.values(deserialize(bytes));
  for (const entry of entries) {
    const dot = entry['ns'].indexOf('.');
    const update = entry['op'] === 'u';
    const event = {
      _id: `shop:${entry['ts'].t}.${entry['ts'].i}.0`,
      operationType: update ? 'update' : 'insert',
      clusterTime: entry['ts'],
      wallTime: entry['wall'],
      ...(update ? {} : { fullDocument: entry['o'] }),
      ns: { db: entry['ns'].slice(0, dot), coll: entry['ns'].slice(dot + 1) },
      documentKey: entry['o2'],
      ...(update ? { updateDescription: entry['o'].diff } : {}),
    };
    length += Buffer.byteLength(EJSON.stringify(event));
  }
  return length;
}

function row(name: string, bytes: Uint8Array, ns: number): void {
  const entryBytes = bytes.length / ENTRIES;
  const cells = [
    `${Math.round(ns)} ns`,
    `${Math.round(1e6 / ns)} k/s`,
    `${Math.round((entryBytes / ns) * 1000)} MB/s in`,
  ];
  console.log(
    `${name.padEnd(46)} ${String(Math.round(entryBytes)).padStart(4)} B ${cells.map((cell) => cell.padStart(12)).join('')}`,
  );
}

export const encode = scenario({
  words: 'the transcoder alone, one thread, no servers: an entry in, its event out',
  minutes: 1,
  options: {},
  run: async () => {
    table();
    return {};
  },
});

/** Prints it. */
function table(): void {
  console.log(`${cpus()[0]?.model ?? 'unknown processor'} × ${cpus().length}, Node ${process.version}`);
  console.log(
    `${ENTRIES} entries a batch, ${COLLECTIONS} collections, ${PARTITIONS} partitions, median of ${ROUNDS >> 1} rounds`,
  );
  console.log('per entry, one thread:');
  for (const [name, bytes] of [
    ['insert', inserts],
    ['$set update', updates],
  ] as const) {
    row(
      `deserialize + EJSON.stringify, ${name}`,
      bytes,
      measure(() => decodeAndStringify(bytes), 6),
    );
  }
  for (const { name, bytes, ...rest } of cases) {
    const plan = planOf({ name, bytes, ...rest });
    const job = { source: 0, bytes, wallTime: true, collated: [] };
    row(
      name,
      bytes,
      measure(() => encodeBatch(plan, job), ROUNDS),
    );
  }
}
