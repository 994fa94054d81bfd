import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BSON } from 'bson';
import { MongoClient, Timestamp } from 'mongodb';
import { batchOf, json, messages, plan, run } from '../worker/fixtures.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import { OPERATIONS } from '../../src/config/operations.ts';
import type { Operation } from '../../src/config/operations.ts';
import type { Shared } from '../servers/with-servers.ts';
import type { BatchResult, SubscriptionPlan } from '../../src/worker/protocol.ts';

const DB = 'commands';
const OTHER = 'commands2';

/** What streams without `showExpandedEvents` show. */
const plain: readonly Operation[] = ['insert', 'update', 'replace', 'delete', 'drop', 'dropDatabase', 'rename'];

describe('events of commands', () => {
  let mongo: Shared;
  let client: MongoClient;
  let from: Timestamp;

  before(async () => {
    mongo = await sharedMongo();
    client = await MongoClient.connect(mongo.uri);
    const { operationTime } = await client.db('admin').command({ hello: 1 });
    from = new Timestamp({ t: operationTime.getHighBitsUnsigned(), i: operationTime.getLowBitsUnsigned() + 1 });
    await workload(client);
  });

  after(async () => {
    await client.close();
    await mongo.stop();
  });

  for (const expanded of [true, false]) {
    test(`are the server's own, field by field and in its order, ${expanded ? 'with' : 'without'} expanded`, async () => {
      const operations = expanded ? OPERATIONS : plain;
      const [ours, theirs] = await Promise.all([
        oursOf(client, from, { operations, expanded }),
        theirsOf(client, from, expanded),
      ]);
      assert.ok(theirs.length > (expanded ? 50 : 20), `the server gave ${theirs.length} events`);
      assert.deepEqual(ours, theirs);
    });
  }

  test('tell who follows the target of an $out alone that all of it was replaced, each time', async () => {
    const result = await encoded(client, from, { namespaces: [`${DB}.out`] });
    const resyncs = messages(result).filter(({ type }) => type === 'resync');
    assert.deepEqual(
      resyncs.map((message) => [json(message)['ns'], json(message)['cause'], message.first[2]]),
      Array.from({ length: 2 }, () => [{ db: DB, coll: 'out' }, 'out', 1]),
    );
    assert.equal(
      messages(result).filter(({ type }) => type !== undefined).length,
      2,
      'and there is nothing else of it',
    );
  });
});

interface Numbered {
  readonly _id: number;
  readonly [field: string]: unknown;
}

interface Named {
  readonly _id: string;
  readonly value: unknown;
}

async function workload(client: MongoClient): Promise<void> {
  const db = client.db(DB);
  const c = db.collection<Numbered>('c');
  await db.createCollection('c');
  await db.createCollection('capped', { capped: true, size: 4096, max: 10, validator: { a: { $gt: 0 } } });
  await db.createCollection('collated', { collation: { locale: 'de' } });
  await db.createCollection('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true } });
  await db.createCollection('view', { viewOn: 'c', pipeline: [{ $match: { a: 1 } }] });
  await db.command({ collMod: 'view', viewOn: 'c', pipeline: [{ $match: { a: 2 } }] });
  await c.createIndex({ a: 1 });
  await c.createIndexes([
    { key: { b: 1 }, name: 'bb', sparse: true },
    { key: { t: 1 }, expireAfterSeconds: 100 },
  ]);
  await c.insertOne({ _id: 1, x: { y: 1, '0': 1 }, list: [1, 2, 3] });
  // On a collection with documents an index is built in two phases, and its build can fail.
  await c.createIndex({ z: -1, 'x.y': 1 }, { unique: true, partialFilterExpression: { z: { $gt: 1 } } });
  await c.createIndexes([{ key: { q: 1 } }, { key: { w: 'text' } }]);
  await c.insertMany([
    { _id: 2, same: 1 },
    { _id: 3, same: 1 },
  ]);
  await assert.rejects(c.createIndex({ same: 1 }, { unique: true }));
  await db.collection<Numbered>('implied').insertOne({ _id: 1 });
  await c.dropIndex('a_1');
  await db.command({ dropIndexes: 'c', index: '*' });
  await db.command({ collMod: 'c', validator: { a: 1 }, validationLevel: 'off' });
  await db.command({ collMod: 'c', changeStreamPreAndPostImages: { enabled: true } });
  await c.createIndex({ ttl: 1 }, { expireAfterSeconds: 50 });
  await db.command({ collMod: 'c', index: { keyPattern: { ttl: 1 }, expireAfterSeconds: 1000 } });
  await db.command({ collMod: 'c', index: { name: 'ttl_1', hidden: true } });
  await db.command({ collMod: 'c' });
  await db.collection('implied').rename('renamed');
  await db.collection('renamed').rename('capped', { dropTarget: true });
  await client.db('admin').command({ renameCollection: `${DB}.capped`, to: `${OTHER}.capped` });
  await c.aggregate([{ $out: 'out' }]).toArray();
  await c.aggregate([{ $out: 'out' }]).toArray();
  await c.aggregate([{ $merge: 'merged' }]).toArray();
  await db.createCollection('measured', { timeseries: { timeField: 't' } });
  await db.collection('measured').insertOne({ t: new Date(), a: 1 });
  await db.collection('measured').createIndex({ a: 1 });
  await db.collection('measured').drop();
  await client.withSession(async (session) =>
    session.withTransaction(async () => {
      await db.createCollection('inside', { session });
      await db.collection('inside').createIndex({ a: 1 }, { session });
      await db.collection('inside').createIndexes([{ key: { m: 1 } }, { key: { n: 1 } }], { session });
      await db.collection<Numbered>('inside').insertOne({ _id: 5 }, { session });
      await c.updateOne({ _id: 1 }, { $set: { 'x.0': 7 }, $unset: { list: 1 } }, { session });
    }),
  );
  await c.updateOne({ _id: 1 }, { $set: { 'x.0': 2, 'x.y': 2 } });
  await c.replaceOne({ _id: 1 }, { z: 9 });
  await db.collection<Named>('system.js').insertOne({ _id: 'f', value: 1 });
  await db.command({ convertToCapped: 'merged', size: 10_000 });
  await c.deleteOne({ _id: 1 });
  await c.drop();
  await db.collection('view').drop();
  await db.dropDatabase();
  await client.db(OTHER).dropDatabase();
}

interface Wanted {
  readonly operations: readonly Operation[];
  readonly expanded: boolean;
}

async function oursOf(client: MongoClient, from: Timestamp, wanted: Wanted): Promise<string[]> {
  const namespaces = [`${DB}.*`, `${OTHER}.*`];
  const result = await encoded(client, from, { namespaces, ...wanted, format: 'bson' });
  assert.deepEqual(result.parked, []);
  return messages(result)
    .filter(({ type }) => type !== 'resync' && type !== undefined)
    .map(({ body }) => canonical(body));
}

/** What a worker makes of the workload's entries for one subscription. */
async function encoded(
  client: MongoClient,
  from: Timestamp,
  subscription: Partial<SubscriptionPlan>,
): Promise<BatchResult> {
  const { version } = await client.db('admin').command({ buildInfo: 1 });
  const [major = 0, minor = 0] = String(version).split('.').map(Number);
  const entries = await client
    .db('local')
    .collection('oplog.rs')
    .find<Buffer>({ ts: { $gte: from } }, { raw: true })
    .toArray();
  return run(plan([subscription]), batchOf(entries), { wallTime: major >= 6, serverVersion: major * 100 + minor });
}

async function theirsOf(client: MongoClient, from: Timestamp, expanded: boolean): Promise<string[]> {
  await client.db('commandsEnd').collection('end').insertOne({});
  const spec = {
    allChangesForCluster: true,
    startAtOperationTime: from,
    ...(expanded && { showExpandedEvents: true }),
  };
  const stream = client.db('admin').aggregate<Buffer>([{ $changeStream: spec }], { raw: true });
  const events: string[] = [];
  try {
    for (;;) {
      const bytes = await stream.next();
      assert.ok(bytes);
      const { ns } = BSON.deserialize(bytes, { raw: false });
      if (ns?.db === 'commandsEnd') return events;
      if (ns?.db === DB || ns?.db === OTHER) events.push(canonical(bytes));
    }
  } finally {
    await stream.close();
  }
}

/** The event without its `_id`: every type and the order of fields can be seen in the text. */
function canonical(bytes: Uint8Array): string {
  const { _id, ...event } = BSON.deserialize(bytes, { promoteValues: false, bsonRegExp: true });
  assert.ok(_id);
  return BSON.EJSON.stringify(event, { relaxed: false });
}
