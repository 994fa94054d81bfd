/** Histories that are hard by what they hold: huge, deep, wide, many, oddly named, ill-formed. */
import { Binary, MongoClient } from 'mongodb';
import type { Document, Timestamp } from 'mongodb';
import { insertRaw } from '../../harness/raw-insert.ts';
import { Trial } from '../trial.ts';
import { illFormed } from './ill-formed.ts';
import type { Change } from '../../harness/history.ts';
import type { Promised, TrialOptions } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const DATA_CASES: readonly TortureCase[] = [
  { end: 'data', name: 'documents of 16 MB', versionsOf: 'RabbitMQ', run: huge },
  { end: 'data', name: 'documents of 100,000 fields', run: wide },
  { end: 'data', name: 'documents of 180 levels', run: deep },
  { end: 'data', name: '10,000 collections', run: manyCollections },
  { end: 'data', name: 'namespaces with dots, unicode, and 255 bytes', run: oddNamespaces },
  { end: 'data', name: 'a transaction of 1,000,000 operations', run: largeTransaction },
  { end: 'data', name: 'text that is not UTF-8, fields named twice or not at all, values at their ends', run: garbage },
  { end: 'data', name: 'a routing key that names a field many events lack', run: missingField },
];

/** MongoDB's most, without what is around the binary. */
const LARGEST = 16 * 1024 * 1024 - 64;
const NAME_BYTES = 255;

/** Writes while the usual traffic goes on, and holds all of it against what arrives. */
async function among(
  arena: Arena,
  write: (client: MongoClient, db: string, trial: Trial) => Promise<void>,
  options: Partial<TrialOptions> & {
    readonly also?: (client: MongoClient, db: string) => Promise<Change[]>;
    readonly promised?: Partial<Promised>;
  } = {},
): Promise<Outcome> {
  const { also, promised, ...rest } = options;
  const mongo = rest.mongo ?? (await arena.mongo());
  const rabbit = rest.rabbit ?? (await arena.rabbit());
  await using trial = await Trial.begin({ arena, ...rest, mongo, rabbit });
  await using client = await MongoClient.connect(mongo.uri);
  await write(client, trial.name, trial);
  const more = (await also?.(client, trial.name)) ?? [];
  return await trial.verdict({ repeats: 0, also: more, ...promised });
}

async function huge(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit({ extraConfig: 'max_message_size = 134217728' });
  return await among(
    arena,
    async (client, db) => {
      const collection = client.db(db).collection('c0');
      for (let n = 0; n < arena.pick(6, 60); n++) {
        await collection.insertOne({ _id: n, filling: new Binary(Buffer.alloc(LARGEST - 64, n)) } as Document);
        await collection.updateOne({ _id: n } as Document, { $set: { filling: n } });
      }
    },
    { rabbit, config: { sink: { maxMessageBytes: '100MiB' } }, promised: { rssMiB: 768 } },
  );
}

async function wide(arena: Arena): Promise<Outcome> {
  return await among(arena, async (client, db) => {
    const fields = Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`field${n}`, n]));
    const collection = client.db(db).collection('c0');
    for (let n = 0; n < arena.pick(3, 30); n++) {
      await collection.insertOne({ _id: n, ...fields } as Document);
      await collection.updateOne({ _id: n } as Document, {
        $set: { field7: 'new', field99: n },
        $unset: { field3: 1 },
      });
    }
  });
}

async function deep(arena: Arena): Promise<Outcome> {
  return await among(arena, async (client, db) => {
    const collection = client.db(db).collection('c0');
    for (let n = 0; n < arena.pick(100, 5_000); n++) {
      let inner: unknown = n;
      for (let level = 0; level < 178; level++) inner = level % 2 === 0 ? { level: inner } : [inner];
      await collection.insertOne({ _id: n, inner } as Document);
    }
  });
}

async function manyCollections(arena: Arena): Promise<Outcome> {
  // Thousands of files in a server of their own, which must not keep all of them open: 20,000 are the most that some systems allow.
  const mongo = await arena.mongo({
    args: ['IdleTime=5', 'ScanInterval=2', 'Minimum=100'].flatMap((it) => [
      '--setParameter',
      `wiredTigerFileHandleClose${it}`,
    ]),
  });
  return await among(
    arena,
    async (client, db) => {
      const count = arena.pick(300, 10_000);
      const each = async (work: (name: string) => Promise<unknown>): Promise<void> => {
        for (let from = 0; from < count; from += 50) {
          await Promise.all(Array.from({ length: 50 }, async (_, n) => work(`many${from + n}`)));
        }
      };
      await each(async (name) =>
        client
          .db(db)
          .collection(name)
          .insertOne({ _id: 1 } as Document),
      );
      await each(async (name) =>
        client
          .db(db)
          .collection(name)
          .updateOne({ _id: 1 } as Document, { $set: { n: 1 } }),
      );
    },
    { mongo },
  );
}

async function oddNamespaces(arena: Arena): Promise<Outcome> {
  return await among(
    arena,
    async (client, db) => {
      const most = NAME_BYTES - db.length - 1;
      const names = [
        'a.b.c',
        'a..b',
        'größe',
        '表',
        '😀',
        'with space',
        '"quoted"',
        "it's",
        '#',
        '*',
        '!x',
        '{db}',
        'x'.repeat(most),
      ];
      names.push('é'.repeat(Math.floor(most / 2)));
      for (const name of names) {
        const collection = client.db(db).collection(name);
        for (let n = 0; n < arena.pick(20, 200); n++) {
          await collection.insertOne({ _id: n } as Document);
          await collection.updateOne({ _id: n } as Document, { $set: { 'ä.b': 1 } });
        }
      }
    },
    // With the operation a name of 255 bytes would not fit into a routing key.
    { routingKey: '{operationType}' },
  );
}

async function largeTransaction(arena: Arena): Promise<Outcome> {
  const operations = arena.pick(50_000, 1_000_000);
  const EACH = 10_000;
  // Its own oplog holds all of it, and the server may take longer than its minute.
  const mongo = await arena.mongo({ args: ['--setParameter', 'transactionLifetimeLimitSeconds=600'] });
  return await among(
    arena,
    async (client, db) => {
      await client.db(db).createCollection('large');
      const session = client.startSession();
      await session.withTransaction(async () => {
        for (let from = 0; from < operations; from += EACH) {
          const documents = Array.from({ length: EACH }, (_, n) => ({ _id: from + n, n }));
          await client.db(db).collection<{ _id: number; n: number }>('large').insertMany(documents, { session });
        }
      });
      await session.endSession();
    },
    {
      mongo,
      shape: { maxEvents: 50 },
      also: async (client, db) => {
        const commit = await client
          .db('local')
          .collection('oplog.rs')
          .findOne({ 'o.applyOps.ns': `${db}.large`, 'o.partialTxn': { $exists: false } }, { projection: { ts: 1 } });
        const { t, i } = commit!['ts'] as Timestamp;
        return Array.from({ length: operations }, (_, n) => ({
          id: `${t}.${i}.${n}`,
          ns: `${db}.large`,
          document: `${n}`,
        }));
      },
    },
  );
}

async function garbage(arena: Arena): Promise<Outcome> {
  const mongo = await arena.mongo();
  return await among(
    arena,
    async (_, db) => {
      for (let n = 0; n < arena.pick(50, 2_000); n++) {
        await insertRaw(mongo.uri, `${db}.c0`, [illFormed(n, arena.random)]);
      }
    },
    { mongo },
  );
}

async function missingField(arena: Arena): Promise<Outcome> {
  const count = arena.pick(2_000, 50_000);
  const documents = Array.from({ length: count }, (_, n) => ({
    _id: n,
    ...(n % 3 === 0 && { customer: `c${n % 7}` }),
  }));
  return await among(
    arena,
    async (client, db) => void (await client.db(db).collection<{ _id: number }>('c0').insertMany(documents)),
    {
      routingKey: '{fullDocument.customer}',
      eventsPerSecond: 0,
      promised: { parked: documents.filter(({ customer }) => customer === undefined).length },
    },
  );
}
