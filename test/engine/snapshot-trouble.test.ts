/** Snapshots where something is in their way: writes of everything at once, renames, rights, members, ids that nobody can ask for. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Long, MongoClient } from 'mongodb';
import type { Document } from 'mongodb';
import { ApiUnderTest } from '../api/fixtures.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';

import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { assertSame, eventsIn, isComplete, snapshotConfig } from './snapshot-state.ts';

interface Numbered {
  _id: number | string;
  n?: number;
  text?: string;
  list?: string[];
}

const COMPLETE_MS = 120_000;

describe('a snapshot, where', () => {
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

  async function fill(ns: string, documents: number, text = 'x', to = client): Promise<void> {
    const [db, coll] = ns.split('.') as [string, string];
    for (let from = 0; from < documents; from += 5_000) {
      const count = Math.min(5_000, documents - from);
      const some = Array.from({ length: count }, (_, n) => ({ _id: from + n, n: 0, text, list: [] }));
      await to.db(db).collection<Numbered>(coll).insertMany(some);
    }
  }

  const config = (db: string, subscription: object = {}, other: { uri?: string; start?: string } = {}): object =>
    snapshotConfig(db, { uri: mongo.uri, subscription, ...other });

  test('a rename brings in a name behind others that nobody has begun leaves none of those out', async () => {
    const db = 'jumped';
    for (const coll of ['b', 'm']) await fill(`${db}.${coll}`, 3_000);
    await fill(`${db}.source`, 10);
    const namespaces = ['b', 'm', 'z', 'edge'].map((coll) => `${db}.${coll}`);
    await using place = await EngineFolder.create(
      config(db, { namespaces, snapshot: { maxRate: 2_000, parallel: 1 } }),
    );
    const engine = place.start();
    await until('it has begun', async () => (await eventsIn(place)).length > 0);
    await client.db('admin').command({ renameCollection: `${db}.source`, to: `${db}.z` });
    await until('it is complete', () => isComplete(engine), COMPLETE_MS);
    await assertSame(client, { place, engine, db });
    const given = await eventsIn(place);
    assert.ok(given.some(({ operationType, ns }) => operationType === 'snapshot' && ns.coll === 'z'));
  });

  test('a rename replaces what was read, and what nobody has begun: each is read once more, under ids of its own', async () => {
    const db = 'replaced';
    for (const coll of ['a', 'b', 'z']) await fill(`${db}.${coll}`, 2_000);
    for (const coll of ['a', 'z']) {
      await fill(`${db}.new_${coll}`, 2_000, 'y');
    }
    const namespaces = [`${db}.*`, `!${db}.new_*`];
    await using place = await EngineFolder.create(
      config(db, { namespaces, snapshot: { maxRate: 1_000, parallel: 2 } }),
    );
    const engine = place.start();
    const events = async (): Promise<Document[]> =>
      (await eventsIn(place)).filter(({ operationType }) => operationType === 'snapshot');
    const of = async (coll: string): Promise<Document[]> => (await events()).filter(({ ns }) => ns.coll === coll);
    await until('both have begun', async () => (await of('a')).length > 0 && (await of('b')).length > 0);
    const rename = async (coll: string): Promise<unknown> =>
      client.db('admin').command({ renameCollection: `${db}.new_${coll}`, to: `${db}.${coll}`, dropTarget: true });
    await rename('z');
    await until('it is read by now', async () => (await of('z')).length > 0, COMPLETE_MS);
    await rename('a');
    await until('it is complete', () => isComplete(engine), COMPLETE_MS);
    await assertSame(client, { place, engine, db });
    const shown = new Map<string, unknown>();
    let repeated = 0;
    for (const { _id, fullDocument } of await events()) {
      if (shown.has(_id as string)) repeated++;
      assert.equal(
        shown.get(_id as string) ?? fullDocument.text,
        fullDocument.text,
        `${String(_id)} is of two documents`,
      );
      shown.set(_id as string, fullDocument.text);
    }
    assert.equal(repeated, 0);
    for (const coll of ['a', 'z'])
      assert.equal((await of(coll)).filter(({ _id }) => /-\d\./.test(_id as string)).length, 2_000);
  });

  test('a filter matches documents that do not fit into one reply, gives all of them', async () => {
    const db = 'wide';
    const collection = client.db(db).collection<Numbered>('c');
    await fill(`${db}.c`, 10_000);
    // Behind small ones, or so many would not be looked for at a time.
    for (let n = 600; n < 608; n++) {
      const text = 'x'.repeat((n === 607 ? 11 : 1) * 2 ** 20);
      await collection.updateOne({ _id: n }, { $set: { text } });
    }
    await using place = await EngineFolder.create(config(db, {}, { start: 'latest' }));
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    await api.good('/snapshots', '/snapshots', 'post', { subscription: 'all', filter: { n: 0 } });
    await until('it is complete', () => isComplete(engine));
    assert.equal(await engine.terminate(), 0, engine.log());
    const given = (await eventsIn(place)).map(({ documentKey }) => Number(documentKey._id));
    assert.equal(new Set(given).size, 10_000);
  });

  test('documents grow beyond one reply before they are read again, gives all of them', async () => {
    const db = 'grown';
    const collection = client.db(db).collection<Numbered>('c');
    await fill(`${db}.c`, 600, 'x'.repeat(36_000));
    await using place = await EngineFolder.create(config(db));
    const stop = new AbortController();
    const writing = (async () => {
      const list = { $each: ['y'.repeat(500)], $slice: -100 };
      for (let n = 0; n < 100 && !stop.signal.aborted; n++) await collection.updateMany({}, { $push: { list } });
    })();
    const engine = place.start();
    await until('it is complete', () => isComplete(engine), COMPLETE_MS).finally(() => stop.abort());
    await writing;
    await assertSame(client, { place, engine, db });
    const given = (await eventsIn(place)).filter(({ operationType }) => operationType === 'snapshot');
    assert.equal(new Set(given.map(({ _id }) => _id)).size, 600);
  });

  test('documents are inserted behind the others without a pause, does not run behind them', async (t) => {
    const db = 'growing';
    const collection = client.db(db).collection<Numbered>('c');
    await fill(`${db}.c`, 20_000);
    await using place = await EngineFolder.create(config(db, { snapshot: { maxRate: 5_000 } }, { start: 'latest' }));
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    const stop = new AbortController();
    let written = 0;
    const writing = (async () => {
      for (; !stop.signal.aborted; written += 20) {
        await collection.insertMany(Array.from({ length: 20 }, (_, n) => ({ _id: 1_000_000 + written + n, n: 0 })));
        await sleep(5);
      }
    })();
    await until('it is being written', () => written > 100);
    await api.good('/snapshots', '/snapshots', 'post', { subscription: 'all' });
    const before = written;
    await until('it is complete', () => isComplete(engine), 60_000).finally(() => stop.abort());
    await writing;
    await assertSame(client, { place, engine, db });
    const given = (await eventsIn(place)).filter(({ operationType }) => operationType === 'snapshot').length;
    const since = written - before;
    t.diagnostic(`${given - 20_000 - before} of ${since} documents were read that were written meanwhile`);
    // What is written behind its beginning comes as changes; it would run behind that for as long as there is more.
    assert.ok(given >= 20_000 && given - 20_000 - before < since / 2);
  });

  test('everything is changed again and again, it still answers, and comes to its end', async (t) => {
    const db = 'busy';
    await fill(`${db}.c`, 30_000);
    await using place = await EngineFolder.create(config(db, {}, { start: 'latest' }));
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    const stop = new AbortController();
    let rounds = 0;
    const collection = client.db(db).collection<Numbered>('c');
    const writing = (async () => {
      for (; !stop.signal.aborted; rounds++) await collection.updateMany({}, { $inc: { n: 1 } });
    })();
    await api.good('/snapshots', '/snapshots', 'post', { subscription: 'all' });
    let worstMs = 0;
    const end = performance.now() + 8_000;
    while (performance.now() < end) {
      const asked = performance.now();
      await api.good('/snapshots');
      worstMs = Math.max(worstMs, performance.now() - asked);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    stop.abort();
    await writing;
    t.diagnostic(`${rounds} updates of all documents; the slowest answer took ${Math.round(worstMs)} ms`);
    await until('it is complete', () => isComplete(engine), COMPLETE_MS);
    assert.equal(await engine.terminate(), 0, engine.log());
    const given = (await eventsIn(place)).filter(({ operationType }) => operationType === 'snapshot');
    assert.equal(new Set(given.map(({ _id }) => _id)).size, 30_000);
  });

  test('collections are renamed into it while a subscription joins the others, reads all of them', async (t) => {
    const db = 'joined';
    const renames = 300;
    await fill(`${db}.b`, 20_000);
    for (let n = 0; n < renames; n++) {
      await client.db('aside').collection<Numbered>(`x${n}`).insertOne({ _id: n });
    }
    const whole = config(db, { snapshot: { maxRate: 1_500, share: 0 } }, { start: 'latest' }) as {
      subscriptions: object[];
    };
    const another = { name: 'other', namespaces: [`${db}.*`], to: { file: 'other.jsonl' } };
    await using place = await EngineFolder.create({ ...whole, subscriptions: [...whole.subscriptions, another] });
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    await api.good('/snapshots', '/snapshots', 'post', { subscription: 'all' });
    await until('it has begun', async () => (await eventsIn(place)).length > 0);
    const admin = client.db('admin');
    const nameOf = (n: number): string => `a${String(n).padStart(4, '0')}`;
    const renaming = (async () => {
      for (let n = 0; n < renames; n++) {
        await admin.command({ renameCollection: `aside.x${n}`, to: `${db}.${nameOf(n)}` });
        await new Promise((resolve) => setTimeout(resolve, 8));
      }
    })();
    const joins = (): number => engine.log().split('Caught up').length - 1;
    const isRenaming = { now: true };
    void renaming.finally(() => (isRenaming.now = false));
    for (let n = 1; isRenaming.now; n++) {
      for (const what of ['pause', 'resume']) await api.ask(`/subscriptions/all/${what}`, { method: 'post' });
      await until('it has joined', () => joins() >= n || !isRenaming.now, 20_000);
    }
    await renaming;
    t.diagnostic(`${joins()} joins beside ${renames} renames`);
    const isOver = async (): Promise<boolean> =>
      (await api.good<{ snapshots: Document[] }>('/snapshots')).snapshots.every(({ state }) => state === 'done');
    await until('it is complete', isOver, COMPLETE_MS);
    assert.equal(await engine.terminate(), 0, engine.log());
    const given = (await eventsIn(place)).filter(({ operationType }) => operationType === 'snapshot');
    const read = new Set(given.map(({ ns }) => ns.coll));
    assert.deepEqual(
      Array.from({ length: renames }, (_, n) => nameOf(n)).filter((coll) => !read.has(coll)),
      [],
    );
  });

  test('a filter is none for MongoDB, it is refused', async () => {
    const db = 'filtered';
    await fill(`${db}.c`, 10);
    await using place = await EngineFolder.create(config(db, {}, { start: 'latest' }));
    const engine = place.start();
    await until('it reads', () => engine.log().includes('Reading begins'));
    const api = await ApiUnderTest.of(engine);
    const bad = [
      { n: { $no: 1 } },
      { _id: { $oid: 'bad' } },
      { n: { $numberInt: 'x' } },
      { $or: [{ $where: 'true' }] },
    ];
    for (const filter of bad) {
      const answer = await api.ask('/snapshots', { method: 'post', body: { subscription: 'all', filter } });
      api.assertProblem('/snapshots', answer, 'api-conflict', 'post');
    }
    const good = { subscription: 'all', filter: { n: { $lt: 1 } } };
    await api.good('/snapshots', '/snapshots', 'post', good);
    await until('it is complete', () => isComplete(engine));
    const [shown] = (await api.good<{ snapshots: Document[] }>('/snapshots')).snapshots;
    assert.deepEqual([shown?.['documents'], shown?.['expectedDocuments']], [10, null]);
    assert.match(
      (await place.command('snapshot', 'list', '--url', await engine.url())).stdout,
      /all\.\d+ +done +- +10 +- /,
    );
    assert.equal(await engine.terminate(), 0, engine.log());
    assert.equal((await eventsIn(place)).length, 10);
  });

  test('its subscription is paused, says so instead of how long it takes, and another is not begun', async () => {
    const db = 'paused';
    await fill(`${db}.c`, 1_000);
    await using place = await EngineFolder.create(config(db, { snapshot: { maxRate: 50 } }));
    const engine = place.start();
    const api = await ApiUnderTest.of(engine);
    const shown = async (): Promise<Document> =>
      (await api.good<{ snapshots: Document[] }>('/snapshots')).snapshots[0] ?? {};
    await until('it is under way', async () => (await shown())['documentsPerSecond'] > 0);
    assert.equal((await shown())['waitsFor'], null);
    await api.ask('/subscriptions/all/pause', { method: 'post' });
    const { state, waitsFor, documentsPerSecond, secondsLeft } = await shown();
    const expected = ['running', 'its subscription is paused', 0, null];
    assert.deepEqual([state, waitsFor, documentsPerSecond, secondsLeft], expected);
    const answer = await api.ask('/snapshots', { method: 'post', body: { subscription: 'all' } });
    api.assertProblem('/snapshots', answer, 'api-conflict', 'post');
    assert.match((answer.body as { detail: string }).detail, /`tailrace ctl resume all` first/);
    assert.equal(await engine.terminate(), 0, engine.log());
  });

  test('an `_id` cannot be asked for, leaves its collection out, and says so', async () => {
    const db = 'unaskable';
    const date = { $toDate: Long.fromString('9000000000000000') };
    await client.db(db).collection('one').insertOne({});
    await client
      .db(db)
      .collection('one')
      .aggregate([{ $project: { _id: date } }, { $merge: 'far' }])
      .toArray();
    await using place = await EngineFolder.create(config(db));
    const engine = place.start();
    await until('it is complete', () => isComplete(engine), COMPLETE_MS);
    assert.equal(await engine.terminate(), 0, engine.log());
    const line = engine
      .log()
      .split('\n')
      .find((one) => one.includes('snapshot-left-out'));
    assert.deepEqual(JSON.parse(line!).namespaces, [`${db}.far`]);
    assert.match(JSON.parse(line!).reason, /cannot be asked for/);
  });

  test('the user may not read, waits and says so; it can be ended, and others go on', async () => {
    const guarded = await startMongo({ auth: { user: 'root', password: 'pw' } });
    const root = await MongoClient.connect(guarded.uri);
    try {
      await fill('may.c', 200, 'x', root);
      await fill('not.c', 20, 'x', root);
      const admin = root.db('admin');
      const roles = ['local', 'may'].map((db) => ({ role: 'read', db }));
      await admin.command({ createUser: 'tail', pwd: 'tail', roles });
      const namespaces = ['may.*', 'not.c'];
      const uri = guarded.uri.replace('root:pw@', 'tail:tail@');
      const slow = { namespaces, snapshot: { maxRate: 1 } };
      await using asked = await EngineFolder.create(config('may', slow, { uri }));
      const refused = await asked.command('check');
      assert.equal(refused.code, 2);
      assert.match(refused.stdout, /FAULT +subscription all: a snapshot .* may not read not\.c: grant .* `read`/);
      assert.match(refused.stdout, /warning +subscription all: the user may not list .* has no right on/);
      assert.match(refused.stdout, /warning +subscription all: at `snapshot\.maxRate`, .* longer than the oplog/);

      const whole = config('may', { namespaces }, { uri, start: 'latest' });
      await using place = await EngineFolder.create(whole);
      const engine = place.start();
      await until('it reads', () => engine.log().includes('Reading begins'));
      const api = await ApiUnderTest.of(engine);
      const add = async (more: object): Promise<string> => {
        const { id } = await api.good<Document>('/snapshots', '/snapshots', 'post', { subscription: 'all', ...more });
        return String(id);
      };
      const shown = async (id: string): Promise<Document> => {
        const { snapshots } = await api.good<{ snapshots: Document[] }>('/snapshots');
        return snapshots.find((one) => one['id'] === id)!;
      };
      const first = await add({});
      await until('it waits', async () => /not authorized/.test(String((await shown(first))['waitsFor'])));
      const second = await add({ namespaces: ['may.c'] });
      await api.good('/snapshots/{id}/cancel', `/snapshots/${first}/cancel`, 'post');
      await until('the next one is complete', async () => (await shown(second))['state'] === 'done');
      const third = await add({});
      await until('it waits', async () => /not authorized/.test(String((await shown(third))['waitsFor'])));
      await admin.command({ grantRolesToUser: 'tail', roles: [{ role: 'read', db: 'not' }] });
      await until('it is complete', async () => (await shown(third))['state'] === 'done', 60_000);
      assert.equal((await shown(third))['documents'], 220);
      assert.match(
        (await asked.command('check')).stdout,
        /ok +subscription all: .* 2 collections, about 220 documents/,
      );
      assert.equal(await engine.terminate(), 0, engine.log());
    } finally {
      await root.close();
      await guarded.stop();
    }
  });

  test('the server is an old one, is read from a secondary as well, and leaves nothing open', async (t) => {
    const old = await startMongo({ version: '4.4.2', members: 3 });
    const writer = await MongoClient.connect(old.uri, { writeConcern: { w: 3 } });
    try {
      await fill('aged.c', 3_000, 'x', writer);
      for (const readPreference of ['secondary', 'primary']) {
        const uri = `${old.uri}${old.uri.includes('?') ? '&' : '/?'}readPreference=${readPreference}`;
        await using place = await EngineFolder.create(config('aged', {}, { uri }));
        const engine = place.start();
        await until('it is complete', () => isComplete(engine), COMPLETE_MS);
        const began = performance.now();
        await writer
          .db('aged')
          .collection('c')
          .createIndex({ [`by_${readPreference}`]: 1 });
        t.diagnostic(
          `an index was built in ${Math.round(performance.now() - began)} ms, read from the ${readPreference}`,
        );
        assert.ok(performance.now() - began < 30_000, 'something kept it from being built');
        assert.equal(await engine.terminate(), 0, engine.log());
        assert.equal((await eventsIn(place)).length, 3_000);
      }
    } finally {
      await writer.close();
      await old.stop();
    }
  });
});
