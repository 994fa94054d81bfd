/**
 * A known history to deliver: what is written, and, read from the oplog itself afterwards, what must arrive. The oplog is
 * the truth here: an event's `_id` follows from its entry's `ts`, whoever wrote it.
 */
import { MongoClient, Timestamp } from 'mongodb';
import type { AnyBulkWriteOperation, Document } from 'mongodb';

/** One change that must arrive. */
export interface Change {
  /** Without the source's name: `seconds.increment.index`. */
  readonly id: string;
  readonly ns: string;
  /** The document's `_id`, as text. */
  readonly document: string;
}

export interface WriteOptions {
  readonly db: string;
  readonly collections: number;
  /** Of inserts, updates and deletes together, roughly. */
  readonly events: number;
  /** Bytes of filling in each document. */
  readonly padding?: number;
  readonly batch?: number;
}

/** Inserts, `$set` updates and some deletes, spread evenly over `c0` … `c<collections - 1>`. */
export async function writeHistory(client: MongoClient, options: WriteOptions): Promise<void> {
  const { db, collections, events, padding = 300, batch = 1_000 } = options;
  const filling = 'x'.repeat(padding);
  const perCollection = Math.ceil(events / collections);
  const names = Array.from({ length: collections }, (_, c) => `c${c}`);
  let written = 0;
  for (let from = 0; from < perCollection; from += batch) {
    await Promise.all(
      names.map(async (name, c) => {
        const operations: AnyBulkWriteOperation[] = [];
        for (let n = from; n < Math.min(from + batch, perCollection); n++) {
          const kind = n % 10;
          const target = n - (n % 10);
          // In every ten: six inserts, three updates and a delete of documents inserted just before.
          if (kind < 6)
            operations.push({ insertOne: { document: { _id: n, c, n, at: new Date(), filling } as Document } });
          else if (kind < 9)
            operations.push({ updateOne: { filter: { _id: target + kind - 6 } as Document, update: { $set: { n } } } });
          else operations.push({ deleteOne: { filter: { _id: target } as Document } });
        }
        written += operations.length;
        if (operations.length > 0) await client.db(db).collection(name).bulkWrite(operations, { ordered: true });
      }),
    );
  }
  if (written < events) throw new Error(`only ${written} of ${events} were written`);
}

/** Where the oplog ends now, as `start` takes it: what is written later comes after it. */
export async function endOfOplog(client: MongoClient): Promise<string> {
  const newest = await client
    .db('local')
    .collection('oplog.rs')
    .findOne({}, { projection: { ts: 1 }, sort: { $natural: -1 } });
  const { t, i } = newest!['ts'] as Timestamp;
  return `${t}:${i}`;
}

/** Every insert, update and delete in the oplog for this database, in order; only what came after `since`, where it is given. */
export async function historyOf(client: MongoClient, db: string, since?: string): Promise<Change[]> {
  const changes: Change[] = [];
  const [t = 0, i = 0] = since?.split(':').map(Number) ?? [];
  const entries = client
    .db('local')
    .collection('oplog.rs')
    .find(
      { ts: { $gt: new Timestamp({ t, i }) }, ns: { $regex: `^${db}\\.` }, op: { $in: ['i', 'u', 'd'] } },
      { projection: { ts: 1, ns: 1, op: 1, 'o._id': 1, o2: 1 }, sort: { $natural: 1 }, batchSize: 10_000 },
    );
  for await (const entry of entries) {
    const ts = entry['ts'] as Timestamp;
    const key = (entry['op'] === 'u' ? entry['o2'] : entry['o']) as { _id: unknown };
    changes.push({ id: `${ts.t}.${ts.i}.0`, ns: entry['ns'] as string, document: String(key._id) });
  }
  return changes;
}
