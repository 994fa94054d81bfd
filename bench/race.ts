/**
 * One run of one contender, measured: from its start until everything is confirmed, then its queues are counted. A run whose queues do
 * not hold every event is void, and so is one that takes too long; the others go on.
 *
 * The steady rate is that of a window inside the run: it begins three seconds after the first message (later where a
 * contender asks for it), so that neither start-up nor a
 * compiler that is still at work is in it, and ends with the last look before the end. CPU per event is of that window too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender, Course, Runner } from './contenders.ts';
import { cpuSeconds, forgetPeakRss, peakRssBytes, threadCosts, untilIdle } from './process-cost.ts';
import { contentOf, deleteQueues } from './queues.ts';

export interface Servers {
  readonly mongo: { readonly uri: string; readonly pids: readonly number[] };
  readonly rabbit: { readonly uri: string; readonly pid: number };
}

export interface Run {
  readonly contender: string;
  readonly events: number;
  readonly messages: number;
  readonly averageMessageBytes: number;
  /** NaN, like all that is of the window, where the run was too short for one. */
  readonly steadyRate: number;
  readonly steadySeconds: number;
  /** From the process's start. */
  readonly firstSeconds: number;
  readonly lastSeconds: number;
  /** Of the window, per event. */
  readonly engineMicros: number;
  readonly brokerMicros: number;
  readonly mongodMicros: number;
  /** How much of a core the process's main thread used, in the window. */
  readonly mainThread: number;
  readonly peakRssBytes: number;
  readonly brokerPeakRssBytes: number;
}

const WARM_UP_MS = 3_000;
/** Shorter windows say nothing. */
const LEAST_WINDOW_MS = 1_000;
const FIRST_LOOK_MS = 20;
const LOOK_MS = 250;

interface Look {
  readonly atMs: number;
  readonly events: number;
  readonly engine: number;
  readonly main: number;
  readonly broker: number;
  readonly mongod: number;
}

interface Racing {
  readonly contender: Contender;
  readonly course: Course;
  readonly servers: Servers;
  /** After so long it is given up. */
  readonly limitSeconds: number;
}

export async function race({ contender, course, servers, limitSeconds }: Racing): Promise<Run> {
  const { name, queues } = contender;
  const broker = servers.rabbit.pid;
  const mongod = servers.mongo.pids[0] ?? 0;
  await deleteQueues(course.amqpUri, queues);
  await Promise.all([untilIdle(broker), untilIdle(mongod)]);
  forgetPeakRss(broker);

  const startedAt = performance.now();
  const runner = await contender.start(course);
  const progress = { over: false };
  try {
    const looks: Look[] = [];
    const watching = watch({ runner, looks, progress, pids: { broker, mongod } });
    await inTime(runner.done, limitSeconds, () => `${looks.at(-1)?.events ?? 0} events had left it`);
    const lastSeconds = (performance.now() - startedAt) / 1_000;
    progress.over = true;
    await watching;
    const peaks = { peakRssBytes: peakRssBytes(runner.pid), brokerPeakRssBytes: peakRssBytes(broker) };
    await runner.stop();

    const content = await contentOf(course.amqpUri, contender);
    const expected = name.startsWith('bare') ? content.events : course.load.entries;
    if (content.events !== expected) {
      throw new Error(`void: its queues hold ${content.events} events, of ${expected}`);
    }
    const first = looks.find(({ events }) => events > 0);
    return {
      contender: name,
      events: content.events,
      messages: content.messages,
      averageMessageBytes: Math.round(content.averageBytes),
      firstSeconds: first === undefined ? NaN : (first.atMs - startedAt) / 1_000,
      lastSeconds,
      ...steady(looks, content.events, contender.warmUpMs),
      ...peaks,
    };
  } finally {
    progress.over = true;
    await runner.stop();
    await deleteQueues(course.amqpUri, queues);
  }
}

interface Watching {
  readonly runner: Runner;
  readonly looks: Look[];
  readonly progress: { readonly over: boolean };
  readonly pids: { readonly broker: number; readonly mongod: number };
}

async function watch({ runner, looks, progress, pids }: Watching): Promise<void> {
  const { pid } = runner;
  while (!progress.over) {
    try {
      const events = await runner.progress();
      looks.push({
        atMs: performance.now(),
        events,
        engine: cpuSeconds(pid),
        main: threadCosts(pid).find(({ thread }) => thread === pid)?.cpuSeconds ?? NaN,
        broker: cpuSeconds(pids.broker),
        mongod: cpuSeconds(pids.mongod),
      });
    } catch {
      // Not up yet, or just ended: `done` tells which.
    }
    await sleep((looks.at(-1)?.events ?? 0) > 0 ? LOOK_MS : FIRST_LOOK_MS);
  }
}

type OfWindow = Pick<
  Run,
  'steadyRate' | 'steadySeconds' | 'engineMicros' | 'brokerMicros' | 'mongodMicros' | 'mainThread'
>;

/** What the window comes to. */
export function steady(looks: readonly Look[], total: number, warmUpMs = WARM_UP_MS): OfWindow {
  const warm = (looks.find(({ events }) => events > 0)?.atMs ?? Infinity) + warmUpMs;
  const from = looks.find(({ atMs }) => atMs >= warm);
  // Where everything has left it, it only waits for confirms.
  const to = looks.findLast(({ events }) => events < total);
  if (from === undefined || to === undefined || to.atMs - from.atMs < LEAST_WINDOW_MS) {
    const none = { engineMicros: NaN, brokerMicros: NaN, mongodMicros: NaN, mainThread: NaN };
    return { steadyRate: NaN, steadySeconds: 0, ...none };
  }
  const events = to.events - from.events;
  const steadySeconds = (to.atMs - from.atMs) / 1_000;
  const micros = (what: 'engine' | 'broker' | 'mongod'): number => ((to[what] - from[what]) * 1e6) / events;
  return {
    steadyRate: events / steadySeconds,
    steadySeconds,
    engineMicros: micros('engine'),
    brokerMicros: micros('broker'),
    mongodMicros: micros('mongod'),
    mainThread: (to.main - from.main) / steadySeconds,
  };
}

async function inTime(done: Promise<void>, limitSeconds: number, soFar: () => string): Promise<void> {
  const timer = new AbortController();
  const late = sleep(limitSeconds * 1_000, undefined, { signal: timer.signal }).then((): never => {
    throw new Error(`void: not done after ${limitSeconds} s; ${soFar()}`);
  });
  late.catch(() => {});
  try {
    await Promise.race([done, late]);
  } finally {
    timer.abort();
  }
}
