/**
 * What is fuzzed: something of ours that takes bytes or text from outside. A round makes some cases from a seed and throws where one of
 * them ends in another way than is documented, so that a seed, a target's name and a round's number are all it takes to see a finding again.
 */
import type { Random } from '../worker/damage.ts';

export interface Round {
  readonly random: Random;
  /** For generators with seeds of their own. */
  readonly seed: number;
}

export interface Opened extends AsyncDisposable {
  /** Answers how many cases it was. */
  round(round: Round): number | Promise<number>;
}

export interface Target {
  readonly name: string;
  /** Of all cases, in parts of 100. */
  readonly share: number;
  open(): Promise<Opened>;
}

/** One that needs nothing but memory. */
export function pure(name: string, share: number, round: Opened['round']): Target {
  return { name, share, open: async () => ({ round, [Symbol.asyncDispose]: async () => {} }) };
}

/** Runs `work`, which may throw only what `expected` knows. */
export function mayThrow<T>(work: () => T, expected: (error: Error) => boolean): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && expected(error)) return undefined;
    throw error;
  }
}
