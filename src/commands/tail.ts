/** `tailrace tail URI`: the same engine, to standard output, with nothing kept between runs. */
import { tailConfig } from '../config/tail-config.ts';
import type { TailOptions } from '../config/tail-config.ts';
import { Engine } from '../engine.ts';
import { createLog } from '../observe/log.ts';
import { VERSION } from '../version.ts';
import { stopOnSignals } from './signals.ts';

export async function tail(options: TailOptions): Promise<number> {
  const config = tailConfig(options);
  const log = createLog(config.log.level);
  using signals = stopOnSignals(log);
  // Whoever reads us may stop reading (`| head`): nothing is wrong then.
  const closed = new AbortController();
  process.stdout.on('error', (error: NodeJS.ErrnoException) => error.code === 'EPIPE' && closed.abort());
  const stores = {
    checkpoints: {
      get: () => undefined,
      put: async () => {},
      flushed: async () => {},
      addGap: async () => {},
      gaps: () => [],
    },
    // What cannot be shown is named on stderr by the engine's warning; there is no store to keep it in.
    parking: { put: async () => {}, full: false, totalBytes: 0, count: () => 0 },
  };
  const engine = new Engine({ config, stores, log, version: VERSION });
  return await engine.run(AbortSignal.any([signals.stop, closed.signal]));
}
