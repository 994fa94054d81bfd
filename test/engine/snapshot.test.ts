/**
 * Snapshots on real servers: whoever applies every event in the order in which it comes ends with exactly what is in the collections,
 * whatever was written meanwhile and however often the engine was killed.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { Writers, assertSame, isComplete, snapshotConfig } from './snapshot-state.ts';

/** Documents that are there before, and how often the engine is killed. */
const DOCUMENTS = Number(process.env['SNAPSHOT_DOCUMENTS'] ?? 20_000);
const KILLS = Number(process.env['SNAPSHOT_KILLS'] ?? 3);
const SEED = Number(process.env['SNAPSHOT_SEED'] ?? 1);
const VERSION = process.env['SNAPSHOT_MONGOD'];

describe('a snapshot', () => {
  let mongo: MongoServer;
  let client: MongoClient;

  before(async () => {
    mongo = await startMongo(VERSION === undefined ? {} : { version: VERSION });
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await mongo.stop();
  });

  const config = (db: string, key: 'namespace' | 'document', subscription: object = {}): object => ({
    ...snapshotConfig(db, { uri: mongo.uri, subscription }),
    pipeline: { partitions: 4, partitionBy: [{ namespaces: [`${db}.*`], key }] },
  });

  async function fill(db: string, collections: number): Promise<void> {
    for (let c = 0; c < collections; c++) {
      const count = Math.ceil(DOCUMENTS / collections);
      const documents = Array.from({ length: count }, (_, n) => ({
        _id: n,
        n: 0,
        text: 'x'.repeat(200),
        list: [1, 2],
      }));
      await client.db(db).collection<{ _id: number }>(`c${c}`).insertMany(documents);
    }
  }

  for (const key of ['namespace', 'document'] as const) {
    test(`beside random writes, partitioned by ${key}, gives each document as it stood before the changes that follow`, async (t) => {
      const db = `random_${key}`;
      await fill(db, 3);
      await using place = await EngineFolder.create(config(db, key));
      const writers = new Writers(client, { db, collections: 3, ids: Math.ceil(DOCUMENTS / 3) + 500, seed: SEED });
      writers.start();
      const engine = place.start();
      await until('the snapshot is complete', () => isComplete(engine), 120_000);
      await writers.stop();
      const all = await assertSame(client, { place, engine, db });
      const given = all.filter(({ operationType }) => operationType === 'snapshot').length;
      t.diagnostic(`${given} of ${all.length} events are the snapshot's; ${writers.writes} writes`);
      assert.ok(given >= DOCUMENTS / 2);
    });

    test(`killed again and again, partitioned by ${key}, it goes on where it was and the state is the same in the end`, async (t) => {
      const db = `kills_${key}`;
      await fill(db, 3);
      await using place = await EngineFolder.create(
        config(db, key, { snapshot: { maxRate: Math.ceil(DOCUMENTS / (KILLS + 2)), parallel: 2 } }),
      );
      const writers = new Writers(client, { db, collections: 3, ids: Math.ceil(DOCUMENTS / 3) + 500, seed: SEED });
      writers.start();
      for (let kill = 0; kill < KILLS; kill++) {
        const engine = place.start();
        await until('it reads', () => engine.log().includes('Reading begins'));
        await new Promise((resolve) => setTimeout(resolve, 300 + ((kill * 377) % 900)));
        // A clean stop now and then: what it has under way must not count as delivered either.
        if (kill % 3 === 2) assert.equal(await engine.terminate(), 0, engine.log());
        else await engine.kill();
      }
      const engine = place.start();
      await until('the snapshot is complete', () => isComplete(engine), 120_000);
      await writers.stop();
      const all = await assertSame(client, { place, engine, db });
      const ids = all.filter(({ operationType }) => operationType === 'snapshot').map(({ _id }) => String(_id));
      const repeated = ids.length - new Set(ids).size;
      t.diagnostic(`${ids.length} snapshot events, ${repeated} of them repeated; ${writers.writes} writes`);
      assert.ok(repeated < ids.length / 2, 'it began anew after each kill');
    });
  }
});
