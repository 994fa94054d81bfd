/** `tailrace tail URI`: the same engine, to standard output, with nothing kept between runs. */
import { keepSecrets } from '../config/known-secrets.ts';
import { tailConfig } from '../config/tail-config.ts';
import type { TailOptions } from '../config/tail-config.ts';
import { Engine } from '../engine.ts';
import { nothingKept } from '../feed/nothing-kept.ts';
import { createLog } from '../observe/log.ts';
import { terminalLog } from '../terminal/terminal-log.ts';
import { VERSION } from '../version.ts';
import { stopOnSignals } from './signals.ts';

export async function tail(options: TailOptions): Promise<number> {
  const config = tailConfig(options);
  keepSecrets(config);
  const log = createLog(config.log.level, terminalLog());
  using signals = stopOnSignals(log);
  // Whoever reads us may stop reading (`| head`): nothing is wrong then.
  const closed = new AbortController();
  process.stdout.on('error', (error: NodeJS.ErrnoException) => error.code === 'EPIPE' && closed.abort());
  const engine = new Engine({ config, stores: nothingKept, log, version: VERSION });
  return await engine.run(AbortSignal.any([signals.stop, closed.signal]));
}
