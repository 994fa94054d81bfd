/**
 * A contest on real servers: a load is written into a real mongod, and contenders take turns to deliver it from its beginning into a real
 * RabbitMQ, round after round, so that the machine's drift meets them all alike; a bare publisher runs right behind the contender
 * whose messages it imitates. `race.ts` says what is measured, `load.ts` what is read.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from '../test/build.ts';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import { PARTITIONS, WINDOW, barePublisher } from './contenders.ts';
import type { BareOptions, Contender, Pace } from './contenders.ts';
import { SHAPES, dropLoads, writeLoad } from './load.ts';
import type { Load, LoadKind } from './load.ts';
import { race } from './race.ts';
import type { Run, Servers } from './race.ts';
import {
  decimals,
  environment,
  mebibytes,
  micros,
  printHead,
  printTable,
  seconds,
  spreadOf,
  thousands,
  times,
  withSpread,
} from './report.ts';
import type { Configuration, Environment } from './report.ts';

export interface Entrant {
  readonly contender: Contender;
  /** The bare publisher that runs behind it, with messages of the size that it has made. */
  readonly bare?: Omit<BareOptions, 'bytes'> | undefined;
}

export interface Contest {
  readonly words: string;
  /** What a fast contender reads; others read a share of it. */
  readonly entries: number;
  readonly rounds: number;
  /** Seconds after which a run is given up. */
  readonly limit: number;
  /** Another RabbitMQ than the one at hand. */
  readonly rabbit?: string | undefined;
  /** Those who race; called before the load is written, as some have to see the server as it was. */
  readonly entrants: (ground: Ground) => Promise<readonly Entrant[]>;
}

/** Where a contest takes place. The folder goes away with it. */
export interface Ground {
  readonly servers: Servers;
  readonly folder: string;
}

export interface Figures {
  readonly row: (name: string) => Row | undefined;
  /** Its steady rate; NaN where it has none. */
  readonly rate: (name: string) => number;
}

export interface Outcome extends Environment, Figures {
  readonly configuration: Configuration;
  readonly runs: readonly Run[];
}

type Loads = ReadonlyMap<LoadKind, Readonly<Record<Pace, Load>>>;

/** Of the load's entries, by load: a run shall take ten seconds and more, and a load of large documents fit on a disk. */
const SHARES: Readonly<Record<LoadKind, Readonly<Record<Pace, number>>>> = {
  orders: { slow: 0.08, middling: 0.25, fast: 1 },
  hot: { slow: 0.08, middling: 0.25, fast: 1 },
  small: { slow: 0.08, middling: 0.25, fast: 1 },
  '20k': { slow: 0.04, middling: 0.04, fast: 0.04 },
  '1m': { slow: 0.001, middling: 0.001, fast: 0.001 },
};
const PACES = ['slow', 'middling', 'fast'] as const;

/** Prints the head, a line a run, and the table. */
export async function contest({ words, entries, rounds, limit, rabbit: version, entrants }: Contest): Promise<Outcome> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await build();
    const progress = (line: string): void => console.log(line);
    const mongo = await startMongo({ fresh: false, args: ['--oplogSize', '20000'], progress });
    closers.push(async () => mongo.stop());
    const rabbit = await startRabbit({ fresh: false, progress, version });
    closers.push(async () => rabbit.stop());
    const folder = await mkdtemp(join(tmpdir(), 'tailrace-bench-'));
    closers.push(async () => rm(folder, { recursive: true }));

    if (mongo.pids.length === 0) closers.push(async () => dropLoads(mongo.uri));
    const servers = { mongo, rabbit };
    const chosen = await entrants({ servers, folder });
    const loads = await writeLoads(mongo.uri, chosen, entries);
    const env = await environment({ mongoUri: mongo.uri, amqpUri: rabbit.uri });
    const configuration = configurationOf(chosen, loads, rounds);
    printHead(words, env, configuration);
    const runs = await inTurn(chosen, { rounds, limit, loads, servers, folder });
    return { ...env, configuration, runs, ...table(runs) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

async function writeLoads(uri: string, chosen: readonly Entrant[], entries: number): Promise<Loads> {
  const loads = new Map<LoadKind, Readonly<Record<Pace, Load>>>();
  for (const kind of new Set(chosen.map(({ contender }) => contender.kind))) {
    const wanted = PACES.filter((pace) =>
      chosen.some(({ contender }) => contender.kind === kind && contender.pace === pace),
    );
    const counts = [...new Set(wanted.map((pace) => Math.ceil(SHARES[kind][pace] * entries)))];
    console.log(`Writing ${thousands(counts.at(-1)!)} entries: ${SHAPES[kind].words} …`);
    const began = performance.now();
    const written = await writeLoad(uri, kind, counts);
    console.log(`  ${((performance.now() - began) / 1_000).toFixed(0)} s`);
    const of = (pace: Pace): Load =>
      written[counts.indexOf(Math.ceil(SHARES[kind][pace] * entries))] ?? written.at(-1)!;
    loads.set(kind, { slow: of('slow'), middling: of('middling'), fast: of('fast') });
  }
  return loads;
}

interface Setting {
  readonly rounds: number;
  readonly limit: number;
  readonly loads: Loads;
  readonly servers: Servers;
  readonly folder: string;
}

async function inTurn(chosen: readonly Entrant[], setting: Setting): Promise<Run[]> {
  const runs: Run[] = [];
  for (let round = 1; round <= setting.rounds; round++) {
    for (const { contender, bare } of chosen) {
      const run = await attempt(contender, round, setting);
      if (run === undefined) continue;
      runs.push(run);
      if (bare === undefined) continue;
      const imitation = barePublisher({ ...bare, bytes: run.averageMessageBytes });
      const bareRun = await attempt({ ...imitation, kind: contender.kind, pace: contender.pace }, round, setting);
      if (bareRun !== undefined) runs.push(bareRun);
    }
  }
  return runs;
}

/** Undefined when it was void: said, and the others go on. */
async function attempt(contender: Contender, round: number, setting: Setting): Promise<Run | undefined> {
  const { servers, loads, limit } = setting;
  const { name, kind, pace } = contender;
  const folder = join(setting.folder, `${round}-${name}`);
  const load = loads.get(kind)![pace];
  await mkdir(folder);
  const course = { mongoUri: servers.mongo.uri, amqpUri: servers.rabbit.uri, load, folder };
  try {
    const run = await race({ contender, course, servers, limitSeconds: limit });
    const steady = Number.isNaN(run.steadyRate)
      ? 'too short for a steady rate'
      : `${thousands(run.steadyRate)} events/s`;
    console.log(`round ${round}  ${name.padEnd(22)} ${steady} over ${run.steadySeconds.toFixed(1)} s`);
    return run;
  } catch (error) {
    console.log(`round ${round}  ${name.padEnd(22)} ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
    return undefined;
  }
}

function configurationOf(chosen: readonly Entrant[], loads: Loads, count: number) {
  const written = [...loads].map(([kind, shares]) => {
    const its = chosen
      .filter(({ contender }) => contender.kind === kind)
      .map(({ contender }) => shares[contender.pace]);
    const counts = [...new Set(its.map(({ entries }) => entries))].toSorted((a, b) => a - b).map(thousands);
    return `${counts.join(' / ')} ${SHAPES[kind].words}, ${thousands(its[0]!.averageEntryBytes)} B an entry`;
  });
  return {
    Load: written.join('; '),
    Engine: `the built command, one process, defaults but for what is named: ${PARTITIONS} partitions by namespace, window ${WINDOW} messages a lane, an empty data folder`,
    Rounds: `${count}, contenders taking turns`,
    Contenders: chosen.map(({ contender: { name, words } }) => `${name} = ${words}`).join('; '),
  };
}

export interface Row {
  readonly name: string;
  readonly steady: readonly number[];
  readonly of: (figure: (run: Run) => number) => number;
}

/** Prints the table; by a contender's name then its row and its steady rate. */
function table(runs: readonly Run[]): Figures {
  const rows = [...new Set(runs.map(({ contender }) => contender))].map((name): Row => {
    const its = runs.filter(({ contender }) => contender === name);
    return {
      name,
      steady: its.map(({ steadyRate }) => steadyRate),
      of: (figure) => spreadOf(its.map((run) => figure(run))).median,
    };
  });
  const row = (name: string): Row | undefined => rows.find((one) => one.name === name);
  const rate = (name: string): number => row(name)?.of((run) => run.steadyRate) ?? NaN;
  console.log(
    '\nMedians. Rate and CPU per event are of the steady window; "start to last" counts from the start of the process.\n',
  );
  printTable(
    [
      '',
      'events/s, steady',
      'over',
      'first message',
      'start to last',
      '× baseline',
      'engine CPU',
      'main thread',
      'broker',
      'mongod',
      'RSS',
      'B/message',
    ],
    rows.map(({ name, steady, of }) => [
      name,
      withSpread(spreadOf(steady), thousands),
      decimals(1, ' s')(of((run) => run.steadySeconds)),
      seconds(of((run) => run.firstSeconds)),
      `${thousands(of((run) => run.events / run.lastSeconds))}/s`,
      times(rate(name) / rate('baseline')),
      micros(of((run) => run.engineMicros)),
      decimals(0, ' %')(of((run) => run.mainThread * 100)),
      micros(of((run) => run.brokerMicros)),
      micros(of((run) => run.mongodMicros)),
      mebibytes(of((run) => run.peakRssBytes)),
      thousands(of((run) => run.averageMessageBytes)),
    ]),
  );
  return { row, rate };
}
