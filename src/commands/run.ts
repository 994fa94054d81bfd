/** `tailrace run`: the engine over a configuration file, until it is told to stop. */
import { createEngine } from '../library/engine.ts';
import { createLog } from '../observe/log.ts';
import type { Log } from '../observe/log.ts';
import { stopOnSignals } from './signals.ts';

export interface RunOptions {
  readonly config: string;
  readonly repartition: boolean;
  readonly failFast: boolean;
}

/** Returns the exit code; throws `UserError` for what only the user can mend. */
export async function run({ config, repartition, failFast }: RunOptions): Promise<number> {
  let signals: ReturnType<typeof stopOnSignals> | undefined;
  // From here on signals are heard: whatever is being opened is closed again.
  const log = (level: string): Log => {
    const made = createLog(level);
    signals = stopOnSignals(made);
    return made;
  };
  try {
    const engine = await createEngine({ config, log, repartition, failFast });
    return await engine.run(signals?.stop);
  } finally {
    signals?.[Symbol.dispose]();
  }
}
