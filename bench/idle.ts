/**
 * Scenario: what an engine costs that has nothing to do: both ends connected, nothing written but the server's own no-op entries.
 * The checkpoint has to move on with those, or the position would leave the oplog: a run in which it does not is void.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { bringUp } from './bring-up.ts';
import { EngineProcess, removeFolder } from './engine-process.ts';
import { cpuSeconds, threadCosts } from './process-cost.ts';
import type { ThreadCost } from './process-cost.ts';
import { atMost, judged, mebibytes, printHead, printTable, seconds, spreadOf, withSpread } from './report.ts';
import type { Environment, Spread } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

interface IdleResult extends Environment {
  readonly contenders: readonly { readonly name: string; readonly cpuSeconds: Spread; readonly rssBytes: number }[];
  readonly threads: readonly ThreadCost[];
  readonly targets: readonly object[];
}

interface Idled {
  readonly name: string;
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  readonly threads: readonly ThreadCost[];
}

/** What the start left to do (garbage, compiled code) is no part of it. */
const SETTLE_MS = 10_000;
const LOOK_MS = 15_000;
const WANTED_SECONDS_A_MINUTE = 0.6;

const options = {
  seconds: { type: 'number', default: 60, words: 'how long it is watched' },
  rounds: { type: 'number', default: 1, words: 'how often' },
  against: { type: 'text', words: "another build's cli.js, one after the other" },
  profile: { type: 'text', words: 'leave CPU profiles in this folder' },
} as const;

export const idle = scenario({
  words: 'CPU of an engine with both ends connected and nothing to do; its checkpoint moves with the no-op entries',
  minutes: 2,
  options,
  run: measure,
});

async function measure({ seconds: watched, rounds, against, profile }: Values<typeof options>): Promise<IdleResult> {
  const closers: (() => Promise<unknown>)[] = [];
  const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  try {
    const { mongo, rabbit, env } = await bringUp(closers);
    printHead('An engine with nothing to do.', env, {
      Engine: 'the built command with its defaults; one subscription, a topic exchange, one classic queue',
      Watched: `${watched} s, ${SETTLE_MS / 1_000} s after it is ready`,
    });
    const config = {
      sources: { bench: { uri: mongo.uri } },
      sinks: { rabbit: { uri: rabbit.uri } },
      subscriptions: [
        { name: 'all', namespaces: ['idle.*'], to: { exchange: 'idle', queues: [{ name: 'idle', bind: '#' }] } },
      ],
    };
    const idled: Idled[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const cli of against === undefined ? [undefined] : [undefined, against]) {
        const engine = await EngineProcess.start({ config, cli, nodeFlags, sampleEveryMs: LOOK_MS });
        try {
          await engine.whileRunning(engine.ready());
          await sleep(SETTLE_MS);
          idled.push({ name: cli ?? 'tailrace', ...(await watch(engine, watched)) });
        } finally {
          await engine.stop();
          await removeFolder(engine.folder);
        }
      }
    }
    return { ...env, ...print(idled, watched) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

async function watch(engine: EngineProcess, watched: number): Promise<Omit<Idled, 'name'>> {
  const first = await engine.status();
  const before = { cpu: cpuSeconds(engine.pid), threads: new Map(threadsOf(engine.pid)) };
  await sleep(watched * 1_000);
  engine.check();
  const cpu = cpuSeconds(engine.pid) - before.cpu;
  const threads = threadCosts(engine.pid).map((one) => ({
    ...one,
    cpuSeconds: one.cpuSeconds - (before.threads.get(one.thread) ?? 0),
  }));
  const last = await engine.status();
  const moved = first.subscriptions['all']?.watermark !== last.subscriptions['all']?.watermark;
  if (!moved && watched > 20) throw new Error('void: the checkpoint did not move');
  return { cpuSeconds: cpu, rssBytes: engine.sample()?.rssBytes ?? NaN, threads };
}

function threadsOf(pid: number): [number, number][] {
  return threadCosts(pid).map(({ thread, cpuSeconds: cpu }) => [thread, cpu]);
}

function print(idled: readonly Idled[], watched: number): Omit<IdleResult, keyof Environment> {
  const contenders = [...new Set(idled.map(({ name }) => name))].map((name) => {
    const of = idled.filter((one) => one.name === name);
    return {
      name,
      cpuSeconds: spreadOf(of.map((one) => one.cpuSeconds)),
      rssBytes: spreadOf(of.map((one) => one.rssBytes)).median,
    };
  });
  printTable(
    ['', 'CPU', 'RSS'],
    contenders.map(({ name, cpuSeconds: cpu, rssBytes }) => [name, withSpread(cpu, seconds), mebibytes(rssBytes)]),
  );
  const { threads } = idled[0]!;
  const busy = threads.filter((one) => one.cpuSeconds > 0).map((one) => `${one.name} ${seconds(one.cpuSeconds)}`);
  console.log(`\nThreads   ${busy.join(' · ')}\nThe checkpoint moved on.`);
  const aMinute = (contenders[0]!.cpuSeconds.median * 60) / watched;
  return {
    contenders,
    threads,
    targets: judged([atMost('CPU over 60 s', WANTED_SECONDS_A_MINUTE, aMinute, seconds)]),
  };
}
