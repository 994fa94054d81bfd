import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { confirmed, untilDelivered, untilFlowing } from '../harness/waiting.ts';
import { startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const MIB = 2 ** 20;
const BLOCKED_S = 60;
const MAX_RSS = 400 * MIB;
const EVENTS = 200_000;

describe('a broker that blocks publishers', () => {
  let mongo: Shared;
  let rabbit: RabbitServer;
  let client: MongoClient;

  before(async () => {
    [mongo, rabbit] = await Promise.all([sharedMongo(), startRabbit()]);
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await Promise.all([mongo.stop(), rabbit.stop()]);
  });

  test(`for ${BLOCKED_S} s under full load costs time and no memory: the engine says why it waits, then goes on`, async (t) => {
    const db = 'blocked';
    const start = await endOfOplog(client);
    // Some 300 MB, many times what may be in flight.
    await writeHistory(client, { db, collections: 8, events: EVENTS, padding: 2_200 });
    const expected = await historyOf(client, db);
    await using place = await EngineFolder.create({
      sources: { src: { uri: mongo.uri, start } },
      sinks: { mq: { uri: rabbit.uri } },
      subscriptions: [{ name: 'all', namespaces: [`${db}.*`], batch: { maxEvents: 20 }, to: { queue: db } }],
    });
    const engine = place.start();
    await untilFlowing(engine);
    await rabbit.setMemoryAlarm(true);

    const samples: number[] = [];
    const sampling = new AbortController();
    const sampled = (async () => {
      while (!sampling.signal.aborted) {
        samples.push(await engine.rss());
        await sleep(1_000);
      }
    })();
    try {
      await until('it is not ready', async () => !(await engine.ready()).ok, 15_000);
      assert.match((await engine.ready()).reasons.join('\n'), /sink "mq" is blocked by the broker: /);
      const whenBlocked = await confirmed(engine);
      await sleep(BLOCKED_S * 1_000);
      assert.equal((await engine.ready()).ok, false);
      assert.equal(await confirmed(engine), whenBlocked, 'nothing passed');
      const { inFlightBytes, heldBy } = (await engine.status()).sources['src']!;
      assert.deepEqual(heldBy, ['all']);

      await rabbit.setMemoryAlarm(false);
      t.diagnostic(`flowing again ${await untilFlowing(engine)} ms after it was unblocked`);
      await untilDelivered(engine, expected, { withinMs: 120_000 });
      assert.equal((await engine.ready()).ok, true);
      t.diagnostic(`${(inFlightBytes / MIB).toFixed(0)} MiB in flight while blocked`);
    } finally {
      sampling.abort();
      await sampled;
    }
    assert.equal(await engine.terminate(), 0);
    const inMib = samples.map((bytes) => Math.round(bytes / MIB));
    t.diagnostic(`RSS, MiB, each second: ${inMib.join(' ')}`);
    const verdict = judge(expected, await readDry(rabbit.uri, db), ({ ns }) => ns);
    t.diagnostic(`${expected.length} changes, ${verdict.repeated} repeated`);
    assertKept(verdict);
    assert.equal(verdict.repeated, 0);
    assert.ok(Math.max(...samples) <= MAX_RSS, `${Math.max(...inMib)} MiB at most`);
  });
});
