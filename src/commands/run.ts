/** `tailrace run`: the engine over a configuration file, until it is told to stop. */
import { isatty } from 'node:tty';
import { setFlagsFromString } from 'node:v8';
import { PositionLostError, UserError } from '../errors.ts';
import { createEngine } from '../library/engine.ts';
import { createLog } from '../observe/log.ts';
import type { Log } from '../observe/log.ts';
import { terminalLog } from '../terminal/terminal-log.ts';
import type { TerminalLog } from '../terminal/terminal-log.ts';
import { tellServiceManager } from './service-manager.ts';
import { stopOnSignals } from './signals.ts';

const STDOUT = 1;

export interface RunOptions {
  readonly config: string;
  readonly repartition: boolean;
  readonly failFast: boolean;
  /** The log, at a terminal too. */
  readonly json: boolean;
  /** At a terminal: how it is going, below the log. */
  readonly live: boolean;
  /** Of a run that failed. */
  readonly exitCodeOf: (error: unknown) => number;
}

/**
 * What passes through main is outside V8's heap and dies young, yet V8 counts it against a heap of some 25 MB that it lets grow
 * by a tenth or two: a full collection five times a second, for nothing. Twofold, they become rare (bench `end-to-end`: a
 * quarter of the engine's CPU an event). Only here, as it holds for the whole process: a library leaves V8 to its program.
 */
const COLLECT_AT = '--heap-growing-percent=100';

/**
 * Returns the exit code. Why a run failed is a line of its log like any other, so that whoever collects the lines has it too:
 * level `fatal`, with its `code`.
 */
export async function run({ exitCodeOf, json, live, ...options }: RunOptions): Promise<number> {
  const terminal = terminalLog({ json, live });
  try {
    return await runEngine(options, terminal);
  } catch (error) {
    const exitCode = exitCodeOf(error);
    const log = createLog('info', terminal);
    if (error instanceof UserError) log.fatal({ code: error.code, exitCode }, error.message);
    else if (error instanceof PositionLostError)
      log.fatal({ code: `position-${error.reason}`, exitCode }, error.message);
    // What nobody foresaw comes with its stack, for the one who has to find it.
    else log.fatal({ code: 'unexpected', exitCode, err: error }, 'The engine failed.');
    return exitCode;
  }
}

async function runEngine(
  { config, repartition, failFast }: Pick<RunOptions, 'config' | 'repartition' | 'failFast'>,
  terminal: TerminalLog,
): Promise<number> {
  setFlagsFromString(COLLECT_AT);
  let heard: (ReturnType<typeof stopOnSignals> & { readonly log: Log }) | undefined;
  // From here on signals are heard: whatever is being opened is closed again.
  const log = (level: string): Log => {
    const made = createLog(level, terminal);
    heard = { ...stopOnSignals(made), log: made };
    return made;
  };
  try {
    const engine = await createEngine({ config, log, repartition, failFast });
    await using _manager = heard && tellServiceManager({ engine, ...heard });
    // Not between events that are printed there.
    await using _live = engine.writesToStdout && isatty(STDOUT) ? undefined : terminal.showLive?.(engine);
    const exitCode = await engine.run(heard?.stop);
    // A run that failed by itself says why in its last line, as one that could not start does.
    if (exitCode !== 0 && engine.lost) throw engine.lost;
    return exitCode;
  } finally {
    heard?.[Symbol.dispose]();
  }
}
