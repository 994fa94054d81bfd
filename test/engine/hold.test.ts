import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import { onBroker } from '../harness/on-broker.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';

describe('a destination that does not take what it is sent', () => {
  const servers = useSharedServers();

  /** Subscriptions to `<db>.*` in an engine that reads from `start`, in a folder of its own. */
  async function started(
    db: string,
    subscriptions: readonly object[],
    start = 'latest',
  ): Promise<{ place: EngineFolder; engine: EngineProcess } & AsyncDisposable> {
    const place = await EngineFolder.create({
      sources: { src: { uri: servers.mongo.uri, start } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: subscriptions.map((it) => ({ namespaces: [`${db}.*`], ...it })),
      pipeline: { partitions: 2 },
    });
    const engine = place.start();
    if (start === 'latest') await untilReading(engine);
    return { place, engine, [Symbol.asyncDispose]: async () => place[Symbol.asyncDispose]() };
  }

  async function written(db: string, events: number): Promise<Change[]> {
    await writeHistory(servers.client, { db, collections: 4, events, padding: 100 });
    return await historyOf(servers.client, db);
  }

  const untilHeld = async (engine: EngineProcess, subscription: string, reason: string): Promise<void> =>
    until(`"${subscription}" is held`, async () =>
      (await engine.status()).subscriptions[subscription]!.lanes.some((lane) => lane.held?.reason === reason),
    );

  test('messages that no queue takes are held, with the reason, until one is bound', async (t) => {
    const db = 'hold-unroutable';
    const orders = ['pipelined', 'strict'] as const;
    // Inserts get through from the start, so that those behind the first update overtake it where many are under way.
    await onBroker(servers.rabbit.uri, async (channel) => {
      for (const order of orders) {
        await channel.assertExchange(`${db}-${order}`, 'topic', { durable: true });
        await channel.assertQueue(`${db}-${order}`, { durable: true });
        await channel.bindQueue(`${db}-${order}`, `${db}-${order}`, '*.*.insert');
      }
    });
    const start = await endOfOplog(servers.client);
    const expected = await written(db, 2_000);
    await using running = await started(
      db,
      orders.map((order) => ({ name: order, order, to: { exchange: `${db}-${order}` } })),
      start,
    );
    const { engine } = running;
    for (const order of orders) await untilHeld(engine, order, 'unroutable');
    const { ok, reasons } = await engine.ready();
    assert.equal(ok, false);
    assert.match(reasons.join('\n'), /"pipelined": .* held, unroutable: .*"hold-unroutable\.c\d\.update"/);
    const { state } = (await engine.status()).subscriptions['strict']!;
    assert.equal(state, 'held');

    await onBroker(servers.rabbit.uri, async (channel) => {
      for (const order of orders) await channel.bindQueue(`${db}-${order}`, `${db}-${order}`, '#');
    });
    await untilDelivered(engine, expected);
    assert.equal((await engine.ready()).ok, true);
    assert.equal(await engine.terminate(), 0);

    const ns = (change: Change): string => change.ns;
    const pipelined = judge(expected, await readDry(servers.rabbit.uri, `${db}-pipelined`), ns);
    t.diagnostic(`${pipelined.repeated} repeated, ${pipelined.firstOutOfOrder.length} overtook at first`);
    assert.ok(pipelined.firstOutOfOrder.length > 0, 'the fault fell between messages under way');
    assertKept({ ...pipelined, firstOutOfOrder: [] });
    assertKept(judge(expected, await readDry(servers.rabbit.uri, `${db}-strict`), ns));
  });

  test('a full queue that rejects holds its lanes until there is room again', async (t) => {
    const db = 'hold-full';
    const orders = ['pipelined', 'strict'] as const;
    const full = { 'x-max-length': 30, 'x-overflow': 'reject-publish' };
    const start = await endOfOplog(servers.client);
    const expected = await written(db, 2_000);
    await using running = await started(
      db,
      orders.map((order) => ({ name: order, order, to: { queue: `${db}-${order}`, queueArguments: full } })),
      start,
    );
    const { engine } = running;
    for (const order of orders) await untilHeld(engine, order, 'nacked');
    assert.match((await engine.ready()).reasons.join('\n'), /"strict": .* held, nacked: /);

    const delivered = untilDelivered(engine, expected);
    let over = false;
    void delivered.finally(() => (over = true)).catch(() => {});
    const received = { pipelined: [] as string[], strict: [] as string[] };
    for (let last = false; !last;) {
      last = over;
      for (const order of orders) received[order].push(...(await readDry(servers.rabbit.uri, `${db}-${order}`)));
    }
    await delivered;
    assert.equal(await engine.terminate(), 0);

    const pipelined = judge(expected, received.pipelined, ({ ns }) => ns);
    t.diagnostic(`${pipelined.repeated} repeated, ${pipelined.firstOutOfOrder.length} overtook at first`);
    assertKept({ ...pipelined, firstOutOfOrder: [] });
    assertKept(judge(expected, received.strict, ({ ns }) => ns));
  });

  test('with `onUnroutable: park`, what no queue takes is set aside and the rest goes on', async () => {
    const db = 'hold-park';
    await using running = await started(db, [{ name: 'all', onUnroutable: 'park', to: { exchange: db } }]);
    const { place, engine } = running;
    await onBroker(servers.rabbit.uri, async (channel) => {
      await channel.assertQueue(db, { durable: true });
      await channel.bindQueue(db, db, '*.*.insert');
    });
    const expected = await written(db, 400);
    await untilDelivered(engine, expected);
    assert.equal((await engine.ready()).ok, true);
    assert.equal(await engine.terminate(), 0);

    const received = await readDry(servers.rabbit.uri, db);
    const parked = await parkedIds(place, 'unroutable');
    assert.equal(received.length, 240);
    assert.equal(parked.length, 160);
    const listed = await place.command('parked', 'list', '--reason', 'unroutable');
    assert.match(listed.stdout, new RegExp(` ${db}\\.c\\d `));
    const all = judge(expected, [...received, ...parked], ({ id }) => id);
    assertKept(all);
    assert.equal(all.repeated, 0);
  });

  test('queues that are deleted under a running engine are declared again, named after the event or not', async () => {
    const db = 'hold-deleted';
    const fixed = [`${db}-direct`, `${db}-bound`];
    const named = [0, 1, 2, 3].map((c) => `${db}-c${c}`);
    await using running = await started(db, [
      { name: 'direct', to: { queue: fixed[0] } },
      { name: 'bound', to: { exchange: db, queues: [{ name: fixed[1], bind: '#' }] } },
      { name: 'named', allowOverlap: true, to: { queue: `${db}-{coll}` } },
    ]);
    const { engine } = running;
    const before = await written(db, 400);
    await untilDelivered(engine, before);
    await onBroker(servers.rabbit.uri, async (channel) => {
      for (const queue of [...fixed, ...named]) await channel.deleteQueue(queue);
    });
    await servers.client.db(db).dropDatabase();
    const expected = (await written(db, 800)).slice(before.length);
    await untilDelivered(engine, expected);
    assert.equal(await engine.terminate(), 0);
    for (const queues of [[fixed[0]!], [fixed[1]!], named]) {
      const received: string[] = [];
      for (const queue of queues) received.push(...(await readDry(servers.rabbit.uri, queue)));
      assertKept({ ...judge(expected, received, ({ ns }) => ns), firstOutOfOrder: [] });
    }
  });
});

/** Without the source's name. */
async function parkedIds(place: EngineFolder, reason: string): Promise<string[]> {
  const { code, stdout, stderr } = await place.command('parked', 'list', '--json', '--reason', reason);
  assert.equal(code, 0, stderr);
  const { parked } = JSON.parse(stdout) as { parked: { id: string }[] };
  return parked.map(({ id }) => id.slice(id.indexOf(':') + 1));
}
