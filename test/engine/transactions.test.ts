import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MongoClient } from 'mongodb';
import type { ClientSession, Document, Timestamp } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { linesIn } from '../harness/lines-in.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';

/** So that a transaction of a few operations spans several entries. */
const OPERATIONS_PER_ENTRY = 3;

describe('a transaction that spans several entries', () => {
  let mongo: MongoServer;
  let client: MongoClient;

  before(async () => {
    const parameter = `maxNumberOfTransactionOperationsInSingleOplogEntry=${OPERATIONS_PER_ENTRY}`;
    const args = ['--setParameter', 'enableTestCommands=1', '--setParameter', parameter];
    mongo = await startMongo({ args });
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await mongo.stop();
  });

  const config = (db: string, start: string, more: object = {}): object => ({
    sources: { src: { uri: mongo.uri, start } },
    subscriptions: [{ name: 'all', namespaces: [`${db}.*`], to: { file: 'out.jsonl' } }],
    pipeline: { partitions: 4 },
    ...more,
  });

  /** Inserts, updates and deletes in three collections, which exist already. */
  async function write(session: ClientSession, db: string, operations: number): Promise<void> {
    for (let n = 0; n < operations; n++) {
      const collection = client.db(db).collection<{ _id: number; n?: number }>(`c${n % 3}`);
      if (n % 5 === 4) await collection.updateOne({ _id: n - 3 }, { $set: { n } }, { session });
      else await collection.insertOne({ _id: n }, { session });
    }
  }

  /** What was there before the first write and after the last one, and between them the server's own events. */
  async function written(db: string, work: () => Promise<void>): Promise<Document[]> {
    const stream = client.db(db).watch();
    await stream.tryNext();
    await client.db(db).collection<{ _id: string }>('edge').insertOne({ _id: 'before' });
    await work();
    await client.db(db).collection<{ _id: string }>('edge').insertOne({ _id: 'after' });
    const events: Document[] = [];
    for (;;) {
      const event = await stream.next();
      if (!('documentKey' in event)) continue;
      events.push(event);
      if (String(event.documentKey._id) === 'after') break;
    }
    await stream.close();
    return events;
  }

  async function prepare(db: string): Promise<Timestamp> {
    for (let c = 0; c < 3; c++) await client.db(db).createCollection(`c${c}`);
    await client.db(db).createCollection('edge');
    const { operationTime } = await client.db(db).command({ ping: 1 });
    return operationTime as Timestamp;
  }

  async function delivered({ folder }: EngineFolder): Promise<Document[]> {
    return (await linesIn(join(folder, 'out.jsonl'))).map((line): Document => JSON.parse(line));
  }

  /** The engine runs until the last write has arrived. */
  async function runOut(place: EngineFolder): Promise<Document[]> {
    const engine = place.start();
    await untilArrived(place, 'after');
    assert.equal(await engine.terminate(), 0, engine.log());
    return delivered(place);
  }

  function untilArrived(place: EngineFolder, id: string): Promise<void> {
    return until(`"${id}" has arrived`, async () =>
      (await delivered(place)).some(({ documentKey }) => documentKey._id === id),
    );
  }

  /** `[clusterTime, operation, _id]`, and that our ids count the operations of one clusterTime from 0. */
  function summary(events: readonly Document[], from: (event: Document) => Document): string[] {
    return events.map((event) => {
      const { t, i, operationType, id } = from(event);
      return JSON.stringify([t, i, operationType, id]);
    });
  }
  const theirs = (events: readonly Document[]): string[] =>
    summary(events, ({ clusterTime, operationType, documentKey }) => ({
      t: clusterTime.t,
      i: clusterTime.i,
      operationType,
      id: documentKey._id,
    }));
  const ours = (events: readonly Document[]): string[] =>
    summary(events, ({ clusterTime: { $timestamp: ts }, operationType, documentKey }) => ({
      t: ts.t,
      i: ts.i,
      operationType,
      id: documentKey._id,
    }));

  function entriesBehind(ts: Timestamp): Promise<Document[]> {
    return client
      .db('local')
      .collection('oplog.rs')
      .find({ ts: { $gte: ts } })
      .sort({ $natural: 1 })
      .toArray();
  }

  test('begun at any entry of its chain, it is delivered whole, with one clusterTime and indexes that count over all of it', async () => {
    const start = await prepare('every');
    const events = await written('every', () =>
      client.withSession((session) => session.withTransaction(() => write(session, 'every', 20))),
    );
    const entries = await entriesBehind(start);
    const parts = entries.filter(({ o }) => o?.applyOps);
    assert.equal(parts.length, 7);
    const transaction = events.find(({ txnNumber }) => txnNumber !== undefined)!;
    for (const { ts } of entries.slice(0, -1)) {
      await using place = await EngineFolder.create(config('every', `${ts.t}:${ts.i}`));
      const got = await runOut(place);
      const expected = events.filter(({ clusterTime }) => clusterTime.greaterThan(ts));
      assert.deepEqual(new Set(ours(got)), new Set(theirs(expected)), `started behind ${ts.t}:${ts.i}`);
      assert.equal(got.length, expected.length);
      const inside = got.filter(({ txnNumber }) => txnNumber !== undefined);
      const { t, i } = transaction['clusterTime'];
      assert.deepEqual(
        inside.map(({ _id }) => String(_id)).toSorted(byIndex),
        inside.map((_, index) => `src:${t}.${i}.${index}`),
      );
      for (const c of ['c0', 'c1', 'c2']) {
        const of = (all: readonly Document[]): Document[] => all.filter(({ ns }) => ns.coll === c);
        assert.deepEqual(ours(of(got)), theirs(of(expected)), `the order of ${c}`);
      }
    }
  });

  test('killed again and again while it is delivered, it arrives whole, in order, under the same ids', async () => {
    await prepare('killed');
    await using place = await EngineFolder.create(
      config('killed', 'earliest', { pipeline: { partitions: 4, inFlight: '64KiB' } }),
    );
    const events = await written('killed', () =>
      client.withSession((session) => session.withTransaction(() => write(session, 'killed', 3_000))),
    );
    for (let kill = 0; kill < 8; kill++) {
      const engine: EngineProcess = place.start();
      const had = (await delivered(place)).length;
      await until('more has arrived', async () => (await delivered(place)).length > had, 20_000);
      await engine.kill();
      if ((await delivered(place)).some(({ documentKey }) => documentKey._id === 'after')) break;
    }
    const got = await runOut(place);
    const first = new Map<string, Document>();
    for (const event of got) if (!first.has(String(event['_id']))) first.set(String(event['_id']), event);
    assert.deepEqual(new Set(ours([...first.values()])), new Set(theirs(events)));
    assert.equal(first.size, events.length);
    for (const c of ['c0', 'c1', 'c2']) {
      const of = (all: readonly Document[]): Document[] => all.filter(({ ns }) => ns.coll === c);
      assert.deepEqual(ours(of([...first.values()])), theirs(of(events)), `first deliveries of ${c}`);
    }
  });

  test('prepared, it holds the checkpoint before its first entry, over a kill too, and comes at its commit', async () => {
    const start = await prepare('prepared');
    await using place = await EngineFolder.create(config('prepared', `${start.t}:${start.i}`));
    let engine = place.start();
    const other = client.db('prepared').collection<{ _id: string }>('edge');
    await client.withSession(async (session) => {
      const events = await written('prepared', async () => {
        session.startTransaction();
        await write(session, 'prepared', 10);
        const { prepareTimestamp } = await client.db('admin').command({ prepareTransaction: 1 }, { session });
        await other.insertOne({ _id: 'meanwhile' });
        await untilArrived(place, 'meanwhile');
        const parts = (await entriesBehind(start)).filter(({ o }) => o?.applyOps);
        assert.ok(parts.length > 1);
        await until('the watermark is behind it', async () => {
          const { stdout } = await place.command('checkpoint', 'show', '--json');
          const [{ resume, watermark }] = JSON.parse(stdout).subscriptions;
          assert.ok(isBefore(resume.position, parts[0]!['ts']), `resumes at ${resume.position}`);
          return !isBefore(watermark.position, parts.at(-1)!['ts']);
        });
        await engine.kill();
        engine = place.start();
        await client.db('admin').command({ commitTransaction: 1, commitTimestamp: prepareTimestamp }, { session });
      });
      await untilArrived(place, 'after');
      assert.equal(await engine.terminate(), 0);
      const got = await delivered(place);
      assert.deepEqual(ours(got).toSorted(), theirs(events).toSorted());
    });
    await rm(join(place.folder, 'out.jsonl'));
  });
});

function byIndex(a: string, b: string): number {
  return Number(a.split('.').at(-1)) - Number(b.split('.').at(-1));
}

function isBefore(position: string, ts: Timestamp): boolean {
  const [seconds = 0, increment = 0] = position.split(':').map(Number);
  return seconds < ts.t || (seconds === ts.t && increment < ts.i);
}
