/**
 * What a torture case is: a known history, written while one thing of production breaks, and what came of it. The same case
 * runs in two sizes: short, as a test among the others, and long, many times over, in `npm run torture`.
 */
import type { Arena } from './arena.ts';

/** Where the fault strikes. */
export type End = 'engine' | 'MongoDB' | 'RabbitMQ' | 'network' | 'data';

export interface TortureCase {
  readonly end: End;
  /** What breaks, as a line of the table of results; unique within its end. */
  readonly name: string;
  /** The server whose other versions the long run tries too. */
  readonly versionsOf?: 'MongoDB' | 'RabbitMQ';
  /** Throws where a promise was broken, and `CannotRun` where this machine cannot show it. */
  readonly run: (arena: Arena) => Promise<Outcome>;
}

export interface Outcome {
  /** Written, each of them searched for in the queue. */
  readonly changes: number;
  readonly lost: number;
  /** Deliveries that broke the order which is promised under this fault. */
  readonly outOfOrder: number;
  /** Deliveries beyond the first. */
  readonly repeated: number;
  /** Longest time in which nothing was confirmed while writes went on; undefined where there were none. */
  readonly stallMs?: number | undefined;
  /** From the end of the fault to the next confirmed message, the longest of all times; undefined where nothing stopped. */
  readonly recoveryMs?: number | undefined;
  readonly peakRssMiB: number;
  /** How often the fault struck. */
  readonly faults: number;
}

/** This machine lacks what the case needs: said, and no failure. */
export class CannotRun extends Error {
  override readonly name = 'CannotRun';
}
