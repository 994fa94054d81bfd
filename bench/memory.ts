/**
 * Scenario: what an engine holds in memory, second by second, in the situations in which others swell: a broker that blocks, a
 * queue that refuses, documents of 16 MB, a backlog that comes as fast as it can, and one transaction of gigabytes (see `transaction.ts`,
 * which this one runs last). Void unless everything is confirmed at the end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { ConsumeMessage } from 'amqplib';
import { MongoClient } from 'mongodb';
import type { Timestamp } from 'mongodb';
import { bringUp } from './bring-up.ts';
import type { RabbitServer } from '../test/servers/index.ts';
import { EngineProcess, removeFolder } from './engine-process.ts';
import type { MemorySample } from './engine-process.ts';
import { writeLoad } from './load.ts';
import { untilIdle } from './process-cost.ts';
import {
  atMost,
  environment,
  judged,
  mebibytes,
  printHead,
  printTable,
  seconds,
  spreadOf,
  thousands,
} from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';
import { deliver } from './transaction.ts';

interface MemoryResult extends Environment {
  readonly situations: readonly Measured[];
  readonly targets: readonly object[];
}

interface Measured {
  readonly name: string;
  readonly peakRssBytes: number;
  /** The median of the last ten seconds. */
  readonly steadyRssBytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly samples: readonly MemorySample[];
}

interface Situation {
  readonly name: string;
  readonly words: string;
  /** Whether it reads the small documents of the backlog, or the large ones. */
  readonly documents: 'small' | 'large';
  readonly subscription: object;
  readonly sink?: object;
  /** Goes on beside the engine until it is told that all has arrived. */
  readonly meanwhile?: (servers: Servers, engine: EngineProcess) => Promise<() => Promise<void>>;
}

interface Servers {
  readonly mongoUri: string;
  readonly rabbit: RabbitServer;
  readonly holdSeconds: number;
}

/** A stretch of the oplog. */
interface Stretch {
  readonly start: Timestamp;
  readonly end: Timestamp;
  readonly databases: readonly string[];
}

/** Written when they are asked for, or before. */
type Stretches = Readonly<Record<Situation['documents'], () => Promise<Stretch>>>;

const WANTED_BYTES = 256 * 2 ** 20;
const STEADY_SECONDS = 10;
const PARTITIONS = 16;
const QUEUE = 'bench.memory';
const LARGE_DB = 'large';
/** MongoDB's limit is 16 MiB, with all that is around it. */
const LARGE_BYTES = 16 * 2 ** 20 - 1_024;
const POLL_MS = 250;

const options = {
  entries: { type: 'number', default: 360_000, words: 'of the backlog' },
  large: { type: 'number', default: 60, words: 'documents of 16 MB' },
  hold: { type: 'number', default: 20, words: 'seconds for which the broker is blocked, or its queue slow' },
  megabytes: { type: 'number', default: 2_048, words: 'size of the transaction; 0: none' },
  only: { type: 'names', words: 'only these situations' },
  against: { type: 'text', words: "another build's cli.js as well" },
} as const;

export const memory = scenario({
  words: 'memory over time: blocked broker, slow consumer, 16 MB documents, a large transaction, a backlog',
  minutes: 8,
  options,
  run: measure,
});

async function measure(values: Values<typeof options>): Promise<MemoryResult> {
  const { only, against } = values;
  const chosen = SITUATIONS.filter(({ name }) => only.length === 0 || only.includes(name));
  const measured: Measured[] = [];
  const situations = async (servers: Servers, stretches: Stretches): Promise<void> => {
    for (const situation of chosen) {
      for (const cli of against === undefined ? [undefined] : [undefined, against]) {
        measured.push(await run({ situation, stretch: await stretches[situation.documents](), servers, cli }));
      }
    }
  };
  const env = chosen.length > 0 ? await withServers(values, situations) : await environment();
  if (values.megabytes > 0 && (only.length === 0 || only.includes('transaction'))) {
    const { peakRssBytes, samples, seconds: took, cpuSeconds } = await deliver({ megabytes: values.megabytes });
    const steadyRssBytes = steadyOf(samples);
    measured.push({ name: 'transaction', peakRssBytes, steadyRssBytes, seconds: took, cpuSeconds, samples });
  }
  return { ...env, situations: measured, targets: print(measured) };
}

const perPartition = { queue: `${QUEUE}.{partition}`, queueType: 'classic' };
const batch = { maxEvents: 200, maxBytes: '1MiB' };

const SITUATIONS: readonly Situation[] = [
  {
    name: 'json-200',
    words: 'a backlog, 200 events a message, JSON',
    documents: 'small',
    subscription: { to: perPartition, batch },
  },
  {
    name: 'bson-200',
    words: 'a backlog, 200 events a message, BSON',
    documents: 'small',
    subscription: { to: perPartition, batch, format: 'bson' },
  },
  {
    name: 'one',
    words: 'a backlog, one event a message, JSON',
    documents: 'small',
    subscription: { to: perPartition },
  },
  {
    name: 'blocked',
    words: 'the same, the broker blocked by its memory alarm for a while at first',
    documents: 'small',
    subscription: { to: perPartition },
    meanwhile: block,
  },
  {
    name: 'slow-consumer',
    words:
      'the same into one queue of at most 1,000 messages, which refuses more (reject-publish), read slowly for a while',
    documents: 'small',
    subscription: { to: { queue: QUEUE, queueArguments: { 'x-max-length': 1_000, 'x-overflow': 'reject-publish' } } },
    meanwhile: consumeSlowly,
  },
  {
    name: 'large',
    words: 'documents of 16 MB, one a message, maxMessageBytes 100 MiB, read at once',
    documents: 'large',
    subscription: { to: { queue: QUEUE } },
    sink: { maxMessageBytes: '100MiB' },
    meanwhile: consumeAll,
  },
];

async function withServers(
  { entries, large: count, hold }: Values<typeof options>,
  use: (servers: Servers, stretches: Stretches) => Promise<void>,
): Promise<Environment> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const { mongo, rabbit, env } = await bringUp(closers, { args: ['--oplogSize', '8000'] });
    printHead('What the engine holds in memory.', env, {
      Engine: `the built command with its defaults (inFlight 64 MiB), ${PARTITIONS} partitions`,
      Load: `${thousands(entries)} entries of 530 B; ${count} documents of 16 MB`,
      Situations: SITUATIONS.map(({ name, words }) => `\n  ${name.padEnd(16)} ${words}`).join(''),
    });
    const client = await MongoClient.connect(mongo.uri);
    closers.push(async () => client.close());
    const begin = await now(client);
    const [load] = await writeLoad(mongo.uri, 'orders', [entries]);
    // The large ones come into the oplog only when they are wanted: an engine reads on behind what it is asked for.
    const large = async (): Promise<Stretch> => {
      const start = await now(client);
      await writeLarge(client, count);
      return { start, end: await now(client), databases: [LARGE_DB] };
    };
    const small = { start: begin, end: load!.last, databases: load!.databases };
    const stretches = { small: async () => Promise.resolve(small), large };
    await use({ mongoUri: mongo.uri, rabbit, holdSeconds: hold }, stretches);
    return env;
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

interface RunOptions {
  readonly situation: Situation;
  readonly stretch: Stretch;
  readonly servers: Servers;
  readonly cli: string | undefined;
}

async function run({ situation, stretch, servers, cli }: RunOptions): Promise<Measured> {
  const { name, subscription, sink, meanwhile } = situation;
  const { start, end, databases } = stretch;
  await deleteQueues(servers.rabbit.uri);
  await untilIdle(servers.rabbit.pid);
  const config = {
    sources: { bench: { uri: servers.mongoUri, start: `${start.t}:${start.i}` } },
    sinks: { rabbit: { uri: servers.rabbit.uri, ...sink } },
    subscriptions: [{ name: 'all', namespaces: databases.map((database) => `${database}.*`), ...subscription }],
    pipeline: { partitions: PARTITIONS },
  };
  const engine = await EngineProcess.start({ config, cli });
  let ended: (() => Promise<void>) | undefined;
  try {
    ended = await meanwhile?.(servers, engine);
    while (!(await isConfirmed(engine, end))) await sleep(POLL_MS);
    engine.sample();
    const { atSeconds } = engine.samples.at(-1)!;
    const { samples, peakRssBytes, cpuSeconds } = engine;
    const label = cli === undefined ? name : `${name}~other`;
    console.log(`${label.padEnd(24)} ${mebibytes(peakRssBytes)} at most, ${seconds(atSeconds)}`);
    return { name: label, peakRssBytes, steadyRssBytes: steadyOf(samples), seconds: atSeconds, cpuSeconds, samples };
  } finally {
    await ended?.();
    await engine.stop('SIGKILL');
    await removeFolder(engine.folder);
  }
}

async function isConfirmed(engine: EngineProcess, end: Timestamp): Promise<boolean> {
  engine.check();
  const { watermark } = (await engine.status()).subscriptions['all'] ?? {};
  const [t = 0, i = 0] = (watermark ?? '').split(':').map(Number);
  return t > end.t || (t === end.t && i >= end.i);
}

async function block({ rabbit, holdSeconds }: Servers, engine: EngineProcess): Promise<() => Promise<void>> {
  await rabbit.setMemoryAlarm(true);
  await Promise.race([sleep(holdSeconds * 1_000), engine.whileRunning(new Promise(() => undefined))]);
  await rabbit.setMemoryAlarm(false);
  return async () => rabbit.setMemoryAlarm(false);
}

/** A hundred messages a second for a while, then as fast as it can. */
async function consumeSlowly({ rabbit, holdSeconds }: Servers, engine: EngineProcess): Promise<() => Promise<void>> {
  await engine.whileRunning(engine.ready());
  const until = performance.now() + holdSeconds * 1_000;
  return consume(rabbit.uri, 10, async () => (performance.now() < until ? sleep(100) : undefined));
}

async function consumeAll({ rabbit }: Servers, engine: EngineProcess): Promise<() => Promise<void>> {
  await engine.whileRunning(engine.ready());
  return consume(rabbit.uri, 2, async () => undefined);
}

async function consume(uri: string, prefetch: number, think: () => Promise<void>): Promise<() => Promise<void>> {
  const broker = await connect(uri);
  const channel = await broker.createChannel();
  await channel.prefetch(prefetch);
  const taken = async (message: ConsumeMessage): Promise<void> => {
    await think();
    channel.ack(message);
  };
  await channel.consume(QUEUE, (message) => {
    if (message) taken(message).catch(() => undefined);
  });
  return async () => broker.close();
}

async function deleteQueues(uri: string): Promise<void> {
  const broker = await connect(uri);
  const channel = await broker.createChannel();
  await channel.deleteQueue(QUEUE);
  for (let p = 0; p < PARTITIONS; p++) await channel.deleteQueue(`${QUEUE}.${p}`);
  await broker.close();
}

async function now(client: MongoClient): Promise<Timestamp> {
  const { operationTime } = await client.db('admin').command({ ping: 1 });
  return operationTime;
}

async function writeLarge(client: MongoClient, count: number): Promise<void> {
  const padding = 'x'.repeat(LARGE_BYTES);
  for (let n = 0; n < count; n++) await client.db(LARGE_DB).collection('files').insertOne({ n, padding });
}

function steadyOf(samples: readonly MemorySample[]): number {
  const last = samples.at(-1)?.atSeconds ?? 0;
  const late = samples.filter(({ atSeconds }) => atSeconds > last - STEADY_SECONDS);
  return spreadOf(late.map(({ rssBytes }) => rssBytes)).median;
}

function print(measured: readonly Measured[]): readonly object[] {
  console.log('');
  printTable(
    ['', 'peak RSS', 'steady', 'seconds', 'CPU'],
    measured.map(({ name, peakRssBytes, steadyRssBytes, seconds: took, cpuSeconds }) => [
      name,
      mebibytes(peakRssBytes),
      mebibytes(steadyRssBytes),
      seconds(took),
      seconds(cpuSeconds),
    ]),
  );
  const own = measured.filter(({ name }) => !name.endsWith('~other'));
  return judged(own.map(({ name, peakRssBytes }) => atMost(`RSS, ${name}`, WANTED_BYTES, peakRssBytes, mebibytes)));
}
