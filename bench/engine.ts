/**
 * Scenario: the engine alone. A firehose (`engine/firehose.ts`) serves oplog entries without end, the whole engine reads them
 * over 1 … N workers, and a sink takes every message and confirms it at once. Beside it, in the same run, the bare socket that
 * throws the same bytes away: what the ratio is to.
 *
 * CPU is counted thread by thread over the window that is measured, so that a run says where the next limit lies. The threads
 * of V8 (collecting garbage, compiling) have no names of their own on every Node: the busiest beside main count as the workers.
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from '../test/build.ts';
import { reap } from '../test/servers/reaper.ts';
import { endChild, startFirehose } from './engine/start-firehose.ts';
import type { Firehose } from './engine/start-firehose.ts';
import { cpuSeconds, peakRssBytes, threadCosts } from './process-cost.ts';
import { atLeast, environment, judged, mebibytes, micros, printHead, printTable, thousands, times } from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';
import { Wire, getMore, openOplog } from './wire.ts';

interface Case {
  readonly name: string;
  readonly words: string;
  readonly subscription: Readonly<Record<string, unknown>>;
  readonly wanted?: number;
}

const BATCH = { maxEvents: 200, maxBytes: '1MiB' } as const;
const CASES: readonly Case[] = [
  { name: 'json', words: '200 events a message, JSON lines', subscription: { batch: BATCH }, wanted: 350_000 },
  {
    name: 'bson',
    words: '200 events a message, BSON',
    subscription: { batch: BATCH, format: 'bson' },
    wanted: 600_000,
  },
  { name: 'json-one', words: '1 event a message, JSON', subscription: {} },
  { name: 'bson-one', words: '1 event a message, BSON', subscription: { format: 'bson' } },
];
const PARTITIONS = 16;
/** About 2 MiB, as the engine asks. */
const BARE_ENTRIES = 4_000;
const BARE_SECONDS = 3;

interface Run {
  readonly name: string;
  readonly workers: number;
  readonly eventsPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly ratioToBare: number;
  /** CPU, µs an event. */
  readonly mainMicros: number;
  readonly workerMicros: number;
  readonly otherMicros: number;
  readonly firehoseMicros: number;
  readonly peakRssBytes: number;
}

interface EngineResult extends Environment {
  readonly averageEntryBytes: number;
  readonly bareEntriesPerSecond: number;
  readonly runs: readonly Run[];
  readonly targets: readonly object[];
}

export interface EngineBenchOptions {
  readonly seconds: number;
  readonly warmup: number;
  readonly workers: number;
  readonly only: readonly string[];
  readonly profile: string | undefined;
}

export const engine = scenario({
  words: 'the engine alone: an endless oplog from memory into a sink that confirms at once, over 1 … N workers',
  minutes: 3,
  options: {
    seconds: { type: 'number', default: 10, words: 'how long each run is measured' },
    warmup: { type: 'number', default: 5, words: 'seconds before that' },
    workers: { type: 'number', default: 0, words: 'only this many workers; 0: 1, 2 … as many as there are cores' },
    only: { type: 'names', words: `some of ${CASES.map(({ name }) => name).join(', ')}` },
    profile: { type: 'text', words: 'a folder for CPU profiles of the engine and its workers (slower)' },
  },
  run: measure,
});

async function measure(options: EngineBenchOptions): Promise<EngineResult> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-bench-'));
    closers.push(async () => rm(folder, { recursive: true }));
    const firehose = await startFirehose();
    closers.push(() => endChild(firehose.child));
    const env = await environment();
    const cores = availableParallelism();
    const counts =
      options.workers > 0 ? [options.workers] : Array.from({ length: Math.max(2, cores) }, (_, n) => n + 1);
    const cases = CASES.filter(({ name }) => options.only.length === 0 || options.only.includes(name));
    const { averageEntryBytes } = firehose;
    printHead('The engine alone: an endless oplog from memory, into a sink that confirms at once.', env, {
      Load: `inserts and $set updates (3 : 2) in 16 collections, ${averageEntryBytes.toFixed(0)} B each on average`,
      Engine: `the built engine in one process, defaults but for what is named; ${PARTITIONS} partitions by namespace, checkpoints on disk`,
      Window: `${options.seconds} s after ${options.warmup} s of warm-up; the firehose is a process of its own on the same cores`,
      ...Object.fromEntries(cases.map(({ name, words }) => [name, words])),
    });

    const bare: number[] = [await bareRate(firehose.port)];
    const runs: Run[] = [];
    for (const one of cases) {
      for (const workers of counts) {
        const home = join(folder, `${one.name}-${workers}`);
        await mkdir(home);
        runs.push(await race({ one, workers, home, firehose, options, bare: bare[0]! }));
        console.log(`${one.name} × ${workers}: ${thousands(runs.at(-1)!.eventsPerSecond)} events/s`);
      }
    }
    bare.push(await bareRate(firehose.port));
    const bareEntriesPerSecond = (bare[0]! + bare[1]!) / 2;
    const settled = runs.map((run) => ({ ...run, ratioToBare: run.eventsPerSecond / bareEntriesPerSecond }));
    print(settled, { bare, averageEntryBytes, cores });
    const targets = judged(
      cases.flatMap(({ name, wanted }) => {
        const best = Math.max(...settled.filter((run) => run.name === name).map((run) => run.eventsPerSecond));
        return wanted === undefined ? [] : [atLeast(`${name}, events/s`, wanted, best)];
      }),
    );
    return { ...env, averageEntryBytes, bareEntriesPerSecond, runs: settled, targets };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

/** Entries a second that a socket alone can take in, the same replies as the engine asks for. */
async function bareRate(port: number): Promise<number> {
  using wire = await Wire.connect('127.0.0.1', port);
  const id = await openOplog(wire);
  const until = performance.now() + BARE_SECONDS * 1_000;
  const started = performance.now();
  let entries = 0;
  while (performance.now() < until) {
    await wire.discard(getMore(id, BARE_ENTRIES));
    entries += BARE_ENTRIES;
  }
  return (entries * 1_000) / (performance.now() - started);
}

interface Racing {
  readonly one: Case;
  readonly workers: number;
  readonly home: string;
  readonly firehose: Firehose;
  readonly options: EngineBenchOptions;
  readonly bare: number;
}

async function race({ one, workers, home, firehose, options, bare }: Racing): Promise<Run> {
  const { profile, seconds, warmup } = options;
  const config = {
    sources: { bench: { uri: `mongodb://127.0.0.1:${firehose.port}/?replicaSet=firehose`, start: 'earliest' } },
    // Every format is allowed to RabbitMQ; the sink is replaced before it is connected to.
    sinks: { none: { uri: 'amqp://127.0.0.1' } },
    subscriptions: [{ name: 'bench', namespaces: ['bench.*'], to: { queue: 'taken' }, ...one.subscription }],
    pipeline: { partitions: PARTITIONS, workers },
    checkpoint: { path: join(home, 'data') },
    http: 'off',
  };
  const child = fork(fileURLToPath(new URL('engine/null-engine.mjs', import.meta.url)), [JSON.stringify(config)], {
    execArgv: profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`],
    detached: true,
  });
  reap(child.pid!);
  const failed = once(child, 'exit').then(() => {
    throw new Error(`the engine ended by itself in ${one.name} with ${workers} workers`);
  });
  failed.catch(() => {});
  try {
    await Promise.race([sleep(warmup * 1_000), failed]);
    const before = await look(child, firehose);
    await Promise.race([sleep(seconds * 1_000), failed]);
    const after = await look(child, firehose);
    const events = after.events - before.events;
    if (events === 0) throw new Error(`nothing came in ${one.name} with ${workers} workers`);
    const eventsPerSecond = (events * 1_000) / (after.atMs - before.atMs);
    const cost = (from: number, to: number): number => ((to - from) * 1e6) / events;
    const others = differences(before.threads, after.threads, child.pid!);
    return {
      name: one.name,
      workers,
      eventsPerSecond,
      megabytesPerSecond: (eventsPerSecond * firehose.averageEntryBytes) / 1e6,
      ratioToBare: eventsPerSecond / bare,
      mainMicros: cost(before.threads.get(child.pid!)!, after.threads.get(child.pid!)!),
      workerMicros: cost(0, sum(others.slice(0, workers))),
      otherMicros: cost(0, sum(others.slice(workers))),
      firehoseMicros: cost(before.firehose, after.firehose),
      peakRssBytes: peakRssBytes(child.pid!),
    };
  } finally {
    await endChild(child);
  }
}

interface Look {
  readonly events: number;
  readonly atMs: number;
  readonly threads: ReadonlyMap<number, number>;
  readonly firehose: number;
}

async function look(child: ChildProcess, firehose: Firehose): Promise<Look> {
  const answered = once(child, 'message');
  child.send('count');
  const [{ events, atMs }] = (await answered) as [{ events: number; atMs: number }];
  const threads = new Map(threadCosts(child.pid!).map(({ thread, cpuSeconds: spent }) => [thread, spent]));
  return { events, atMs, threads, firehose: cpuSeconds(firehose.child.pid!) };
}

/** What each thread but main has used between the two, the most first. */
function differences(before: Look['threads'], after: Look['threads'], main: number): number[] {
  return [...after]
    .filter(([thread]) => thread !== main)
    .map(([thread, spent]) => spent - (before.get(thread) ?? 0))
    .toSorted((a, b) => b - a);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

interface Printing {
  readonly bare: readonly number[];
  readonly averageEntryBytes: number;
  readonly cores: number;
}

function print(runs: readonly Run[], { bare, averageEntryBytes, cores }: Printing): void {
  const rate = sum(bare) / bare.length;
  console.log(
    `\nThe bare socket: ${bare.map((one) => thousands(one)).join(' and ')} entries/s before and after, ` +
      `${thousands((rate * averageEntryBytes) / 1e6)} MB/s. CPU in µs an event; "other" is V8's own threads.\n`,
  );
  printTable(
    ['', 'workers', 'events/s', 'MB/s in', '× bare', '× 1 worker', 'main', 'workers', 'other', 'firehose', 'peak RSS'],
    runs.map((run) => [
      run.name,
      `${run.workers}`,
      thousands(run.eventsPerSecond),
      thousands(run.megabytesPerSecond),
      run.ratioToBare.toFixed(2),
      times(run.eventsPerSecond / (runs.find((it) => it.name === run.name)?.eventsPerSecond ?? NaN)),
      micros(run.mainMicros),
      micros(run.workerMicros),
      micros(run.otherMicros),
      micros(run.firehoseMicros),
      mebibytes(run.peakRssBytes),
    ]),
  );
  printModel(runs, cores);
}

/**
 * Main does its share of every event in one thread; workers share theirs. So main ends at 1 / main, W workers at W / worker, and
 * all together where the cores do. Taken from the run with one worker, held against the others.
 */
function printModel(runs: readonly Run[], cores: number): void {
  const singles = runs.filter(({ workers }) => workers === 1);
  if (singles.length === 0) return;
  console.log(
    '\nThe model, from the runs with one worker: the least of W / worker, 1 / main, and the cores over all CPU.\n',
  );
  printTable(
    ['', 'main ends at', 'workers it takes', ...checked(runs).map((workers) => `× ${workers}: model, measured`)],
    singles.map((single) => [
      single.name,
      `${thousands(1e6 / single.mainMicros)}/s`,
      (single.workerMicros / single.mainMicros).toFixed(1),
      ...checked(runs).map((workers) => {
        const measured = runs.find((run) => run.name === single.name && run.workers === workers);
        return `${thousands(modelled(single, workers, cores))}, ${thousands(measured?.eventsPerSecond ?? NaN)}`;
      }),
    ]),
  );
}

function checked(runs: readonly Run[]): number[] {
  return [...new Set(runs.map(({ workers }) => workers))].filter((workers) => workers > 1);
}

function modelled(
  { mainMicros, workerMicros, otherMicros, firehoseMicros }: Run,
  workers: number,
  cores: number,
): number {
  const all = mainMicros + workerMicros + otherMicros + firehoseMicros;
  return 1e6 / Math.max(workerMicros / workers, mainMicros, all / cores);
}
