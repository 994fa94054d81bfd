import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import { check } from '../../src/commands/check.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const NAME = `check_${randomUUID().slice(0, 8)}`;
const folder = await mkdtemp(join(tmpdir(), 'tailrace-check-'));
let mongo: Shared;
let rabbit: Shared;

before(async () => {
  [mongo, rabbit] = await Promise.all([sharedMongo(), sharedRabbit()]);
  await using client = new MongoClient(mongo.uri);
  await client.db(NAME).collection('orders').insertOne({});
  await client.db(NAME).collection('items').insertOne({});
  await client.db(NAME).createCollection('cpu', { timeseries: { timeField: 'at' } });
});

after(async () => {
  await using client = new MongoClient(mongo.uri);
  await client.db(NAME).dropDatabase();
  await client.close();
  await Promise.all([mongo.stop(), rabbit.stop()]);
  await rm(folder, { recursive: true, force: true });
});

async function run(yaml: string): Promise<{ code: number; said: string }> {
  const path = join(folder, `${randomUUID()}.yaml`);
  await writeFile(path, yaml);
  let said = '';
  const code = await check({ config: path, write: (text) => void (said += text) });
  return { code, said };
}

function file({
  mongoUri = mongo.uri,
  amqpUri = rabbit.uri,
  declare = true,
  to = `{ queue: ${NAME} }`,
  start = 'latest',
  namespaces = `"${NAME}.*", "!*.items"`,
} = {}): string {
  return [
    `sources: { shop: { uri: ${JSON.stringify(mongoUri)}, start: "${start}" } }`,
    `sinks: { rabbit: { uri: ${JSON.stringify(amqpUri)}, declare: ${declare} } }`,
    `subscriptions: [{ name: orders, namespaces: [${namespaces}], to: ${to} }]`,
    'pipeline: { partitions: 8 }',
  ].join('\n');
}

test('where all is well, it shows both ends, the oplog and what matches, and ends with 0', async () => {
  const { code, said } = await run(file());
  assert.equal(code, 0, said);
  assert.match(said, /replica set \S+, member \S+, MongoDB \d/);
  assert.match(said, /ok +the oplog can be read/);
  assert.match(said, /oldest entry \d{4}-\S+Z \(\d+:\d+\), newest \S+ \(\d+:\d+\): a window of \d/);
  assert.match(said, new RegExp(`subscription orders matches 1 of \\d+ collections: ${NAME}\\.orders\n`));
  assert.match(said, new RegExp(`time-series collections, .*: ${NAME}\\.cpu\n`));
  assert.match(said, /ok +connected to RabbitMQ \d/);
  assert.match(said, new RegExp(`queue ${NAME}: not there yet, will be declared`));
  assert.match(said, /All is well\.\n$/);
});

test('a time-series collection that is named is a fault; it has no change events', async () => {
  const { code, said } = await run(file({ namespaces: `"${NAME}.orders", "${NAME}.cpu"` }));
  assert.equal(code, 2, said);
  assert.match(said, new RegExp(`FAULT +subscription "orders": ${NAME}\\.cpu is a time-series collection\\.`));
});

test('it declares nothing, and tells what is there from what is missing', async () => {
  const connection = await connect(rabbit.uri);
  try {
    const channel = await connection.createChannel();
    await channel.assertQueue(`${NAME}.1`, { autoDelete: true });
    const to = `{ queue: "${NAME}.{partition}" }`;
    for (let times = 0; times < 2; times++) {
      const { code, said } = await run(file({ to, declare: false }));
      assert.equal(code, 2, said);
      assert.match(said, new RegExp(`ok +subscription orders: queue ${NAME}\\.1: there`));
      assert.match(said, new RegExp(`FAULT +.*queue ${NAME}\\.0, .* and 2 more: missing, and .declare: false. says`));
    }
    await channel.deleteQueue(`${NAME}.1`);
    const { said } = await run(file({ to: `{ exchange: ${NAME}-none, queues: [] }`, declare: false }));
    assert.match(said, new RegExp(`FAULT +.*exchange ${NAME}-none: missing`));
  } finally {
    await connection.close();
  }
});

test('a queue or exchange that is there with other properties is a fault, as it is when the engine starts', async () => {
  const connection = await connect(rabbit.uri);
  const channel = await connection.createChannel();
  const name = `${NAME}-other`;
  await channel.assertQueue(name, { durable: true });
  await channel.assertExchange(name, 'fanout', { durable: true });
  try {
    const queue = await run(file({ to: `{ queue: ${name}, queueType: quorum }` }));
    assert.equal(queue.code, 2, queue.said);
    assert.match(queue.said, new RegExp(`FAULT +.*queue ${name}: there, but with another type`));
    const exchange = await run(file({ to: `{ exchange: ${name}, queues: [] }` }));
    assert.match(exchange.said, new RegExp(`FAULT +.*exchange ${name}: there, but with another type`));
  } finally {
    await channel.deleteQueue(name);
    await channel.deleteExchange(name);
    await connection.close();
  }
});

test('a start before the oldest entry is a warning', async () => {
  const { code, said } = await run(file({ start: '2020-01-01' }));
  assert.equal(code, 0, said);
  assert.match(said, /warning +start 2020-01-01 is older than the oldest entry/);
});

test('wrong credentials are said at both ends, and not shown', async () => {
  const mongoUri = mongo.uri.replace(/^mongodb:\/\/(?:[^@/]*@)?/, 'mongodb://nobody:hunter2@');
  const amqpUri = rabbit.uri.replace(/^amqp:\/\/(?:[^@/]*@)?/, 'amqp://nobody:hunter3@');
  const { code, said } = await run(file({ mongoUri, amqpUri }));
  assert.equal(code, 2);
  assert.match(said, /FAULT +the server refuses the credentials/);
  assert.match(said, /FAULT +sink "rabbit": RabbitMQ refused the user or password/);
  assert.match(said, /2 to mend\.\n$/);
  assert.doesNotMatch(said, /hunter/);
});

test('ends that cannot be reached are named within the time limit', { timeout: 40_000 }, async () => {
  const began = performance.now();
  const { code, said } = await run(
    file({ mongoUri: 'mongodb://127.0.0.1:1/?replicaSet=rs0', amqpUri: 'amqp://127.0.0.1:1' }),
  );
  assert.equal(code, 2);
  assert.match(said, /FAULT +no member could be reached within 10 s/);
  assert.match(said, /FAULT +.*ECONNREFUSED/);
  assert.ok(performance.now() - began < 25_000);
});
