/** The thread: target after target, round after round, each until its cases are done or one of them is a finding. */
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../worker/damage.ts';
import { TARGETS } from './targets.ts';

export interface WorkerTask {
  /** Indices into `TARGETS`. */
  readonly targets: readonly number[];
  readonly seed: number;
  /** Of all targets together, if all were asked for. */
  readonly cases: number;
  /** Only this one. */
  readonly round?: number;
  /** Which target and which round it is at, for a watch from outside. */
  readonly progress: Int32Array;
}

export interface TargetOutcome {
  readonly target: number;
  readonly cases: number;
  /** The last one. */
  readonly round: number;
  readonly seconds: number;
  readonly slowestMs: number;
  readonly fault?: string;
}

async function run(target: number, { seed, cases, round: only, progress }: WorkerTask): Promise<TargetOutcome> {
  const one = TARGETS[target]!;
  const wanted = Math.ceil((cases * one.share) / 100);
  const began = performance.now();
  await using opened = await one.open();
  let done = 0;
  let slowestMs = 0;
  const outcome = (round: number): TargetOutcome => {
    return { target, cases: done, round, seconds: (performance.now() - began) / 1000, slowestMs };
  };
  for (let round = only ?? 0; ; round++) {
    Atomics.store(progress, 0, target);
    Atomics.store(progress, 1, round);
    // Rounds that follow one another must not draw alike.
    const own = Math.imul(seed, 0x9e37_79b1) ^ Math.imul(round + 1, 0x85eb_ca6b) ^ target;
    const started = performance.now();
    try {
      done += await opened.round({ random: new Random(own), seed: own });
    } catch (error) {
      const fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { ...outcome(round), fault };
    }
    slowestMs = Math.max(slowestMs, performance.now() - started);
    if (only !== undefined || done >= wanted) return outcome(round);
  }
}

// The task is plain data from `campaign.ts`.
const task = workerData as WorkerTask;
for (const target of task.targets) {
  const outcome = await run(target, task);
  parentPort!.postMessage(outcome, []);
}
