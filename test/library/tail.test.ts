import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { MongoClient } from 'mongodb';
import { PositionLostError, UserError, createEngine, handle, tail } from '../../src/index.ts';
import type { ChangeEvent, Handlers } from '../../src/index.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

interface Order {
  readonly _id: number;
  readonly n: number;
}

const BUILT = new URL('../../dist/index.js', import.meta.url);

describe('tail, as a loop', () => {
  let mongo: Shared;
  let client: MongoClient;

  before(async () => {
    mongo = await sharedMongo();
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await mongo.stop();
  });

  async function now(): Promise<string> {
    const { operationTime } = await client.db('admin').command({ ping: 1 });
    return `${operationTime.t}:${operationTime.i}`;
  }

  async function take<T extends object>(
    count: number,
    events: AsyncIterable<ChangeEvent<T>>,
  ): Promise<ChangeEvent<T>[]> {
    const taken: ChangeEvent<T>[] = [];
    for await (const event of events) if (taken.push(event) === count) break;
    return taken;
  }

  test('gives typed events in order, and a handler for each operation gets its own', async () => {
    const orders = client.db('lib_typed').collection<Order>('orders');
    const from = await now();
    await orders.insertOne({ _id: 1, n: 1 });
    await orders.updateOne({ _id: 1 }, { $set: { n: 2 } });
    await orders.deleteOne({ _id: 1 });
    const seen: unknown[] = [];
    const handlers: Handlers<Order> = {
      insert: ({ fullDocument }) => void seen.push(['insert', fullDocument.n]),
      update: ({ updateDescription }) => void seen.push(['update', updateDescription.updatedFields['n']]),
      delete: ({ documentKey }) => void seen.push(['delete', documentKey['_id']]),
    };
    for await (const event of tail<Order>(mongo.uri, { namespaces: ['lib_typed.*'], from })) {
      await handle(event, handlers);
      if (event.operationType === 'delete') break;
    }
    assert.deepEqual(seen, [
      ['insert', 1],
      ['update', 2],
      ['delete', 1],
    ]);
  });

  test('goes on behind any event it gave, also inside a transaction', async () => {
    const from = await now();
    const orders = client.db('lib_resume').collection<Order>('orders');
    await orders.insertOne({ _id: 0, n: 0 });
    await client.withSession((session) =>
      session.withTransaction(async () => {
        for (let n = 1; n <= 4; n++) await orders.insertOne({ _id: n, n }, { session });
      }),
    );
    await orders.insertOne({ _id: 5, n: 5 });
    const options = { namespaces: ['lib_resume.*'] };
    const all = await take(6, tail<Order>(mongo.uri, { ...options, from }));
    for (const mode of ['oplog', 'changeStream'] as const) {
      for (const [k, event] of all.slice(0, -1).entries()) {
        const rest = await take(all.length - 1 - k, tail<Order>(mongo.uri, { ...options, mode, from: event }));
        assert.deepEqual(
          rest.map(({ _id }) => _id),
          all.slice(k + 1).map(({ _id }) => _id),
          `${mode}, behind event ${k}`,
        );
      }
    }
  });

  test('a slow loop keeps the engine from reading on, and everything comes all the same', async () => {
    const from = await now();
    // Half a gigabyte, all of which would be there at least once if nothing held it back.
    const padding = 'x'.repeat(1_000_000);
    const large = client.db('lib_slow').collection<{ _id: number; padding: string }>('large');
    for (let n = 0; n < 500; n++) await large.insertOne({ _id: n, padding });
    const before = process.memoryUsage().rss;
    let count = 0;
    for await (const event of tail(mongo.uri, { namespaces: ['lib_slow.*'], from })) {
      if (count++ === 0) {
        await new Promise((resolve) => setTimeout(resolve, 3_000));
        const grown = (process.memoryUsage().rss - before) / 2 ** 20;
        assert.ok(grown < 450, `${grown.toFixed(0)} MiB more while the loop held on to its first event`);
      }
      if (event.operationType === 'insert' && event.documentKey['_id'] === 499) break;
    }
    assert.equal(count, 500);
  });

  test('what only the user can mend, and a lost position, are thrown from the loop', async () => {
    await assert.rejects(take(1, tail('http://nowhere')), UserError);
    await assert.rejects(take(1, tail(mongo.uri, { from: 'yesterday' })), /from "yesterday": expected latest/);
    await assert.rejects(take(1, tail(mongo.uri, { from: '2020-01-01' })), PositionLostError);
    await assert.rejects(take(1, tail(mongo.uri, { namespaces: ['shop'] })), /^UserError: namespaces "shop": expected/);
    // From JavaScript, where no compiler says so; it would be waited for without end.
    const operations = ['insert', 'upsert'] as unknown as ['insert'];
    await assert.rejects(
      take(1, tail(mongo.uri, { operations })),
      /operations "upsert": expected one or more of insert, /,
    );
  });

  test('a signal ends the loop without an error', async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 1_000);
    assert.deepEqual(await take(1, tail(mongo.uri, { namespaces: ['lib_none.*'], signal: stop.signal })), []);
  });

  test('a program that leaves the loop ends by itself', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-library-'));
    const from = await now();
    await client.db('lib_exit').collection<Order>('orders').insertOne({ _id: 1, n: 1 });
    await writeFile(
      join(folder, 'program.mjs'),
      `import { tail } from ${JSON.stringify(pathToFileURL(BUILT.pathname).href)};
       for await (const event of tail(process.argv[2], { namespaces: ['lib_exit.*'], from: process.argv[3] })) {
         console.log(event.operationType, event.fullDocument.n);
         break;
       }`,
    );
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['program.mjs', mongo.uri, from], {
      cwd: folder,
      timeout: 20_000,
    });
    assert.equal(stdout, 'insert 1\n');
    assert.equal(stderr, '');
    await rm(folder, { recursive: true });
  });

  test('an engine is started and stopped inside a program, and goes on where it was', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-library-'));
    const config = {
      sources: { src: { uri: mongo.uri } },
      subscriptions: [{ name: 'all', namespaces: ['lib_engine.*'], to: { file: join(folder, 'out.jsonl') } }],
      checkpoint: { path: join(folder, 'data') },
      http: 'off',
    };
    for (let life = 0; life < 2; life++) {
      const engine = await createEngine({ config });
      const running = engine.run();
      if (life === 0) {
        while (engine.status().subscriptions['all']?.watermark === null) {
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
      assert.match(await engine.metrics(), /tailrace_build_info/);
      await engine.stop();
      assert.equal(await running, 0);
      await assert.rejects(engine.run(), /runs once/);
    }
    // The same words as for a file, without lines and columns of a text that nobody wrote.
    await assert.rejects(createEngine({ config: { ...config, parked: { maxBytes: 'much' } } }), (error) => {
      assert.ok(error instanceof UserError);
      assert.match(
        error.message,
        /^config has a fault; nothing was started:\n {2}parked\.maxBytes: found "much"; expected /,
      );
      return true;
    });
    await rm(folder, { recursive: true });
  });
});
