/**
 * Scenario: a backlog lies in the oplog, and it is delivered from its beginning. Contenders take turns, round after round,
 * so that the machine's drift meets them all alike. After each run its queues must hold exactly the load, or the bench is void.
 *
 * Rates are from the first confirm to the last. "start to last" counts from the start of the process, its start-up with it.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import { build } from '../test/build.ts';
import { brokerRate } from './broker.ts';
import type { BrokerOptions } from './broker.ts';
import { PARTITIONS, baseline, tailrace } from './contenders.ts';
import type { Contender, Course } from './contenders.ts';
import { writeLoad } from './load.ts';
import type { Load } from './load.ts';
import { cpuSeconds, peakRssBytes, untilIdle } from './process-cost.ts';
import { contentOf, deleteQueues } from './queues.ts';
import { environment, printHead, printTable, spreadOf, thousands } from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';

interface CatchUpOptions {
  readonly entries: number;
  readonly rounds: number;
  /** Names of contenders; all when empty. */
  readonly only: readonly string[];
  /** Another build's cli.js, to race against this one. */
  readonly against?: string;
  /** For the engine's node. */
  readonly nodeFlags: readonly string[];
}

interface CatchUpResult extends Environment {
  readonly load: Omit<Load, 'first' | 'last'>;
  readonly contenders: readonly { readonly name: string; readonly words: string }[];
  readonly runs: readonly Run[];
  readonly limits: readonly Limit[];
}

/** CPU is counted from the first confirm on, in seconds. */
interface Run {
  readonly contender: string;
  readonly messages: number;
  readonly eventsPerSecond: number;
  readonly startToLastSeconds: number;
  readonly processCpu: number;
  readonly brokerCpu: number;
  readonly mongodCpu: number;
  readonly microsPerEvent: number;
  readonly peakRssBytes: number;
}

interface Limit {
  readonly name: string;
  readonly messagesPerSecond: number;
}

interface Servers {
  readonly mongo: { readonly uri: string; readonly pids: readonly number[] };
  readonly rabbit: { readonly uri: string; readonly pid: number };
}

const WINDOW = 256;
const MANY = 200;
const TARGETS = [
  { contender: 'quorum', times: 2.5 },
  { contender: 'classic-200', times: 10 },
] as const;

export const catchUp = scenario({
  words: 'a backlog in the oplog, delivered from its beginning; beside it watch() + amqplib',
  minutes: 5,
  options: {
    entries: { type: 'number', default: 360_000, words: 'size of the load' },
    rounds: { type: 'number', default: 3, words: 'how often each contender runs' },
    only: { type: 'names', words: 'only these contenders; "broker" is the bare publisher' },
    against: { type: 'text', words: 'race the cli.js of another build beside this one' },
    profile: { type: 'text', words: 'leave a CPU profile of each engine and its workers in this folder (slower)' },
  },
  run: async ({ profile, against, ...options }) =>
    race({
      ...options,
      ...(against !== undefined && { against }),
      nodeFlags: profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`],
    }),
});

async function race(options: CatchUpOptions): Promise<CatchUpResult> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const progress = (line: string): void => console.log(line);
    const mongo = await startMongo({ fresh: false, args: ['--oplogSize', '4096'], progress });
    closers.push(async () => mongo.stop());
    const rabbit = await startRabbit({ fresh: false, progress });
    closers.push(async () => rabbit.stop());
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-bench-'));
    closers.push(async () => rm(folder, { recursive: true }));

    console.log(`Writing ${thousands(options.entries)} entries …`);
    const load = await writeLoad(mongo.uri, options.entries);
    const env = await environment({ mongoUri: mongo.uri, amqpUri: rabbit.uri });
    const racing = contenders(options);
    announce(env, load, racing, options);
    const measured = await rounds(racing, { options, load, servers: { mongo, rabbit }, folder });

    const { entries, averageEntryBytes, inserts, updates } = load;
    const result: CatchUpResult = {
      ...env,
      load: { entries, averageEntryBytes, inserts, updates },
      contenders: racing.map(({ name, words }) => ({ name, words })),
      ...measured,
    };
    printResult(result);
    return result;
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

interface Setting {
  readonly options: CatchUpOptions;
  readonly load: Load;
  readonly servers: Servers;
  readonly folder: string;
}

async function rounds(racing: readonly Contender[], { options, load, servers, folder }: Setting) {
  const { mongo, rabbit } = servers;
  const runs: Run[] = [];
  const limits: Limit[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const contender of racing) {
      const { name } = contender;
      const course = { mongoUri: mongo.uri, amqpUri: rabbit.uri, load, folder: join(folder, `${round}-${name}`) };
      await mkdir(course.folder);
      const run = await runOf({ contender, course, servers });
      runs.push(run);
      console.log(`round ${round}  ${name.padEnd(24)} ${thousands(run.eventsPerSecond).padStart(9)} events/s`);
    }
    for (const { name, ...bare } of bareRuns(load, options)) {
      await untilIdle(rabbit.pid);
      const messagesPerSecond = await brokerRate({ ...bare, amqpUri: rabbit.uri });
      await deleteQueues(rabbit.uri, bare.queues);
      limits.push({ name, messagesPerSecond });
    }
  }
  return { runs, limits };
}

function contenders({ only, against, nodeFlags }: CatchUpOptions): Contender[] {
  const queues = (name: string): string[] => Array.from({ length: PARTITIONS }, (_, p) => `bench.${name}.${p}`);
  const perPartition = (name: string, queueType: string) => ({
    queues: queues(name),
    to: { queue: `bench.${name}.{partition}`, queueType },
  });
  const batch = { maxEvents: MANY, maxBytes: '1MiB' };
  const quorum = perPartition('quorum', 'quorum');
  const classic = perPartition('classic', 'classic');
  const one = {
    queues: ['bench.changes'],
    to: { exchange: 'bench.changes', queues: [{ name: 'bench.changes', type: 'quorum', bind: '#' }] },
  };
  const engines = [
    { name: 'quorum', words: '1 event a message, JSON, a quorum queue per partition', ...quorum, framing: 'one' },
    {
      name: 'quorum-exchange',
      words: '1 event a message, JSON, topic exchange, one quorum queue',
      ...one,
      framing: 'one',
    },
    { name: 'classic', words: '1 event a message, JSON, a classic queue per partition', ...classic, framing: 'one' },
    {
      name: 'classic-200',
      words: `${MANY} events a message, JSON lines, classic`,
      ...classic,
      batch,
      framing: 'lines',
    },
    { name: 'quorum-200', words: `${MANY} events a message, JSON lines, quorum`, ...quorum, batch, framing: 'lines' },
    {
      name: 'classic-200-bson',
      words: `${MANY} events a message, BSON, classic`,
      ...classic,
      batch,
      framing: 'bson',
      format: 'bson',
    },
  ] as const;
  const all = [
    baseline('json'),
    baseline('ejson'),
    ...engines.flatMap(({ name, words, queues, framing, ...subscription }) => {
      const options = { name, words, queues, framing, subscription, nodeFlags };
      return against === undefined
        ? [tailrace(options)]
        : [
            tailrace({ ...options, name: `${name}~other`, words: `${words}; ${against}`, cli: against }),
            tailrace(options),
          ];
    }),
  ];
  return all.filter(({ name }) => only.length === 0 || only.includes(name.split('~')[0]!));
}

function bareRuns(
  load: Load,
  { only }: CatchUpOptions,
): ({ readonly name: string } & Omit<BrokerOptions, 'amqpUri'>)[] {
  if (only.length > 0 && !only.includes('broker')) return [];
  const queues = Array.from({ length: PARTITIONS }, (_, p) => `bench.bare.${p}`);
  const small = Math.round(load.averageEntryBytes);
  const large = small * MANY;
  const singles = { queues, window: WINDOW, messageBytes: small, messages: 80_000 };
  const batches = { queues, window: WINDOW, messageBytes: large, messages: 3_000 };
  const words = (bytes: number): string => `${thousands(bytes)} B`;
  return [
    { name: `classic × ${PARTITIONS}, ${words(small)}`, queueType: 'classic', ...singles },
    { name: `quorum × ${PARTITIONS}, ${words(small)}`, queueType: 'quorum', ...singles },
    {
      name: `classic × 1, ${words(small)}`,
      queueType: 'classic',
      ...singles,
      queues: queues.slice(0, 1),
      window: 1_000,
      messages: 40_000,
    },
    { name: `classic × ${PARTITIONS}, ${words(large)}`, queueType: 'classic', ...batches },
    { name: `quorum × ${PARTITIONS}, ${words(large)}`, queueType: 'quorum', ...batches },
  ];
}

async function runOf({
  contender,
  course,
  servers,
}: {
  contender: Contender;
  course: Course;
  servers: Servers;
}): Promise<Run> {
  const { name, queues, framing } = contender;
  const mongod = servers.mongo.pids[0] ?? 0;
  const broker = servers.rabbit.pid;
  const { entries } = course.load;
  await deleteQueues(course.amqpUri, queues);
  await Promise.all([untilIdle(broker), untilIdle(mongod)]);

  const before = { mongod: cpuSeconds(mongod), broker: cpuSeconds(broker) };
  const runner = await contender.start(course);
  await runner.done;
  const cpu = { process: cpuSeconds(runner.pid), mongod: cpuSeconds(mongod), broker: cpuSeconds(broker) };
  const peakRss = peakRssBytes(runner.pid);
  const probe = await runner.stop();

  const content = await contentOf(course.amqpUri, queues, framing);
  if (content.events !== entries) {
    throw new Error(`void: ${name} left ${content.events} events in its queues, of ${entries}`);
  }
  await deleteQueues(course.amqpUri, queues);
  const processCpu = cpu.process - probe.cpuSecondsAtFirst;
  return {
    contender: name,
    messages: content.messages,
    eventsPerSecond: (entries * 1_000) / (probe.lastMs - probe.firstMs),
    startToLastSeconds: probe.lastMs / 1_000,
    processCpu,
    brokerCpu: cpu.broker - before.broker,
    mongodCpu: cpu.mongod - before.mongod,
    microsPerEvent: (processCpu * 1e6) / entries,
    peakRssBytes: peakRss,
  };
}

function announce(env: Environment, load: Load, racing: readonly Contender[], { rounds }: CatchUpOptions): void {
  const { entries, inserts, updates, averageEntryBytes } = load;
  printHead('A backlog in the oplog, delivered from its beginning; both servers on this machine.', env, {
    Load: `${thousands(entries)} entries (${thousands(inserts)} inserts, ${thousands(updates)} $set updates) in 16 collections, ${averageEntryBytes.toFixed(0)} B each on average`,
    Engine: `the built command, one process, defaults but for what is named below: ${PARTITIONS} partitions by namespace, window ${WINDOW} messages a lane, start: earliest, an empty data folder`,
    Rounds: `${rounds}, contenders taking turns`,
  });
  for (const { name, words } of racing) console.log(`  ${name.padEnd(20)} ${words}`);
  console.log('');
}

function printResult({ runs, limits, contenders }: CatchUpResult): void {
  const of = (name: string, figure: (run: Run) => number) =>
    spreadOf(runs.filter(({ contender }) => contender === name).map((run) => figure(run)));
  const base = runs.some(({ contender }) => contender === 'baseline')
    ? of('baseline', (run) => run.eventsPerSecond).median
    : undefined;
  console.log('\nMedians; events/s with least and most. CPU in seconds; the process from its first confirm on.\n');
  printTable(
    [
      '',
      'events/s',
      '(spread)',
      '× baseline',
      'start to last',
      'µs CPU/event',
      'CPU',
      'broker',
      'mongod',
      'peak RSS',
      'messages',
    ],
    contenders.map(({ name }) => {
      const rate = of(name, (run) => run.eventsPerSecond);
      return [
        name,
        thousands(rate.median),
        `${thousands(rate.least)} – ${thousands(rate.most)}`,
        base === undefined ? '' : (rate.median / base).toFixed(2),
        `${of(name, (run) => run.startToLastSeconds).median.toFixed(2)} s`,
        of(name, (run) => run.microsPerEvent).median.toFixed(1),
        of(name, (run) => run.processCpu).median.toFixed(1),
        of(name, (run) => run.brokerCpu).median.toFixed(1),
        of(name, (run) => run.mongodCpu).median.toFixed(1),
        `${(of(name, (run) => run.peakRssBytes).median / 2 ** 20).toFixed(0)} MiB`,
        thousands(of(name, (run) => run.messages).median),
      ];
    }),
  );
  if (limits.length > 0) {
    console.log(`\nThe broker's own limit: a bare publisher, ${WINDOW} unconfirmed a queue (one queue: 1,000).\n`);
    const names = [...new Set(limits.map(({ name }) => name))];
    printTable(
      ['', 'messages/s', '(spread)'],
      names.map((name) => {
        const rate = spreadOf(limits.filter((limit) => limit.name === name).map((limit) => limit.messagesPerSecond));
        return [name, thousands(rate.median), `${thousands(rate.least)} – ${thousands(rate.most)}`];
      }),
    );
  }
  if (base === undefined) return;
  console.log('');
  for (const { contender, times } of TARGETS) {
    if (!runs.some((run) => run.contender === contender)) continue;
    const ratio = of(contender, (run) => run.eventsPerSecond).median / base;
    const verdict = ratio >= times ? 'PASS' : `short of it by ${((1 - ratio / times) * 100).toFixed(0)} %`;
    console.log(`target  ${contender}: ${ratio.toFixed(2)} × the baseline, ${times} wanted: ${verdict}`);
  }
}
