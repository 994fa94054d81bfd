/** Those who race: each a way to start one process that delivers the whole load into queues, and how to see that it has. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { reap, spare } from '../test/servers/reaper.ts';
import { LOAD_DB } from './load.ts';
import type { Load } from './load.ts';
import type { Framing } from './queues.ts';

export interface Contender {
  readonly name: string;
  /** Its configuration, in a line. */
  readonly words: string;
  readonly queues: readonly string[];
  readonly framing: Framing;
  /** Resolves with the running process; `done` once everything is confirmed. */
  start(course: Course): Promise<Runner>;
}

/** What every run shares. */
export interface Course {
  readonly mongoUri: string;
  readonly amqpUri: string;
  readonly load: Load;
  /** Of this run alone, and empty. */
  readonly folder: string;
}

export interface Runner {
  readonly pid: number;
  readonly done: Promise<void>;
  /** SIGTERM; resolves with what the probe inside it has seen. */
  stop(): Promise<ProbeReport>;
}

/** Written by `confirm-probe.mjs`; milliseconds since the process began. */
export interface ProbeReport {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly cpuSecondsAtFirst: number;
}

export const PARTITIONS = 16;
const POLL_MS = 200;

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PROBE = new URL('confirm-probe.mjs', import.meta.url).href;

export function baseline(format: 'json' | 'ejson'): Contender {
  const queue = 'bench.baseline';
  const call = format === 'json' ? 'JSON.stringify' : 'EJSON.stringify';
  return {
    name: format === 'json' ? 'baseline' : 'baseline-ejson',
    words: `watch() + amqplib, ${call}, 1,000 unconfirmed, one durable classic queue`,
    queues: [queue],
    framing: 'one',
    start: async ({ mongoUri, amqpUri, load, folder }) => {
      const { first, entries } = load;
      const args = [mongoUri, amqpUri, queue, `${first.t}`, `${first.i}`, `${entries}`, format];
      const { child, stop } = await launch(['--import', 'tsx', at('baseline.ts'), ...args], folder);
      const done = new Promise<void>((resolve) => child.once('message', () => resolve()));
      return { pid: child.pid!, done: orEnd(child, done, folder), stop };
    },
  };
}

export interface TailraceOptions {
  readonly name: string;
  readonly words: string;
  /** Of the one subscription: `to`, `format`, `batch`. */
  readonly subscription: Readonly<Record<string, unknown>>;
  readonly queues: readonly string[];
  readonly framing: Framing;
  readonly pipeline?: Readonly<Record<string, unknown>>;
  /** Another build's cli.js. */
  readonly cli?: string;
  /** For node: `--cpu-prof`, say. */
  readonly nodeFlags?: readonly string[];
}

/** The built command, as a user runs it, with an empty data folder. */
export function tailrace(options: TailraceOptions): Contender {
  const { name, words, queues, framing, cli = at('../dist/cli.js'), nodeFlags = [] } = options;
  return {
    name,
    words,
    queues,
    framing,
    start: async (course) => {
      const config = join(course.folder, 'tailrace.yaml');
      await writeFile(config, configuration(course, options));
      const { child, stop } = await launch([...nodeFlags, cli, 'run', '-c', config], course.folder);
      return { pid: child.pid!, done: orEnd(child, confirmed(course), course.folder), stop };
    },
  };
}

function configuration({ mongoUri, amqpUri }: Course, { subscription, pipeline }: TailraceOptions): string {
  return stringify({
    sources: { bench: { uri: mongoUri, start: 'earliest' } },
    sinks: { rabbit: { uri: amqpUri } },
    subscriptions: [{ name: 'bench', namespaces: [`${LOAD_DB}.*`], ...subscription }],
    pipeline: { partitions: PARTITIONS, ...pipeline },
    checkpoint: { path: './data' },
    http: { listen: '127.0.0.1:0' },
  });
}

/** Asks the engine itself, as an operator would: its watermark has passed the last entry. */
async function confirmed({ load, folder }: Course): Promise<void> {
  let url: string | undefined;
  for (;;) {
    await sleep(POLL_MS);
    url ??= /"url":"(http:[^"]+)"/.exec(await readFile(join(folder, 'log'), 'utf8'))?.[1];
    if (url === undefined) continue;
    const status = (await (await fetch(new URL('/status', url))).json()) as {
      subscriptions: Record<string, { watermark: string | null }>;
    };
    const [seconds = 0, increment = 0] = (status.subscriptions['bench']?.watermark ?? '').split(':').map(Number);
    if (seconds > load.last.t || (seconds === load.last.t && increment >= load.last.i)) return;
  }
}

async function launch(args: readonly string[], folder: string): Promise<{ child: ChildProcess; stop: Runner['stop'] }> {
  const probe = join(folder, 'probe.json');
  const log = openSync(join(folder, 'log'), 'a');
  const child = spawn(process.execPath, ['--import', PROBE, ...args], {
    stdio: ['ignore', log, log, 'ipc'],
    env: { ...process.env, TAILRACE_BENCH_PROBE: probe },
    detached: true,
  });
  closeSync(log);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  if (child.pid === undefined) throw new Error(`${process.execPath} cannot be started`);
  reap(child.pid);
  const stop = async (): Promise<ProbeReport> => {
    child.kill('SIGTERM');
    await ended;
    spare(child.pid!);
    return JSON.parse(await readFile(probe, 'utf8')) as ProbeReport;
  };
  return { child, stop };
}

/** A process that ends by itself has failed. */
async function orEnd(child: ChildProcess, done: Promise<void>, folder: string): Promise<void> {
  const ended = new Promise<never>((_, reject) => {
    child.once('exit', (code, signal) => {
      const log = readFileSync(join(folder, 'log'), 'utf8');
      reject(
        new Error(`the process ended (${code ?? signal}) before it was done; its log ends:\n${log.slice(-2_000)}`),
      );
    });
  });
  ended.catch(() => {});
  await Promise.race([done, ended]);
}
