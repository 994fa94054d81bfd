/**
 * Runs the targets in threads under a watch: one that ends, or whose round takes longer than any should, is a finding like one that throws.
 * Each finding names the seed, the target and the round, which make it again.
 */
import { Worker } from 'node:worker_threads';
import type { TargetOutcome, WorkerTask } from './worker.ts';
import { TARGETS } from './targets.ts';

/** In a thread, tsx has to be asked by name. */
const TSX = `data:text/javascript,import { register } from '${import.meta.resolve('tsx/esm/api')}'; register();`;

export interface CampaignOptions {
  readonly cases: number;
  readonly seed: number;
  /** Of one round, some tens of cases at most. */
  readonly roundTimeoutMs: number;
  readonly only?: string | undefined;
  readonly round?: number | undefined;
  readonly tell?: (line: string) => void;
}

export interface CampaignResult {
  readonly cases: number;
  readonly findings: readonly string[];
}

export async function fuzz(options: CampaignOptions): Promise<CampaignResult> {
  const { cases, seed, roundTimeoutMs, only, round, tell = () => {} } = options;
  const findings: string[] = [];
  let done = 0;
  let left = [...TARGETS.keys()].filter((index) => only === undefined || TARGETS[index]!.name === only);
  while (left.length > 0) {
    const progress = new Int32Array(new SharedArrayBuffer(8));
    progress[0] = left[0]!;
    const task: WorkerTask = { targets: left, seed, cases, progress, ...(round !== undefined && { round }) };
    await watched(task, roundTimeoutMs, (outcome) => {
      const { name } = TARGETS[outcome.target]!;
      left = left.filter((index) => index !== outcome.target);
      done += outcome.cases;
      const { seconds, slowestMs, fault } = outcome;
      tell(`${name}: ${outcome.cases} cases in ${seconds.toFixed(1)} s, slowest round ${slowestMs.toFixed(0)} ms`);
      if (fault === undefined) return;
      const again = `--seed ${seed} --only "${name}" --round ${outcome.round}`;
      findings.push(`${name}, round ${outcome.round} (${again}): ${fault}`);
    });
  }
  return { cases: done, findings };
}

/** Until the thread has done them all, or has ended or hung over one, which is then that one's outcome. */
async function watched(task: WorkerTask, timeoutMs: number, settle: (outcome: TargetOutcome) => void): Promise<void> {
  const { progress, targets } = task;
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    execArgv: ['--import', TSX],
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: 1_024 },
  });
  let settled = 0;
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve) => {
      const at = (): string => `${settled} ${Atomics.load(progress, 0)} ${Atomics.load(progress, 1)}`;
      const broken = (fault: string): void => {
        if (settled === targets.length) return;
        const [target = 0, round = 0] = progress;
        settle({ target, cases: 0, round, seconds: 0, slowestMs: 0, fault });
        resolve();
      };
      let seen = at();
      let since = performance.now();
      timer = setInterval(() => {
        const now = at();
        if (now !== seen) {
          seen = now;
          since = performance.now();
        } else if (performance.now() - since > timeoutMs) broken(`no end within ${timeoutMs} ms`);
      }, 250);
      worker.on('message', (outcome: TargetOutcome) => {
        settled += 1;
        settle(outcome);
        if (settled === targets.length) resolve();
      });
      worker.on('error', (error) => broken(`the thread died: ${error.stack ?? error.message}`));
    });
  } finally {
    clearInterval(timer);
    worker.removeAllListeners();
    await worker.terminate();
  }
}
