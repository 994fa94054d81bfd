/** `tailrace tail URI`: the same engine, to standard output, with nothing kept between runs. */
import { keepSecrets } from '../config/known-secrets.ts';
import { tailConfig } from '../config/tail-config.ts';
import type { TailOptions } from '../config/tail-config.ts';
import { Engine } from '../engine.ts';
import { UserError } from '../errors.ts';
import type { PositionLostError } from '../errors.ts';
import { nothingKept } from '../feed/nothing-kept.ts';
import { createLog } from '../observe/log.ts';
import { terminalLog } from '../terminal/terminal-log.ts';
import { VERSION } from '../version.ts';
import { withTime } from '../check/positions.ts';
import { stopOnSignals } from './signals.ts';

export async function tail(options: TailOptions): Promise<number> {
  const config = tailConfig(options);
  keepSecrets(config);
  // Whoever reads us may stop reading (`| head`): nothing is wrong then, and what comes of it is not told.
  const closed = new AbortController();
  const lines = terminalLog();
  const log = createLog(config.log.level, {
    write: (line) => {
      if (!closed.signal.aborted) lines.write(line);
    },
  });
  using signals = stopOnSignals(log);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => error.code === 'EPIPE' && closed.abort());
  const engine = new Engine({ config, stores: nothingKept, log, version: VERSION, adviceOnLoss });
  try {
    return await engine.run(AbortSignal.any([signals.stop, closed.signal]));
  } catch (error) {
    // There is no configuration with a `start` in it.
    if (!(error instanceof UserError) || error.code !== 'start-in-future') throw error;
    const { start } = config.sources[0]!;
    throw new UserError(
      error.code,
      `--from ${start.kind === 'from' ? start.written : start.kind}: that lies behind the newest entry of the oplog. With \`--from latest\`, the default, what is written from now on is printed.`,
      { cause: error },
    );
  }
}

/** Nothing is kept between runs, so there is no policy either: whoever asked may ask for something else. */
function adviceOnLoss({ position, oldest, reason }: PositionLostError): string {
  const at = withTime(position.ts);
  const from = oldest ? `--from earliest (${withTime(oldest.ts)}) or --from latest` : '--from latest';
  switch (reason) {
    case 'truncated':
      return `${at} is not in the oplog any more: what was written before its oldest entry is gone. Go on with ${from}.`;
    case 'diverged':
      return `The entry at ${at} is not in this server's history: it was rolled back, or the data was restored. Go on with ${from}.`;
    case 'transaction':
      return `A transaction began at ${at}, which is not in the oplog any more: its operations are gone. Go on with ${from}.`;
  }
}
