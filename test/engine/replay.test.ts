import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect } from 'amqplib';
import type { Channel, GetMessage } from 'amqplib';
import { lockFolder } from '../../src/checkpoint/folder-lock.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { historyOf } from '../harness/history.ts';
import { countMessages } from '../harness/queue-reader.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { freePort } from '../servers/ports.ts';
import { useSharedServers } from '../servers/with-servers.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

describe('events that were parked', () => {
  const servers = useSharedServers();

  const config = (subscriptions: readonly object[], rest: object = {}): object => ({
    sources: { src: { uri: servers.mongo.uri } },
    sinks: { mq: { uri: servers.rabbit.uri } },
    subscriptions,
    pipeline: { partitions: 2 },
    ...rest,
  });

  async function onBroker<T>(use: (channel: Channel) => Promise<T>): Promise<T> {
    const connection = await connect(servers.rabbit.uri);
    try {
      return await use(await connection.createChannel());
    } finally {
      await connection.close();
    }
  }

  const taken = (queue: string): Promise<GetMessage[]> =>
    onBroker(async (channel) => {
      const messages: GetMessage[] = [];
      for (;;) {
        const message = await channel.get(queue, { noAck: true });
        if (message === false) return messages;
        messages.push(message);
      }
    });

  const idsOf = (messages: readonly GetMessage[]): string[] =>
    messages.map(({ content }) => (JSON.parse(content.toString()) as { _id: string })._id);

  const isReplayed = ({ properties }: GetMessage): boolean => properties.headers?.['x-tailrace-replayed'] === 'true';

  interface Listed {
    readonly parked: { id: string; subscription: string; reason: string }[];
    readonly store: { bytes: number; maxBytes: number };
  }

  async function listed(place: EngineFolder, ...flags: string[]): Promise<Listed> {
    const { code, stdout, stderr } = await place.command('parked', 'list', '--json', ...flags);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Listed;
  }

  test('are delivered by `parked replay` once what they lacked is mended, each once, marked, under its own _id', async () => {
    const db = 'replay-mended';
    const subscription = (name: string, routingKey: string, rest: object = {}): object => ({
      name,
      namespaces: [`${db}.*`],
      allowOverlap: true,
      to: { exchange: `${db}-${name}`, routingKey, queues: [{ name: `${db}-${name}`, bind: '#' }] },
      ...rest,
    });
    const both = (routingKey: string): object =>
      config([
        subscription('plain', routingKey),
        subscription('masked', routingKey, { mask: [{ fields: ['secret'], with: 'hidden' }] }),
      ]);
    await using place = await EngineFolder.create(both('{db}.{fullDocument.kind}'));
    const engine = place.start();
    await untilReading(engine);
    const documents = servers.client.db(db).collection<{ _id: number; kind?: string; secret: string; n?: number }>('c');
    await documents.insertMany(
      [0, 1, 2, 3].map((n) => ({ _id: n, secret: 's', ...(n % 2 === 0 && { kind: 'even' }) })),
    );
    await documents.updateOne({ _id: 0 }, { $set: { n: 1 } });
    await servers.client.withSession((session) =>
      session.withTransaction(async () => {
        await documents.insertOne({ _id: 10, kind: 'even', secret: 's' }, { session });
        await documents.insertOne({ _id: 11, secret: 's' }, { session });
      }),
    );
    await documents.insertOne({ _id: 20, kind: 'even', secret: 's' });
    await untilDelivered(engine, await historyOf(servers.client, db));
    const running = await place.command('parked', 'replay');
    assert.equal(running.code, 2);
    assert.match(running.stderr, /lets the engine pick a port/);
    assert.equal(await engine.terminate(), 0);

    const before = { plain: await taken(`${db}-plain`), masked: await taken(`${db}-masked`) };
    const { parked } = await listed(place);
    const idsParked = (name: string): string[] => parked.filter((one) => one.subscription === name).map(({ id }) => id);
    for (const name of ['plain', 'masked'] as const) {
      assert.equal(idsParked(name).length, 4);
      assert.equal(before[name].length, 4);
    }
    assert.ok(
      idsParked('plain').some((id) => id.endsWith('.1')),
      'one lies inside a transaction',
    );

    const useless = await place.command('parked', 'replay');
    assert.equal(useless.code, 1);
    assert.match(useless.stdout, /^Replayed 0, still parked 8:\n[^]*4 +masked +missing-field +\{fullDocument\.kind\}/);
    assert.equal((await listed(place)).parked.length, 8);

    await place.configure(both('{db}.{operationType}'));
    const dry = await place.command('parked', 'replay', '--dry-run');
    assert.equal(dry.stdout, '8 would be replayed.\n', dry.stderr);
    const first = await place.command('parked', 'replay', '--subscription', 'plain', '--event', idsParked('plain')[0]!);
    assert.equal(first.stdout, 'Replayed 1.\n', first.stderr);
    const rest = await place.command('parked', 'replay');
    assert.deepEqual([rest.code, rest.stdout], [0, 'Replayed 7.\n'], rest.stderr);
    assert.deepEqual(await listed(place).then(({ parked: left, store }) => [left, store.bytes]), [[], 0]);

    for (const name of ['plain', 'masked'] as const) {
      const replayed = await taken(`${db}-${name}`);
      assert.deepEqual(idsOf(replayed).toSorted(), idsParked(name).toSorted());
      assert.ok(replayed.every(isReplayed));
      assert.ok(!before[name].some(isReplayed), 'nothing else says so');
      assert.deepEqual(
        new Set(replayed.map(({ fields }) => fields.routingKey)),
        new Set([`${db}.insert`, `${db}.update`]),
      );
      for (const { content } of replayed) {
        const event = JSON.parse(content.toString()) as { operationType: string; fullDocument?: { secret: string } };
        if (event.operationType === 'insert') {
          assert.equal(event.fullDocument?.secret, name === 'masked' ? 'hidden' : 's');
        }
      }
    }
  });

  test('as messages that no queue took stay parked until one does, and then come as they were', async () => {
    const db = 'replay-unroutable';
    const subscriptions = [
      { name: 'all', namespaces: [`${db}.*`], onUnroutable: 'park', headers: { from: '{coll}' }, to: { exchange: db } },
    ];
    await using place = await EngineFolder.create(config(subscriptions));
    const engine = place.start();
    await untilReading(engine);
    await servers.client.db(db).collection('c').insertMany([{}, {}, {}]);
    const expected = await historyOf(servers.client, db);
    await untilDelivered(engine, expected);
    assert.equal(await engine.terminate(), 0);

    const useless = await place.command('parked', 'replay');
    assert.equal(useless.code, 1);
    assert.match(useless.stdout, /^Replayed 0, still parked 3:[^]* all +unroutable +no queue is bound for routing key/);
    await onBroker(async (channel) => {
      await channel.assertQueue(db, { durable: true });
      await channel.bindQueue(db, db, '*.c.insert');
    });
    assert.equal((await place.command('parked', 'replay')).stdout, 'Replayed 3.\n');
    const messages = await taken(db);
    assert.deepEqual(
      idsOf(messages),
      expected.map(({ id }) => `src:${id}`),
    );
    for (const { properties } of messages) {
      assert.deepEqual(properties.headers, { from: 'c', 'x-tailrace-replayed': 'true' });
      assert.equal(properties.contentType, 'application/json');
      assert.equal(properties.type, 'insert');
    }
  });

  test('are replayed and dropped by the engine itself while it runs', async () => {
    const db = 'replay-running';
    const subscriptions = [{ name: 'all', namespaces: [`${db}.*`], onUnroutable: 'park', to: { exchange: db } }];
    const http = { listen: `127.0.0.1:${await freePort()}` };
    await using place = await EngineFolder.create(config(subscriptions, { http }));
    const engine = place.start();
    await untilReading(engine);
    assert.equal((await place.command('parked', 'replay')).stdout, 'Nothing that was asked for is parked.\n');
    await servers.client.db(db).collection('c').insertMany([{}, {}, {}]);
    const expected = await historyOf(servers.client, db);
    await untilDelivered(engine, expected);

    const useless = await place.command('parked', 'replay');
    assert.deepEqual([useless.code, useless.stderr], [1, '']);
    assert.match(useless.stdout, /^Replayed 0, still parked 3:[^]* all +unroutable +no queue is bound for routing key/);
    await onBroker(async (channel) => {
      await channel.assertQueue(db, { durable: true });
      await channel.bindQueue(db, db, '*.c.insert');
    });
    const first = `src:${expected[0]!.id}`;
    const one = await place.command('parked', 'replay', '--json', '--event', first);
    assert.deepEqual(JSON.parse(one.stdout), { dryRun: false, asked: 1, replayed: 1, kept: [], untouched: 0 });
    assert.deepEqual(idsOf(await taken(db)), [first]);
    const dry = await place.command('parked', 'drop', '--dry-run', '--reason', 'unroutable');
    assert.match(dry.stdout, /2 +all +unroutable[^]*2 would be dropped for good\.\n$/);
    assert.equal((await listed(place)).parked.length, 2);
    assert.match((await place.command('parked', 'drop', '--yes')).stdout, /\nDropped 2\.\n$/);
    assert.equal((await listed(place)).parked.length, 0);

    // More than are named to it at a time.
    const nobody = servers.client.db(db).collection('d');
    await nobody.insertMany(Array.from({ length: 1_100 }, () => ({})));
    await untilDelivered(engine, await historyOf(servers.client, db));
    const { parked } = await listed(place);
    assert.equal(parked.length, 1_100);
    const named = parked.slice(0, 600).flatMap(({ id }) => ['--event', id]);
    assert.match((await place.command('parked', 'drop', '--yes', ...named)).stdout, /\nDropped 600\.\n$/);
    await onBroker(async (channel) => channel.bindQueue(db, db, '*.d.insert'));
    const most = [
      '--until',
      parked
        .at(-1)!
        .id.replace('src:', '')
        .replace(/\.\d+$/, '')
        .replace('.', ':'),
    ];
    assert.equal((await place.command('parked', 'replay', ...most)).stdout, 'Replayed 499.\n');
    assert.deepEqual(
      idsOf(await taken(db)),
      parked.slice(600, -1).map(({ id }) => id),
    );

    // Whose folder it is, is said where that is not the engine of this file.
    await writeFile(join(place.folder, 'other.yml'), JSON.stringify(config(subscriptions)));
    const elsewhere = await place.command('parked', 'drop', '-c', 'other.yml', '--yes');
    assert.equal(elsewhere.code, 2);
    assert.match(elsewhere.stderr, /in use by the process with id \d+, which runs on .*: name that file \(`-c`\)/);
    assert.equal(await engine.terminate(), 0);
    await using lock = await lockFolder(join(place.folder, 'tailrace-data'));
    assert.ok(lock, 'the folder is locked');
    const held = await place.command('parked', 'drop', '--yes');
    assert.equal(held.code, 2);
    assert.match(held.stderr, new RegExp(`in use by the process with id ${process.pid}, and there is no answer`));
  });

  test('may come twice when a replay is killed in the middle, and none is lost', async (t) => {
    const db = 'replay-killed';
    const subscriptions = (routingKey: string): object[] => [
      {
        name: 'all',
        namespaces: [`${db}.*`],
        to: { exchange: db, routingKey, queues: [{ name: db, bind: '#', type: 'quorum' }] },
      },
    ];
    await using place = await EngineFolder.create(config(subscriptions('{fullDocument.none}')));
    const engine = place.start();
    await untilReading(engine);
    await servers.client
      .db(db)
      .collection('c')
      .insertMany(Array.from({ length: 700 }, () => ({})));
    const expected = await historyOf(servers.client, db);
    await untilDelivered(engine, expected);
    assert.equal(await engine.terminate(), 0);

    await place.configure(config(subscriptions('k')));
    const child = spawn(process.execPath, [CLI, 'parked', 'replay'], { cwd: place.folder, stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await until('it is in the middle', async () => (await countMessages(servers.rabbit.uri, db)) > 120);
    child.kill('SIGKILL');
    await ended;
    const { parked } = await listed(place);
    t.diagnostic(
      `${await countMessages(servers.rabbit.uri, db)} sent, ${parked.length} still parked when it was killed`,
    );
    assert.ok(parked.length > 0 && parked.length < expected.length, `${parked.length} are left`);
    assert.equal((await place.command('parked', 'replay')).code, 0);

    const received = idsOf(await taken(db));
    assert.deepEqual(new Set(received), new Set(expected.map(({ id }) => `src:${id}`)));
    t.diagnostic(`${received.length - expected.length} repeated`);
    assert.ok(received.length - expected.length <= 101);
  });

  test('fill their store no further than its bound, and `parked drop` makes room that the next start uses', async () => {
    const db = 'replay-full';
    const to = { exchange: db, routingKey: '{fullDocument.none}' };
    const subscriptions = [{ name: 'all', namespaces: [`${db}.*`], to }];
    await using place = await EngineFolder.create(config(subscriptions, { parked: { maxBytes: '64KiB' } }));
    const engine = place.start();
    await untilReading(engine);
    const documents = (count: number): object[] =>
      Array.from({ length: count }, () => ({ filling: 'x'.repeat(2_000) }));
    await servers.client.db(db).collection('c').insertMany(documents(20));
    await untilDelivered(engine, await historyOf(servers.client, db));
    await servers.client.db(db).collection('c').insertMany(documents(15));
    const expected = await historyOf(servers.client, db);
    await until('it waits for room', () => engine.log().includes('The store of parked events is full'));
    assert.equal(await engine.terminate(), 0);
    const full = await listed(place);
    assert.ok(full.store.bytes <= full.store.maxBytes && full.store.bytes > full.store.maxBytes * 0.9);
    assert.ok(full.parked.length > 20 && full.parked.length < 35);
    assert.match((await place.command('parked', 'list')).stdout, /The store holds 6\d(\.\d)? KiB of 64 KiB/);

    const unsaid = await place.command('parked', 'drop');
    assert.equal(unsaid.code, 2);
    assert.match(unsaid.stderr, /say `--yes`/);
    assert.equal((await listed(place)).parked.length, full.parked.length);
    const until5 = full.parked[5]!.id.replace('src:', '')
      .replace(/\.\d+$/, '')
      .replace('.', ':');
    const dropped = await place.command('parked', 'drop', '--until', until5, '--yes');
    assert.match(dropped.stdout, /Dropped 5\.\n$/, dropped.stderr);
    // What was read together with an event that found no room would come again.
    const until20 = full.parked[20]!.id.replace('src:', '')
      .replace(/\.\d+$/, '')
      .replace('.', ':');
    assert.match((await place.command('parked', 'drop', '--until', until20, '--yes')).stdout, /Dropped 15\.\n$/);
    assert.match((await place.command('parked', 'drop', '--reason', 'too-large', '--yes')).stdout, /^Nothing/);

    const again = place.start();
    await untilDelivered(again, expected);
    assert.equal(await again.terminate(), 0);
    const later = await listed(place);
    assert.deepEqual(
      later.parked.map(({ id }) => id),
      expected.slice(20).map(({ id }) => `src:${id}`),
    );
  });
});
