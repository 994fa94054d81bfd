/**
 * Scenario: a snapshot of collections that are there already: how fast it goes with everything on one machine, what it does to changes of
 * the same collections that are delivered meanwhile, and where it goes on after a kill near its end.
 */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { Channel } from 'amqplib';
import { MongoClient } from 'mongodb';
import { bringUp } from './bring-up.ts';
import { debeziumSnapshot } from './debezium.ts';
import { debeziumBinary } from './debezium-binary.ts';
import { EngineProcess, engineFolder, removeFolder } from './engine-process.ts';
import { untilIdle } from './process-cost.ts';
import { atLeast, atMost, decimals, judged, mebibytes, printHead, printTable, thousands, times } from './report.ts';
import { scenario } from './scenario.ts';
import type { Result, Values } from './scenario.ts';
import type { SnapshotStatus } from '../src/observe/status.ts';

const DB = 'bench';
const EXCHANGE = 'bench.snapshot';
const LIVE = 'bench.snapshot.live';
const REST = 'bench.snapshot.rest';
const AT_ONCE = 2_000;
const WRITERS = 4;
const POLL_MS = 25;
/** Where nothing depends on the moment: to ask costs the engine as well. */
const RARELY_MS = 250;
const KILL_AT = 0.9;
const millis = decimals(1, ' ms');

const options = {
  documents: { type: 'number', default: 1_000_000, words: 'of about 500 bytes' },
  collections: { type: 'number', default: 4, words: 'they are spread over' },
  events: { type: 'number', default: 200, words: 'in a message at most' },
  live: { type: 'number', default: 500, words: 'inserts a second into the same collections, for the latency' },
  debezium: { type: 'text', words: "this version of Debezium Server's own snapshot beside it, such as 3.0.0.Final" },
  profile: { type: 'text', words: 'leave CPU profiles of the engine in this folder (slower)' },
} as const;

export const snapshot = scenario({
  words:
    'what is in collections, beside their changes: documents a second, latency of changes meanwhile, and a restart near the end',
  minutes: 4,
  options,
  run: measure,
});

async function measure({
  documents,
  collections,
  events,
  live,
  debezium,
  profile,
}: Values<typeof options>): Promise<Result> {
  const closers: (() => Promise<unknown>)[] = [];
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  try {
    const progress = (line: string): void => console.log(line);
    const { mongo, rabbit, env } = await bringUp(closers, { args: ['--oplogSize', '4000'], progress });
    const client = await MongoClient.connect(mongo.uri, { writeConcern: { w: 1, journal: false } });
    closers.push(async () => client.close());
    const broker = await connect(rabbit.uri);
    closers.push(async () => broker.close());
    const channel = await broker.createChannel();
    const bytes = await fill(client, { documents, collections });
    printHead('A snapshot, from real mongod to real RabbitMQ.', env, {
      Engine: `the built command with its defaults; JSON, up to ${events} events a message, one classic queue`,
      Load: `${thousands(documents)} documents of ${thousands(bytes)} bytes in ${collections} collections`,
      Live: `${live} inserts a second, one after the other, into one of them; latency is from before the insert to the consumer`,
    });
    const config = (start: string) => ({
      sources: { bench: { uri: mongo.uri, start } },
      sinks: { rabbit: { uri: rabbit.uri } },
      subscriptions: [
        {
          name: 'all',
          namespaces: [`${DB}.*`],
          batch: { maxEvents: events },
          to: {
            exchange: EXCHANGE,
            routingKey: '{coll}.{operationType}',
            queues: [
              { name: LIVE, bind: '*.insert' },
              { name: REST, bind: '*.snapshot' },
            ],
          },
        },
      ],
    });
    const quiet = async (): Promise<void> => {
      for (const queue of [LIVE, REST]) await purge(channel, queue);
      await untilIdle(rabbit.pid);
      await untilIdle(mongo.pids[0] ?? 0);
    };

    await quiet();
    const whole = await speed(config('snapshot'), { documents, nodeFlags });
    await quiet();
    const latency = await beside(config('latest'), { client, channel, live });
    await quiet();
    const again = await restarted(config('snapshot'), documents);
    await quiet();
    const peer =
      debezium === undefined ? undefined : await besides(debezium, { mongo: mongo.uri, rabbit: rabbit.uri, client });

    printTable(
      ['', 'documents/s', 'engine CPU a document', 'peak RSS'],
      [
        ['snapshot', thousands(whole.rate), decimals(2, ' µs')(whole.micros), mebibytes(whole.peakRssBytes)],
        ...(peer === undefined ? [] : [[`Debezium Server ${debezium}`, thousands(peer), '', '']]),
      ],
    );
    console.log('');
    printTable(
      ['live changes', 'p50', 'p99', 'worst', 'events'],
      Object.entries(latency).map(([name, one]) => [
        name,
        millis(one.p50),
        millis(one.p99),
        millis(one.worst),
        thousands(one.events),
      ]),
    );
    console.log('');
    printTable(
      ['killed', 'documents before', 'documents after the start', 'until complete'],
      [[`at ${KILL_AT * 100} %`, thousands(again.before), thousands(again.after), decimals(1, ' s')(again.seconds)]],
    );
    const targets = judged([
      atLeast('documents/s', 120_000, whole.rate),
      ...(peer === undefined ? [] : [atLeast("times Debezium Server's own", 8, whole.rate / peer, times)]),
      atMost('p99 of live changes, times without a snapshot', 3, latency.meanwhile.p99 / latency.without.p99, times),
      atMost('the latest live change', 1_000, latency.meanwhile.worst, millis),
      atLeast('where it goes on, of where it was killed', 0.95, again.after / again.before, times),
    ]);
    return { ...env, whole, latency, again, ...(peer !== undefined && { peer }), targets };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

/** Returns how large a document is. */
async function fill(
  client: MongoClient,
  { documents, collections }: { documents: number; collections: number },
): Promise<number> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < documents) {
      const from = next;
      next += AT_ONCE;
      const many = Array.from({ length: Math.min(AT_ONCE, documents - from) }, (_, n) => documentOf(from + n));
      await client
        .db(DB)
        .collection(`c${(from / AT_ONCE) % collections}`)
        .insertMany(many, { ordered: false });
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
  const stats = await client.db(DB).command({ dbStats: 1 });
  return Math.round(Number(stats['avgObjSize']));
}

function documentOf(n: number): object {
  return {
    number: n,
    customer: { name: `Customer ${n % 9_973}`, city: 'Springfield', tags: ['a', 'b', 'c'] },
    lines: [
      { sku: `sku-${n % 977}`, count: n % 7, price: 12.5 },
      { sku: `sku-${n % 991}`, count: n % 5, price: 7.25 },
    ],
    note: 'x'.repeat(200),
    at: new Date(1_795_000_000_000 + n),
  };
}

async function purge(channel: Channel, queue: string): Promise<void> {
  await channel.assertQueue(queue, { durable: true });
  await channel.purgeQueue(queue);
}

async function statusOf(engine: EngineProcess): Promise<SnapshotStatus | undefined> {
  engine.check();
  // oxlint-disable-next-line no-unsafe-type-assertion -- what the engine answers
  const { snapshots } = (await (await engine.get('/status')).json()) as {
    readonly snapshots: readonly SnapshotStatus[];
  };
  return snapshots.at(-1);
}

async function until(
  engine: EngineProcess,
  isSo: (status: SnapshotStatus) => boolean,
  everyMs = POLL_MS,
): Promise<SnapshotStatus> {
  for (;;) {
    const status = await statusOf(engine);
    if (status && isSo(status)) return status;
    await sleep(everyMs);
  }
}

async function speed(
  config: object,
  { documents, nodeFlags }: { documents: number; nodeFlags: readonly string[] },
): Promise<{ rate: number; micros: number; peakRssBytes: number }> {
  const folder = await engineFolder();
  const engine = await EngineProcess.start({ config: { ...config }, folder, nodeFlags });
  try {
    await until(engine, ({ state }) => state === 'done', RARELY_MS);
    engine.sample();
    const at = (msg: string): number => Date.parse(engine.log().find((line) => line.msg.startsWith(msg))!.time);
    const took = at('A snapshot is complete') - at('A snapshot is being read');
    return {
      rate: documents / (took / 1_000),
      micros: (engine.cpuSeconds * 1e6) / documents,
      peakRssBytes: engine.peakRssBytes,
    };
  } finally {
    await engine.stop();
    await removeFolder(folder);
  }
}

/** One event a message, as it does; of all that is there, changes that were delivered beside the snapshot included. */
async function besides(
  version: string,
  { mongo, rabbit, client }: { mongo: string; rabbit: string; client: MongoClient },
): Promise<number> {
  const binary = await debeziumBinary(version, (line) => console.log(line));
  const collections = await client.db(DB).listCollections({}, { nameOnly: true }).toArray();
  const counts = await Promise.all(
    collections.map(async ({ name }) => client.db(DB).collection(name).estimatedDocumentCount()),
  );
  const documents = counts.reduce((sum, one) => sum + one, 0);
  const home = await engineFolder();
  try {
    return await debeziumSnapshot(binary, {
      mongoUri: mongo,
      amqpUri: rabbit,
      home,
      database: DB,
      documents,
      threads: Math.min(counts.length, cpus().length),
    });
  } finally {
    await removeFolder(home);
  }
}

interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  readonly events: number;
}

async function beside(
  config: object,
  { client, channel, live }: { client: MongoClient; channel: Channel; live: number },
): Promise<{ without: Latency; meanwhile: Latency }> {
  const folder = await engineFolder();
  const engine = await EngineProcess.start({ config: { ...config }, folder });
  let took: number[] = [];
  const { consumerTag } = await channel.consume(
    LIVE,
    (message) => {
      if (!message) return;
      const now = performance.now();
      for (const [, sentAt] of message.content.toString('latin1').matchAll(/"sentAt":([0-9.]+)/g))
        took.push(now - Number(sentAt));
    },
    { noAck: true },
  );
  // Somebody takes the others as well.
  const rest = await channel.consume(REST, () => undefined, { noAck: true });
  const stop = new AbortController();
  const writing = write(client, live, stop.signal);
  try {
    await engine.ready();
    await sleep(3_000);
    took = [];
    await sleep(10_000);
    const without = latencyOf(took);
    await engine.post('/api/v1/snapshots', { subscription: 'all' });
    took = [];
    await until(engine, ({ state }) => state === 'done', RARELY_MS);
    const meanwhile = latencyOf(took);
    return { without, meanwhile };
  } finally {
    stop.abort();
    await writing;
    await channel.cancel(consumerTag);
    await channel.cancel(rest.consumerTag);
    await engine.stop();
    await removeFolder(folder);
  }
}

async function write(client: MongoClient, perSecond: number, stop: AbortSignal): Promise<void> {
  const collection = client.db(DB).collection('c0');
  const began = performance.now();
  for (let n = 0; !stop.aborted; n++) {
    const waitMs = began + (n / perSecond) * 1_000 - performance.now();
    if (waitMs > 1) await sleep(waitMs);
    await collection.insertOne({ sentAt: performance.now() + 0.001 });
  }
}

function latencyOf(all: readonly number[]): Latency {
  const sorted = all.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), worst: at(1), events: sorted.length };
}

async function restarted(
  config: object,
  documents: number,
): Promise<{ before: number; after: number; seconds: number }> {
  const folder = await engineFolder();
  const first = await EngineProcess.start({ config: { ...config }, folder });
  const killed = await until(first, (status) => status.documents >= documents * KILL_AT);
  await first.stop('SIGKILL');
  const second = await EngineProcess.start({ config: { ...config }, folder });
  try {
    const { documents: after } = await until(second, () => true);
    await until(second, ({ state }) => state === 'done');
    return { before: killed.documents, after, seconds: (performance.now() - second.startedAt) / 1_000 };
  } finally {
    await second.stop();
    await removeFolder(folder);
  }
}
