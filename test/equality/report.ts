/** What a failed campaign prints: the differences, what is left of the steps, and the command that shows it again. */
import { inspect } from 'node:util';
import type { CampaignResult, RoundFailure } from './campaign.ts';
import type { Shrunk } from './shrink.ts';
import { stepsOf } from './steps.ts';
import type { WorkloadOptions } from './steps.ts';

const SHOWN = 5;
const STEP_TEXT = 2_500;

/** `flags`: what else the run was told. */
export function failureReport(failure: RoundFailure, shrunk: Shrunk, flags: readonly string[] = []): string {
  const all = stepsOf(failure.workload);
  const { differences, steps } = shrunk;
  return [
    `${failure.differences.length} differences in the round with seed ${failure.workload.seed}; ${differences.length} are left with these ${steps.length} steps:`,
    ...steps.slice(0, SHOWN).map((number) => `  ${number}: ${inWords(all[number])}`),
    ...differences
      .slice(0, SHOWN)
      .flatMap(({ place, what, ours, theirs }) => [`${place} ${what}`, `  ours   ${ours}`, `  server ${theirs}`]),
    `again: ${[replayCommand(failure.workload, steps), ...flags].join(' ')}`,
  ].join('\n');
}

function replayCommand({ seed, operations, ddl, large }: WorkloadOptions, steps: readonly number[]): string {
  const flags = [...(ddl ? [] : ['--no-ddl']), ...(large ? [] : ['--no-large'])];
  return [
    'npm run equality --',
    `--replay ${seed} --operations ${operations}`,
    ...flags,
    `--steps ${ranges(steps)}`,
  ].join(' ');
}

export function summary({ operations, events, steps, refused, kinds }: CampaignResult): string {
  const each = [...kinds].toSorted(([, a], [, b]) => b - a).map(([kind, count]) => `${kind} ${count}`);
  return `${operations} operations in ${steps} steps (${refused} refused), ${events} events compared: ${each.join(', ')}`;
}

/** 1,2,3,7 → "1-3,7" */
function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let k = 0; k < numbers.length; k += 1) {
    const from = numbers[k]!;
    let to = from;
    while (numbers[k + 1] === to + 1) {
      to += 1;
      k += 1;
    }
    parts.push(from === to ? `${from}` : `${from}-${to}`);
  }
  return parts.join(',');
}

export function numbersOf(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from = 0, to = from] = part.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, k) => from + k);
  });
}

function inWords(step: unknown): string {
  const text = inspect(step, { depth: 14, breakLength: 200, compact: 20 });
  return text.length > STEP_TEXT ? `${text.slice(0, STEP_TEXT)} …` : text;
}
