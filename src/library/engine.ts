/**
 * An engine with all that belongs to it (data folder, its lock, HTTP), for the `run` command and for programs that start and stop one
 * themselves. It touches neither signals nor the process's exit code, and writes nothing but to the log it is given.
 */
import { resolve } from 'node:path';
import { removeStores, unmakeFolder } from '../checkpoint/data-folder.ts';
import { makeUsable } from '../checkpoint/usable-folder.ts';
import { lockFolder } from '../checkpoint/folder-lock.ts';
import { StateStore } from '../states/state-store.ts';
import { keepingStates } from '../states/keeping.ts';
import { ParkingStore } from '../checkpoint/parking.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { loadFile, readValues } from '../config/load.ts';
import type { Config } from '../config/config.ts';
import type { Engine } from '../engine.ts';
import type { ExitCode } from '../feed/feed-groups.ts';
import type { PositionLostError } from '../errors.ts';
import { liveness, readiness } from '../observe/health.ts';
import type { HealthFacts } from '../observe/health.ts';
import { startHttp } from '../observe/http.ts';
import type { HttpServer } from '../observe/http.ts';
import type { Stores } from '../feed/route.ts';
import type { Log } from '../observe/log.ts';
import type { ParkedWork } from '../replay/parked-work.ts';
import type { StatusReport } from '../observe/status.ts';
import { VERSION } from '../version.ts';
import { Management } from './management.ts';
import { noLog } from './no-log.ts';

export interface CreateEngineOptions {
  /** The path of a `tailrace.yaml`, or what such a file holds; paths in it are then relative to the working directory. */
  readonly config: string | object;
  /** For `${NAME}`; the process's own by default. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** A pino logger, for example, or what makes one for the configured level; nothing is logged by default. */
  readonly log?: Log | ((level: Config['log']['level']) => Log);
  readonly repartition?: boolean;
  readonly failFast?: boolean;
}

/** Throws `UserError` for what only the user can mend. The data folder is locked until `run` has ended, or `close`. */
export async function createEngine(options: CreateEngineOptions): Promise<EmbeddedEngine> {
  const { env = process.env, repartition = false, failFast = false } = options;
  const loaded =
    typeof options.config === 'string'
      ? await loadFile(options.config, env)
      : await readValues(options.config, { env });
  const { config: file } = loaded;
  const log = typeof options.log === 'function' ? options.log(file.log.level) : (options.log ?? noLog);
  const { path } = file.checkpoint;
  const outermost = await makeUsable(path);
  let isUsed = (): boolean => false;
  let unused = false;
  const opened: AsyncDisposable[] = [];
  const close = async (): Promise<void> => {
    unused = outermost !== undefined && !isUsed();
    for (const one of opened.toReversed()) await one[Symbol.asyncDispose]();
    if (outermost !== undefined && unused) await unmakeFolder(path, outermost);
  };
  try {
    opened.push(await lockFolder(path, typeof options.config === 'string' ? resolve(options.config) : ''));
    // A start that came to nothing leaves nothing behind; while the lock is held, since the next one may be waiting for it.
    opened.push({ [Symbol.asyncDispose]: async () => (unused ? removeStores(path) : undefined) });
    // Another process looks at the stores first: meanwhile the drivers are loaded, which takes longest of all (bench `restart`).
    const loading = import('../engine.ts');
    loading.catch(() => undefined);
    const checkpoints = await CheckpointStore.open({ path, log });
    opened.push(checkpoints);
    const { management, config, starts } = await Management.open({ loaded, env, checkpoints, log });
    warnOfOrphans(config, checkpoints, log);
    const parking = await ParkingStore.open({ path, maxBytes: config.parked.maxBytes, log });
    opened.push(parking);
    isUsed = () =>
      checkpoints.all().length + checkpoints.gaps().length + parking.totalBytes > 0 ||
      checkpoints.definitions.all.length > 1;
    const states = new StateStore({ path, log });
    opened.push(states);
    await states.keepOnly(() => keepingStates(config));
    const stores = { checkpoints, parking, states };
    const { Engine } = await loading;
    const engine = new Engine({ config, starts, stores, log, version: VERSION, repartition, failFast });
    management.attach(engine);
    return new EmbeddedEngine({ engine, config: file, management, log, stores, close });
  } catch (error) {
    await close();
    throw error;
  }
}

interface Parts {
  readonly engine: Engine;
  /** The file's: what is not managed. */
  readonly config: Config;
  readonly management: Management;
  readonly log: Log;
  readonly stores: Stores & { readonly checkpoints: CheckpointStore; readonly parking: ParkingStore };
  /** Lets go of the data folder. */
  readonly close: () => Promise<void>;
}

export class EmbeddedEngine {
  readonly #parts: Parts;
  readonly #stop = new AbortController();
  #running: Promise<ExitCode> | undefined;
  #closed: Promise<void> | undefined;

  /** Made by `createEngine`. */
  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Runs until `stop` (or `signal`) ends it, once: 0; or until no source is left, because positions were lost: 3. Everything
   * is closed when it settles.
   */
  async run(signal?: AbortSignal): Promise<ExitCode> {
    if (this.#running || this.#closed) throw new Error('an engine runs once: create another one');
    this.#running = this.#run(signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal);
    return this.#running;
  }

  /** Waits for what is under way, at most `shutdownTimeout`, and closes everything. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running?.catch(() => {});
    await this.#close();
  }

  /** Whether a subscription prints its events. */
  get writesToStdout(): boolean {
    return this.#parts.engine.config.subscriptions.some(({ to }) => to.kind === 'stdout');
  }

  /** Why a source was given up, the first of them; undefined while none was. */
  get lost(): PositionLostError | undefined {
    return this.#parts.engine.lost;
  }

  /** What `GET /status` says. */
  status(): StatusReport {
    return this.#parts.engine.status();
  }

  health(): HealthFacts {
    return this.#parts.engine.health();
  }

  /** What `GET /metrics` says. */
  async metrics(): Promise<string> {
    return this.#parts.engine.metrics.text();
  }

  async #run(stop: AbortSignal): Promise<ExitCode> {
    const { engine, config, management, log, stores } = this.#parts;
    let parkedWork: ParkedWork | undefined;
    const handlers = {
      metrics: engine.metrics,
      liveness: () => liveness(engine.health(), performance.now()),
      readiness: () => readiness(engine.health(), performance.now()),
      status: () => engine.status(),
      api: async () => {
        const [{ createApi }, { ParkedWork }] = await Promise.all([
          import('../api/app.ts'),
          import('../replay/parked-work.ts'),
        ]);
        parkedWork ??= new ParkedWork({
          config: () => engine.config,
          store: stores.parking,
          streamPort: (subscription) => engine.streamPort(subscription),
        });
        return createApi(
          {
            get config() {
              return engine.config;
            },
            management,
            status: handlers.status,
            readiness: handlers.readiness,
            liveness: handlers.liveness,
            pause: async (name) => engine.pause(name),
            resume: async (name) => engine.resume(name),
            move: async (name, planned) => engine.move(name, { planned, checkpoints: stores.checkpoints }),
            addSnapshot: async (name, asked) => engine.snapshots.add(name, asked),
            setSnapshot: async (name, run, state) => engine.snapshots.set(name, run, state),
            parkedWork,
            watchers: engine.watchers,
            ...stores,
          },
          log,
        );
      },
    };
    let http: HttpServer | undefined;
    try {
      const eager = config.management === 'online';
      if (config.http) http = await startHttp({ ...config.http, handlers, eager, log });
      const exitCode = await engine.run(stop);
      log.info({ exitCode }, 'Stopped.');
      return exitCode;
    } finally {
      await parkedWork?.[Symbol.asyncDispose]();
      await engine.close();
      await http?.close();
      await this.#close();
    }
  }

  #close(): Promise<void> {
    this.#closed ??= this.#parts.close();
    return this.#closed;
  }
}

/** A subscription that was renamed begins anew, and what lies between is not delivered: it must not go unsaid. */
function warnOfOrphans(config: Config, checkpoints: CheckpointStore, log: Log): void {
  const names = new Set(config.subscriptions.map(({ name }) => name));
  const orphans = checkpoints.all().filter(({ subscription }) => !names.has(subscription));
  const fresh = config.subscriptions.filter(({ name }) => !checkpoints.get(name));
  if (orphans.length === 0 || fresh.length === 0) return;
  log.warn(
    {
      code: 'subscription-renamed',
      withoutSubscription: orphans.map(({ subscription }) => subscription),
      new: fresh.map(({ name }) => name),
    },
    'There are checkpoints of subscriptions that are not configured, and subscriptions without one, which begin at `start`. ' +
      'Was one renamed? Then give it its old name: under the new one, what was written in between is not delivered.',
  );
}
