/** `tailrace run`: the engine over a configuration file, until it is told to stop. */
import { access, constants, mkdir } from 'node:fs/promises';
import { lockFolder } from '../checkpoint/folder-lock.ts';
import { ParkingStore } from '../checkpoint/parking.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/config.ts';
import { UserError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
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
  await makeFolder(config.checkpoint.path);
  await using _lock = await lockFolder(config.checkpoint.path);
  await using checkpoints = await CheckpointStore.open({ path: config.checkpoint.path, log });
  warnOfOrphans(config, checkpoints, log);
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

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    await access(path, constants.W_OK);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(
      'folder-unusable',
      `the data folder cannot be used (${reason}). Give \`checkpoint.path\` a folder that this user may create and write to.`,
      { cause: error },
    );
  }
}

/** A subscription that was renamed begins anew, and what lies between is not delivered: it must not go unsaid. */
function warnOfOrphans(config: Config, checkpoints: CheckpointStore, log: Log): void {
  const names = new Set(config.subscriptions.map(({ name }) => name));
  const orphans = checkpoints.all().filter(({ subscription }) => !names.has(subscription));
  const fresh = config.subscriptions.filter(({ name }) => !checkpoints.get(name));
  if (orphans.length === 0 || fresh.length === 0) return;
  log.warn(
    { withoutSubscription: orphans.map(({ subscription }) => subscription), new: fresh.map(({ name }) => name) },
    'There are checkpoints of subscriptions that are not configured, and subscriptions without one, which begin at `start`. ' +
      'Was one renamed? Then give it its old name: under the new one, what was written in between is not delivered.',
  );
}

function handlersOf(engine: Engine): Parameters<typeof startHttp>[0]['handlers'] {
  return {
    metrics: engine.metrics,
    liveness: () => liveness(engine.health(), performance.now()),
    readiness: () => readiness(engine.health(), performance.now()),
    status: () => engine.status(),
  };
}
