/**
 * The peer Debezium Server, with the settings that were best for it: large batches, a large queue, a short poll interval, no schemas
 * in its messages, no look-up of documents. One event a message, persistent, confirmed batch by batch, as its RabbitMQ sink does; into
 * one durable classic queue.
 *
 * It takes its first position when it is first started, so it is started once before the load is written, told of a few changes, and
 * stopped: the offset file that it leaves is where every run of it begins.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';
import { ended, orEnd, started } from './contenders.ts';
import type { Contender, Runner } from './contenders.ts';
import type { Ground } from './contest.ts';
import type { DebeziumBinary } from './debezium-binary.ts';
import { PREFIX } from './load.ts';
import { QueueDepths, deleteQueues } from './queues.ts';

const EXCHANGE = 'amq.direct';
/** Beside the load's databases, one that tells it of changes before there is a load. */
const FIRST_DB = `${PREFIX}first`;
const START_LIMIT_MS = 90_000;
const SNAPSHOT_LIMIT_MS = 10 * 60_000;
const LOOK_MS = 100;

export async function debezium(binary: DebeziumBinary, { servers, folder }: Ground): Promise<Contender> {
  const { version, javaWords } = binary;
  const name = `debezium-${version.replace('.Final', '')}`;
  const queue = `bench.${name}`;
  const home = join(folder, name);
  await mkdir(home);
  const uris = { mongoUri: servers.mongo.uri, amqpUri: servers.rabbit.uri };
  await firstPosition({ binary, queue, home, ...uris });
  return {
    name,
    words: `Debezium Server ${version} (${javaWords}), batch 8192, queue 32768, poll 10 ms, no schemas, no tombstones, one durable classic queue`,
    kind: 'orders',
    pace: 'middling',
    // Java's compilers are at work for longer than V8's.
    warmUpMs: 10_000,
    queues: [queue],
    queueType: 'classic',
    framing: 'one',
    start: async (course) => {
      await copyFile(join(home, 'offsets.dat'), join(course.folder, 'offsets.dat'));
      const { databases, entries } = course.load;
      const { depths, child, log } = await launch({ ...course, binary, queue, home: course.folder, databases });
      return {
        pid: child.pid!,
        progress: async () => depths.total(),
        done: orEnd(child, filled(depths, entries), log),
        stop: async () => {
          await ended(child, 'SIGTERM');
          await depths.close();
        },
      } satisfies Runner;
    },
  };
}

interface Launch {
  readonly binary: DebeziumBinary;
  readonly mongoUri: string;
  readonly amqpUri: string;
  readonly queue: string;
  readonly home: string;
  readonly databases: readonly string[];
  /** What is there already is read first, so many collections at a time. */
  readonly snapshotThreads?: number;
}

interface Launched {
  readonly child: ChildProcess;
  readonly depths: QueueDepths;
  readonly log: string;
}

async function launch(options: Launch): Promise<Launched> {
  const { binary, amqpUri, queue, home } = options;
  const connection = await connect(amqpUri);
  const channel = await connection.createChannel();
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'classic' } });
  await channel.bindQueue(queue, EXCHANGE, queue);
  await connection.close();
  const depths = await QueueDepths.open(amqpUri, [queue]);

  await mkdir(join(home, 'config'), { recursive: true });
  await writeFile(join(home, 'config', 'application.properties'), propertiesOf(options));
  const log = join(home, 'log');
  const output = openSync(log, 'a');
  const child = spawn(binary.java, ['-cp', binary.classPath, 'io.debezium.server.Main'], {
    cwd: home,
    env: { ...process.env, SEEN: `${home}:${binary.folder}` },
    stdio: ['ignore', output, output],
    detached: true,
  });
  closeSync(output);
  started(child);
  return { child, depths, log };
}

function propertiesOf({ mongoUri, amqpUri, queue, home, databases, snapshotThreads }: Launch): string {
  const { hostname, port, username, password } = new URL(amqpUri);
  const properties = {
    'debezium.sink.type': 'rabbitmq',
    'debezium.sink.rabbitmq.connection.host': hostname,
    'debezium.sink.rabbitmq.connection.port': port || '5672',
    'debezium.sink.rabbitmq.connection.username': username || 'guest',
    'debezium.sink.rabbitmq.connection.password': password || 'guest',
    'debezium.sink.rabbitmq.exchange': EXCHANGE,
    'debezium.sink.rabbitmq.routingKey': queue,
    // Of 3.6; 3.0 does not know it, and does so anyway.
    'debezium.sink.rabbitmq.routingKey.source': 'static',
    'debezium.sink.rabbitmq.deliveryMode': '2',
    'debezium.format.key.schemas.enable': 'false',
    'debezium.format.value.schemas.enable': 'false',
    'debezium.source.connector.class': 'io.debezium.connector.mongodb.MongoDbConnector',
    'debezium.source.mongodb.connection.string': mongoUri,
    'debezium.source.topic.prefix': 'bench',
    'debezium.source.database.include.list': [FIRST_DB, ...databases].join(),
    ...(snapshotThreads === undefined
      ? { 'debezium.source.snapshot.mode': 'no_data' }
      : {
          'debezium.source.snapshot.mode': 'initial',
          'debezium.source.snapshot.max.threads': String(snapshotThreads),
        }),
    'debezium.source.capture.mode': 'change_streams',
    'debezium.source.offset.storage.file.filename': join(home, 'offsets.dat'),
    'debezium.source.offset.flush.interval.ms': '1000',
    'debezium.source.max.batch.size': '8192',
    'debezium.source.max.queue.size': '32768',
    'debezium.source.poll.interval.ms': '10',
    'debezium.source.tombstones.on.delete': 'false',
    'quarkus.http.port': '0',
    'quarkus.log.console.json': 'false',
    'quarkus.log.level': 'WARN',
  };
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}

/** Documents a second of its snapshot of a database, from the first that it has delivered: its start does not count. */
export async function debeziumSnapshot(
  binary: DebeziumBinary,
  of: {
    readonly mongoUri: string;
    readonly amqpUri: string;
    readonly home: string;
    readonly database: string;
    readonly documents: number;
    readonly threads: number;
  },
): Promise<number> {
  const { database, documents, threads, ...rest } = of;
  const queue = 'bench.debezium.snapshot';
  const { child, depths, log } = await launch({
    ...rest,
    binary,
    queue,
    databases: [database],
    snapshotThreads: threads,
  });
  try {
    const measured = async (): Promise<number> => {
      let first = 0;
      while ((first = await depths.total()) === 0) await sleep(LOOK_MS);
      const began = performance.now();
      let last = first;
      while ((last = await depths.total()) < documents) await sleep(LOOK_MS);
      return (last - first) / ((performance.now() - began) / 1_000);
    };
    const late = sleep(SNAPSHOT_LIMIT_MS, undefined, { ref: false }).then((): never => {
      throw new Error(`its snapshot took longer than ${SNAPSHOT_LIMIT_MS / 60_000} min; its log is ${log}`);
    });
    return await orEnd(child, Promise.race([measured(), late]), log);
  } finally {
    await ended(child, 'SIGTERM');
    await depths.close();
    await deleteQueues(of.amqpUri, [queue]);
  }
}

async function filled(depths: QueueDepths, entries: number): Promise<void> {
  while ((await depths.total()) < entries) await sleep(LOOK_MS);
}

/** Leaves its offset file in `home`. */
async function firstPosition(options: Omit<Launch, 'databases'>): Promise<void> {
  const { mongoUri, amqpUri, queue } = options;
  const client = await MongoClient.connect(mongoUri);
  const { child, depths, log } = await launch({ ...options, databases: [] });
  try {
    const told = async (): Promise<void> => {
      while ((await depths.total()) === 0) {
        await client.db(FIRST_DB).collection('changes').insertOne({});
        await sleep(500);
      }
      // The rest of what it was told is behind it too, and its offset written.
      await sleep(3_000);
    };
    const late = sleep(START_LIMIT_MS, undefined, { ref: false }).then((): never => {
      throw new Error(`it delivered nothing within ${START_LIMIT_MS / 1_000} s; its log is ${log}`);
    });
    await orEnd(child, Promise.race([told(), late]), log);
  } finally {
    await ended(child, 'SIGTERM');
    await depths.close();
    await client.close();
    await deleteQueues(amqpUri, [queue]);
  }
}
