/** SIGTERM and SIGINT: the first asks for a clean stop, the second ends the process at once. */
import type { Log } from '../observe/log.ts';

const ENDED_BY_SIGNAL = 130;

export function stopOnSignals(log: Log): { readonly stop: AbortSignal } & Disposable {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(ENDED_BY_SIGNAL);
    log.info({ signal }, 'Stopping: waiting for what is under way; a second signal ends at once.');
    stop.abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return {
    stop: stop.signal,
    [Symbol.dispose]() {
      process.off('SIGTERM', onSignal);
      process.off('SIGINT', onSignal);
    },
  };
}
