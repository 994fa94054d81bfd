/**
 * Scenario: how old a change is when a consumer has it, counted from the moment at which its writer was told that a majority holds
 * it. Writer and consumer are this one process, so one clock tells both times. The writer is paced by the clock, not by answers, so
 * that a stall hides no waiting: beside it stands what was counted from the moment at which the write was due.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connect } from 'amqplib';
import type { Channel } from 'amqplib';
import { build as buildHistogram } from 'hdr-histogram-js';
import type { Histogram } from 'hdr-histogram-js';
import { MongoClient } from 'mongodb';
import { build } from '../test/build.ts';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import { reap, spare } from '../test/servers/reaper.ts';
import { EngineProcess, engineFolder, removeFolder } from './engine-process.ts';
import { LOAD_DB } from './load.ts';
import { untilIdle } from './process-cost.ts';
import { atMost, decimals, environment, judged, printHead, printTable, thousands } from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

interface LatencyResult extends Environment {
  readonly runs: readonly Measured[];
  readonly targets: readonly object[];
}

interface Measured {
  readonly contender: string;
  readonly changesPerSecond: number;
  readonly fromAcknowledged: Percentiles;
  readonly fromDue: Percentiles;
  /** Of the writes themselves, from due to acknowledged. */
  readonly writes: Percentiles;
}

/** Milliseconds. */
interface Percentiles {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

interface Servers {
  readonly mongoUri: string;
  readonly amqpUri: string;
  readonly brokerPid: number;
}

interface Contender {
  readonly name: string;
  readonly words: string;
  /** Of what is written while the others' backlog is being caught up. */
  readonly backlog: boolean;
  start(servers: Servers): Promise<() => Promise<void>>;
}

const QUEUE = 'bench.latency';
const BACKLOG_DB = 'backlog';
const COLLECTION = 'orders';
/** Until then a process compiles more than it works. */
const WARM_UP_SECONDS = 5;
/** Beyond this rate a driver in one process cannot write documents one by one, and they go by tens. */
const SINGLE_WRITES_TO = 2_000;
const MANY = 10;
const BATCHED = { maxEvents: 200 };
const WANTED_AT = 1_000;
const WANTED = { p50: 1.3, p99: 10 };

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const options = {
  seconds: { type: 'number', default: 15, words: 'each run is measured, after five more' },
  rounds: { type: 'number', default: 1, words: 'runs of each contender at each rate; their times are put together' },
  rates: { type: 'names', words: 'changes a second (100,1000,10000)' },
  only: { type: 'names', words: 'only these contenders' },
  backlog: { type: 'number', default: 400_000, words: 'changes that another subscription catches up with meanwhile' },
  against: { type: 'text', words: "race another build's cli.js beside this one" },
  profile: { type: 'text', words: 'leave CPU profiles of the engines in this folder (slower)' },
} as const;

export const latency = scenario({
  words: "from a write's acknowledgement to its consumer at a steady rate, also while another subscription catches up",
  minutes: 5,
  options,
  run: measure,
});

async function measure(values: Values<typeof options>): Promise<LatencyResult> {
  const { seconds, rounds, only, backlog } = values;
  const rates = values.rates.length > 0 ? values.rates.map(Number) : [100, 1_000, 10_000];
  const racing = contenders(values).filter(({ name }) => only.length === 0 || only.includes(name.split('~')[0]!));
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const mongo = await startMongo({ args: ['--oplogSize', '4000'] });
    closers.push(async () => mongo.stop());
    const rabbit = await startRabbit();
    closers.push(async () => rabbit.stop());
    const servers = { mongoUri: mongo.uri, amqpUri: rabbit.uri, brokerPid: rabbit.pid };
    const env = await environment(servers);
    printHead("From a write's acknowledgement (w: majority) to the consumer.", env, {
      Load: `inserts of 300 B into one collection, paced by the clock; above ${thousands(SINGLE_WRITES_TO)}/s ${MANY} a write`,
      Consumer:
        'in the process of the writer, without acknowledgements, one durable classic queue, persistent messages',
      Runs: `${WARM_UP_SECONDS} s to warm up, ${seconds} s measured, ${rounds} of each`,
      Contenders: racing.map(({ name, words }) => `\n  ${name.padEnd(20)} ${words}`).join(''),
    });
    const client = await MongoClient.connect(mongo.uri, { maxPoolSize: 64 });
    closers.push(async () => client.close());
    if (racing.some((contender) => contender.backlog)) await writeBacklog(client, backlog);

    const measured: Measured[] = [];
    for (const changesPerSecond of rates) {
      const times = new Map(racing.map(({ name }) => [name, new Times()]));
      for (let round = 0; round < rounds; round++) {
        for (const contender of racing) {
          if (contender.backlog && changesPerSecond !== WANTED_AT) continue;
          const into = times.get(contender.name)!;
          await run({ contender, servers, client, changesPerSecond, seconds, into });
        }
      }
      for (const { name } of racing) {
        const into = times.get(name)!;
        if (into.count > 0) measured.push({ contender: name, changesPerSecond, ...into.percentiles() });
      }
    }
    return { ...env, runs: measured, targets: print(measured) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

function contenders({ against, profile }: Values<typeof options>): Contender[] {
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const builds: readonly (readonly [string, string | undefined])[] =
    against === undefined
      ? [['', undefined]]
      : [
          ['', undefined],
          ['~other', against],
        ];
  return [
    baseline(),
    ...builds.flatMap(([suffix, cli]) => [
      tailrace({ name: `tailrace${suffix}`, words: 'one event a message', cli, nodeFlags }),
      tailrace({
        name: `batched${suffix}`,
        words: 'up to 200 events a message, no linger',
        cli,
        nodeFlags,
        batch: BATCHED,
      }),
      tailrace({
        name: `catching-up${suffix}`,
        words: 'one event a message, while a second source of the same replica set catches up, one event a message too',
        cli,
        nodeFlags,
        beside: 'source',
      }),
      tailrace({
        name: `catching-up-shared${suffix}`,
        words: 'the same, but both subscriptions read from one source: the one that is behind holds the other',
        cli,
        nodeFlags,
        beside: 'subscription',
      }),
    ]),
  ];
}

function baseline(): Contender {
  return {
    name: 'baseline',
    words: 'watch() + amqplib, JSON.stringify, 1,000 unconfirmed',
    backlog: false,
    start: async ({ mongoUri, amqpUri }) => {
      const client = await MongoClient.connect(mongoUri);
      const { operationTime } = await client.db('admin').command({ ping: 1 });
      await client.close();
      const events = String(Number.MAX_SAFE_INTEGER);
      const args = [mongoUri, amqpUri, QUEUE, `${operationTime.t}`, `${operationTime.i}`, events, 'json'];
      const child = spawn(process.execPath, ['--import', 'tsx', at('baseline.ts'), ...args], {
        stdio: ['ignore', 'ignore', 'inherit'],
        detached: true,
      });
      reap(child.pid!);
      await sleep(2_000);
      return async () => {
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
        spare(child.pid!);
      };
    },
  };
}

interface TailraceOptions {
  readonly name: string;
  readonly words: string;
  readonly cli: string | undefined;
  readonly nodeFlags: readonly string[];
  readonly batch?: object;
  /** What else is caught up with meanwhile, and what of. */
  readonly beside?: 'source' | 'subscription';
}

function tailrace({ name, words, cli, nodeFlags, batch, beside }: TailraceOptions): Contender {
  return {
    name,
    words,
    backlog: beside !== undefined,
    start: async ({ mongoUri, amqpUri }) => {
      const sinks = { rabbit: { uri: amqpUri } };
      const live = { name: 'live', namespaces: [`${LOAD_DB}.*`], to: { queue: QUEUE }, ...(batch && { batch }) };
      // Nobody reads it, so it shall not grow.
      const to = { queue: `${QUEUE}.backlog`, queueArguments: { 'x-max-length': 1_000 } };
      const behind = { name: 'behind', namespaces: [`${BACKLOG_DB}.*`], to };
      const sources = { live: { uri: mongoUri } };
      const folder = await engineFolder();
      let config: Record<string, unknown> = { sources, sinks, subscriptions: [live] };
      if (beside === 'source') {
        const subscriptions = [
          { ...live, source: 'live' },
          { ...behind, source: 'behind' },
        ];
        config = { sources: { ...sources, behind: { uri: mongoUri, start: 'earliest' } }, sinks, subscriptions };
      } else if (beside === 'subscription') {
        const before = await EngineProcess.start({ config, folder, cli });
        await before.whileRunning(before.ready());
        await before.stop();
        config = { sources: { live: { uri: mongoUri, start: 'earliest' } }, sinks, subscriptions: [live, behind] };
      }
      const engine = await EngineProcess.start({ config, folder, cli, nodeFlags });
      await engine.whileRunning(engine.ready());
      return async () => {
        if (beside === 'source' && (await engine.status()).subscriptions['behind']?.watermark === null) {
          throw new Error(`void: ${name} never began to catch up`);
        }
        await engine.stop();
        await removeFolder(folder);
      };
    },
  };
}

interface RunOptions {
  readonly contender: Contender;
  readonly servers: Servers;
  readonly client: MongoClient;
  readonly changesPerSecond: number;
  readonly seconds: number;
  readonly into: Times;
}

async function run({ contender, servers, client, changesPerSecond, seconds, into }: RunOptions): Promise<void> {
  const broker = await connect(servers.amqpUri, { noDelay: true });
  try {
    const channel = await broker.createChannel();
    await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'classic' } });
    await channel.purgeQueue(QUEUE);
    await untilIdle(servers.brokerPid);
    const marks = marksOf(changesPerSecond * (seconds + WARM_UP_SECONDS));
    const stop = await contender.start(servers);
    try {
      const consumer = await consume(channel, marks);
      await write(client, marks, changesPerSecond);
      await consumer.complete(120_000);
    } finally {
      await stop();
    }
    into.add(marks, changesPerSecond * WARM_UP_SECONDS);
    await channel.deleteQueue(QUEUE);
    await channel.deleteQueue(`${QUEUE}.backlog`);
  } finally {
    await broker.close();
  }
}

/** By a change's number: when it was due, acknowledged, and had by the consumer. */
interface Marks {
  readonly run: string;
  readonly count: number;
  readonly due: Float64Array;
  readonly acknowledged: Float64Array;
  readonly received: Float64Array;
}

function marksOf(count: number): Marks {
  const array = (): Float64Array => new Float64Array(count);
  const run = `${Date.now()}`;
  return { run, count, due: array(), acknowledged: array(), received: array() };
}

async function write(client: MongoClient, marks: Marks, changesPerSecond: number): Promise<void> {
  const collection = client.db(LOAD_DB).collection(COLLECTION, { writeConcern: { w: 'majority' } });
  const aWrite = changesPerSecond > SINGLE_WRITES_TO ? MANY : 1;
  const padding = 'x'.repeat(200);
  const begin = performance.now();
  const under: Promise<void>[] = [];
  for (let n = 0; n < marks.count;) {
    const now = performance.now();
    // Everything that is due by now, each as a write of its own.
    for (; n < marks.count; n += aWrite) {
      const due = begin + (n * 1_000) / changesPerSecond;
      if (due > now) break;
      const first = n;
      const documents = Array.from({ length: aWrite }, (_, k) => ({ run: marks.run, n: first + k, padding }));
      marks.due.fill(due, first, first + aWrite);
      const written =
        aWrite === 1 ? collection.insertOne(documents[0]!) : collection.insertMany(documents, { ordered: true });
      const acknowledged = written.then(() => {
        marks.acknowledged.fill(performance.now(), first, first + aWrite);
      });
      under.push(acknowledged);
    }
    await sleep(1);
  }
  await Promise.all(under);
}

/** A message holds one event, or lines of them. */
async function consume(channel: Channel, marks: Marks): Promise<{ complete(timeoutMs: number): Promise<void> }> {
  let count = 0;
  let done!: () => void;
  const all = new Promise<void>((resolve) => (done = resolve));
  const pattern = /"run":"(\d+)","n":(\d+)/g;
  await channel.consume(
    QUEUE,
    (message) => {
      const now = performance.now();
      for (const [, run, number] of message?.content.toString('latin1').matchAll(pattern) ?? []) {
        if (run !== marks.run || marks.received[Number(number)] !== 0) continue;
        marks.received[Number(number)] = now;
        count++;
      }
      if (count === marks.count) done();
    },
    { noAck: true },
  );
  return {
    complete: async (timeoutMs) => {
      const late = new AbortController();
      const timeout = sleep(timeoutMs, undefined, { signal: late.signal }).then(() => {
        throw new Error(`void: ${count} of ${marks.count} changes arrived`);
      });
      timeout.catch(() => undefined);
      await Promise.race([all, timeout]);
      late.abort();
    },
  };
}

/** All that one contender needed at one rate. Histograms count whole microseconds. */
class Times {
  readonly #acknowledged: Histogram = histogram();
  readonly #due: Histogram = histogram();
  readonly #writes: Histogram = histogram();

  get count(): number {
    return this.#due.totalCount;
  }

  add({ count, due, acknowledged, received }: Marks, from: number): void {
    for (let n = from; n < count; n++) {
      // The consumer can be told before the writer.
      this.#acknowledged.recordValue(micros(received[n]! - acknowledged[n]!));
      this.#due.recordValue(micros(received[n]! - due[n]!));
      this.#writes.recordValue(micros(acknowledged[n]! - due[n]!));
    }
  }

  percentiles(): Pick<Measured, 'fromAcknowledged' | 'fromDue' | 'writes'> {
    return { fromAcknowledged: of(this.#acknowledged), fromDue: of(this.#due), writes: of(this.#writes) };
  }
}

function histogram(): Histogram {
  return buildHistogram({ highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: 3 });
}

function micros(ms: number): number {
  return Math.max(0, Math.round(ms * 1_000));
}

function of(times: Histogram): Percentiles {
  const ms = (percentile: number): number => times.getValueAtPercentile(percentile) / 1_000;
  return { p50: ms(50), p99: ms(99), p999: ms(99.9), max: times.maxValue / 1_000 };
}

async function writeBacklog(client: MongoClient, count: number): Promise<void> {
  const padding = 'x'.repeat(100);
  for (let n = 0; n < count;) {
    const documents: { n: number; padding: string }[] = [];
    for (const to = Math.min(count, n + 5_000); n < to; n++) documents.push({ n, padding });
    await client
      .db(BACKLOG_DB)
      .collection(`orders_${(n / 5_000) % 16}`)
      .insertMany(documents, { ordered: false });
  }
}

const milliseconds = decimals(2);
const asWritten = decimals(2, ' ms');

function print(runs: readonly Measured[]): readonly object[] {
  console.log("Milliseconds, from the acknowledgement; then from when the write was due; and the writes' own.\n");
  printTable(
    ['', 'changes/s', 'p50', 'p99', 'p99.9', 'max', 'due: p50', 'p99', 'write: p50', 'p99'],
    runs.map(({ contender, changesPerSecond, fromAcknowledged, fromDue, writes }) => [
      contender,
      thousands(changesPerSecond),
      ...[fromAcknowledged.p50, fromAcknowledged.p99, fromAcknowledged.p999, fromAcknowledged.max].map(milliseconds),
      ...[fromDue.p50, fromDue.p99, writes.p50, writes.p99].map(milliseconds),
    ]),
  );
  const own = runs.find((one) => one.contender === 'tailrace' && one.changesPerSecond === WANTED_AT);
  if (own === undefined) return [];
  const { p50, p99 } = own.fromAcknowledged;
  return judged([
    atMost('p50 at 1,000/s, one event a message', WANTED.p50, p50, asWritten),
    atMost('p99 at 1,000/s, one event a message', WANTED.p99, p99, asWritten),
  ]);
}
