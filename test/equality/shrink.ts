/**
 * Finds fewer steps that still show a difference: leaves out ever smaller pieces and keeps what still fails, until nothing
 * more can go or the time is over. The first steps, which empty the databases, stay.
 */
import { Listeners } from './campaign.ts';
import type { Listening, RoundFailure } from './campaign.ts';
import type { Difference } from './compare.ts';
import { DATABASES, stepsOf } from './steps.ts';
import type { Step } from './steps.ts';

export interface ShrinkOptions extends Listening {
  readonly withinMs: number;
}

export interface Shrunk {
  /** Numbers of the steps that are left, in the list that the round's seed gives. */
  readonly steps: readonly number[];
  readonly differences: readonly Difference[];
}

export async function shrink(failure: RoundFailure, { withinMs, ...listening }: ShrinkOptions): Promise<Shrunk> {
  const deadline = Date.now() + withinMs;
  const all = stepsOf(failure.workload);
  const first = DATABASES.map((_, number) => number);
  let steps = all.map((_, number) => number).slice(first.length);
  let { differences } = failure;
  const attempt = async (numbers: readonly number[]): Promise<boolean> => {
    const found = await tryOnce(
      listening,
      [...first, ...numbers].map((number) => all[number]!),
    );
    if (found.length === 0) return false;
    differences = found;
    return true;
  };
  for (let size = Math.ceil(steps.length / 2); ; size = Math.ceil(size / 2)) {
    for (let from = 0; from < steps.length && Date.now() < deadline;) {
      const fewer = [...steps.slice(0, from), ...steps.slice(from + size)];
      if (fewer.length > 0 && (await attempt(fewer))) steps = fewer;
      else from += size;
    }
    if (size === 1 || Date.now() >= deadline) return { steps, differences };
  }
}

/** With listeners of its own: a difference may have left the others out of step. */
export async function tryOnce(listening: Listening, steps: readonly Step[]): Promise<readonly Difference[]> {
  await using listeners = await Listeners.open(listening);
  return (await listeners.run(steps)).differences;
}
