/**
 * The load that every contender reads: inserts and `$set` updates, spread finely over 16 collections, as they lie in an
 * oplog after a busy while. What it came to is then read back from the oplog itself, not taken from what was meant.
 */
import { MongoClient, ObjectId } from 'mongodb';
import type { AnyBulkWriteOperation, Document, Timestamp } from 'mongodb';

export interface Load {
  readonly entries: number;
  readonly averageEntryBytes: number;
  readonly inserts: number;
  readonly updates: number;
  readonly first: Timestamp;
  readonly last: Timestamp;
}

export const LOAD_DB = 'bench';
export const COLLECTIONS = 16;
/** Small pieces: a reply of the oplog shall hold entries of many collections. */
const INSERTS_A_PIECE = 30;
const UPDATES_A_PIECE = 20;

export async function writeLoad(uri: string, entries: number): Promise<Load> {
  const client = new MongoClient(uri, { maxPoolSize: COLLECTIONS });
  try {
    const piece = INSERTS_A_PIECE + UPDATES_A_PIECE;
    let left = Math.ceil(entries / piece);
    const writer = async (_: unknown, collection: number): Promise<void> => {
      const target = client.db(LOAD_DB).collection(`orders_${collection}`);
      while (left > 0) {
        left -= 1;
        await target.bulkWrite(pieceOf(collection), { ordered: true });
      }
    };
    await Promise.all(Array.from({ length: COLLECTIONS }, writer));
    return await measured(client);
  } finally {
    await client.close();
  }
}

/** Inserts, then updates of some of what they inserted. */
export function pieceOf(collection: number): AnyBulkWriteOperation[] {
  const orders = Array.from({ length: INSERTS_A_PIECE }, (_, n) => order(collection * 1_000 + n));
  const updates = orders.slice(0, UPDATES_A_PIECE).map(({ _id }, n) => ({
    updateOne: {
      filter: { _id },
      update: { $set: { status: 'shipped', 'address.zip': `${3_000 + n}`, changed: new Date(), quantity: 100 + n } },
    },
  }));
  return [...orders.map((document) => ({ insertOne: { document } })), ...updates];
}

function order(seed: number): Document & { _id: ObjectId } {
  return {
    _id: new ObjectId(),
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

async function measured(client: MongoClient): Promise<Load> {
  const [found] = await client
    .db('local')
    .collection('oplog.rs')
    .aggregate<Load>([
      { $match: { ns: { $regex: `^${LOAD_DB}\\.` }, op: { $in: ['i', 'u'] } } },
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
    ])
    .toArray();
  if (found === undefined) throw new Error('the load is not in the oplog');
  return found;
}
