import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { ConsumeMessage } from 'amqplib';
import { deserialize } from 'bson';
import { MongoClient } from 'mongodb';
import { EngineFolder } from '../harness/engine-process.ts';
import { historyOf, writeHistory } from '../harness/history.ts';
import type { Change } from '../harness/history.ts';
import { assertKept, judge, readDry } from '../harness/queue-reader.ts';
import { untilDelivered, untilReading } from '../harness/waiting.ts';
import { startMongo, startRabbit } from '../servers/index.ts';
import type { MongoServer, RabbitServer } from '../servers/index.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const EVENTS = 2_000;
const COLLECTIONS = 4;

describe('several sources, sinks and subscriptions in one file', () => {
  let shop: Shared;
  let plant: MongoServer;
  let near: Shared;
  let far: RabbitServer;

  before(async () => {
    [shop, plant, near, far] = await Promise.all([sharedMongo(), startMongo(), sharedRabbit(), startRabbit()]);
  });

  after(async () => {
    await Promise.all([shop.stop(), plant.stop(), near.stop(), far.stop()]);
  });

  test('each get what they asked for, where and how they asked for it', async () => {
    const db = 'several';
    await using place = await EngineFolder.create({
      sources: { shop: { uri: shop.uri }, plant: { uri: plant.uri } },
      sinks: { near: { uri: near.uri }, far: { uri: far.uri } },
      subscriptions: [
        {
          name: 'templates',
          source: 'shop',
          namespaces: [`${db}.*`, '!*.c3'],
          to: {
            sink: 'near',
            exchange: 'several',
            routingKey: '{source}.{subscription}.{db}.{coll}.{operationType}.{documentKey._id}',
            queues: [
              { name: 'several-c0', type: 'quorum', bind: `shop.templates.${db}.c0.#` },
              { name: 'several-deletes', bind: '*.*.*.*.delete.*' },
              { name: 'several-all', bind: '#' },
            ],
          },
        },
        {
          name: 'partitions',
          source: 'shop',
          namespaces: [`${db}.*`],
          to: { sink: 'far', queue: '{source}-{partition}', queueType: 'quorum' },
        },
        {
          name: 'batches',
          source: 'plant',
          namespaces: [`${db}.*`],
          batch: { maxEvents: 50, linger: '20ms' },
          to: { sink: 'far', queue: 'several-batches' },
        },
        {
          name: 'bson',
          source: 'plant',
          namespaces: [`${db}.c1`],
          operations: ['insert', 'delete'],
          format: 'bson',
          to: { sink: 'near', queue: 'several-{coll}' },
        },
        { name: 'lines', source: 'plant', namespaces: [`${db}.c*`], to: { file: './changes.jsonl' } },
      ],
      pipeline: { partitions: 3 },
    });
    const engine = place.start();
    await untilReading(engine);
    const [atShop, atPlant] = await Promise.all([written(shop.uri, db), written(plant.uri, db)]);
    await untilDelivered(engine, atShop, { subscriptions: ['templates', 'partitions'] });
    await untilDelivered(engine, atPlant, { subscriptions: ['batches', 'bson', 'lines'] });
    assert.equal(await engine.terminate(), 0);

    const ns = (change: Change): string => change.ns;
    const inAll = atShop.filter((change) => !change.ns.endsWith('.c3'));
    assertKept(judge(inAll, await readDry(near.uri, 'several-all'), ns));
    const inC0 = inAll.filter((change) => change.ns.endsWith('.c0'));
    assertKept(judge(inC0, await readDry(near.uri, 'several-c0'), ns));

    const deletes = await messagesOf(near.uri, 'several-deletes');
    assert.equal(deletes.length, inAll.length / 10);
    for (const { fields, properties } of deletes) {
      assert.equal(properties.type, 'delete');
      assert.match(fields.routingKey, /^shop\.templates\.several\.c[0-2]\.delete\.\d+$/);
      assert.match(String(properties.messageId), /^shop:\d+\.\d+\.0$/);
    }

    const byPartition = await Promise.all([0, 1, 2].map(async (p) => readDry(far.uri, `shop-${p}`)));
    assertKept(judge(atShop, byPartition.flat(), ns));

    assertKept(judge(atPlant, await readDry(far.uri, 'several-batches'), ns));

    const documents = (await messagesOf(near.uri, 'several-c1')).map(({ content }) => deserialize(content));
    assert.equal(documents.length, (EVENTS / COLLECTIONS) * 0.7);
    for (const document of documents) {
      assert.deepEqual(document['ns'], { db, coll: 'c1' });
      assert.equal('fullDocument' in document, document['operationType'] === 'insert');
    }

    const lines = (await readFile(join(place.folder, 'changes.jsonl'), 'utf8')).trimEnd().split('\n');
    const ids = lines.map((line) => (JSON.parse(line) as { _id: string })._id);
    assert.ok(ids.every((id) => id.startsWith('plant:')));
    assertKept(
      judge(
        atPlant,
        ids.map((id) => id.slice('plant:'.length)),
        ns,
      ),
    );
  });
});

async function written(uri: string, db: string): Promise<Change[]> {
  await using client = await MongoClient.connect(uri);
  await writeHistory(client, { db, collections: COLLECTIONS, events: EVENTS, padding: 50 });
  return await historyOf(client, db);
}

/** All that lie in the queue. */
async function messagesOf(uri: string, queue: string): Promise<ConsumeMessage[]> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    const { messageCount } = await channel.checkQueue(queue);
    const messages: ConsumeMessage[] = [];
    await channel.consume(queue, (message) => message && messages.push(message), { noAck: true });
    while (messages.length < messageCount) await sleep(20);
    return messages;
  } finally {
    await connection.close();
  }
}
