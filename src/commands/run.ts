/** `tailrace run`: the engine over a configuration file, until it is told to stop. */
import { lockFolder } from '../checkpoint/folder-lock.ts';
import { ParkingStore } from '../checkpoint/parking.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { loadConfig } from '../config/load.ts';
import { Engine } from '../engine.ts';
import { liveness, readiness } from '../observe/health.ts';
import { startHttp } from '../observe/http.ts';
import type { HttpServer } from '../observe/http.ts';
import { createLog } from '../observe/log.ts';
import { stopOnSignals } from './signals.ts';
import { VERSION } from '../version.ts';

export interface RunOptions {
  readonly config: string;
  readonly repartition: boolean;
  readonly failFast: boolean;
}

/** Returns the exit code; throws `UserError` for what only the user can mend. */
export async function run({ config: path, repartition, failFast }: RunOptions): Promise<number> {
  const config = await loadConfig(path, process.env);
  const log = createLog(config.log.level);
  using signals = stopOnSignals(log);
  await using _lock = await lockFolder(config.checkpoint.path);
  await using checkpoints = await CheckpointStore.open({ path: config.checkpoint.path, log });
  await using parking = await ParkingStore.open({
    path: config.checkpoint.path,
    maxBytes: config.parked.maxBytes,
    log,
  });
  const engine = new Engine({ config, stores: { checkpoints, parking }, log, version: VERSION, repartition, failFast });
  let http: HttpServer | undefined;
  try {
    if (config.http) http = await startHttp({ ...config.http, handlers: handlersOf(engine), log });
    const code = await engine.run(signals.stop);
    log.info({ code }, 'Stopped.');
    return code;
  } finally {
    await engine.close();
    await http?.close();
  }
}

function handlersOf(engine: Engine): Parameters<typeof startHttp>[0]['handlers'] {
  return {
    metrics: engine.metrics,
    liveness: () => liveness(engine.health(), performance.now()),
    readiness: () => readiness(engine.health(), performance.now()),
    status: () => engine.status(),
  };
}
