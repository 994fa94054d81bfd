/**
 * The loads that contenders read: what lies in an oplog after a busy while, in collections and documents of a kind. A load is written as
 * shares, each into a database of its own, one after the other: a slow contender takes the first share, a fast one all of them,
 * and both run about as long. What it came to is then read back from the oplog itself, not taken from what was meant.
 */
import { MongoClient, ObjectId } from 'mongodb';
import type { AnyBulkWriteOperation, Db, Document, Timestamp } from 'mongodb';

/** The first one or more shares of a load. */
export interface Load {
  readonly kind: LoadKind;
  readonly databases: readonly string[];
  readonly entries: number;
  readonly averageEntryBytes: number;
  readonly inserts: number;
  readonly updates: number;
  readonly first: Timestamp;
  readonly last: Timestamp;
}

export type LoadKind = 'orders' | 'hot' | 'small' | '20k' | '1m';

interface Shape {
  readonly words: string;
  readonly collections: number;
  readonly document: (seed: number) => Document;
  /** Of one round trip, all into one collection: many enough to be written fast, few enough that a reply of the oplog holds many collections. */
  readonly inserts: number;
  readonly updates: number;
}

export const LOAD_DB = 'bench';
export const COLLECTIONS = 16;
/** Of databases that are ours, also on a server that is not. */
export const PREFIX = 'tailrace_bench_';
const WRITERS = 6;

export const SHAPES: Readonly<Record<LoadKind, Shape>> = {
  orders: {
    words: 'inserts of orders and $set updates of them, 3 to 2, finely spread over 16 collections',
    collections: 16,
    document: order,
    inserts: 150,
    updates: 100,
  },
  hot: {
    words: 'the same inserts and updates, all in one collection',
    collections: 1,
    document: order,
    inserts: 150,
    updates: 100,
  },
  small: {
    words: 'inserts of documents of 150 bytes in 16 collections',
    collections: 16,
    document: (seed) => ({ n: seed, at: new Date(), to: new ObjectId(), text: filler(seed, 78) }),
    inserts: 250,
    updates: 0,
  },
  '20k': {
    words: 'inserts of documents of 20 KB in 16 collections',
    collections: 16,
    document: (seed) => ({ n: seed, parts: Array.from({ length: 20 }, (_, part) => filler(seed + part, 1_000)) }),
    inserts: 10,
    updates: 0,
  },
  '1m': {
    words: 'inserts of documents of 1 MB in 16 collections',
    collections: 16,
    document: (seed) => ({ n: seed, parts: Array.from({ length: 50 }, (_, part) => filler(seed + part, 20_000)) }),
    inserts: 1,
    updates: 0,
  },
};

/** `shares` are the numbers of entries up to the end of each; resolves with the load up to there, for each of them. */
export async function writeLoad(uri: string, kind: LoadKind, shares: readonly number[]): Promise<Load[]> {
  // Nobody waits for the disk, but for the last of all.
  const client = new MongoClient(uri, { maxPoolSize: WRITERS, writeConcern: { w: 1, journal: false } });
  try {
    const loads: Load[] = [];
    let written: Load | undefined;
    for (const [index, upTo] of shares.entries()) {
      const database = `${PREFIX}${kind}_${index}`;
      const { operationTime } = await client.db('admin').command({ ping: 1 });
      await writeShare(client.db(database), SHAPES[kind], upTo - (written?.entries ?? 0));
      // All before it is committed then, and seen by what reads the oplog.
      await client
        .db('bench_end')
        .collection(kind)
        .insertOne({}, { writeConcern: { w: 'majority' } });
      written = joined(written, await measured(client, { kind, database, since: operationTime }));
      loads.push(written);
    }
    return loads;
  } finally {
    await client.close();
  }
}

/** From a server that is not ours to throw away. */
export async function dropLoads(uri: string): Promise<void> {
  const client = new MongoClient(uri);
  try {
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true });
    for (const { name } of databases) if (name.startsWith(PREFIX)) await client.db(name).dropDatabase();
  } finally {
    await client.close();
  }
}

async function writeShare(db: Db, { collections, document, inserts, updates }: Shape, entries: number): Promise<void> {
  let left = Math.ceil(entries / (inserts + updates));
  let seed = 0;
  const writer = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const collection = db.collection(`orders_${left % collections}`);
      seed += inserts;
      await collection.bulkWrite(operations({ document, inserts, updates, seed }));
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, async () => writer()));
}

/** For whoever writes orders by other means: a few inserts, then updates of some of them. */
export function pieceOf(collection: number): AnyBulkWriteOperation[] {
  return operations({ document: order, inserts: 30, updates: 20, seed: collection * 1_000 });
}

function operations({
  document,
  inserts,
  updates,
  seed,
}: Pick<Shape, 'document' | 'inserts' | 'updates'> & { readonly seed: number }): AnyBulkWriteOperation[] {
  const documents = Array.from({ length: inserts }, (_, n) => ({ _id: new ObjectId(), ...document(seed + n) }));
  const changes = documents.slice(0, updates).map(({ _id }, n) => ({
    updateOne: {
      filter: { _id },
      update: { $set: { status: 'shipped', 'address.zip': `${3_000 + n}`, changed: new Date(), quantity: 100 + n } },
    },
  }));
  return [...documents.map((one) => ({ insertOne: { document: one } })), ...changes];
}

function order(seed: number): Document {
  return {
    customer: new ObjectId(),
    status: 'new',
    total: ((seed * 7_919) % 100_000) / 100,
    quantity: seed % 50,
    created: new Date(),
    address: { street: `Station Street ${seed % 200}`, city: 'Bern', zip: `${1_000 + (seed % 2_000)}` },
    items: [
      { sku: `sku-${seed % 10_007}`, n: seed % 9, price: seed % 83 },
      { sku: `sku-${seed % 9_973}`, n: seed % 7, price: (seed % 89) / 4 },
    ],
    note: 'leave it at the door, please',
  };
}

const WORDS = 'a bell is out of order, so knock loudly or call first; parcels go to the neighbour on the left '.repeat(
  250,
);

/** Text, from another place in it each time. */
function filler(seed: number, length: number): string {
  const from = (seed * 31) % 1_000;
  return WORDS.slice(from, from + length);
}

interface Written {
  readonly kind: LoadKind;
  readonly database: string;
  /** A server of the user's may still have the load of an earlier run in its oplog. */
  readonly since: Timestamp;
}

async function measured(client: MongoClient, { kind, database, since }: Written): Promise<Load> {
  const [found] = await client
    .db('local')
    .collection('oplog.rs')
    .aggregate<Omit<Load, 'kind' | 'databases'>>(
      [
        { $match: { ts: { $gt: since }, ns: { $regex: `^${database}\\.` }, op: { $in: ['i', 'u'] } } },
        {
          $group: {
            _id: null,
            entries: { $sum: 1 },
            averageEntryBytes: { $avg: { $bsonSize: '$$ROOT' } },
            inserts: { $sum: { $cond: [{ $eq: ['$op', 'i'] }, 1, 0] } },
            updates: { $sum: { $cond: [{ $eq: ['$op', 'u'] }, 1, 0] } },
            first: { $min: '$ts' },
            last: { $max: '$ts' },
          },
        },
      ],
      { readConcern: { level: 'majority' } },
    )
    .toArray();
  if (found === undefined) throw new Error('the load is not in the oplog: is it too small for it?');
  return { ...found, kind, databases: [database] };
}

function joined(before: Load | undefined, next: Load): Load {
  if (before === undefined) return next;
  const entries = before.entries + next.entries;
  const bytes = before.entries * before.averageEntryBytes + next.entries * next.averageEntryBytes;
  return {
    kind: next.kind,
    databases: [...before.databases, ...next.databases],
    entries,
    averageEntryBytes: bytes / entries,
    inserts: before.inserts + next.inserts,
    updates: before.updates + next.updates,
    first: before.first,
    last: next.last,
  };
}
