/**
 * JSON lines on stderr, levelled by consequence. `fatal`: the process ends. `error`: somebody must act, or something was lost or set
 * aside. `warn`: something is held up or repeated, and mends itself. `info`: a change of state. `debug`: nothing to know.
 * From `warn` on a line has a `code`, which has a page in docs/errors.
 * Invariant: a log that cannot be written ends nothing; what there is room for is written once it can be again.
 */
import { destination, pino } from 'pino';
import { withoutKnownSecrets } from '../config/known-secrets.ts';
import type { Logger } from 'pino';
import type { Code } from '../codes.ts';

/** The fields of a line that somebody may have to look up. */
export interface Coded {
  readonly code: Code;
  readonly [field: string]: unknown;
}

type LogCoded = (fields: Coded, message: string) => void;

export interface Log extends Pick<Logger, 'info' | 'debug'> {
  readonly error: LogCoded;
  readonly warn: LogCoded;
}

/** Lines that wait for a full disk; later ones are dropped. */
const MOST_WAITING = 10_000;

/** Takes whole lines. */
export interface LogOutput {
  write(line: string): void;
}

/** `fatal`: why a run ends. */
export function createLog(level: string, output: LogOutput = stderrLines()): Log & { readonly fatal: LogCoded } {
  // The level by its name: whoever alerts on `error` should not have to know that it is 50.
  const formatters = { level: (label: string) => ({ level: label }) };
  const safe = { write: (line: string) => output.write(withoutKnownSecrets(line)) };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters }, safe);
}

/** Unheard, an error of it would end the process: deliveries would stop for a disk that only the log is on. */
export function stderrLines(): LogOutput {
  const stderr = destination({ dest: 2, sync: true });
  let waiting = 0;
  let failing = false;
  stderr.on('error', () => (failing = true));
  stderr.on('drain', () => (failing = false));
  return {
    write(line) {
      waiting = failing ? waiting + 1 : 0;
      // Writing nothing tries again what waits.
      stderr.write(waiting > MOST_WAITING ? '' : line);
    },
  };
}
