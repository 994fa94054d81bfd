/**
 * Scenario: how long a worker takes for one oplog entry: raw BSON in, whole change event out. One thread, no servers.
 *
 * Each case is a batch as one `getMore` brings it, encoded again and again. The baselines are what a program does that decodes:
 * `deserialize` of the same entries, then `EJSON.stringify` (or `JSON.stringify`, which says less) of the event. All take turns,
 * round after round, so that what else the machine does falls on all of them alike.
 */
import { BSON, Binary, EJSON, Long, ObjectId, Timestamp } from 'bson';
import type { Document } from 'bson';
import { encodeBatch } from '../src/worker/encode-batch.ts';
import type { CraftPlan, SubscriptionPlan, WorkerPlan } from '../src/worker/protocol.ts';
import {
  atLeast,
  atMost,
  decimals,
  environment,
  judged,
  printHead,
  printTable,
  spreadOf,
  thousands,
  withSpread,
} from './report.ts';
import type { Spread } from './report.ts';
import { scenario } from './scenario.ts';

const ENTRIES = 5000;
const COLLECTIONS = 16;
const PARTITIONS = 16;
const START_SECONDS = 1_795_327_615;
/** The compiler has seen everything after so many rounds. */
const WARM_ROUNDS = 25;

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
  readonly kind: Kind;
  readonly subscriptions: readonly Partial<SubscriptionPlan>[];
  readonly key?: 'namespace' | 'document';
}

const KINDS = { insert: inserts, update: updates } as const;
type Kind = keyof typeof KINDS;

/** What takes the slower way: conditions, and fields that are taken out. */
const craft: CraftPlan = {
  where: {
    condition: {
      kind: 'field',
      root: 'fullDocument',
      path: 'quantity',
      test: { op: 'gte', value: { type: 'number', value: 0 } },
    },
    whenUnknown: 'deliver',
  },
  mask: [{ fields: ['note', 'address.zip'], kind: 'constant', value: '***' }],
};

const many = { maxEvents: 200, maxBytes: 65_536 } as const;
const cases: readonly Case[] = [
  { name: 'insert → JSON', kind: 'insert', subscriptions: [{}] },
  { name: 'insert → JSON, 200 events a message', kind: 'insert', subscriptions: [many] },
  { name: 'insert → JSON, partitioned by _id', kind: 'insert', subscriptions: [{}], key: 'document' },
  {
    name: 'insert → JSON, key {documentKey._id}',
    kind: 'insert',
    subscriptions: [{ routingKey: 'o.{documentKey._id}' }],
  },
  { name: 'insert → JSON, two subscriptions', kind: 'insert', subscriptions: [{}, {}] },
  { name: 'insert → canonical JSON', kind: 'insert', subscriptions: [{ format: 'json-canonical' }] },
  { name: 'insert → BSON', kind: 'insert', subscriptions: [{ format: 'bson' }] },
  { name: 'insert nobody asked for', kind: 'insert', subscriptions: [{ namespaces: ['other.*'] }] },
  { name: 'insert → JSON, where + mask', kind: 'insert', subscriptions: [{ craft }] },
  { name: '$set update → JSON', kind: 'update', subscriptions: [{}] },
  { name: '$set update → BSON', kind: 'update', subscriptions: [{ format: 'bson' }] },
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

/** One round, in ns per entry. */
function time(work: () => unknown): number {
  const started = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - started) / ENTRIES;
}

const BASELINES = [
  { name: 'EJSON.stringify', stringify: (event: object) => EJSON.stringify(event) },
  { name: 'JSON.stringify', stringify: (event: object) => JSON.stringify(event) },
] as const;

function decodeAndStringify(bytes: Uint8Array, stringify: (event: object) => string): number {
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
    length += Buffer.byteLength(stringify(event));
  }
  return length;
}

interface Contender {
  readonly name: string;
  readonly kind: Kind;
  readonly run: () => unknown;
  /** So many of the rounds: the baselines take long, and are warm at once. */
  readonly share: number;
  readonly nanoseconds: number[];
}

function contenders(): Contender[] {
  const baselines = (['insert', 'update'] as const).flatMap((kind) =>
    BASELINES.map(({ name, stringify }) => ({
      name: baselineName(kind, name),
      kind,
      run: () => decodeAndStringify(KINDS[kind], stringify),
      share: 0.25,
      nanoseconds: [],
    })),
  );
  const encoders = cases.map((one) => {
    const plan = planOf(one);
    const bytes = KINDS[one.kind];
    // As the pool sends it along: room for what comes of the batch.
    const job = { source: 0, bytes, wallTime: true, collated: [], room: new ArrayBuffer(bytes.length * 4) };
    return { name: one.name, kind: one.kind, run: () => encodeBatch(plan, job), share: 1, nanoseconds: [] };
  });
  return [...baselines, ...encoders];
}

function baselineName(kind: Kind, stringify: string): string {
  return `${kind === 'insert' ? 'insert' : '$set update'}: deserialize + ${stringify}`;
}

function take(all: readonly Contender[], rounds: number): void {
  for (let round = 0; round < WARM_ROUNDS + rounds; round++) {
    for (const { run, share, nanoseconds } of all) {
      if (Math.floor(round * share) === Math.floor((round - 1) * share)) continue;
      const spent = time(run);
      if (round >= WARM_ROUNDS) nanoseconds.push(spent);
    }
  }
}

interface Line {
  readonly name: string;
  readonly entryBytes: number;
  readonly nanoseconds: Spread;
  readonly eventsPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly microsecondsPerMegabyte: number;
  /** How many times as fast as `EJSON.stringify`, and `JSON.stringify`, of the same entries in this run. */
  readonly timesEjson: number;
  readonly timesJson: number;
}

function linesOf(all: readonly Contender[]): Line[] {
  const medians = new Map(all.map(({ name, nanoseconds }) => [name, spreadOf(nanoseconds).median]));
  return all.map(({ name, kind, nanoseconds }) => {
    const entryBytes = KINDS[kind].length / ENTRIES;
    const spread = spreadOf(nanoseconds);
    const against = (stringify: string): number => medians.get(baselineName(kind, stringify))! / spread.median;
    return {
      name,
      entryBytes,
      nanoseconds: spread,
      eventsPerSecond: 1e9 / spread.median,
      megabytesPerSecond: (entryBytes / spread.median) * 1000,
      microsecondsPerMegabyte: (spread.median / entryBytes) * 1000,
      timesEjson: against('EJSON.stringify'),
      timesJson: against('JSON.stringify'),
    };
  });
}

function printLines(lines: readonly Line[]): void {
  const one = decimals(1);
  printTable(
    ['per entry', 'B in', 'ns: median (least – most)', 'events/s', 'MB/s in', 'µs a MB', '× EJSON', '× JSON'],
    lines.map((line) => [
      line.name,
      thousands(line.entryBytes),
      withSpread(line.nanoseconds, thousands),
      thousands(line.eventsPerSecond),
      thousands(line.megabytesPerSecond),
      thousands(line.microsecondsPerMegabyte),
      one(line.timesEjson),
      one(line.timesJson),
    ]),
  );
}

export const encode = scenario({
  words: 'the transcoder alone, one thread, no servers: an entry in, its event out',
  minutes: 1,
  options: {
    rounds: { type: 'number', words: 'rounds that count, after those that warm up', default: 60 },
    only: { type: 'text', words: 'cases whose name contains this, and the baselines' },
  },
  run: async ({ rounds, only = '' }) => {
    const known = await environment();
    printHead('The transcoder alone: raw BSON to whole change events, one thread', known, {
      Load: `batches of ${thousands(ENTRIES)} entries, ${COLLECTIONS} collections, ${PARTITIONS} partitions`,
      Rounds: `${rounds} after ${WARM_ROUNDS} that warm up (baselines: a quarter), in turns`,
    });
    const all = contenders().filter(({ name }) => name.includes('deserialize') || name.includes(only));
    take(all, rounds);
    const lines = linesOf(all);
    printLines(lines);
    const json = lines.find(({ name }) => name === 'insert → JSON');
    const targets =
      json === undefined
        ? []
        : [
            atLeast('insert → JSON, against deserialize + EJSON.stringify', 12, json.timesEjson, decimals(1, ' ×')),
            atMost('insert → JSON, per event', 1300, json.nanoseconds.median, decimals(0, ' ns')),
          ];
    return { environment: known, lines, targets: judged(targets) };
  },
});
