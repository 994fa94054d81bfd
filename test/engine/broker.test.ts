import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Workplace, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { Traffic } from '../harness/traffic.ts';
import { untilDelivered, untilFlowing, untilReading } from '../harness/waiting.ts';
import { startProxy, startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const QUEUES = ['classic', 'quorum'] as const;

describe('while changes flow', () => {
  let mongo: Shared;
  let rabbit: RabbitServer;

  before(async () => {
    [mongo, rabbit] = await Promise.all([sharedMongo(), startRabbit()]);
  });

  after(async () => {
    await Promise.all([mongo.stop(), rabbit.stop()]);
  });

  const config = (db: string, amqpUri: string): object => ({
    sources: { src: { uri: mongo.uri } },
    sinks: { mq: { uri: amqpUri } },
    subscriptions: QUEUES.map((type) => ({
      name: type,
      namespaces: [`${db}.*`],
      to: { exchange: `${db}-${type}`, queues: [{ name: `${db}-${type}`, type, bind: '#' }] },
    })),
    pipeline: { partitions: 4 },
  });

  /** Breaks something in mid-flow with `fault`, and holds what arrives against what was written. */
  async function outlives(
    t: TestContext,
    {
      db,
      uri = rabbit.uri,
      fault,
    }: { db: string; uri?: string; fault: (engine: EngineProcess) => Promise<unknown> },
  ): Promise<void> {
    await using place = await Workplace.create(config(db, uri));
    const engine = place.start();
    await untilReading(engine);
    await using traffic = new Traffic({ uri: mongo.uri, db });
    await untilFlowing(engine);
    await sleep(300);

    await fault(engine);
    t.diagnostic(`flowing again ${await untilFlowing(engine)} ms after the fault ended`);
    await sleep(300);

    const expected = await traffic.end();
    await untilDelivered(engine, expected);
    assert.equal(await engine.terminate(), 0);
    for (const type of QUEUES) {
      const verdict = judge(expected, await readDry(rabbit.uri, `${db}-${type}`), ({ ns }) => ns);
      t.diagnostic(`${type}: ${expected.length} changes, ${verdict.repeated} repeated`);
      assertKept(verdict);
    }
  }

  test('a broker that is restarted costs a pause: nothing is missing, the order holds', async (t) => {
    await outlives(t, { db: 'broker-restart', fault: async () => rabbit.restart() });
  });

  test('connections that the broker closes are made again: nothing is missing, the order holds', async (t) => {
    await outlives(t, { db: 'broker-close', fault: async () => rabbit.closeConnections('a test') });
  });

  test('a connection that is cut again and again is made again: nothing is missing, the order holds', async (t) => {
    await using proxy = await startProxy({ to: Number(new URL(rabbit.uri).port) });
    await outlives(t, {
      db: 'broker-cut',
      uri: `amqp://127.0.0.1:${proxy.port}`,
      fault: async (engine) => {
        for (let cut = 0; cut < 3; cut++) {
          proxy.cut();
          await untilFlowing(engine);
        }
        proxy.cut();
      },
    });
  });

  test('a link that goes silent is noticed, and left for a new one once there is one', async (t) => {
    await using proxy = await startProxy({ to: Number(new URL(rabbit.uri).port) });
    await outlives(t, {
      db: 'broker-stall',
      uri: `amqp://127.0.0.1:${proxy.port}`,
      fault: async (engine) => {
        proxy.pause();
        const until20s = sleep(20_000);
        await until('it is not ready', async () => !(await engine.ready()).ok, 15_000);
        t.diagnostic(`not ready: ${(await engine.ready()).reasons.join('; ')}`);
        await until20s;
        assert.ok((await engine.metric('tailrace_reconnects_total')) > 0, 'the silent link was given up');
        proxy.resume();
      },
    });
  });

  test('a broker that is killed with SIGKILL and comes back has all there was', async (t) => {
    await outlives(t, {
      db: 'broker-kill',
      fault: async (engine) => {
        await rabbit.kill();
        await until('it is not ready', async () => !(await engine.ready()).ok, 15_000);
        await rabbit.restart();
      },
    });
  });
});
