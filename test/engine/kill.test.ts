import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { historyOf, writeHistory } from '../harness/history.ts';
import { countMessages, judge, readDry } from '../harness/queue-reader.ts';
import { startMongo, startRabbit } from '../servers/index.ts';
import type { Change } from '../harness/history.ts';
import type { MongoServer, RabbitServer } from '../servers/index.ts';

const KILLS = 20;
const EVENTS = 200_000;
const PARTITIONS = 16;
const WINDOW = 100;
/** Two subscriptions of no interest to each other would double it; here it is one with all lanes. */
const UNDER_WAY = PARTITIONS * WINDOW;
/** Confirms that may not be in the checkpoint yet: of the last 50 ms, at more than this broker has ever been seen to give. */
const CONFIRMS_IN_50_MS = 0.05 * 60_000;

/** `c0` … `c7` are partitioned by document, the others by namespace. */
const byDocument = (ns: string): boolean => /\.c[0-7]$/.test(ns);
const partitionKey = ({ ns, document }: Change): string => (byDocument(ns) ? `${ns}/${document}` : ns);

describe('an engine that is killed with SIGKILL', () => {
  let mongo: MongoServer;
  let rabbit: RabbitServer;
  let client: MongoClient;

  before(async () => {
    [mongo, rabbit] = await Promise.all([startMongo(), startRabbit()]);
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await Promise.all([mongo.stop(), rabbit.stop()]);
  });

  const config = (db: string, queue: string): object => ({
    sources: { src: { uri: mongo.uri, start: 'earliest' } },
    sinks: { mq: { uri: rabbit.uri, window: WINDOW } },
    subscriptions: [
      {
        name: 'all',
        namespaces: [`${db}.*`],
        to: { exchange: db, queues: [{ name: queue, type: 'classic', bind: '#' }] },
      },
    ],
    pipeline: {
      workers: 1,
      partitions: PARTITIONS,
      partitionBy: [{ namespaces: [0, 1, 2, 3, 4, 5, 6, 7].map((c) => `${db}.c${c}`), key: 'document' }],
    },
  });

  test(`${KILLS} times during a catch-up loses nothing, keeps the order and repeats no more than was under way`, async (t) => {
    const seed = Number(process.env['TAILRACE_SEED'] ?? Math.floor(Math.random() * 1e9));
    t.diagnostic(`TAILRACE_SEED=${seed}`);
    const random = seeded(seed);
    await writeHistory(client, { db: 'kill', collections: 16, events: EVENTS });
    const expected = await historyOf(client, 'kill');
    await using place = await EngineFolder.create(config('kill', 'kill-all'));

    const ends: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const engine = place.start();
      // Most kills fall into the flow, some into the start.
      if (kill % 5 !== 4)
        await until('the engine reads', async () => (await engine.status()).subscriptions['all']?.state === 'flowing');
      await new Promise((resolve) => setTimeout(resolve, random() * 1_200));
      await engine.kill();
      ends.push(await settledCount(rabbit.uri, 'kill-all'));
    }
    const beforeLast = ends.at(-1)!;
    const last = place.start();
    await until('the catch-up ends', async () => caughtUp(await last.status(), 'src'), 120_000);
    assert.equal(await last.terminate(), 0);

    const received = await readDry(rabbit.uri, 'kill-all');
    const verdict = judge(expected, received, partitionKey);
    const repeats = repeatsPerRun(received, ends);
    t.diagnostic(
      `${expected.length} changes, ${beforeLast} messages before the last run, ${verdict.repeated} repeated, per kill at most ${Math.max(...repeats)}`,
    );
    assert.ok(beforeLast < expected.length, 'the kills fell into the catch-up');
    assert.deepEqual(verdict.missing, []);
    assert.deepEqual(verdict.unknown, []);
    assert.deepEqual(verdict.firstOutOfOrder, []);
    for (const repeated of repeats)
      assert.ok(repeated <= UNDER_WAY + CONFIRMS_IN_50_MS, `${repeated} repeated after one kill`);
  });
});

/** Position at the newest entry, and nothing under way. */
function caughtUp(
  status: { sources: Record<string, { lagSeconds: number | null; inFlightBytes: number; state: string }> },
  source: string,
): boolean {
  const it = status.sources[source]!;
  return it.state === 'reading' && it.lagSeconds === 0 && it.inFlightBytes === 0;
}

/** Messages the broker still takes in after the kill come within moments. */
async function settledCount(uri: string, queue: string): Promise<number> {
  let count = -1;
  for (;;) {
    const now = await countMessages(uri, queue).catch(() => 0);
    if (now === count) return count;
    count = now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** `ends[k]`: how many messages lay in the queue when run k had ended. How many of the next run's were there before. */
function repeatsPerRun(received: readonly string[], ends: readonly number[]): number[] {
  const seen = new Set<string>();
  const repeats: number[] = [];
  for (let run = 0; run <= ends.length; run++) {
    let repeated = 0;
    for (const id of received.slice(run === 0 ? 0 : ends[run - 1], ends[run] ?? received.length)) {
      if (seen.has(id)) repeated += 1;
      seen.add(id);
    }
    repeats.push(repeated);
  }
  return repeats;
}

function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
