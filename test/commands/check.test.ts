import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import type { Timestamp } from 'mongodb';
import { lockFolder } from '../../src/checkpoint/folder-lock.ts';
import type { CheckpointRecord } from '../../src/checkpoint/record.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { check } from '../../src/commands/check.ts';
import { noLog } from '../../src/library/no-log.ts';
import { checkpoint } from '../checkpoint/fixtures.ts';
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

async function run(yaml: string, path = join(folder, `${randomUUID()}.yaml`)): Promise<{ code: number; said: string }> {
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
  onPositionLost = 'stop',
  namespaces = `"${NAME}.*", "!*.items"`,
  more = 'http: off',
} = {}): string {
  return [
    `sources: { shop: { uri: ${JSON.stringify(mongoUri)}, start: "${start}", onPositionLost: ${onPositionLost} } }`,
    `sinks: { rabbit: { uri: ${JSON.stringify(amqpUri)}, declare: ${declare} } }`,
    `subscriptions: [{ name: orders, namespaces: [${namespaces}], to: ${to} }]`,
    'pipeline: { partitions: 8 }',
    more,
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

test('a start that is not in the oplog, or not yet, is a fault, as it is when the engine starts', async () => {
  const early = await run(file({ start: '2020-01-01' }));
  assert.equal(early.code, 2, early.said);
  assert.match(early.said, /FAULT +source "shop": position 1577836800:0 has left the oplog, whose oldest entry is/);
  const late = await run(file({ start: '2100-01-01' }));
  assert.match(late.said, /FAULT +source "shop": `start: 2100-01-01` lies in the future/);
});

test('what this machine does not have is a fault: a folder, a port, a file to write to', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  await writeFile(join(folder, 'no-folder'), '');
  const { code, said } = await run(
    file({
      to: '{ file: ./nowhere/events }',
      more: `checkpoint: { path: ./no-folder/data }\nhttp: { listen: "127.0.0.1:${port}" }`,
    }),
  );
  assert.equal(code, 2, said);
  assert.match(said, /FAULT +the data folder cannot be used \(.*no-folder/);
  assert.match(said, /FAULT +http\.listen 127\.0\.0\.1:\d+: another process listens there already/);
  assert.match(said, /FAULT +it cannot be written to \(ENOENT.*nowhere/);
  assert.match(said, /3 to mend\.\n$/);
});

test('an engine that runs on this very file is told of, on another one it is a fault', async (t) => {
  const path = join(folder, `data-${randomUUID()}`);
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const config = file({ more: `checkpoint: { path: ${path} }\nhttp: { listen: "127.0.0.1:${port}" }` });
  const own = join(folder, `${randomUUID()}.yaml`);
  {
    await using lock = await lockFolder(path, own);
    void lock;
    const { code, said } = await run(config, own);
    assert.equal(code, 0, said);
    assert.match(said, new RegExp(` an engine runs on this very file, with process id ${process.pid}\\n`));
    assert.match(said, / in use, as it is by the engine that runs\n/);
  }
  await using lock = await lockFolder(path, join(folder, 'another.yaml'));
  void lock;
  const { code, said } = await run(config, own);
  assert.equal(code, 2, said);
  assert.match(said, /FAULT +The data folder \S+ is in use by the engine with process id \d+/);
});

test('managed online it looks at what is stored, as `run` does, and says what the file has others of', async () => {
  const path = join(folder, `data-${randomUUID()}`);
  const config = join(folder, `${randomUUID()}.yaml`);
  const token = 'a-token-of-this-test';
  const yaml = file({
    more: `management: online\nhttp: { listen: "127.0.0.1:0", token: ${token} }\ncheckpoint: { path: ${path} }`,
  });
  const before = await run(yaml, config);
  assert.equal(before.code, 0, before.said);
  assert.match(before.said, /ok +none are stored yet: the first start takes the file's\n/);

  const definitions = {
    sources: { shop: { uri: mongo.uri, start: '2100-01-01' } },
    sinks: { rabbit: { uri: rabbit.uri }, other: { uri: rabbit.uri } },
    subscriptions: { audit: { source: 'shop', namespaces: [`${NAME}.items`], to: { sink: 'other', queue: NAME } } },
  };
  const stored = async (more: object): Promise<void> => {
    await using store = await CheckpointStore.open({ path, log: noLog });
    const version = { at: Date.now(), by: 'test', cause: 'change', changes: [] } as const;
    await store.definitions.add({ ...version, definitions, ...more });
    await store.close();
  };
  // Its source would have it begin in the future; what was asked for with it counts, as for `run`.
  await stored({ starts: { audit: 'latest' } });
  const well = await run(yaml, config);
  assert.equal(well.code, 0, well.said);
  assert.match(well.said, /managed online: version 1\n/);
  assert.match(well.said, /subscription audit has no checkpoint: it begins at/);
  assert.doesNotMatch(well.said, /subscription orders matches/);
  assert.match(
    well.said,
    /warning +the file has others, .*sink other removed, subscription audit removed, .*tailrace plan/,
  );

  await stored({
    definitions: { ...definitions, sinks: { ...definitions.sinks, broken: { uri: '${NOT_SET_HERE}' }, worse: {} } },
  });
  // Also while an engine has the folder.
  await using lock = await lockFolder(path, config);
  void lock;
  const { code, said } = await run(yaml, config);
  assert.equal(code, 2, said);
  assert.match(said, /managed online: version 2\n/);
  assert.match(said, /FAULT +sinks\.broken\.uri: .*NOT_SET_HERE/);
  assert.match(said, /FAULT +sinks\.worse/);
  assert.match(said, /2 to mend\.\n$/);
});

test('what a start makes of a checkpoint is told: goes on, other partitions, a position that is lost, a damaged store', async () => {
  await using client = new MongoClient(mongo.uri);
  const { settings } = (await client.db('local').collection('system.replset').findOne())!;
  const replicaSetId = String((settings as { replicaSetId: unknown }).replicaSetId);
  const { operationTime } = (await client.db('admin').command({ ping: 1 })) as { operationTime: Timestamp };
  const now = { seconds: operationTime.getHighBitsUnsigned(), increment: operationTime.getLowBitsUnsigned() };
  const checked = async (
    change: Partial<CheckpointRecord>,
    more: { to?: string; onPositionLost?: string } = {},
    damage?: (path: string) => Promise<void>,
  ) => {
    const path = join(folder, `data-${randomUUID()}`);
    await using store = await CheckpointStore.open({ path, log: noLog });
    const record = { ...checkpoint('orders', now.seconds), replicaSetId, resume: { kind: 'from', ts: now } as const };
    await store.put([{ ...record, ...change }]);
    await store.close();
    await damage?.(path);
    return await run(file({ more: `checkpoint: { path: ${path} }\nhttp: off`, ...more }));
  };
  const well = await checked({});
  assert.equal(well.code, 0, well.said);
  assert.match(well.said, new RegExp(`ok +subscription orders goes on at its checkpoint, ${now.seconds}:`));
  const other = await checked({ partitionQueues: true }, { to: `{ queue: "${NAME}.{partition}" }` });
  assert.match(other.said, /FAULT +`pipeline\.partitions` or .* changed \(3 partitions then, 8 now\)/);
  const gone = { resume: { kind: 'from', ts: { seconds: 1_000, increment: 1 } } } as const;
  const lost = await checked(gone);
  assert.match(lost.said, /FAULT +source "shop": position 1000:1 has left the oplog/);
  const anew = await checked(gone, { onPositionLost: 'snapshot' });
  assert.match(
    anew.said,
    /warning +subscription orders: its position, 1000:1 .*, is lost: at a start it goes on at \d+:\d+ .*`onPositionLost: snapshot`.* read anew/,
  );
  assert.doesNotMatch(anew.said, /goes on at its checkpoint|Position lost:/);
  const early = await run(file({ start: '2020-01-01', onPositionLost: 'latest' }));
  assert.match(
    early.said,
    /warning +subscription orders: where it is to begin is lost: at a start it goes on at \d+:\d+ /,
  );
  const damaged = await checked({}, {}, async (path) => truncate(join(path, 'checkpoints', 'data.mdb'), 8_192));
  assert.equal(damaged.code, 2, damaged.said);
  assert.match(damaged.said, /FAULT +The checkpoints in \S+ are damaged/);
});

test('an exchange that nobody will have bound, and a routing key that most events have no field for, are warnings', async () => {
  await using client = new MongoClient(mongo.uri);
  const some = client.db(NAME).collection<{ region?: string }>('regions');
  await some.insertMany([{}, {}, { region: 'north' }]);
  const to = `{ exchange: ${NAME}-new, routingKey: "{fullDocument.region}" }`;
  const { code, said } = await run(file({ to, namespaces: `"${NAME}.regions"` }));
  assert.equal(code, 0, said);
  assert.match(
    said,
    new RegExp(
      `warning +subscription orders: exchange ${NAME}-new: nobody will have bound a queue to it then, and the first message is held`,
    ),
  );
  const parking = await run(file({ to: `${to}, onUnroutable: park`, namespaces: `"${NAME}.regions"` }));
  assert.match(parking.said, /warning +subscription orders: .* to it then, and messages are parked: name one/);
  assert.match(said, /warning +subscription orders: 2 of its last 3 events lack a field of "\{fullDocument\.region\}"/);
  await some.insertMany([{ region: 'south' }, { region: 'east' }]);
  assert.doesNotMatch((await run(file({ to, namespaces: `"${NAME}.regions"` }))).said, /lack a field/);
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
