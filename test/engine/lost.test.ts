import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import type { Timestamp } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { historyOf, writeHistory } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { startMongo } from '../servers/index.ts';
import type { MongoServer } from '../servers/index.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const TOKEN = 'a-token-of-this-test';

type Policy = 'stop' | 'earliest' | 'latest';

describe('a position that has left the oplog', () => {
  let mongo: MongoServer;
  let other: Shared;
  let rabbit: Shared;
  let client: MongoClient;

  before(async () => {
    // The smallest oplog there is, and cut to its size each second: what lies before the last checkpoint may go.
    const args = ['--oplogSize', '1', '--syncdelay', '1'];
    [mongo, other, rabbit] = await Promise.all([startMongo({ args }), sharedMongo(), sharedRabbit()]);
    client = await MongoClient.connect(mongo.uri);
  });

  after(async () => {
    await client.close();
    await Promise.all([mongo.stop(), other.stop(), rabbit.stop()]);
  });

  const config = (
    db: string,
    { uri = mongo.uri, ...source }: { uri?: string; onPositionLost?: Policy; start?: string } = {},
    to: object = { queue: db },
  ): object => ({
    sources: { src: { uri, ...source } },
    sinks: { mq: { uri: rabbit.uri } },
    subscriptions: [{ name: 'all', namespaces: [`${db}.*`], to }],
    pipeline: { partitions: 2, inFlight: '64KiB' },
  });

  async function written(db: string, events: number): Promise<Change[]> {
    const before = new Set((await historyOf(client, db)).map(({ id }) => id));
    await client.db(db).dropDatabase();
    await writeHistory(client, { db, collections: 4, events });
    return (await historyOf(client, db)).filter(({ id }) => !before.has(id));
  }

  async function oldest(): Promise<Timestamp> {
    const entry = await client
      .db('local')
      .collection('oplog.rs')
      .findOne({}, { sort: { $natural: 1 } });
    return entry!['ts'] as Timestamp;
  }

  /** Until everything that is in the oplog now has left it. */
  async function rollOver(): Promise<void> {
    const { operationTime } = await client.db('admin').command({ ping: 1 });
    const filler = { filling: 'x'.repeat(10_000) };
    await until('the oplog has rolled over', async () => {
      await client
        .db('filler')
        .collection('c')
        .insertMany(Array.from({ length: 50 }, () => ({ ...filler })));
      return (await oldest()).greaterThan(operationTime as Timestamp);
    });
    let before: Timestamp | undefined;
    await until('it is cut to its size', async () => {
      const last = before;
      before = await oldest();
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      return last?.equals(before) ?? false;
    });
  }

  /** Of this name, to the exchange of the same: what goes there is taken from then on. */
  async function bindQueue(name: string): Promise<void> {
    const connection = await connect(rabbit.uri);
    const channel = await connection.createChannel();
    await channel.assertQueue(name, { durable: true });
    await channel.bindQueue(name, name, '#');
    await connection.close();
  }

  interface Gap {
    readonly subscription: string;
    readonly from: string;
    readonly to: string;
    readonly reason: string;
  }

  async function gapsOf(place: EngineFolder): Promise<Gap[]> {
    const { code, stdout, stderr } = await place.command('checkpoint', 'show', '--json');
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { gaps: Gap[] }).gaps;
  }

  test('while the engine was stopped ends the next start with 3 and both ends of the gap; a policy goes on from there', async () => {
    const db = 'lost-stopped';
    await using place = await EngineFolder.create(config(db));
    const first = place.start();
    await untilReading(first);
    const delivered = await written(db, 100);
    await untilDelivered(first, delivered);
    assert.equal(await first.terminate(), 0);
    const stoodAt = await resumeOf(place);
    assertKept(judge(delivered, await readDry(rabbit.uri, db), ({ ns }) => ns));

    await rollOver();
    const stopped = place.start();
    assert.equal(await stopped.ended(), 3, stopped.log());
    const { code, exitCode, msg } = stopped.fatal();
    assert.deepEqual({ code, exitCode }, { code: 'position-truncated', exitCode: 3 });
    assert.match(
      msg,
      /changes between them are gone\. Go on with `onPositionLost: snapshot`, .* then go on with `earliest`/,
    );
    assert.doesNotMatch(stopped.log(), /"code":\d/);
    const said = /position (?<from>\d+:\d+) has left the oplog, whose oldest entry is (?<to>\d+:\d+)/.exec(
      stopped.log(),
    );
    assert.equal(said?.groups?.['from'], stoodAt);
    assert.equal(said?.groups?.['to'], text(await oldest()));
    assert.deepEqual(await gapsOf(place), []);
    assert.deepEqual(await readDry(rabbit.uri, db), []);

    for (const policy of ['earliest', 'latest'] as const) {
      const from = await resumeOf(place);
      await rollOver();
      const missed = await written(db, 50);
      await place.configure(config(db, { onPositionLost: policy }));
      const engine = place.start();
      await untilReading(engine);
      const later = await written(db, 100);
      const expected = policy === 'earliest' ? [...missed, ...later] : later;
      await untilDelivered(engine, expected);
      assert.equal((await engine.ready()).ok, true);
      assert.equal((await engine.status()).gaps.length, policy === 'earliest' ? 1 : 2);
      assert.equal(await engine.terminate(), 0);
      assertKept(judge(expected, await readDry(rabbit.uri, db), ({ ns }) => ns));
      const gap = (await gapsOf(place)).at(-1)!;
      assert.equal(gap.subscription, 'all');
      assert.equal(gap.from, from);
      assert.equal(gap.reason, 'truncated');
      assert.ok(seconds(gap.to) >= seconds(from) && gap.to !== from);
    }
  });

  test('while a destination held the engine is noticed as soon as it reads on, and leaves a gap record too', async () => {
    const db = 'lost-held';
    const to = { exchange: db };
    await using place = await EngineFolder.create(config(db, { onPositionLost: 'earliest' }, to));
    const engine = place.start();
    await untilReading(engine);
    await written(db, 1_000);
    await until('the source is held', async () => (await engine.status()).sources['src']!.state === 'held');
    await rollOver();

    await bindQueue(db);
    await until('there is a gap record', async () => (await engine.status()).gaps.length > 0);
    const later = await written(db, 100);
    await untilDelivered(engine, later);
    assert.equal(await engine.terminate(), 0);
    const received = await readDry(rabbit.uri, db);
    assertKept({ ...judge(later, received, ({ ns }) => ns), unknown: [] });
    const [gap] = await gapsOf(place);
    // Everything up to the gap had been read, and was delivered.
    assert.ok(received.length > later.length);
    assert.equal(gap?.reason, 'truncated');
  });

  test('beside a source that flows: once somebody moves it, it is read again, and a stop is as quick as ever', async () => {
    const db = 'lost-beside';
    await using place = await EngineFolder.create({
      http: { listen: '127.0.0.1:0', token: TOKEN },
      sources: { src: { uri: mongo.uri }, flowing: { uri: other.uri } },
      sinks: { mq: { uri: rabbit.uri } },
      subscriptions: [
        { name: 'all', source: 'src', namespaces: [`${db}.*`], to: { exchange: db } },
        { name: 'beside', source: 'flowing', namespaces: ['none.*'], to: { queue: `${db}-beside` } },
      ],
      pipeline: { partitions: 2, inFlight: '64KiB' },
    });
    const ask = async (engine: EngineProcess, what: string, body?: object): Promise<Record<string, unknown>> => {
      const response = await fetch(`${await engine.url()}/api/v1/subscriptions/all/${what}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${TOKEN}`, ...(body && { 'Content-Type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      return (await response.json()) as Record<string, unknown>;
    };
    const untilLost = async (engine: EngineProcess): Promise<void> =>
      until('it is lost', async () => (await engine.status()).sources['src']!.state === 'position_lost');
    const moveToNow = async (engine: EngineProcess): Promise<void> => {
      const moved = await ask(engine, 'move', { position: 'latest' });
      assert.equal(moved['effect'], 'skipped', JSON.stringify(moved));
    };
    const assertFlowing = async (engine: EngineProcess): Promise<void> => {
      const later = await written(db, 100);
      await untilDelivered(engine, later, { subscriptions: ['all'] });
      assert.equal((await engine.ready()).ok, true);
      const received = await readDry(rabbit.uri, db);
      assertKept({ ...judge(later, received, ({ ns }) => ns), unknown: [] });
    };

    // Lost while it was held.
    const engine = place.start();
    await untilReading(engine);
    await written(db, 1_000);
    await until('the source is held', async () => (await engine.status()).sources['src']!.state === 'held');
    await rollOver();
    await bindQueue(db);
    await untilLost(engine);
    await moveToNow(engine);
    await assertFlowing(engine);
    assert.equal(await engine.terminate(), 0);

    // Lost while the engine was stopped.
    await rollOver();
    const again = place.start();
    await untilLost(again);
    await ask(again, 'pause');
    const refused = await ask(again, 'resume');
    assert.match(JSON.stringify(refused), /api-conflict.*has left the oplog/);
    await moveToNow(again);
    await ask(again, 'resume');
    await assertFlowing(again);
    assert.equal(await again.terminate(), 0);
  });

  test('because the start lies before it all ends the first start with 3, and names what `earliest` would give', async () => {
    await using place = await EngineFolder.create(config('lost-start', { start: '2020-01-01' }));
    const engine = place.start();
    assert.equal(await engine.ended(), 3, engine.log());
    assert.match(engine.log(), new RegExp(`oldest entry is ${text(await oldest())}.*with \`earliest\` \\(from`));
  });

  test('or belongs to another replica set: that is refused with 2, whatever the policy', async () => {
    const db = 'lost-other';
    await using place = await EngineFolder.create(config(db));
    const engine = place.start();
    await untilReading(engine);
    assert.equal(await engine.terminate(), 0);
    const stoodAt = await resumeOf(place);
    for (const onPositionLost of ['stop', 'earliest', 'latest'] as const) {
      await place.configure(config(db, { uri: other.uri, onPositionLost }));
      const refused = place.start();
      assert.equal(await refused.ended(), 2, refused.log());
      assert.match(refused.fatal().msg, /checkpoint of subscription "all" belongs to replica set/);
    }
    assert.equal(await resumeOf(place), stoodAt);
    assert.deepEqual(await gapsOf(place), []);
  });
});

async function resumeOf(place: EngineFolder): Promise<string> {
  const { stdout } = await place.command('checkpoint', 'show', '--json');
  const { subscriptions } = JSON.parse(stdout) as { subscriptions: { resume: { position: string } }[] };
  return subscriptions[0]!.resume.position;
}

function text({ t, i }: Timestamp): string {
  return `${t}:${i}`;
}

function seconds(position: string): number {
  return Number(position.split(':')[0]);
}
