/**
 * How long a worker takes for one oplog entry: raw BSON in, whole change event out. One thread, no servers.
 *
 * Each case is a batch as one `getMore` brings it, encoded again and again; a figure is the median round. The baselines are what
 * a program does that decodes: `deserialize` of the same entries, then `EJSON.stringify`, or plain `JSON.stringify`, of the event.
 */
import { BSON, EJSON } from 'bson';
import type { Document } from 'bson';
import { parseCondition } from '../src/config/where.ts';
import { encodeBatch, useTranscoder } from '../src/worker/encode-batch.ts';
import type { SubscriptionPlan, WorkerPlan } from '../src/worker/protocol.ts';
import { Transcoder } from '../src/worker/transcoder.ts';
import { COLLECTIONS, ENTRIES, inserts, updates } from './encode-load.ts';
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
  times,
} from './report.ts';
import type { Spread } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

const PARTITIONS = 16;
/** Larger than anything a batch becomes here. */
const ROOM_BYTES = 16 * 1024 * 1024;
const INSERT_TO_JSON = 'insert → JSON';

interface Case {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly subscriptions: readonly Partial<SubscriptionPlan>[];
  readonly key?: 'namespace' | 'document';
  /** Without the WebAssembly module. */
  readonly inJavaScript?: boolean;
}

const many = { maxEvents: 200, maxBytes: 1024 * 1024 } as const;
const crafted = {
  where: { condition: parseCondition({ field: 'fullDocument.paid', equals: true }), whenUnknown: 'deliver' },
  mask: [{ fields: ['fullDocument.note'], kind: 'constant', value: null }],
} as const;
const cases: readonly Case[] = [
  { name: INSERT_TO_JSON, bytes: inserts, subscriptions: [{}] },
  { name: 'insert → JSON, JavaScript alone', bytes: inserts, subscriptions: [{}], inJavaScript: true },
  { name: 'insert → JSON, 200 events a message', bytes: inserts, subscriptions: [many] },
  { name: 'insert → JSON, partitioned by _id', bytes: inserts, subscriptions: [{}], key: 'document' },
  {
    name: 'insert → JSON, key {documentKey._id}',
    bytes: inserts,
    subscriptions: [{ routingKey: 'o.{documentKey._id}' }],
  },
  { name: 'insert → JSON, two subscriptions', bytes: inserts, subscriptions: [{}, {}] },
  { name: 'insert → JSON, where + mask', bytes: inserts, subscriptions: [{ craft: crafted }] },
  { name: 'insert → canonical JSON', bytes: inserts, subscriptions: [{ format: 'json-canonical' }] },
  { name: 'insert → BSON', bytes: inserts, subscriptions: [{ format: 'bson' }] },
  { name: 'insert → BSON, JavaScript alone', bytes: inserts, subscriptions: [{ format: 'bson' }], inJavaScript: true },
  { name: 'insert nobody asked for', bytes: inserts, subscriptions: [{ namespaces: ['other.*'] }] },
  { name: '$set update → JSON', bytes: updates, subscriptions: [{}] },
  { name: '$set update → JSON, JavaScript alone', bytes: updates, subscriptions: [{}], inJavaScript: true },
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
    source: { name: 'shop', subscriptions: subscriptions.map((one) => ({ ...usual, ...one })) },
    partitions: PARTITIONS,
    partitionBy: key === undefined ? [] : [{ namespaces: ['*'], key }],
  };
}

/** Nanoseconds an entry. */
function measure(work: () => unknown, rounds: number): Spread {
  const results: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const started = process.hrtime.bigint();
    work();
    results.push(Number(process.hrtime.bigint() - started) / ENTRIES);
  }
  // The first half warms up the compiler.
  return spreadOf(results.slice(results.length >> 1));
}

function measureCase(one: Case, rounds: number): Spread {
  const plan = planOf(one);
  const usual = one.inJavaScript === true ? useTranscoder(new Transcoder(ROOM_BYTES, { module: false })) : undefined;
  // As in the engine, a batch gets the memory that an earlier one's result lay in.
  let room = new ArrayBuffer(ROOM_BYTES);
  const spread = measure(() => {
    const job = { bytes: one.bytes, wallTime: true, collated: [], serverVersion: 600, room };
    // oxlint-disable-next-line no-unsafe-type-assertion -- it was given one
    room = encodeBatch(plan, job).bodies.buffer as ArrayBuffer;
  }, rounds);
  if (usual !== undefined) useTranscoder(usual);
  return spread;
}

function decodeAndStringify(bytes: Uint8Array, stringify: (event: Document) => string): number {
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

interface Row {
  readonly name: string;
  readonly entryBytes: number;
  readonly nanoseconds: Spread;
  /** How many times as fast as `EJSON.stringify` on the same entries. */
  readonly timesEjson: number;
}

const options = {
  rounds: { type: 'number', default: 80, words: 'how often each batch is encoded; the second half counts' },
  only: { type: 'names', words: 'cases whose names contain one of these words' },
} as const;

export const encode = scenario({
  words: 'the transcoder alone, one thread, no servers: an entry in, its event out',
  minutes: 1,
  options,
  run: table,
});

async function table({ rounds, only }: Values<typeof options>) {
  const env = await environment();
  printHead('The transcoder alone: raw BSON in, whole change events out, one thread.', env, {
    Load: `${thousands(ENTRIES)} entries a batch, ${COLLECTIONS} collections, ${PARTITIONS} partitions, one subscription`,
    Rounds: `${rounds} a case, medians of the second half`,
  });
  const rows: Row[] = [];
  for (const [kind, bytes] of [
    ['insert', inserts],
    ['$set update', updates],
  ] as const) {
    const entryBytes = bytes.length / ENTRIES;
    // They are slow, and settle soon.
    const baselineRounds = Math.max(10, Math.ceil(rounds / 8));
    const ejson = measure(() => decodeAndStringify(bytes, EJSON.stringify), baselineRounds);
    const plain = measure(() => decodeAndStringify(bytes, JSON.stringify), baselineRounds);
    const row = (name: string, nanoseconds: Spread): void => {
      rows.push({ name, entryBytes, nanoseconds, timesEjson: ejson.median / nanoseconds.median });
    };
    row(`${kind}: deserialize + EJSON.stringify`, ejson);
    row(`${kind}: deserialize + JSON.stringify`, plain);
    for (const one of cases) {
      if (one.bytes !== bytes || (only.length > 0 && !only.some((word) => one.name.includes(word)))) continue;
      row(one.name, measureCase(one, rounds));
    }
  }
  printTable(
    ['per entry', 'bytes', 'ns', 'least – most', 'ns/byte', 'entries/s', 'MB/s in', '× EJSON'],
    rows.map(({ name, entryBytes, nanoseconds: { median, least, most }, timesEjson }) => [
      name,
      thousands(entryBytes),
      thousands(median),
      `${thousands(least)} – ${thousands(most)}`,
      decimals(2)(median / entryBytes),
      thousands(1e9 / median),
      thousands((entryBytes * 1000) / median),
      decimals(1)(timesEjson),
    ]),
  );
  const json = rows.find(({ name }) => name === INSERT_TO_JSON);
  const targets = judged(
    json === undefined
      ? []
      : [
          atLeast(`${INSERT_TO_JSON}, × deserialize + EJSON.stringify`, 12, json.timesEjson, times),
          atMost(INSERT_TO_JSON, 1.3, json.nanoseconds.median / 1000, decimals(2, ' µs')),
        ],
  );
  return { ...env, rows, targets };
}
