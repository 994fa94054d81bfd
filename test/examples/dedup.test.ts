/**
 * The example consumers behind an engine that is killed again and again, and killed themselves in between: each effect is there
 * exactly once, though the queue held some events twice; and what they remember stays bounded.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { countMessages, judge, readDry } from '../harness/queue-reader.ts';
import { onBroker } from '../harness/on-broker.ts';
import { Traffic } from '../harness/traffic.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { pythonWith } from '../servers/python.ts';
import { run } from '../servers/run.ts';
import { ServersUnavailable } from '../servers/unavailable.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';
import type { Change } from '../harness/history.ts';
import type { PythonWith } from '../servers/python.ts';
import type { Shared } from '../servers/with-servers.ts';

const KILLS = 2;
const FLOW_MS = 600;

/** Ids to keep in each lane: (engine's window + confirms of 50 ms + prefetch) × events in a message, and some. */
const QUEUES = [
  { kind: 'single', keep: 300, window: 8, maxEvents: 1, headers: {} },
  { kind: 'several', keep: 5_000, window: 2, maxEvents: 20, headers: { lane: '{partition}' } },
] as const;

/** An example and where its effects can be read. */
interface Example {
  readonly command: string;
  readonly file: string;
  env(queue: string): NodeJS.ProcessEnv;
  /** How often each document was changed, as far as it knows, and how many ids it remembers. */
  effects(queue: string): Promise<{ changes: Map<string, number>; remembered: number }>;
}

describe('the example consumers', () => {
  let mongo: Shared;
  let rabbit: Shared;
  let client: MongoClient;

  before(async () => {
    [mongo, rabbit] = await Promise.all([sharedMongo(), sharedRabbit()]);
    client = await MongoClient.connect(mongo.uri);
    await endTransactionsAfter(2);
  });

  after(async () => {
    await endTransactionsAfter(60);
    await client.close();
    await Promise.all([mongo.stop(), rabbit.stop()]);
  });

  /** One whose client was killed goes on holding what it has written to: a minute is MongoDB's default. */
  async function endTransactionsAfter(transactionLifetimeLimitSeconds: number): Promise<void> {
    await client.db('admin').command({ setParameter: 1, transactionLifetimeLimitSeconds });
  }

  test('in Node, with MongoDB: every effect is there exactly once, over kills of the engine and of the consumer', async (t) => {
    const effectsOf = client.db('dedup_effects');
    await effectsOf.dropDatabase();
    await trial(t, 'dedup_node', {
      command: process.execPath,
      file: 'dedup-node/consumer.mjs',
      env: () => ({ MONGODB_URI: mongo.uri, DATABASE: 'dedup_effects' }),
      effects: async (queue) => ({
        changes: new Map(
          await effectsOf
            .collection<{ _id: string; n: number }>(`${queue}.changes`)
            .find()
            .map(({ _id, n }): [string, number] => [_id, n])
            .toArray(),
        ),
        remembered: await effectsOf.collection(`${queue}.seen`).countDocuments(),
      }),
    });
  });

  test('in Python, with SQLite: likewise', async (t) => {
    let python: PythonWith;
    try {
      python = await pythonWith('pika', '1.3.2');
    } catch (error) {
      if (!(error instanceof ServersUnavailable)) throw error;
      t.skip(error.message);
      return;
    }
    const database = (queue: string): string => join(tmpdir(), `tailrace-${process.pid}-${queue}.db`);
    const script =
      'import json, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); ' +
      'print(json.dumps([db.execute("SELECT document, n FROM changes").fetchall(), db.execute("SELECT count(*) FROM seen").fetchone()[0]]))';
    try {
      await trial(t, 'dedup_python', {
        command: python.command,
        file: 'dedup-python/consumer.py',
        env: (queue) => ({ ...python.env, DATABASE: database(queue) }),
        effects: async (queue) => {
          const [changes, remembered] = JSON.parse(await run(python.command, ['-c', script, database(queue)])) as [
            [string, number][],
            number,
          ];
          return { changes: new Map(changes), remembered };
        },
      });
    } finally {
      for (const { kind } of QUEUES) await rm(database(`dedup_python-${kind}`), { force: true });
    }
  });

  async function trial(t: TestContext, name: string, example: Example): Promise<void> {
    await client.db(name).dropDatabase();
    await using place = await EngineFolder.create(configOf(name));
    let engine = place.start();
    await untilReading(engine);
    await using consumers = new Consumers(example, name, rabbit.uri);
    await using traffic = new Traffic({ uri: mongo.uri, db: name, eventsPerSecond: 400 });
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(FLOW_MS / 2 + Math.random() * FLOW_MS);
      await consumers.kill();
      await sleep(Math.random() * FLOW_MS);
      await engine.kill();
      engine = place.start();
      await untilReading(engine);
    }
    await sleep(FLOW_MS);
    const changes = await traffic.end();
    await untilDelivered(engine, changes);
    assert.equal(await engine.terminate(), 0);

    let repeats = 0;
    for (const { kind, keep, headers } of QUEUES) {
      const queue = `${name}-${kind}`;
      const { missing, unknown, repeated } = judge(changes, await readDry(rabbit.uri, `${queue}.tap`), ({ ns }) => ns);
      assert.deepEqual([missing, unknown], [[], []], 'the queue held what was written');
      await until('the queue is empty', async () => (await countMessages(rabbit.uri, queue)) === 0);
      await until('as many effects as changes', async () => {
        return sum((await example.effects(queue)).changes) >= changes.length;
      });
      // Time for one too many.
      await sleep(500);
      const effects = await example.effects(queue);
      assert.deepEqual(sorted(effects.changes), sorted(perDocument(changes)), kind);
      const lanes = 'lane' in headers ? PARTITIONS : COLLECTIONS;
      t.diagnostic(`${queue}: ${changes.length} changes, ${repeated} repeated, ${effects.remembered} ids remembered`);
      repeats += repeated;
      assert.ok(effects.remembered <= keep * lanes, `${effects.remembered} ids are remembered`);
    }
    assert.ok(repeats > 0, 'some events were in a queue twice');
    await consumers[Symbol.asyncDispose]();
    await onBroker(rabbit.uri, async (channel) => {
      for (const { kind } of QUEUES)
        for (const queue of [`${name}-${kind}`, `${name}-${kind}.tap`]) await channel.deleteQueue(queue);
    });
  }

  const configOf = (name: string): object => ({
    sources: { src: { uri: mongo.uri } },
    sinks: Object.fromEntries(QUEUES.map(({ kind, window }) => [kind, { uri: rabbit.uri, window }])),
    subscriptions: QUEUES.map(({ kind, maxEvents, headers }) => {
      const queue = `${name}-${kind}`;
      const queues = [queue, `${queue}.tap`].map((it) => ({ name: it, type: 'classic', bind: '#' }));
      return {
        name: queue,
        namespaces: [`${name}.*`],
        batch: { maxEvents },
        headers,
        to: { sink: kind, exchange: queue, queues },
      };
    }),
    pipeline: { workers: 1, partitions: PARTITIONS },
  });
});

const PARTITIONS = 4;
const COLLECTIONS = 8;

/** One consumer of each queue, started again whenever it has ended, as a supervisor does. */
class Consumers implements AsyncDisposable {
  readonly #running = new Map<string, ChildProcess>();
  readonly #example: Example;
  readonly #amqpUri: string;
  #stopped = false;

  constructor(example: Example, name: string, amqpUri: string) {
    this.#example = example;
    this.#amqpUri = amqpUri;
    for (const { kind, keep } of QUEUES) this.#start(`${name}-${kind}`, keep);
  }

  #start(queue: string, keep: number): void {
    const { command, file } = this.#example;
    const env = { QUEUE: queue, WINDOW: `${keep}`, AMQP_URI: this.#amqpUri, ...this.#example.env(queue) };
    const child = spawn(command, [fileURLToPath(new URL(`../../examples/${file}`, import.meta.url))], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    this.#running.set(queue, child);
    child.once('exit', () => {
      if (!this.#stopped) this.#start(queue, keep);
    });
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const alive = [...this.#running.values()].filter((child) => child.exitCode === null && child.signalCode === null);
    const ends = alive.map(
      async (child) =>
        new Promise((resolve) => {
          child.once('exit', resolve);
          child.kill('SIGKILL');
        }),
    );
    await Promise.all(ends);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.kill();
  }
}

function perDocument(changes: readonly Change[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { ns, document } of changes) counts.set(`${ns} ${document}`, (counts.get(`${ns} ${document}`) ?? 0) + 1);
  return counts;
}

function sorted(counts: ReadonlyMap<string, number>): [string, number][] {
  return [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, n) => total + n, 0);
}
