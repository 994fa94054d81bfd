/** `tailrace run`: the engine over a configuration file, until it is told to stop. */
import { setFlagsFromString } from 'node:v8';
import { createEngine } from '../library/engine.ts';
import { createLog } from '../observe/log.ts';
import type { Log } from '../observe/log.ts';
import { stopOnSignals } from './signals.ts';

export interface RunOptions {
  readonly config: string;
  readonly repartition: boolean;
  readonly failFast: boolean;
}

/**
 * What passes through main is outside V8's heap and dies young, yet V8 counts it against a heap of some 25 MB that it lets grow
 * by a tenth or two: a full collection five times a second, for nothing. Twofold, they become rare (bench `end-to-end`: a
 * quarter of the engine's CPU an event). Only here, as it holds for the whole process: a library leaves V8 to its program.
 */
const COLLECT_AT = '--heap-growing-percent=100';

/** Returns the exit code; throws `UserError` for what only the user can mend. */
export async function run({ config, repartition, failFast }: RunOptions): Promise<number> {
  setFlagsFromString(COLLECT_AT);
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
