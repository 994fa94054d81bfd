/** Snapshots of every kind of collection, of whatever `_id`s, while collections come, go and change their names; as the API and the commands have them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Decimal128, Double, Int32, Long, MaxKey, MinKey, MongoClient, ObjectId, Timestamp } from 'mongodb';
import type { Document } from 'mongodb';
import { ApiUnderTest } from '../api/fixtures.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { Writers, applied, differences, eventsIn, isComplete, snapshotConfig } from './snapshot-state.ts';

describe('a snapshot of', () => {
  let mongo: MongoServer;
  let client: MongoClient;

  before(async () => {
    mongo = await startMongo();
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await mongo.stop();
  });

  const config = (db: string, subscription: object = {}, start = 'snapshot'): object =>
    snapshotConfig(db, { uri: mongo.uri, start, subscription });

  /** Until the snapshot is complete; what was delivered then. */
  async function whole(place: EngineFolder): Promise<{ readonly all: readonly Document[]; readonly log: string }> {
    const engine = place.start();
    await until('the snapshot is complete', () => isComplete(engine), 60_000).catch((error: unknown) => {
      throw new Error(engine.log(), { cause: error });
    });
    assert.equal(await engine.terminate(), 0, engine.log());
    return { all: await eventsIn(place), log: engine.log() };
  }

  test('`_id`s of all types gives each document once, in pieces of any size', async () => {
    const db = 'ids';
    const plain = Array.from({ length: 700 }, (_, n) => ({ _id: n }));
    const ids: unknown[] = [
      new MinKey(),
      new MaxKey(),
      null,
      Number.NaN,
      new Double(0.5),
      Long.fromString('9007199254740993'),
      Decimal128.fromString('7.25'),
      new Int32(-3),
      'text',
      'ä"\\\u0001',
      'long '.repeat(60),
      { a: 1, b: [1, 2] },
      Buffer.from('bytes'),
      new ObjectId(),
      false,
      new Date(0),
      new Timestamp({ t: 5, i: 6 }),
    ];
    const collection = client.db(db).collection<{ _id: unknown }>('c');
    await collection.insertMany(plain);
    // The driver puts an `_id` of its own where there is null.
    await client.db(db).command({ insert: 'c', documents: ids.map((_id) => ({ _id })) });
    await using place = await EngineFolder.create(config(db, { snapshot: { maxRate: 2_000 } }));
    const { all } = await whole(place);
    assert.equal(all.length, plain.length + ids.length);
    assert.equal(new Set(all.map(({ _id }) => _id)).size, all.length);
    for (const { _id } of all) assert.match(String(_id), /^src:snapshot\.\d+\.ids\.c\./);
    assert.ok(
      all.some(({ _id }) => /\.ids\.c\.[0-9a-f]{64}$/.test(String(_id))),
      'a long one is a digest',
    );
    assert.deepEqual(await differences(client.db(db), applied(all)), []);
  });

  test('capped and clustered collections, and of those with a collation; views and time series are left out, and said so', async () => {
    const db = 'kinds';
    await client.db(db).createCollection('capped', { capped: true, size: 1_000_000 });
    await client.db(db).createCollection('clustered', { clusteredIndex: { key: { _id: 1 }, unique: true } });
    await client.db(db).createCollection('collated', { collation: { locale: 'en', strength: 1 } });
    await client.db(db).createCollection('view', { viewOn: 'clustered', pipeline: [] });
    await client.db(db).createCollection('measured', { timeseries: { timeField: 'at' } });
    for (const coll of ['capped', 'clustered', 'collated']) {
      const documents = Array.from({ length: 1_200 }, (_, n) => ({ _id: n % 2 === 0 ? n : `${coll}${n}`, n }));
      await client.db(db).collection<{ _id: unknown }>(coll).insertMany(documents);
    }
    await using place = await EngineFolder.create(config(db));
    const { all, log } = await whole(place);
    assert.equal(all.length, 3_600);
    assert.deepEqual(await differences(client.db(db), applied(all)), []);
    const line = log.split('\n').find((one) => one.includes('snapshot-left-out'));
    assert.deepEqual(JSON.parse(line!).namespaces, [`${db}.measured`, `${db}.view`]);
  });

  test('collections that are dropped, renamed and made meanwhile leaves nothing stale behind, and nothing out', async () => {
    const db = 'meanwhile';
    const documents = (from: number): { _id: number; text: string }[] =>
      Array.from({ length: 3_000 }, (_, n) => ({ _id: from + n, text: 'x'.repeat(100) }));
    for (const coll of ['b_dropped', 'c_renamed', 'd_replaced', 'e_last']) {
      await client.db(db).collection<{ _id: number; text: string }>(coll).insertMany(documents(0));
    }
    const more = {
      operations: ['insert', 'update', 'replace', 'delete', 'drop', 'rename'],
      snapshot: { maxRate: 3_000, parallel: 1 },
    };
    await using place = await EngineFolder.create(config(db, more));
    const engine = place.start();
    await until('it has begun', async () =>
      (await eventsIn(place)).some(({ operationType }) => operationType === 'snapshot'),
    );
    await client.db(db).collection('b_dropped').drop();
    // Behind its turn, and before it.
    await client.db(db).collection('c_renamed').rename('a_renamed');
    // Documents that no event of the subscription tells of.
    await client.db('elsewhere').collection<{ _id: number; text: string }>('source').insertMany(documents(10_000));
    await client
      .db('admin')
      .command({ renameCollection: 'elsewhere.source', to: `${db}.d_replaced`, dropTarget: true });
    await client.db(db).collection<{ _id: number }>('f_made').insertOne({ _id: 1 });
    await until('the snapshot is complete', () => isComplete(engine), 60_000);
    assert.equal(await engine.terminate(), 0, engine.log());
    const all = await eventsIn(place);
    const dropped = all.findIndex(({ operationType, ns }) => operationType === 'drop' && ns.coll === 'b_dropped');
    assert.ok(dropped > 0);
    assert.ok(!all.slice(dropped).some(({ ns }) => ns.coll === 'b_dropped' && ns !== all[dropped]!['ns']));
    assert.deepEqual(await differences(client.db(db), applied(all)), []);
  });

  test('what is asked for while it runs: some namespaces, a filter, held, gone on with, ended', async () => {
    const db = 'asked';
    for (const coll of ['one', 'two']) {
      const documents = Array.from({ length: 4_000 }, (_, n) => ({ _id: n, open: n % 4 === 0 }));
      await client.db(db).collection<{ _id: number; open: boolean }>(coll).insertMany(documents);
    }
    await client.db(db).createCollection('view', { viewOn: 'one', pipeline: [] });
    await using place = await EngineFolder.create(config(db, { snapshot: { maxRate: 400 } }, 'latest'));
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    assert.deepEqual(await api.good('/snapshots'), { snapshots: [] });
    const add = (sent: unknown) => api.ask('/snapshots', { method: 'post', body: sent });
    api.assertProblem('/snapshots', await add({ subscription: 'nobody' }), 'api-not-found', 'post');
    api.assertProblem('/snapshots', await add({ subscription: 'all', namespaces: [] }), 'api-bad-request', 'post');
    api.assertProblem('/snapshots', await add({ subscription: 'all', filter: 'x' }), 'api-bad-request', 'post');
    for (const namespaces of [[`${db}.view`], ['other.*'], [`${db}.nothing`]]) {
      api.assertProblem('/snapshots', await add({ subscription: 'all', namespaces }), 'api-conflict', 'post');
    }
    const url = await engine.url();
    const added = await place.command(
      'snapshot',
      'add',
      'all',
      '--ns',
      `${db}.one`,
      '--filter',
      '{"open":true}',
      '--json',
      '--url',
      url,
    );
    assert.equal(added.code, 0, added.stderr);
    const { id } = JSON.parse(added.stdout) as { id: string };
    api.assertSchema('Snapshot', JSON.parse(added.stdout));
    const shown = async (): Promise<Document> =>
      (await api.good<{ snapshots: Document[] }>('/snapshots')).snapshots.find((one) => one['id'] === id)!;
    await until('some came', async () => (await shown())['documents'] > 0);
    const change = (what: string) => api.good<Document>(`/snapshots/{id}/${what}`, `/snapshots/${id}/${what}`, 'post');
    assert.equal((await change('pause'))['state'], 'paused');
    await new Promise((resolve) => setTimeout(resolve, 500));
    const held = (await shown())['documents'];
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.equal((await shown())['documents'], held);
    await change('resume');
    await until('it is complete', async () => (await shown())['state'] === 'done');
    assert.deepEqual(
      { documents: (await shown())['documents'], collections: (await shown())['collections'] },
      { documents: 1_000, collections: 1 },
    );
    const all = await eventsIn(place);
    assert.equal(all.length, 1_000);
    assert.ok(all.every(({ ns, fullDocument }) => ns.coll === 'one' && fullDocument.open));
    api.assertProblem(
      '/snapshots/{id}/pause',
      await api.ask(`/snapshots/${id}/pause`, { method: 'post' }),
      'api-conflict',
    );
    api.assertProblem(
      '/snapshots/{id}/pause',
      await api.ask('/snapshots/all.1/pause', { method: 'post' }),
      'api-not-found',
    );
    const second = await api.good<Document>('/snapshots', '/snapshots', 'post', { subscription: 'all' });
    const ended = await place.command('snapshot', 'cancel', String(second['id']), '--url', url);
    assert.match(ended.stdout, /cancelled/);
    const list = await place.command('snapshot', 'list', '--url', url);
    assert.match(list.stdout, new RegExp(`${id} +done +- +1,?000 `));
    assert.equal(await engine.terminate(), 0, engine.log());
  });

  test('a subscription that is paused and resumed again and again meanwhile, beside another one, leaves nothing out', async () => {
    const db = 'paused';
    for (const coll of ['c0', 'c1']) {
      const documents = Array.from({ length: 4_000 }, (_, n) => ({ _id: n, n: 0, list: [1] }));
      await client.db(db).collection<{ _id: number; n: number }>(coll).insertMany(documents);
    }
    const whole = config(db, { snapshot: { maxRate: 1_500 } }) as { subscriptions: object[] };
    const another = { name: 'other', namespaces: [`${db}.*`], to: { file: 'other.jsonl' } };
    await using place = await EngineFolder.create({ ...whole, subscriptions: [...whole.subscriptions, another] });
    const writers = new Writers(client, { db, collections: 2, ids: 4_200, seed: 5 });
    writers.start();
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    for (let n = 0; n < 5; n++) {
      await new Promise((resolve) => setTimeout(resolve, 300 + n * 150));
      for (const what of ['pause', 'resume']) {
        const { status, body } = await api.ask(`/subscriptions/all/${what}`, { method: 'post' });
        assert.equal(status, 200, JSON.stringify(body));
      }
    }
    const isOver = async (): Promise<boolean> =>
      (await api.good<{ snapshots: Document[] }>('/snapshots')).snapshots.every(({ state }) => state === 'done');
    await until('both are complete', isOver, 60_000);
    await writers.stop();
    await client.db(db).collection<{ _id: string }>('edge').insertOne({ _id: 'after' });
    await until('the last write has arrived', async () =>
      (await readFile(join(place.folder, 'out.jsonl'), 'utf8')).includes('"after"'),
    );
    assert.equal(await engine.terminate(), 0, engine.log());
    assert.deepEqual(await differences(client.db(db), applied(await eventsIn(place))), []);
  });

  test('what is there when a position is lost heals the gap, where the policy says so', async () => {
    const args = ['--oplogSize', '1', '--syncdelay', '1'];
    const small = await startMongo({ args });
    const writer = await MongoClient.connect(small.uri);
    try {
      const db = 'healed';
      const collection = writer.db(db).collection<{ _id: number; n: number }>('c');
      const given = config(db, {}, 'latest') as { sources: object };
      await using place = await EngineFolder.create({
        ...given,
        sources: { src: { uri: small.uri, onPositionLost: 'snapshot' } },
      });
      const first = place.start();
      await until('it reads', () => first.log().includes('Reading begins'));
      await collection.insertMany(Array.from({ length: 100 }, (_, n) => ({ _id: n, n })));
      await until('all arrived', async () => (await eventsIn(place)).length === 100);
      assert.equal(await first.terminate(), 0);
      await collection.updateMany({}, { $inc: { n: 1_000 } });
      await collection.insertOne({ _id: 500, n: 5 });
      const { operationTime } = await writer.db('admin').command({ ping: 1 });
      await until(
        'the oplog has rolled over',
        async () => {
          const fillers = Array.from({ length: 50 }, () => ({ filling: 'x'.repeat(10_000) }));
          await writer.db('filler').collection('c').insertMany(fillers);
          const oldest = await writer
            .db('local')
            .collection('oplog.rs')
            .findOne({}, { sort: { $natural: 1 } });
          return (oldest!['ts'] as Timestamp).greaterThan(operationTime as Timestamp);
        },
        60_000,
      );
      const second = place.start();
      await until('the snapshot is complete', () => isComplete(second), 60_000);
      await collection.insertOne({ _id: 501, n: 6 });
      await until('the last write has arrived', async () =>
        (await eventsIn(place)).some(({ documentKey }) => Number(documentKey._id) === 501),
      );
      const { gaps, snapshots } = await second.status();
      assert.deepEqual(
        gaps.map(({ reason }) => reason),
        ['truncated'],
      );
      assert.deepEqual(
        snapshots.map(({ cause, documents }) => ({ cause, documents })),
        [{ cause: 'position-lost', documents: 101 }],
      );
      assert.equal(await second.terminate(), 0, second.log());
      assert.deepEqual(await differences(writer.db(db), applied(await eventsIn(place))), []);
    } finally {
      await writer.close();
      await small.stop();
    }
  });
});
