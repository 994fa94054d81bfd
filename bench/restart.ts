/**
 * Scenario: how long a start takes until a consumer has the first message: of an engine that goes on at a checkpoint with
 * a million entries behind it, and of one that begins at the oldest entry. A start at `latest` has nothing to send at first; there
 * it is the time until the engine is ready, both ends connected and the start stored.
 */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'amqplib';
import type { Channel } from 'amqplib';
import { MongoClient } from 'mongodb';
import { bringUp } from './bring-up.ts';
import { EngineProcess, engineFolder, removeFolder } from './engine-process.ts';
import { untilIdle } from './process-cost.ts';
import { atMost, judged, printHead, printTable, seconds, spreadOf, thousands, withSpread } from './report.ts';
import type { Environment, Spread } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

interface RestartResult extends Environment {
  readonly starts: readonly Measured[];
  readonly targets: readonly object[];
}

interface Measured {
  readonly name: string;
  readonly seconds: Spread;
  readonly steps: Readonly<Record<string, Spread>>;
}

const DB = 'restart';
const QUEUE = 'bench.restart';
const WANTED_SECONDS = 1;
const INSERTS_AT_ONCE = 5_000;
/** Lines of the log that say how far a start has come. */
const STEPS = {
  'HTTP is listening.': 'listening',
  'Connected to RabbitMQ.': 'broker',
  'Connected to the replica set.': 'replica set',
  'Reading begins.': 'start stored',
} as const;

interface Start {
  readonly name: string;
  readonly seconds: number;
  /** Seconds since the start. */
  readonly steps: Readonly<Record<string, number>>;
}

const options = {
  entries: { type: 'number', default: 1_000_000, words: 'behind the checkpoint' },
  rounds: { type: 'number', default: 5, words: 'starts of each kind' },
  against: { type: 'text', words: "race another build's cli.js beside this one" },
  profile: { type: 'text', words: 'leave CPU profiles of the starts in this folder (slower)' },
} as const;

export const restart = scenario({
  words: 'from the start of the process to the first message, with a long way to catch up, and with nothing stored',
  minutes: 3,
  options,
  run: measure,
});

async function measure({ entries, rounds, against, profile }: Values<typeof options>): Promise<RestartResult> {
  const closers: (() => Promise<unknown>)[] = [];
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  try {
    const progress = (line: string): void => console.log(line);
    const { mongo, rabbit, env } = await bringUp(closers, { args: ['--oplogSize', '4000'], progress });
    printHead('From the start of the process to the first message at a consumer.', env, {
      Engine: 'the built command with its defaults; one subscription, a topic exchange, one classic queue',
      Load: `${thousands(entries)} inserts behind the checkpoint`,
      Rounds: `${rounds}, the kinds of start taking turns`,
    });

    const config = (start: string) => ({
      sources: { bench: { uri: mongo.uri, start } },
      sinks: { rabbit: { uri: rabbit.uri } },
      subscriptions: [
        { name: 'all', namespaces: [`${DB}.*`], to: { exchange: QUEUE, queues: [{ name: QUEUE, bind: '#' }] } },
      ],
    });
    const client = await MongoClient.connect(mongo.uri);
    closers.push(async () => client.close());
    const broker = await connect(rabbit.uri);
    closers.push(async () => broker.close());
    const channel = await broker.createChannel();

    const stopped = await engineFolder();
    closers.push(async () => removeFolder(stopped));
    await leaveCheckpoint({ client, channel, folder: stopped, config: config('latest') });
    await writeEntries(client, entries);

    const starts: Start[] = [];
    const builds =
      against === undefined
        ? [['', undefined] as const]
        : ([
            ['', undefined],
            ['~other', against],
          ] as const);
    for (let round = 0; round < rounds; round++) {
      for (const [suffix, cli] of builds) {
        for (const kind of ['checkpoint', 'earliest', 'latest'] as const) {
          const first = await firstMessage(channel);
          await untilIdle(rabbit.pid);
          await untilIdle(mongo.pids[0] ?? 0);
          const folder = await engineFolder();
          if (kind === 'checkpoint') await cp(stopped, folder, { recursive: true });
          const start = kind === 'checkpoint' ? 'latest' : kind;
          const engine = await EngineProcess.start({ config: config(start), folder, cli, nodeFlags });
          try {
            const took = kind === 'latest' ? await untilReady(engine) : await until(first.arrived, engine);
            starts.push({ name: kind + suffix, seconds: took, steps: stepsOf(engine) });
          } finally {
            await engine.stop(nodeFlags.length > 0 ? 'SIGTERM' : 'SIGKILL');
            await removeFolder(folder);
            await first.cancel();
          }
        }
      }
    }
    const measured = medians(starts);
    return { ...env, starts: measured, targets: print(measured) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

/** One change delivered, and a clean stop. */
async function leaveCheckpoint({
  client,
  channel,
  folder,
  config,
}: {
  readonly client: MongoClient;
  readonly channel: Channel;
  readonly folder: string;
  readonly config: Readonly<Record<string, unknown>>;
}): Promise<void> {
  await client.db(DB).createCollection('orders');
  const first = await firstMessage(channel);
  await using engine = await EngineProcess.start({ config, folder });
  await engine.ready();
  await client.db(DB).collection('orders').insertOne({ first: true });
  await until(first.arrived, engine);
  await engine.stop();
  await first.cancel();
  await rm(join(folder, 'log'));
}

async function writeEntries(client: MongoClient, entries: number): Promise<void> {
  const orders = client.db(DB).collection('orders');
  for (let n = 0; n < entries;) {
    const documents: { n: number; text: string }[] = [];
    for (const to = Math.min(entries, n + INSERTS_AT_ONCE); n < to; n++) documents.push({ n, text: 'x'.repeat(100) });
    await orders.insertMany(documents, { ordered: false });
  }
}

/** Resolves when its first message arrives. Begun before the engine is started, so that nothing has to be asked of the engine. */
async function firstMessage(channel: Channel): Promise<{ readonly arrived: Promise<number>; cancel(): Promise<void> }> {
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'classic' } });
  await channel.purgeQueue(QUEUE);
  await channel.prefetch(1);
  let arrive!: (at: number) => void;
  const arrived = new Promise<number>((resolve) => (arrive = resolve));
  const { consumerTag } = await channel.consume(QUEUE, () => arrive(performance.now()));
  return {
    arrived,
    cancel: async () => {
      await channel.cancel(consumerTag);
      await channel.recover();
      await channel.purgeQueue(QUEUE);
    },
  };
}

/** Seconds since the process was started. */
async function until(arrived: Promise<number>, engine: EngineProcess): Promise<number> {
  return ((await engine.whileRunning(arrived)) - engine.startedAt) / 1_000;
}

async function untilReady(engine: EngineProcess): Promise<number> {
  await engine.ready();
  return (performance.now() - engine.startedAt) / 1_000;
}

function stepsOf(engine: EngineProcess): Record<string, number> {
  const startedAt = performance.timeOrigin + engine.startedAt;
  const steps: Record<string, number> = {};
  for (const { time, msg } of engine.log()) {
    if (msg in STEPS) steps[STEPS[msg as keyof typeof STEPS]] = (Date.parse(time) - startedAt) / 1_000;
  }
  return steps;
}

function medians(starts: readonly Start[]): Measured[] {
  return [...new Set(starts.map(({ name }) => name))].map((name) => {
    const of = starts.filter((start) => start.name === name);
    const steps: Record<string, Spread> = {};
    for (const step of Object.values(STEPS)) steps[step] = spreadOf(of.map((start) => start.steps[step] ?? NaN));
    return { name, seconds: spreadOf(of.map((start) => start.seconds)), steps };
  });
}

const WORDS = { checkpoint: 'to the first message', earliest: 'to the first message', latest: 'to ready' } as const;

function print(starts: readonly Measured[]): readonly object[] {
  console.log('Seconds since the process was started: medians, the last column with least and most.\n');
  printTable(
    ['', ...Object.values(STEPS), 'until', 'seconds'],
    starts.map(({ name, seconds: until, steps }) => [
      name,
      ...Object.values(steps).map(({ median }) => seconds(median)),
      WORDS[name.split('~')[0] as keyof typeof WORDS],
      withSpread(until, seconds),
    ]),
  );
  const own = starts.find(({ name }) => name === 'checkpoint');
  if (own === undefined) return [];
  return judged([atMost('start to first message', WANTED_SECONDS, own.seconds.median, seconds)]);
}
