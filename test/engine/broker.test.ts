import assert from 'node:assert/strict';
import { connect as connectSocket, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { Traffic } from '../harness/traffic.ts';
import { confirmed, untilDelivered, untilFlowing } from '../harness/waiting.ts';
import { startProxy, startRabbit } from '../servers/index.ts';
import type { RabbitServer } from '../servers/index.ts';
import { sharedMongo } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const QUEUES = ['classic', 'quorum'] as const;
const BACKLOG = 10_000;

describe('while changes flow', () => {
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

  const config = (db: string, start: string, amqpUri: string): object => ({
    sources: { src: { uri: mongo.uri, start } },
    sinks: { mq: { uri: amqpUri } },
    subscriptions: QUEUES.map((type) => ({
      name: type,
      namespaces: [`${db}.*`, `${db}-traffic.*`],
      to: { exchange: `${db}-${type}`, queues: [{ name: `${db}-${type}`, type, bind: '#' }] },
    })),
    pipeline: { partitions: 4 },
  });

  /** Breaks something in mid-flow with `fault`, and holds what arrives against what was written. */
  async function outlives(
    t: TestContext,
    { db, uri = rabbit.uri, fault }: { db: string; uri?: string; fault: (engine: EngineProcess) => Promise<unknown> },
  ): Promise<void> {
    const start = await endOfOplog(client);
    // With a backlog behind them, all lanes have as much under way as they may.
    await writeHistory(client, { db, collections: 8, events: BACKLOG });
    await using place = await EngineFolder.create(config(db, start, uri));
    const engine = place.start();
    await using traffic = new Traffic({ uri: mongo.uri, db: `${db}-traffic` });
    await until('it flows', async () => (await confirmed(engine)) > 0);

    await fault(engine);
    t.diagnostic(`flowing again ${await untilFlowing(engine)} ms after the fault ended`);
    await sleep(300);

    const expected = [...(await historyOf(client, db)), ...(await traffic.end())];
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

  test('a cut between the closing of a channel and its answer holds up nobody', async () => {
    const db = 'broker-closing';
    const start = await endOfOplog(client);
    await client.db(db).collection('c').insertOne({});
    await using link = await cutAtFirst({ port: Number(new URL(rabbit.uri).port), method: CHANNEL_CLOSE_OK });
    await using place = await EngineFolder.create(config(db, start, `amqp://127.0.0.1:${link.port}`));
    const engine = place.start();
    await until('the change has arrived in both queues', async () => (await confirmed(engine)) === 2, 20_000);
    assert.equal(link.cuts, 1);
    assert.equal(await engine.terminate(), 0);
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
        // A quorum queue that is killed within its first moments does not work again by itself, whoever publishes to it.
        await sleep(4_000);
        await rabbit.kill();
        await until('it is not ready', async () => !(await engine.ready()).ok, 15_000);
        await rabbit.restart();
      },
    });
  });
});

/** Class 20, method 41. */
const CHANNEL_CLOSE_OK = Buffer.from([0, 20, 0, 41]);

/** A way to the broker that is cut, once, instead of letting the broker's first frame of this method pass. */
async function cutAtFirst({ port, method }: { port: number; method: Buffer }) {
  const link = { port: 0, cuts: 0, [Symbol.asyncDispose]: async (): Promise<void> => void server.close() };
  const server = createServer((near) => {
    const far = connectSocket(port, '127.0.0.1');
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    near.on('error', end).on('close', end).pipe(far);
    far.on('error', end).on('close', end);
    far.on('data', (bytes: Buffer) => {
      if (link.cuts > 0 || !bytes.includes(method)) near.write(bytes);
      else {
        link.cuts += 1;
        end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  link.port = (server.address() as AddressInfo).port;
  return link;
}
