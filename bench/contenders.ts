/** Those who race: each a way to start one process that delivers a load into queues, and how to see how far it has come. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { reap, spare } from '../test/servers/reaper.ts';
import { EngineProcess } from './engine-process.ts';
import type { Load, LoadKind } from './load.ts';
import { QueueDepths, declareQueues } from './queues.ts';
import type { Framing } from './queues.ts';

export type QueueType = 'classic' | 'quorum' | 'stream';

/** How many entries it takes to keep it busy for long enough: a share of the load. */
export type Pace = 'slow' | 'middling' | 'fast';

export interface Contender {
  readonly name: string;
  /** Its configuration, in a line. */
  readonly words: string;
  readonly kind: LoadKind;
  readonly pace: Pace;
  readonly queues: readonly string[];
  readonly queueType: QueueType;
  readonly framing: Framing;
  /** From its first message on: what is not steady yet; three seconds where it is left out. */
  readonly warmUpMs?: number;
  /** Resolves with the running process. */
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
  /** Events that have left it so far. */
  progress(): Promise<number>;
  /** Once everything is confirmed; rejects when the process ends before. */
  readonly done: Promise<void>;
  stop(): Promise<void>;
}

export const PARTITIONS = 16;
/** Unconfirmed messages a lane, the engine's own. */
export const WINDOW = 256;
const POLL_MS = 100;

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export function baseline(format: 'json' | 'ejson'): Contender {
  const queue = 'bench.baseline';
  const call = format === 'json' ? 'JSON.stringify' : 'EJSON.stringify';
  return {
    name: format === 'json' ? 'baseline' : 'baseline-ejson',
    words: `watch() + amqplib, ${call}, 1,000 unconfirmed, one durable classic queue`,
    kind: 'orders',
    pace: 'slow',
    queues: [queue],
    queueType: 'classic',
    framing: 'one',
    start: async (course) => {
      const { first, entries, databases } = course.load;
      const from = [`${first.t}`, `${first.i}`, `${entries}`, format, databases[0]!];
      return peer(course, {
        queues: [queue],
        args: [at('baseline.ts'), course.mongoUri, course.amqpUri, queue, ...from],
      });
    },
  };
}

export interface BareOptions {
  readonly name: string;
  readonly queueType: QueueType;
  readonly queueCount?: number;
  readonly bytes: number;
}

/** As many messages as the load has entries; it does not read them. */
export function barePublisher({ name, queueType, queueCount = PARTITIONS, bytes }: BareOptions): Contender {
  const queues = Array.from({ length: queueCount }, (_, p) => `bench.${name}.${p}`);
  const window = queueCount === 1 ? 1_000 : WINDOW;
  return {
    name,
    words: `the bare publisher: messages of ${bytes} B, ${queueCount} ${queueType} queues, window ${window}`,
    kind: 'orders',
    pace: 'middling',
    queues,
    queueType,
    framing: 'one',
    start: async (course) => {
      const messages = Math.floor(course.load.entries / queueCount) * queueCount;
      const args = [course.amqpUri, queueType, queues.join(), `${window}`, `${bytes}`, `${messages}`];
      return peer(course, { queues, queueType, args: [at('bare-publisher.ts'), ...args] });
    },
  };
}

export interface TailraceOptions extends Omit<Contender, 'start'> {
  /** Of the one subscription: `to`, `format`, `batch`. */
  readonly subscription: Readonly<Record<string, unknown>>;
  readonly pipeline?: Readonly<Record<string, unknown>> | undefined;
  /** Another build's cli.js. */
  readonly cli?: string | undefined;
  /** For node: `--cpu-prof`, say. */
  readonly nodeFlags?: readonly string[];
}

/** The built command, as a user runs it, with an empty data folder. */
export function tailrace(options: TailraceOptions): Contender {
  return {
    ...options,
    start: async ({ mongoUri, amqpUri, load, folder }) => {
      const { first, databases } = load;
      const { subscription, pipeline, cli, nodeFlags } = options;
      const namespaces = databases.map((database) => `${database}.*`);
      const engine = await EngineProcess.start({
        folder,
        cli,
        ...(nodeFlags && { nodeFlags }),
        config: {
          // A start lies before the first entry that is wanted.
          sources: { bench: { uri: mongoUri, start: `${first.t}:${first.i - 1}` } },
          sinks: { rabbit: { uri: amqpUri } },
          subscriptions: [{ name: 'bench', namespaces, ...subscription }],
          pipeline: { partitions: PARTITIONS, ...pipeline },
        },
      });
      return {
        pid: engine.pid,
        progress: async () => published(engine),
        done: engine.whileRunning(confirmed(engine, load)),
        stop: async () => engine.stop(),
      };
    },
  };
}

/** Asks the engine itself, as an operator would. */
async function published(engine: EngineProcess): Promise<number> {
  const metrics = await (await engine.get('/metrics')).text();
  return Number(/^tailrace_events_published_total\{[^}]*\} (\S+)$/m.exec(metrics)?.[1] ?? 0);
}

/** Its watermark has passed the last entry. */
async function confirmed(engine: EngineProcess, { last }: Load): Promise<void> {
  for (;;) {
    await sleep(POLL_MS);
    const { subscriptions } = await engine.status();
    const [seconds = 0, increment = 0] = (subscriptions['bench']?.watermark ?? '').split(':').map(Number);
    if (seconds > last.t || (seconds === last.t && increment >= last.i)) return;
  }
}

interface Peer {
  readonly queues: readonly string[];
  readonly queueType?: QueueType;
  /** Of node: a script and its arguments. It sends a message when it is done, and ends at SIGTERM. */
  readonly args: readonly string[];
}

/** A Node program with one event a message: its progress is what lies in its queues. */
async function peer({ amqpUri, folder }: Course, { queues, queueType = 'classic', args }: Peer): Promise<Runner> {
  await declareQueues(amqpUri, queues, queueType);
  const depths = await QueueDepths.open(amqpUri, queues);
  const log = openSync(join(folder, 'log'), 'a');
  const child = spawn(process.execPath, ['--import', 'tsx', ...args], {
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
  });
  closeSync(log);
  const done = new Promise<void>((resolve) => child.once('message', () => resolve()));
  return {
    pid: started(child),
    progress: async () => depths.total(),
    done: orEnd(child, done, join(folder, 'log')),
    stop: async () => {
      await ended(child, 'SIGTERM');
      await depths.close();
    },
  };
}

export function started(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error(`${child.spawnfile} cannot be started`);
  reap(child.pid);
  return child.pid;
}

export async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    await gone;
  }
  spare(child.pid!);
}

/** A process that ends by itself has failed. */
export async function orEnd<T>(child: ChildProcess, done: Promise<T>, log: string): Promise<T> {
  const end = new Promise<never>((_, reject) => {
    child.once('exit', (code, signal) => {
      const text = readFileSync(log, 'utf8');
      reject(
        new Error(`the process ended (${code ?? signal}) before it was done; its log ends:\n${text.slice(-2_000)}`),
      );
    });
  });
  end.catch(() => {});
  return await Promise.race([done, end]);
}
