/**
 * JSON lines on stderr. `error`: someone must act or data was lost; `warn`: it mends itself; `info`: a change of state.
 * Invariant: a log that cannot be written ends nothing; what there is room for is written once it can be again.
 */
import { destination, pino } from 'pino';
import { withoutKnownSecrets } from '../config/known-secrets.ts';
import type { Logger } from 'pino';

export type Log = Pick<Logger, 'error' | 'warn' | 'info' | 'debug'>;

/** Lines that wait for a full disk; later ones are dropped. */
const MOST_WAITING = 10_000;

/** `fatal`: why a run ends. */
export function createLog(level: string): Log & Pick<Logger, 'fatal'> {
  // The level by its name: whoever alerts on `error` should not have to know that it is 50.
  const formatters = { level: (label: string) => ({ level: label }) };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters }, patientStderr());
}

/** Unheard, an error of it would end the process: deliveries would stop for a disk that only the log is on. */
function patientStderr(): { write(line: string): void } {
  const stderr = destination({ dest: 2, sync: true });
  let waiting = 0;
  let failing = false;
  stderr.on('error', () => (failing = true));
  stderr.on('drain', () => (failing = false));
  return {
    write(line) {
      waiting = failing ? waiting + 1 : 0;
      // Writing nothing tries again what waits.
      stderr.write(waiting > MOST_WAITING ? '' : withoutKnownSecrets(line));
    },
  };
}
