import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import { onBroker } from '../harness/on-broker.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { Traffic } from '../harness/traffic.ts';
import { untilDelivered } from '../harness/waiting.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const ns = (change: Change): string => change.ns;

describe('a subscription that holds the others of its source', () => {
  const servers = useSharedServers();

  const bind = async (name: string): Promise<unknown> =>
    onBroker(servers.rabbit.uri, async (channel) => {
      await channel.assertQueue(name, { durable: true });
      await channel.bindQueue(name, name, '#');
    });
  /** Two that want the same; no queue is bound for the second. `more`: another database of theirs. */
  async function two(db: string, detachAfter: string, more: readonly string[] = []) {
    const [well, stuck] = [`${db}-well`, `${db}-stuck`];
    const start = await endOfOplog(servers.client);
    await onBroker(servers.rabbit.uri, async (channel) => {
      for (const name of [well, stuck]) await channel.assertExchange(name, 'topic', { durable: true });
    });
    await bind(well);
    const namespaces = [db, ...more].map((name) => `${name}.*`);
    const place = await EngineFolder.create({
      sources: { src: { uri: servers.mongo.uri, start } },
      sinks: { mq: { uri: servers.rabbit.uri } },
      subscriptions: [well, stuck].map((name) => ({ name, namespaces, to: { exchange: name } })),
      pipeline: { partitions: 4, inFlight: '256KiB', detachAfter },
    });
    return { well, stuck, place, [Symbol.asyncDispose]: async () => place[Symbol.asyncDispose]() };
  }

  const isDetached = async (engine: EngineProcess, name: string): Promise<boolean> =>
    (await engine.status()).subscriptions[name]!.detached;

  test('goes on by itself, and joins them once it has caught up: nothing is missing or repeated on either', async () => {
    const db = 'detach';
    await using both = await two(db, '2s', [`${db}-more`]);
    const { well, stuck, place } = both;
    await writeHistory(servers.client, { db, collections: 4, events: 5_000, padding: 200 });
    const engine = place.start();
    await until('it is read by itself', async () => isDetached(engine, stuck), 60_000);
    const first = await historyOf(servers.client, db);
    // Nothing of the other can have been confirmed yet.
    await untilDelivered(engine, first, { subscriptions: [well] });
    assert.match(engine.log(), /"code":"subscription-detached".*"subscription":"detach-stuck"/);
    const held = /"detach-stuck": every lane held, unroutable/;
    // Not while it is just being tried again.
    await until('it is held', async () => held.test((await engine.ready()).reasons.join('\n')));
    assert.equal(await engine.metric('tailrace_subscription_detached'), 1);

    // Across the joining, too, all of it comes once.
    const traffic = new Traffic({ uri: servers.mongo.uri, db: `${db}-more`, collections: 4, eventsPerSecond: 500 });
    try {
      await bind(stuck);
      await until('it has joined the others', async () => !(await isDetached(engine, stuck)), 90_000);
    } finally {
      await traffic[Symbol.asyncDispose]();
    }
    const more = await historyOf(servers.client, `${db}-more`);
    const all = [...first, ...more];
    await untilDelivered(engine, more);
    assert.equal((await engine.ready()).ok, true);
    assert.equal(await engine.terminate(), 0);
    for (const name of [well, stuck]) {
      const verdict = judge(all, await readDry(servers.rabbit.uri, name), ns);
      assertKept(verdict);
      assert.equal(verdict.repeated, 0);
    }
  });

  test('a kill while it reads by itself loses nothing of either', async () => {
    const db = 'detach-killed';
    await using both = await two(db, '1s');
    const { well, stuck, place } = both;
    await writeHistory(servers.client, { db, collections: 4, events: 4_000, padding: 200 });
    const engine = place.start();
    await until('it is read by itself', async () => isDetached(engine, stuck), 60_000);
    await engine.kill();
    await bind(stuck);
    const again = place.start();
    const all = await historyOf(servers.client, db);
    await untilDelivered(again, all);
    assert.equal(await again.terminate(), 0);
    for (const name of [well, stuck]) assertKept(judge(all, await readDry(servers.rabbit.uri, name), ns));
  });
});
