/** JSON lines on stderr. `error`: someone must act or data was lost; `warn`: it mends itself; `info`: a change of state. */
import { destination, pino } from 'pino';
import type { Logger } from 'pino';

export type Log = Pick<Logger, 'error' | 'warn' | 'info' | 'debug'>;

/** `fatal`: why a run ends. */
export function createLog(level: string): Log & Pick<Logger, 'fatal'> {
  // The level by its name: whoever alerts on `error` should not have to know that it is 50.
  const formatters = { level: (label: string) => ({ level: label }) };
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters },
    destination({ dest: 2, sync: true }),
  );
}
