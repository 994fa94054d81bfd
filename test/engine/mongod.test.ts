import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { Traffic } from '../harness/traffic.ts';
import { untilDelivered, untilFlowing, untilReading } from '../harness/waiting.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

describe('while changes flow', () => {
  let rabbit: Shared;

  before(async () => {
    rabbit = await sharedRabbit();
  });

  after(async () => {
    await rabbit.stop();
  });

  const config = (uri: string, name: string): object => ({
    sources: { src: { uri } },
    sinks: { mq: { uri: rabbit.uri } },
    subscriptions: [{ name: 'all', namespaces: [`${name}.*`], to: { queue: name } }],
    pipeline: { partitions: 4 },
  });

  interface Fault {
    readonly mongo: MongoServer;
    readonly name: string;
    /** Resolves once it is over, as far as can be told from outside. */
    readonly fault: (engine: EngineProcess) => Promise<unknown>;
  }

  /** Breaks something in mid-flow, and holds what arrives against what the oplog holds afterwards. */
  async function outlives(t: TestContext, { mongo, name, fault }: Fault): Promise<void> {
    await using place = await EngineFolder.create(config(mongo.uri, name));
    const engine = place.start();
    await untilReading(engine);
    await using traffic = new Traffic({ uri: mongo.uri, db: name });
    await untilFlowing(engine);
    await sleep(300);

    await fault(engine);
    t.diagnostic(`flowing again ${await untilFlowing(engine)} ms after the fault ended`);
    await sleep(300);

    const expected = await traffic.end();
    await untilDelivered(engine, expected);
    assert.equal(await engine.terminate(), 0);
    const verdict = judge(expected, await readDry(rabbit.uri, name), ({ ns }) => ns);
    t.diagnostic(`${expected.length} changes, ${verdict.repeated} repeated`);
    assertKept(verdict);
    assert.equal(verdict.repeated, 0);
  }

  test('a mongod that is restarted, then killed, costs two pauses: nothing is missing or repeated, the order holds', async (t) => {
    const mongo = await startMongo();
    try {
      await outlives(t, { mongo, name: 'mongod-restart', fault: async () => mongo.restart() });
      await outlives(t, {
        mongo,
        name: 'mongod-kill',
        fault: async (engine) => {
          await mongo.kill();
          await until('it is not ready', async () => !(await engine.ready()).ok, 15_000);
          await mongo.restart();
        },
      });
    } finally {
      await mongo.stop();
    }
  });

  test('when the primary is killed, the others go on: nothing is missing or repeated, the order holds', async (t) => {
    const mongo = await startMongo({ members: 3 });
    try {
      await outlives(t, {
        mongo,
        name: 'mongod-election',
        fault: async () => {
          const first = await primaryOf(mongo);
          await mongo.kill(first);
          await until('another is elected', async () => (await primaryOf(mongo)) !== first);
        },
      });
    } finally {
      await mongo.stop();
    }
  });
});

/** Its place in the URI; rejects while there is none. */
async function primaryOf({ uri }: MongoServer): Promise<number> {
  await using client = new MongoClient(uri, { serverSelectionTimeoutMS: 1_000 });
  const { me } = await client.db('admin').command({ hello: 1 });
  return uri
    .replaceAll(/^mongodb:..|[/][?].*$/g, '')
    .split(',')
    .indexOf(String(me));
}
