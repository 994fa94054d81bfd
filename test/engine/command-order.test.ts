import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import type { Document, Timestamp } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { endOfOplog } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { Traffic } from '../harness/traffic.ts';
import { useSharedServers } from '../servers/with-servers.ts';
import type { Change } from '../harness/history.ts';

const DB = 'order_of_commands';
const PARTITIONS = 4;
const ROUNDS = 5;

describe('commands on a collection that is spread by document', () => {
  const servers = useSharedServers();

  test('come behind all that is older and before all that is newer, in whatever partition, over kills', async (t) => {
    const partitions = Array.from({ length: PARTITIONS }, (_, p) => ({
      name: `${DB}.${p}`,
      type: 'classic',
      bind: `${p}`,
    }));
    await using place = await EngineFolder.create({
      sources: { src: { uri: servers.mongo.uri, start: await endOfOplog(servers.client) } },
      sinks: { mq: { uri: servers.rabbit.uri, window: 50 } },
      subscriptions: [
        {
          name: 'all',
          namespaces: [`${DB}.*`],
          operations: ['insert', 'update', 'delete', 'create', 'createIndexes', 'dropIndexes', 'modify', 'drop'],
          // One queue sees all partitions: what is confirmed before something else is published lies before it there.
          to: {
            exchange: DB,
            routingKey: '{partition}',
            queues: [...partitions, { name: DB, type: 'classic', bind: '#' }],
          },
        },
      ],
      pipeline: { workers: 1, partitions: PARTITIONS, partitionBy: [{ namespaces: [`${DB}.c0`], key: 'document' }] },
    });
    let engine = place.start();
    const traffic = new Traffic({ uri: servers.mongo.uri, db: DB, collections: 2, eventsPerSecond: 4_000 });
    const c0 = servers.client.db(DB).collection('c0');
    const flowing = async (): Promise<boolean> => (await engine.status()).subscriptions['all']?.state === 'flowing';
    for (let round = 0; round < ROUNDS; round++) {
      await until('the engine reads', flowing);
      await sleep(300);
      await c0.createIndex({ n: 1 });
      await sleep(100);
      await servers.client.db(DB).command({ collMod: 'c0', validationLevel: round % 2 === 0 ? 'off' : 'strict' });
      await c0.dropIndexes();
      if (round % 2 === 1) await c0.drop();
      await sleep(30 * round);
      await engine.kill();
      engine = place.start();
    }
    await until('the engine reads', flowing);
    await sleep(300);
    await c0.createIndex({ n: 1 });
    await sleep(300);
    const changes = await traffic.end();
    const commands = await commandsOf(servers.client);
    const last = [...changes.map(({ id }) => id), ...commands].toSorted(byPosition).at(-1)!;
    await until('everything is confirmed', async () =>
      reached((await engine.status()).subscriptions['all']?.watermark, last),
    );
    assert.equal(await engine.terminate(), 0);

    const received = await readDry(servers.rabbit.uri, DB);
    const expected = [...changes, ...commands.map((id): Change => ({ id, ns: `${DB}.c0`, document: id }))];
    expected.sort((a, b) => byPosition(a.id, b.id));
    t.diagnostic(`${changes.length} changes, ${commands.length} commands on c0, ${received.length} messages`);
    assert.ok(commands.length >= ROUNDS * 3);
    // The other collection's own commands are in nobody's list.
    const ours = new Set(expected.map(({ id }) => id));
    const verdict = judge(
      expected,
      received.filter((id) => ours.has(id)),
      ({ ns, document }) => (ns.endsWith('.c0') ? `${ns}/${document}` : ns),
    );
    assertKept(verdict);
    const ofC0 = new Set(expected.filter(({ ns }) => ns.endsWith('.c0')).map(({ id }) => id));
    const ids = received.filter((id) => ofC0.has(id));
    assertBarriers([...new Set(ids)], commands, 'first deliveries');
    assertBarriers([...new Set(ids.toReversed())].toReversed(), commands, 'last deliveries');

    // Each command went to one partition, and all of them to the same one.
    const perQueue = await Promise.all(
      partitions.map(async ({ name }) => new Set(await readDry(servers.rabbit.uri, name))),
    );
    const counts = perQueue.map((queue) => commands.filter((id) => queue.has(id)).length);
    assert.deepEqual(
      counts.filter((count) => count > 0),
      [commands.length],
    );
    assert.ok(
      perQueue.every((queue) => [...queue].some((id) => ofC0.has(id))),
      'the documents are in all partitions',
    );
  });
});

/** Whatever is older than a command lies before it, and whatever is newer behind it. */
function assertBarriers(ids: readonly string[], commands: readonly string[], what: string): void {
  for (const command of commands) {
    const at = ids.indexOf(command);
    assert.ok(at >= 0, `${command} did not come`);
    const early = ids.slice(0, at).filter((id) => byPosition(id, command) > 0);
    const late = ids.slice(at + 1).filter((id) => byPosition(id, command) < 0);
    assert.deepEqual({ early, late }, { early: [], late: [] }, `${what}: around ${command}`);
  }
}

/** The ids of what was done to `c0` and makes an event. */
async function commandsOf(client: MongoClient): Promise<string[]> {
  const entries = await client
    .db('local')
    .collection('oplog.rs')
    .find({ op: 'c', ns: `${DB}.$cmd` }, { sort: { $natural: 1 } })
    .toArray();
  const shown = ['create', 'createIndexes', 'commitIndexBuild', 'dropIndexes', 'collMod', 'drop'];
  return entries
    .filter(({ o }) => shown.some((name) => (o as Document)[name] === 'c0'))
    .map(({ ts }) => `${(ts as Timestamp).t}.${(ts as Timestamp).i}.0`);
}

function byPosition(a: string, b: string): number {
  const [seconds = 0, increment = 0] = a.split('.').map(Number);
  const [otherSeconds = 0, otherIncrement = 0] = b.split('.').map(Number);
  return seconds - otherSeconds || increment - otherIncrement;
}

function reached(watermark: string | null | undefined, id: string): boolean {
  return byPosition((watermark ?? '0:0').replace(':', '.'), id) >= 0;
}
