/** Subscriptions that are paused and resumed by chance while others of their source go on. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Arrivals } from '../harness/arrivals.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { endOfOplog } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { batchFor, Traffic } from '../harness/traffic.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import { Random } from '../worker/damage.ts';

const ns = (change: Change): string => change.ns;

/** More of both: `PAUSES=100 EVENTS_PER_SECOND=20000 npm test -- test/engine/pause.test.ts`. */
const TIMES = Number(process.env['PAUSES'] ?? 12);
const EVENTS_PER_SECOND = Number(process.env['EVENTS_PER_SECOND'] ?? 1_000);
const BATCH = batchFor(EVENTS_PER_SECOND);
const STEADY = 'steady';
const COMING_AND_GOING = ['first', 'second'];

describe('pausing and resuming', () => {
  const servers = useSharedServers();

  const ask = async (engine: EngineProcess, name: string, what: 'pause' | 'resume'): Promise<Response> =>
    fetch(`${await engine.url()}/api/v1/subscriptions/${name}/${what}`, { method: 'POST' });
  const stateOf = async (engine: EngineProcess, name: string): Promise<string> =>
    (await engine.status()).subscriptions[name]!.state;

  async function place(db: string): Promise<EngineFolder> {
    const start = await endOfOplog(servers.client);
    return EngineFolder.create({
      sources: { src: { uri: servers.mongo.uri, start } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: [STEADY, ...COMING_AND_GOING].map((name) => ({
        name,
        namespaces: [`${db}.*`],
        to: { queue: `${db}-${name}`, queueType: 'classic' },
        ...BATCH,
      })),
      pipeline: { partitions: 4 },
    });
  }

  test(`${TIMES} times by chance: nothing is missing or repeated on any, and the others are not held up`, async (t) => {
    const db = 'pause';
    const random = new Random(20_261_128);
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    await using arrivals = await Arrivals.of(servers.rabbit.uri, `${db}-${STEADY}`);
    const traffic = new Traffic({ uri: servers.mongo.uri, db, eventsPerSecond: EVENTS_PER_SECOND });
    const paused = new Set<string>();
    try {
      await sleep(500);
      arrivals.longestMs = 0;
      for (let n = 0; n < TIMES; n++) {
        const name = random.of(COMING_AND_GOING);
        const what = paused.has(name) ? 'resume' : 'pause';
        const response = await ask(engine, name, what);
        assert.equal(response.status, 200, await response.text());
        if (what === 'pause') paused.add(name);
        else paused.delete(name);
        assert.equal(await stateOf(engine, name), what === 'pause' ? 'paused' : 'flowing');
        await sleep(random.below(400));
      }
      t.diagnostic(`${TIMES} changes; the longest silence on the one that stays: ${Math.round(arrivals.longestMs)} ms`);
      for (const name of paused) assert.equal((await ask(engine, name, 'resume')).status, 200);
    } finally {
      await traffic[Symbol.asyncDispose]();
    }
    const all = await traffic.end();
    await untilDelivered(engine, all);
    await arrivals[Symbol.asyncDispose]();
    assert.equal(await engine.terminate(), 0);
    t.diagnostic(`${all.length} changes were written`);
    for (const name of [STEADY, ...COMING_AND_GOING]) {
      const ids = name === STEADY ? arrivals.ids : await readDry(servers.rabbit.uri, `${db}-${name}`);
      const verdict = judge(all, ids, ns);
      assertKept(verdict);
      assert.equal(verdict.repeated, 0, name);
    }
  });

  test('a pause outlives a restart; what was written meanwhile comes with the resuming', async () => {
    const db = 'pause-restart';
    await using folder = await place(db);
    const engine = folder.start();
    await untilReading(engine);
    for (const name of COMING_AND_GOING) assert.equal((await ask(engine, name, 'pause')).status, 200);
    // Twice is once.
    assert.equal((await ask(engine, 'first', 'pause')).status, 200);
    const write = async (n: number): Promise<unknown> =>
      servers.client
        .db(db)
        .collection('c0')
        .insertMany(Array.from({ length: 100 }, (_, i) => ({ n: n * 100 + i })));
    await write(0);
    await engine.kill();

    const again = folder.start();
    await until('it reads again', async () => (await stateOf(again, STEADY)) === 'flowing');
    assert.equal(await stateOf(again, 'first'), 'paused');
    assert.equal(await again.metric('tailrace_subscription_paused'), 2);
    assert.deepEqual((await again.ready()).reasons, []);
    // With the last that reads, reading ends; with the first that comes back, it begins.
    assert.equal((await ask(again, STEADY, 'pause')).status, 200);
    assert.equal((await again.status()).sources['src']!.state, 'idle');
    await write(1);
    for (const name of [STEADY, ...COMING_AND_GOING]) assert.equal((await ask(again, name, 'resume')).status, 200);
    const all = await new Traffic({ uri: servers.mongo.uri, db, eventsPerSecond: 0 }).end();
    await untilDelivered(again, all);
    assert.equal(await again.terminate(), 0);
    assert.equal(all.length, 200);
    for (const name of COMING_AND_GOING) {
      const verdict = judge(all, await readDry(servers.rabbit.uri, `${db}-${name}`), ns);
      assertKept(verdict);
      assert.equal(verdict.repeated, 0, name);
    }
  });
});
