/** What happens to the engine itself: it is killed, stopped, stalled, or its threads, clock and disk fail it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../harness/engine-process.ts';
import { untilFlowing } from '../../harness/waiting.ts';
import { CannotRun } from '../case.ts';
import { Trial } from '../trial.ts';
import { ALONE_CASES } from './engine-alone.ts';
import { STORE_CASES } from './engine-store.ts';
import { killed } from '../kills.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

const preload = (name: string): NodeJS.ProcessEnv => ({
  NODE_OPTIONS: `--import=${new URL(`../preload/${name}`, import.meta.url).href}`,
});

export const ENGINE_CASES: readonly TortureCase[] = [
  { end: 'engine', name: 'SIGKILL at random instants', run: async (arena) => killed(arena) },
  { end: 'engine', name: 'SIGTERM under load', run: stoppedAgainAndAgain },
  {
    end: 'engine',
    name: 'worker threads that throw, exit, or run out of memory',
    run: async (arena) => sickWorkers(arena, { ways: 'throw,exit,memory', faults: arena.pick(4, 40) }),
  },
  {
    end: 'engine',
    name: 'a worker thread that hangs',
    run: async (arena) => sickWorkers(arena, { ways: 'hang', faults: 1 }),
  },
  { end: 'engine', name: 'main thread stalled for 30 s', run: stalled },
  { end: 'engine', name: 'clock set back an hour', run: clockSetBack },
  { end: 'engine', name: 'disk of the checkpoint full', run: diskFull },
  { end: 'engine', name: 'disk of the checkpoint read-only', run: diskReadOnly },
  ...STORE_CASES,
  ...ALONE_CASES,
];

async function stoppedAgainAndAgain(arena: Arena): Promise<Outcome> {
  await using trial = await Trial.begin({
    arena,
    backlog: arena.pick(30_000, 200_000),
  });
  for (let stop = 0; stop < arena.pick(3, 30); stop++) {
    await sleep(arena.random.between(0, 800));
    const exit = await trial.engine.terminate();
    if (exit !== 0) throw new Error(`a SIGTERM ended the engine with ${exit}: ${trial.engine.log()}`);
    trial.start();
    await trial.strike(async () => {});
  }
  return await trial.verdict({ repeats: 0 });
}

async function sickWorkers(
  arena: Arena,
  { ways, faults }: { readonly ways: string; readonly faults: number },
): Promise<Outcome> {
  await using trial = await Trial.begin({
    arena,
    eventsPerSecond: 5_000,
    // Few events are encoded by main itself; these are too many for that.
    shape: { maxEvents: 1 },
    config: { pipeline: { inFlight: '4MiB' } },
    subscription: { fields: { exclude: ['nothing'] } },
    env: { ...preload('sick-worker.mjs'), TAILRACE_SICK: ways },
  });
  const failures = (): number => trial.engine.log().split(/A worker (?:was lost with|could not encode)/).length - 1;
  await until('enough threads have failed', () => failures() >= faults, 180_000);
  trial.count(failures());
  await trial.strike(async () => {});
  const { parked } = (await trial.engine.status()).subscriptions['all']!;
  if (parked > 0) throw new Error(`${parked} events were parked that had no part in it`);
  // A thread that runs out of memory has filled all that it may have by then.
  return await trial.verdict({ repeats: 0, rssMiB: 768 });
}

async function stalled(arena: Arena): Promise<Outcome> {
  await using trial = await Trial.begin({ arena });
  await trial.strike(async () => {
    process.kill(trial.engine.pid, 'SIGSTOP');
    await sleep(arena.pick(12_000, 30_000));
    process.kill(trial.engine.pid, 'SIGCONT');
  });
  // Missed heartbeats: the broker has closed its connections.
  return await trial.verdict({ repeats: trial.underWay });
}

async function clockSetBack(arena: Arena): Promise<Outcome> {
  await using trial = await Trial.begin({
    arena,
    env: preload('clock.mjs'),
  });
  await trial.strike(async () => {
    process.kill(trial.engine.pid, 'SIGUSR2');
    await until('the clock is set back', () => trial.engine.log().includes('an hour earlier now'));
  });
  await trial.untilReady();
  await sleep(arena.pick(2_000, 15_000));
  await trial.engine.kill();
  trial.start();
  await trial.strike(async () => {});
  return await trial.verdict({ repeats: trial.perKill });
}

async function diskFull(arena: Arena): Promise<Outcome> {
  if (spawnSync('prlimit', ['--version']).error !== undefined) throw new CannotRun('there is no prlimit here');
  await using trial = await Trial.begin({ arena });
  const limit = (bytes: string): void => {
    execFileSync('prlimit', ['--pid', `${trial.engine.pid}`, `--fsize=${bytes}:`]);
  };
  // A limit on the size of files, which can be lifted again, is the nearest thing to a full disk.
  limit('4096');
  await trial.untilNotReady();
  // It goes on delivering meanwhile; a kill now repeats what it could not write.
  await untilFlowing(trial.engine);
  await sleep(arena.pick(1_000, 30_000));
  await trial.strike(async () => limit('unlimited'));
  await trial.untilReady();
  return await trial.verdict({ repeats: 0 });
}

/** Linux makes no disk read-only while files on it are open for writing: it is so at a start, which must change nothing. */
async function diskReadOnly(arena: Arena): Promise<Outcome> {
  await using disk = tmpfs();
  await using trial = await Trial.begin({
    arena,
    config: { checkpoint: { path: disk.path } },
  });
  for (let n = 0; n < arena.pick(1, 5); n++) {
    await trial.engine.kill();
    disk.remount('ro');
    await trial.refused('folder');
    disk.remount('rw');
    trial.start();
    await trial.strike(async () => {});
  }
  return await trial.verdict({ repeats: arena.pick(1, 5) * trial.perKill });
}

/** A small disk of our own. */
function tmpfs(): AsyncDisposable & { readonly path: string; remount(how: 'ro' | 'rw'): void } {
  const path = mkdtempSync(join(tmpdir(), 'tailrace-disk-'));
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tailrace', path], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new CannotRun(`no file system can be mounted here: ${stderr.trim()}`);
  return {
    path,
    remount: (how) => void execFileSync('mount', ['-o', `remount,${how}`, path]),
    [Symbol.asyncDispose]: async () => {
      spawnSync('umount', ['-l', path]);
      rmSync(path, { recursive: true });
    },
  };
}
