import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { connect } from 'amqplib';
import type { ConsumeMessage } from 'amqplib';
import { MongoClient } from 'mongodb';
import { EngineFolder } from '../harness/engine-process.ts';
import { untilReading } from '../harness/waiting.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const EVENTS = 300;
const SECRET = '123-45-6789';

describe('formats, headers, compression and shaping, as a consumer sees them', () => {
  let mongo: Shared;
  let rabbit: Shared;

  before(async () => {
    [mongo, rabbit] = await Promise.all([sharedMongo(), sharedRabbit()]);
  });

  after(async () => {
    await Promise.all([mongo.stop(), rabbit.stop()]);
  });

  test('properties, headers and bodies arrive as each subscription asked for them', async () => {
    const db = 'formats';
    const queue = (name: string) => ({ sink: 'rabbit', queue: `formats-${name}` });
    const subscription = { source: 'shop', namespaces: [`${db}.*`] };
    const mask = [{ fields: ['ssn'], hash: { key: '${MASK_KEY}' } }];
    await using place = await EngineFolder.create({
      sources: { shop: { uri: mongo.uri } },
      sinks: { rabbit: { uri: rabbit.uri } },
      subscriptions: [
        { name: 'debezium', ...subscription, mask, format: 'debezium', to: queue('debezium') },
        { name: 'structured', ...subscription, mask, format: 'cloudevents', to: queue('structured') },
        {
          name: 'binary',
          ...subscription,
          mask,
          format: 'cloudevents',
          cloudevents: { mode: 'binary' },
          compression: 'gzip',
          to: queue('binary'),
        },
        {
          name: 'batches',
          ...subscription,
          compression: 'gzip',
          fields: { exclude: ['ssn'] },
          headers: { tenant: '{fullDocument.tenant}' },
          operations: ['insert'],
          batch: { maxEvents: 1_000, linger: '500ms' },
          to: queue('batches'),
        },
        {
          name: 'where',
          ...subscription,
          mask,
          where: { any: [{ field: 'fullDocument.n', gte: EVENTS - 10 }, { operation: 'delete' }] },
          whenUnknown: 'skip',
          to: queue('where'),
        },
      ],
      pipeline: { partitions: 1 },
    });
    const engine = place.start([], { ...process.env, MASK_KEY: 'a key nobody may see' });
    await untilReading(engine);
    await using client = await MongoClient.connect(mongo.uri);
    const things = client.db(db).collection<{ _id: number; n: number; tenant: string; ssn: string }>('things');
    for (let n = 0; n < EVENTS; n++) await things.insertOne({ _id: n, n, tenant: n < 100 ? 'a' : 'b', ssn: SECRET });
    await things.updateOne({ _id: 1 }, { $set: { ssn: SECRET, n: 2 } });
    await things.deleteOne({ _id: 2 });

    const all = EVENTS + 2;
    const debezium = await received('debezium', all);
    const [created] = debezium;
    assert.equal(created!.properties.contentType, 'application/json');
    assert.equal(created!.properties.contentEncoding, undefined);
    assert.deepEqual(created!.properties.headers, { key: '{"id":"0"}' });
    const value = JSON.parse(created!.content.toString());
    assert.equal(value.op, 'c');
    assert.match(value.after, /^\{"_id": 0, "n": 0, "tenant": "a", "ssn": "[0-9a-f]{64}"\}$/);
    assert.deepEqual(debezium.at(-1)!.properties.headers, { key: '{"id":"2"}' });
    assert.deepEqual(debezium.at(-1)!.properties.type, 'delete');

    const [structured] = await received('structured', all);
    assert.equal(structured!.properties.contentType, 'application/cloudevents+json; charset=utf-8');
    const event = JSON.parse(structured!.content.toString());
    assert.equal(event.specversion, '1.0');
    assert.equal(event.id, structured!.properties.messageId);
    assert.equal(event.source, `/shop/${db}/things`);
    assert.equal(event.data.operationType, 'insert');

    const [binary] = await received('binary', all);
    assert.equal(binary!.properties.contentType, 'application/json');
    assert.equal(binary!.properties.contentEncoding, 'gzip');
    assert.equal(binary!.properties.headers!['cloudEvents:id'], binary!.properties.messageId);
    assert.equal(binary!.properties.headers!['cloudEvents:type'], 'mongodb.insert');
    assert.deepEqual(Object.keys(binary!.properties.headers!).length, 6);
    assert.deepEqual(JSON.parse(gunzipSync(binary!.content).toString()), event.data);

    const lines: { fullDocument: object }[] = [];
    let members = 0;
    for (const message of await until('batches', () => lines.length >= EVENTS, collect)) {
      assert.equal(message.properties.contentType, 'application/x-ndjson');
      assert.equal(message.properties.contentEncoding, 'gzip');
    }
    assert.deepEqual(
      lines.map(({ fullDocument }) => fullDocument),
      Array.from({ length: EVENTS }, (_, n) => ({ _id: n, n, tenant: n < 100 ? 'a' : 'b' })),
    );
    assert.ok(members > 2, 'no message was joined of several members');

    const where = await received('where', 11);
    assert.deepEqual(
      where.map(({ properties }) => String(properties.type)),
      [...Array.from({ length: 10 }, () => 'insert'), 'delete'],
    );
    assert.ok((await engine.metric('tailrace_events_filtered_total')) >= EVENTS - 10);
    assert.equal(await engine.terminate(), 0);
    for (const { content, fields, properties } of [...debezium, structured!, ...where]) {
      assert.ok(!content.includes(SECRET) && !JSON.stringify([fields, properties]).includes(SECRET));
    }
    assert.ok(!engine.log().includes(SECRET) && !engine.log().includes('a key nobody may see'));

    function collect(message: ConsumeMessage): void {
      const { content, properties } = message;
      members += content.toString('latin1').split('\u001f\u008b\b').length - 1;
      const text = gunzipSync(content).toString();
      assert.equal(pythonGunzip(content) ?? text, text);
      for (const line of text.trimEnd().split('\n')) {
        const parsed = JSON.parse(line) as { fullDocument: { tenant: string } };
        assert.equal(properties.headers!['tenant'], parsed.fullDocument.tenant);
        lines.push(parsed);
      }
    }
  });

  async function received(name: string, count: number): Promise<ConsumeMessage[]> {
    let seen = 0;
    return await until(
      name,
      () => seen >= count,
      () => (seen += 1),
    );
  }

  /** Consumes until it is `done`. */
  async function until(name: string, done: () => boolean, each: (message: ConsumeMessage) => void) {
    const connection = await connect(rabbit.uri);
    try {
      const channel = await connection.createChannel();
      const messages: ConsumeMessage[] = [];
      const failed: unknown[] = [];
      await channel.consume(
        `formats-${name}`,
        (message) => {
          if (!message) return;
          try {
            each(message);
            messages.push(message);
          } catch (error) {
            failed.push(error);
          }
        },
        { noAck: true },
      );
      for (let tries = 0; !done() && failed.length === 0; tries++) {
        assert.ok(tries < 600, `${name}: only ${messages.length} messages came`);
        await sleep(50);
      }
      if (failed.length > 0) throw failed[0] as Error;
      return messages;
    } finally {
      await connection.close();
    }
  }
});

const hasPython = spawnSync('python3', ['--version']).status === 0;

/** What another language's gzip makes of it; undefined where there is no Python. */
function pythonGunzip(bytes: Buffer): string | undefined {
  if (!hasPython) return undefined;
  const program = 'import gzip, sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))';
  return execFileSync('python3', ['-c', program], { input: bytes }).toString();
}
