import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { endOfOplog, historyOf, writeHistory } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import { assertKept, countMessages, judge, readDry } from '../harness/queue-reader.ts';
import { confirmed, untilDelivered, untilFlowing, untilReading } from '../harness/waiting.ts';
import { startProxy } from '../servers/index.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const EVENTS = 20_000;

describe('an engine that is stopped in mid-flow', () => {
  const servers = useSharedServers();

  interface Setup {
    readonly start: string;
    readonly subscriptions: readonly object[];
    readonly partitions?: number;
    readonly byDocument?: readonly string[];
  }

  const config = ({ start, subscriptions, partitions = 8, byDocument = [] }: Setup): object => ({
    sources: { src: { uri: servers.mongo.uri, start } },
    sinks: { mq: { uri: servers.rabbit.uri, window: 64 } },
    subscriptions,
    pipeline: {
      partitions,
      ...(byDocument.length > 0 && { partitionBy: [{ namespaces: byDocument, key: 'document' }] }),
    },
  });

  /** A backlog, and where it begins. */
  async function backlog(db: string, events = EVENTS): Promise<{ expected: Change[]; start: string }> {
    const start = await endOfOplog(servers.client);
    await writeHistory(servers.client, { db, collections: 8, events });
    return { expected: await historyOf(servers.client, db), start };
  }

  test('with SIGTERM exits 0, and goes on at the next start with nothing missing and nothing repeated', async (t) => {
    const db = 'stop-clean';
    const { expected, start } = await backlog(db);
    const subscriptions = [{ name: 'all', namespaces: [`${db}.*`], to: { queue: db } }];
    await using place = await EngineFolder.create(config({ start, subscriptions }));
    for (const pauseMs of [0, 150, 300]) {
      const engine = place.start();
      await untilFlowing(engine);
      await sleep(pauseMs);
      assert.equal(await engine.terminate(), 0);
    }
    const stopped = await countMessages(servers.rabbit.uri, db);
    t.diagnostic(`${stopped} of ${expected.length} delivered when it was stopped the third time`);
    assert.ok(stopped > 0 && stopped < expected.length, 'the stops fell into the flow');

    const last = place.start();
    await untilDelivered(last, expected);
    assert.equal(await last.terminate(), 0);
    const verdict = judge(expected, await readDry(servers.rabbit.uri, db), ({ ns }) => ns);
    assertKept(verdict);
    assert.equal(verdict.repeated, 0);
  });

  test('does not wait for a source that somebody tests, and that says nothing', async (t) => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    try {
      const subscriptions = [{ name: 'all', namespaces: ['none.*'], to: { queue: 'stop-tested' } }];
      await using place = await EngineFolder.create(config({ start: 'latest', subscriptions }));
      const engine = place.start();
      await untilReading(engine);
      const began = performance.now();
      const asked = fetch(`${await engine.url()}/api/v1/sources/test`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ configuration: { uri: `mongodb://127.0.0.1:${port}/?replicaSet=rs0` } }),
      });
      asked.catch(() => {});
      await once(silent, 'connection');
      assert.equal(await engine.terminate(), 0);
      const ms = Math.round(performance.now() - began);
      t.diagnostic(`it was gone ${ms} ms after it was asked`);
      // The test of the source would have gone on for so long.
      assert.ok(ms < 10_000, `${ms} ms`);
    } finally {
      silent.close();
    }
  });

  test('with a second signal exits 130 at once', async () => {
    const db = 'stop-twice';
    await using proxy = await startProxy({ to: Number(new URL(servers.rabbit.uri).port) });
    const subscriptions = [{ name: 'all', namespaces: [`${db}.*`], to: { queue: db } }];
    const sinks = { mq: { uri: `amqp://127.0.0.1:${proxy.port}`, heartbeat: '60s' } };
    await using place = await EngineFolder.create({ ...config({ start: 'latest', subscriptions }), sinks });
    const engine = place.start();
    await untilReading(engine);
    await writeHistory(servers.client, { db, collections: 1, events: 10 });
    await untilDelivered(engine, await historyOf(servers.client, db));
    // A confirm that does not come is what a clean stop waits for.
    proxy.pause();
    await servers.client.db(db).collection('c0').insertOne({});
    await until('it waits for a confirm', async () =>
      (await engine.status()).subscriptions['all']!.lanes.some(({ unconfirmed }) => unconfirmed > 0),
    );
    process.kill(engine.pid, 'SIGTERM');
    await until('it is stopping', () => engine.log().includes('Stopping'));
    assert.equal(await engine.terminate(), 130);
  });

  test('or killed, with its partitions, filters and subscriptions changed in between, misses nothing of what stays', async (t) => {
    const db = 'stop-changed';
    const { expected, start } = await backlog(db);
    const all = { name: 'all', namespaces: [`${db}.*`], to: { queue: `${db}-all` } };
    const some = { name: 'some', namespaces: [`${db}.c0`, `${db}.c1`], to: { queue: `${db}-some` } };
    const more = { ...some, namespaces: [`${db}.c0`, `${db}.c1`, `${db}.c2`] };
    const late = { name: 'late', namespaces: [`${db}.c3`], to: { queue: `${db}-late` } };
    const lives: Setup[] = [
      { start, subscriptions: [all, some] },
      { start, subscriptions: [all, some], partitions: 3 },
      { start, subscriptions: [all, more], partitions: 3, byDocument: [`${db}.c0`] },
      { start, subscriptions: [all, late], partitions: 5, byDocument: [`${db}.c1`] },
      { start, subscriptions: [all, late, more], partitions: 8 },
    ];
    await using place = await EngineFolder.create(config(lives[0]!));
    for (const life of lives) {
      await place.configure(config(life));
      const engine = place.start();
      await untilFlowing(engine);
      await sleep(100);
      await engine.kill();
    }
    const killed = await countMessages(servers.rabbit.uri, `${db}-all`);
    t.diagnostic(`${killed} messages for ${expected.length} changes when it was killed for the last time`);
    const last = place.start();
    await untilDelivered(last, expected);
    assert.equal(await last.terminate(), 0);

    const of = (...collections: string[]): Change[] =>
      expected.filter(({ ns }) => collections.some((c) => ns === `${db}.${c}`));
    // Across a change of partitions a document's changes may take another lane: each one's last deliveries are in order.
    const document = (change: Change): string => `${change.ns}/${change.document}`;
    for (const [queue, wanted] of [
      [`${db}-all`, expected],
      [`${db}-late`, of('c3')],
    ] as const) {
      const verdict = judge(wanted, await readDry(servers.rabbit.uri, queue), document);
      t.diagnostic(`${queue}: ${wanted.length} changes, ${verdict.repeated} repeated`);
      assertKept({ ...verdict, firstOutOfOrder: [] });
    }
    const kept = judge(of('c0', 'c1'), await readDry(servers.rabbit.uri, `${db}-some`), document);
    assertKept({ ...kept, unknown: [], firstOutOfOrder: [] });
  });

  test('or killed while one lane was far behind the others, and its partition cut anew, skips nothing', async () => {
    const db = 'stop-behind';
    const { expected, start } = await backlog(db, 4_000);
    const subscriptions = [{ name: 'all', namespaces: [`${db}.*`], to: { exchange: db } }];
    const connection = await connect(servers.rabbit.uri);
    try {
      const channel = await connection.createChannel();
      await channel.assertExchange(db, 'topic', { durable: true });
      await channel.assertQueue(db, { durable: true });
      for (let c = 1; c < 8; c++) await channel.bindQueue(db, db, `*.c${c}.*`);
      await using place = await EngineFolder.create(config({ start, subscriptions }));
      const engine = place.start();
      // Nobody takes what `c0` sends; most other lanes come to the end.
      await until('the others are ahead', async () => (await confirmed(engine)) >= expected.length / 4);
      await sleep(200);
      await engine.kill();

      await channel.bindQueue(db, db, '#');
      await place.configure(config({ start, subscriptions, byDocument: [`${db}.c0`] }));
      const last = place.start();
      await untilDelivered(last, expected);
      assert.equal(await last.terminate(), 0);
    } finally {
      await connection.close();
    }
    const document = (change: Change): string => `${change.ns}/${change.document}`;
    assertKept({ ...judge(expected, await readDry(servers.rabbit.uri, db), document), firstOutOfOrder: [] });
  });

  test('needs --repartition where its queues are named after partitions and their number changed', async () => {
    const db = 'stop-repartition';
    const subscriptions = [{ name: 'all', namespaces: [`${db}.*`], to: { queue: `${db}-{partition}` } }];
    await using place = await EngineFolder.create(config({ start: 'latest', subscriptions, partitions: 2 }));
    const first = place.start();
    await untilReading(first);
    assert.equal(await first.terminate(), 0);

    await place.configure(config({ start: 'latest', subscriptions, partitions: 4 }));
    const refused = place.start();
    assert.equal(await refused.ended(), 2);
    assert.match(refused.log(), /--repartition/);

    const accepted = place.start(['--repartition']);
    await untilReading(accepted);
    await writeHistory(servers.client, { db, collections: 8, events: 400 });
    const expected = await historyOf(servers.client, db);
    await untilDelivered(accepted, expected);
    assert.equal(await accepted.terminate(), 0);
    const received: string[] = [];
    for (const p of [0, 1, 2, 3]) received.push(...(await readDry(servers.rabbit.uri, `${db}-${p}`)));
    assertKept(judge(expected, received, ({ ns }) => ns));
  });
});
