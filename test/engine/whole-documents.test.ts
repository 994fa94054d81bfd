/** Events that carry whole documents, held against the server's own change stream and against the collections. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Binary, Long, serialize } from 'bson';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { linesIn } from '../harness/lines-in.ts';
import { insertRaw } from '../harness/raw-insert.ts';
import { untilReading } from '../harness/waiting.ts';
import { Performer } from '../equality/perform.ts';
import { DATABASES, stepsOf } from '../equality/steps.ts';
import { Wire } from '../equality/wire.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';

/** More, or on another server: `OPERATIONS=50000 SEED=7 SERVER=6.0.27 npm test -- test/engine/whole-documents.test.ts`. */
const OPERATIONS = Number(process.env['OPERATIONS'] ?? 1_500);
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
const SERVER = process.env['SERVER'];
const KEEPS_NONE = SERVER !== undefined && SERVER < '6' && `MongoDB ${SERVER} keeps no pre-images`;
const COLLECTIONS = ['c', 'plain', 'with.dots', 'été 日本', 'UPPER', '0'];
const KEPT = { changeStreamPreAndPostImages: { enabled: true } };
const SOON_MS = 600_000;

describe('whole documents', () => {
  let mongo: MongoServer;
  let client: MongoClient;

  before(async () => {
    // With its test commands a replica set prepares transactions. Few operations an entry: most transactions lie in several.
    const parameters = ['enableTestCommands=1', 'maxNumberOfTransactionOperationsInSingleOplogEntry=3'];
    const args = parameters.flatMap((parameter) => ['--setParameter', parameter]);
    mongo = await startMongo({ args, ...(SERVER !== undefined && { version: SERVER }) });
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client?.close();
    await mongo?.stop();
  });

  const linesOf = async ({ folder }: EngineFolder, file: string): Promise<string[]> => linesIn(join(folder, file));

  /** Each subscription has come as far as a document that is written now. */
  async function untilAllIsThere(engine: EngineProcess, db: string): Promise<void> {
    await client.db(db).collection<{ _id: string }>('c').insertOne({ _id: 'the last' });
    const { operationTime } = await client.db('admin').command({ ping: 1 });
    const last = operationTime as { t: number; i: number };
    await until(
      'everything is delivered',
      async () =>
        Object.values((await engine.status()).subscriptions).every(({ watermark }) => {
          const [t = 0, i = 0] = (watermark ?? '').split(':').map(Number);
          return t > last.t || (t === last.t && i >= last.i);
        }),
      SOON_MS,
    );
  }

  const idOf = (line: string): string => /^\{"_id":"[^:]*:([^"]*)"/.exec(line)![1]!;
  /** But for the source's name. */
  const byId = (lines: readonly string[]): Map<string, string> =>
    new Map(lines.map((line) => [idOf(line), line.replace(/^\{"_id":"[^:]*:/, '{"_id":"')]));

  test(
    `exact ones are what the server's change stream has, byte for byte: ${OPERATIONS} random operations`,
    { skip: KEEPS_NONE },
    async (t) => {
      t.diagnostic(`SEED=${SEED}`);
      const exact = { fullDocument: 'required', fullDocumentBeforeChange: 'required' };
      const namespaces = DATABASES.map((db) => `${db}.*`);
      const asked = { namespaces, format: 'json-canonical' };
      await using place = await EngineFolder.create({
        sources: {
          oplog: { uri: mongo.uri },
          stream: { uri: mongo.uri, mode: 'changeStream', changeStream: exact },
        },
        subscriptions: [
          { name: 'ours', source: 'oplog', ...asked, ...exact, to: { file: 'ours' } },
          { name: 'theirs', source: 'stream', ...asked, to: { file: 'theirs' } },
        ],
        pipeline: { partitionBy: [{ namespaces: ['*'], key: 'document' }] },
      });
      for (const db of DATABASES) for (const coll of COLLECTIONS) await client.db(db).createCollection(coll, KEPT);
      const engine = place.start();
      await untilReading(engine);
      await using wire = await Wire.open(mongo.uri);
      const performer = new Performer(wire);
      for (const step of stepsOf({ seed: SEED, operations: OPERATIONS, ddl: false, large: true })) {
        // The collections stay, with what was asked of them.
        if (step.kind !== 'restart' && step.kind !== 'admin') await performer.perform(step);
      }
      await untilAllIsThere(engine, DATABASES[0]!);
      assert.equal(await engine.terminate(), 0);
      const [ours, theirs] = [byId(await linesOf(place, 'ours')), byId(await linesOf(place, 'theirs'))];
      t.diagnostic(`${ours.size} events, ${performer.failed} operations were refused by the server`);
      assert.ok(ours.size > OPERATIONS / 2, `${ours.size} events`);
      assert.deepEqual([...ours.keys()].toSorted(), [...theirs.keys()].toSorted());
      let differing = 0;
      for (const [id, line] of theirs) {
        if (ours.get(id) === line) continue;
        differing += 1;
        if (differing === 1) assert.equal(ours.get(id), line);
      }
      assert.equal(differing, 0);
    },
  );

  const settings = (subscriptions: readonly object[], more: object = {}): object => ({
    sources: { shop: { uri: mongo.uri } },
    subscriptions,
    ...more,
  });

  interface Event {
    readonly operationType: string;
    readonly documentKey: { readonly _id: unknown };
    readonly clusterTime: Time;
    readonly fullDocument?: Readonly<Record<string, unknown>> | null;
    readonly fullDocumentBeforeChange?: Readonly<Record<string, unknown>>;
    readonly fullDocumentTime?: Time;
    readonly updateDescription?: { readonly updatedFields: Readonly<Record<string, unknown>> };
  }
  interface Time {
    readonly $timestamp: { readonly t: number; readonly i: number };
  }
  const eventsOf = async (place: EngineFolder, file: string): Promise<Event[]> =>
    (await linesOf(place, file)).map((line) => JSON.parse(line) as Event);
  const isBefore = ({ $timestamp: a }: Time, { $timestamp: b }: Time): boolean =>
    a.t < b.t || (a.t === b.t && a.i < b.i);

  test('updateLookup: the document as it is then, never older than its event, null when it is gone', async () => {
    const db = 'lookup';
    const documents = client.db(db).collection<{ _id: unknown; n: number; filling?: string }>('c');
    await using place = await EngineFolder.create(
      settings([
        {
          name: 'all',
          namespaces: [`${db}.*`],
          fullDocument: 'updateLookup',
          where: { any: [{ field: 'fullDocument.n', gte: 0 }, { operation: 'delete' }] },
          whenUnknown: 'deliver',
          to: { file: 'all' },
        },
        { name: 'plain', namespaces: [`${db}.*`], to: { file: 'plain' }, operations: ['update'] },
      ]),
    );
    const ids = [1, 'one', { '2': 'b', '1': 'a' }, new Date(5), Buffer.from('id'), 1.5];
    const engine = place.start();
    await untilReading(engine);
    await documents.insertMany(ids.map((_id) => ({ _id, n: 0 })));
    for (let n = 1; n <= 200; n++) await documents.updateMany({}, { $set: { n } });
    // Large ones: more than is read at a time.
    await documents.updateMany({}, { $set: { filling: 'x'.repeat(7 * 2 ** 20) } });
    await documents.updateMany({}, { $set: { n: 201 } });
    await documents.deleteOne({ _id: 'one' } as never);
    // Of the same name, and another collection.
    await client
      .db(db)
      .collection('gone')
      .insertOne({ _id: 1 as never, n: 0 });
    for (let n = 0; n < 50; n++)
      await client
        .db(db)
        .collection('gone')
        .updateOne({}, { $inc: { n: 1 } });
    await client.db(db).collection('gone').drop();
    await client
      .db(db)
      .collection('gone')
      .insertOne({ _id: 1 as never, other: true });
    await untilAllIsThere(engine, db);
    assert.equal(await engine.terminate(), 0);

    const events = await eventsOf(place, 'all');
    const updates = events.filter(({ operationType }) => operationType === 'update');
    assert.equal(updates.length, ids.length * 202 + 50);
    assert.equal((await linesOf(place, 'plain')).length, updates.length);
    for (const { clusterTime, fullDocument, fullDocumentTime, documentKey, updateDescription } of updates) {
      assert.ok(fullDocumentTime && !isBefore(fullDocumentTime, clusterTime), JSON.stringify(fullDocumentTime));
      if (fullDocument === null) continue;
      assert.deepEqual(fullDocument!['_id'], documentKey._id);
      assert.equal(fullDocument!['other'], undefined);
      const { n } = updateDescription!.updatedFields;
      assert.ok(
        n === undefined || Number(fullDocument!['n']) >= Number(n),
        `${String(fullDocument!['n'])} for ${String(n)}`,
      );
    }
    const seen = updates.filter(({ fullDocument }) => fullDocument !== null);
    assert.ok(seen.length > updates.length / 2, `${seen.length} of ${updates.length} were there`);
    assert.ok(events.every(({ operationType, fullDocumentTime }) => operationType === 'update' || !fullDocumentTime));
  });

  test(
    'an event that may not go without its document holds its lane, and goes once it may',
    { skip: KEEPS_NONE },
    async () => {
      const db = 'required';
      const wanted = (name: string, images: object): object => ({
        name,
        namespaces: [`${db}.*`],
        ...images,
        to: { file: name },
      });
      const required = { fullDocument: 'required', fullDocumentBeforeChange: 'required' };
      const available = { fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable' };
      await using place = await EngineFolder.create(
        settings([wanted('strict', required), wanted('available', available)], { pipeline: { partitions: 4 } }),
      );
      await client.db(db).createCollection('kept', KEPT);
      const engine = place.start();
      await untilReading(engine);
      const of = (name: string) => client.db(db).collection<{ _id: number; n: number }>(name);
      for (const name of ['kept', 'none']) {
        await of(name).insertOne({ _id: 1, n: 0 });
        await of(name).updateOne({ _id: 1 }, { $inc: { n: 1 } });
        await of(name).replaceOne({ _id: 1 }, { n: 5 });
        await of(name).deleteOne({ _id: 1 });
      }
      await until('it is held', async () => (await engine.ready()).reasons.some((reason) => /no-image/.test(reason)));
      const { reasons } = await engine.ready();
      assert.match(
        reasons.join(),
        /"strict".*no-image: MongoDB has no pre-image of the change at \d+:\d+ in required\.none/,
      );
      const { code, stdout } = await place.command('check');
      assert.equal(code, 2);
      assert.match(
        stdout,
        /FAULT +subscription strict: no pre-images are kept of required\.none; .*Until then it is held/,
      );
      assert.match(stdout, /warning +subscription available: no pre-images are kept of required\.none;/);
      await until('the other has it all', async () => (await linesOf(place, 'available')).length === 8);
      assert.equal(await engine.terminate(), 0);
      const before = await eventsOf(place, 'strict');
      // All of the collection that keeps them, and what came before the first change of the other.
      assert.equal(before.length, 5);

      await place.configure(
        settings([wanted('strict', available), wanted('available', available)], { pipeline: { partitions: 4 } }),
      );
      const again = place.start();
      await until('it goes on', async () => (await linesOf(place, 'strict')).length >= 8);
      assert.equal(await again.terminate(), 0);
      const shown = (events: readonly Event[]): unknown[] =>
        events.map(({ operationType, fullDocument, fullDocumentBeforeChange }) => [
          operationType,
          fullDocument?.['n'],
          fullDocumentBeforeChange?.['n'],
        ]);
      const both = [...shown(await eventsOf(place, 'strict')), ...shown(await eventsOf(place, 'available'))];
      const expected = [
        ['insert', 0, undefined],
        ['update', 1, 0],
        ['replace', 5, 1],
        ['delete', undefined, 5],
        ['insert', 0, undefined],
        ['update', undefined, undefined],
        ['replace', 5, undefined],
        ['delete', undefined, undefined],
      ];
      const sorted = (list: readonly unknown[]): string[] => list.map((one) => JSON.stringify(one)).toSorted();
      assert.deepEqual(sorted(both), sorted([...expected, ...expected]));
    },
  );

  for (const { isPrepared, count } of [
    { isPrepared: true, count: 1 },
    { isPrepared: true, count: 8 },
    { isPrepared: false, count: 8 },
  ]) {
    const kind = isPrepared ? 'prepared' : 'committed at once';
    test(`transactions have theirs too: ${kind}, ${2 * count} operations`, { skip: KEEPS_NONE }, async () => {
      const db = `transactions_${isPrepared}_${count}`;
      const exact = { fullDocument: 'required', fullDocumentBeforeChange: 'required' };
      await using place = await EngineFolder.create(
        settings([{ name: 'all', namespaces: [`${db}.*`], ...exact, to: { file: 'all' } }]),
      );
      const ids = Array.from({ length: count }, (_, n) => n + 1);
      const colls = ['c', 'd'];
      for (const coll of colls) {
        await client.db(db).createCollection(coll, KEPT);
        // No two documents are alike: who has another's image is found out.
        await client
          .db(db)
          .collection<{ _id: number }>(coll)
          .insertMany(ids.map((_id) => ({ _id, n: _id * 10, coll })));
      }
      const engine = place.start();
      await untilReading(engine);
      await using wire = await Wire.open(mongo.uri);
      const id = new Binary(Buffer.from(db.padEnd(16, '0').slice(-16)), 4);
      const own = { lsid: { id }, txnNumber: Long.fromNumber(1), autocommit: false };
      const majority = { writeConcern: { w: 'majority' } };
      const good = async (of: string, command: object): Promise<Record<string, unknown>> => {
        const reply = await wire.command(of, command);
        assert.equal(reply['ok'], 1, JSON.stringify(reply));
        return reply;
      };
      for (const [n, coll] of [...colls, ...colls].entries()) {
        const some = ids.filter((one) => one % 2 === (n < 2 ? 1 : 0));
        if (some.length === 0) continue;
        const updates = some.map((_id) => ({ q: { _id }, u: { $inc: { n: 1 } } }));
        await good(db, { update: coll, updates, ...own, ...(n === 0 && { startTransaction: true }) });
      }
      if (isPrepared) {
        const { prepareTimestamp } = await good('admin', { prepareTransaction: 1, ...own, ...majority });
        await client.db(db).collection<{ _id: number }>('c').insertOne({ _id: 100 });
        await good('admin', { commitTransaction: 1, commitTimestamp: prepareTimestamp, ...own, ...majority });
      } else await good('admin', { commitTransaction: 1, ...own, ...majority });
      await untilAllIsThere(engine, db);
      assert.equal(await engine.terminate(), 0);
      const shown = (await eventsOf(place, 'all')).filter(({ operationType }) => operationType === 'update');
      assert.equal(shown.length, 2 * ids.length);
      for (const { documentKey, fullDocument, fullDocumentBeforeChange: before } of shown) {
        const n = Number(documentKey._id) * 10;
        assert.deepEqual([before?.['_id'], before?.['n'], fullDocument?.['n']], [documentKey._id, n, n + 1]);
        assert.equal(fullDocument?.['coll'], before?.['coll']);
      }
    });
  }

  test('what cannot be looked up holds up nothing: capped collections, ids that no driver sends, one large document again and again', async () => {
    const db = 'odd';
    await using place = await EngineFolder.create(
      settings([{ name: 'all', namespaces: [`${db}.*`], fullDocument: 'updateLookup', to: { file: 'all' } }]),
    );
    const engine = place.start();
    await untilReading(engine);
    await client.db(db).createCollection('capped', { capped: true, size: 100_000 });
    const capped = client.db(db).collection<{ _id: number; n: number }>('capped');
    await capped.insertOne({ _id: 1, n: 0 });
    await capped.updateOne({ _id: 1 }, { $set: { n: 1 } });
    // A text that is not UTF-8.
    const odd = Buffer.from(serialize({ _id: 'ab', n: 0 }));
    odd[odd.indexOf('ab')] = 0xff;
    await insertRaw(mongo.uri, `${db}.odd`, [odd]);
    await client
      .db(db)
      .collection('odd')
      .updateOne({}, { $set: { n: 1 } });
    const large = client.db(db).collection<{ _id: number; n: number; filling: string }>('large');
    await large.insertOne({ _id: 1, n: 0, filling: 'x'.repeat(200_000) });
    const times = 1_000;
    await large.bulkWrite(
      Array.from({ length: times }, () => ({ updateOne: { filter: { _id: 1 }, update: { $inc: { n: 1 } } } })),
    );
    await untilAllIsThere(engine, db);
    const { subscriptions } = await engine.status();
    assert.equal(subscriptions['all']!.parked, 1);
    assert.equal(await engine.terminate(), 0);
    const updates = (await eventsOf(place, 'all')).filter(({ operationType }) => operationType === 'update');
    assert.equal(updates.length, 1 + times);
    assert.ok(
      updates.every(({ fullDocument }) => fullDocument),
      'each has its document',
    );
    const { stdout } = await place.command('parked', 'list');
    assert.match(stdout, /undecodable.*an `_id` that MongoDB cannot be asked for/);
  });

  test(
    'the server looks at those that are asked for: pre-images of others and of long ago, and a clustered collection, lie where they lie',
    { skip: KEEPS_NONE },
    async (t) => {
      const db = 'many';
      const [count, changed] = [10_000, 60];
      const clustered = { clusteredIndex: { key: { _id: 1 }, unique: true } };
      await client.db(db).createCollection('clustered', clustered);
      for (const coll of ['c', 'other']) await client.db(db).createCollection(coll, KEPT);
      const documents = Array.from({ length: count }, (_, n) => ({ _id: n, n: 0 }));
      const coll = (name: string) => client.db(db).collection<{ _id: number; n: number }>(name);
      for (const name of ['clustered', 'c', 'other']) await coll(name).insertMany(documents);
      for (const name of ['c', 'other']) await coll(name).updateMany({}, { $inc: { n: 1 } });
      await using place = await EngineFolder.create(
        settings([
          {
            name: 'exact',
            namespaces: [`${db}.*`, `!${db}.clustered`],
            fullDocumentBeforeChange: 'required',
            to: { file: 'exact' },
          },
          { name: 'now', namespaces: [`${db}.clustered`], fullDocument: 'updateLookup', to: { file: 'now' } },
        ]),
      );
      const engine = place.start();
      await untilReading(engine);
      const examined = async (): Promise<number> =>
        Number((await client.db('admin').command({ serverStatus: 1 }))['metrics'].queryExecutor.scannedObjects);
      const before = await examined();
      const step = Math.floor(count / changed);
      const some = Array.from({ length: changed }, (_, n) => n * step);
      for (const name of ['clustered', 'other', 'c', 'clustered'])
        await coll(name).bulkWrite(some.map((_id) => ({ updateOne: { filter: { _id }, update: { $inc: { n: 1 } } } })));
      await untilAllIsThere(engine, db);
      const looked = (await examined()) - before;
      t.diagnostic(`${looked} documents were looked at for ${4 * changed} changes`);
      assert.equal(await engine.terminate(), 0);
      const shown = [...(await eventsOf(place, 'exact')), ...(await eventsOf(place, 'now'))];
      assert.equal(shown.filter(({ fullDocumentBeforeChange: one }) => one).length, 2 * changed);
      assert.equal(
        shown.filter(({ operationType, fullDocument }) => operationType === 'update' && fullDocument).length,
        2 * changed,
      );
      assert.ok(looked < count / 2, `${looked} documents were looked at`);
    },
  );
});
