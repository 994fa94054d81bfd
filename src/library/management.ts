/**
 * Who says what sources, sinks and subscriptions there are. With `management: file` the file does, at every start. With `online` it
 * does so the first time; from then on they are changed in the running engine, version by version, and the file is what
 * `tailrace apply` makes of them again. All other settings are always the file's.
 * Invariant: the newest version in the store is what the engine runs with, or will after a kill.
 */
import { ConfigError, formatPath } from '../config/faults.ts';
import {
  definitionsOf,
  differences,
  fileOf,
  has,
  hiddenIn,
  PLACE,
  withNames,
  withOne,
  withSecrets,
} from '../config/definitions.ts';
import { withDefinitions } from '../config/load.ts';
import { HIDDEN } from '../config/redact.ts';
import { parseStart, START_EXPECTED } from '../config/start.ts';
import { NotNowError, UserError } from '../errors.ts';
import { InTurn } from '../in-turn.ts';
import type { DefinitionVersion } from '../checkpoint/definitions.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { Config, Start } from '../config/config.ts';
import type { Definitions, Difference, Kind } from '../config/definitions.ts';
import type { Fault, Path } from '../config/faults.ts';
import type { Environment, Loaded } from '../config/load.ts';
import type { Engine } from '../engine.ts';
import type { Log } from '../observe/log.ts';

export interface ManagementOptions {
  /** The file. */
  readonly loaded: Loaded;
  readonly env: Environment;
  readonly checkpoints: CheckpointStore;
  readonly log: Log;
}

/** Why, and by whom. */
export interface Occasion {
  readonly by: string;
  readonly cause: DefinitionVersion['cause'];
  readonly from?: number;
  /** By subscription, as it is written in a file. */
  readonly starts?: Readonly<Record<string, string>>;
}

/** What one definition has that it should not, with paths inside it. */
export type DefinitionFault = Pick<Fault, 'path' | 'found' | 'expected'>;

export interface Opened {
  readonly management: Management;
  /** What the engine is to run with. */
  readonly config: Config;
  /** By subscription: where it begins, unless it has a checkpoint by now. */
  readonly starts: ReadonlyMap<string, Start>;
}

export class Management {
  readonly #o: ManagementOptions;
  #definitions: Definitions;
  #engine: Pick<Engine, 'change'> | undefined;
  /** Each is made of what the one before it left. */
  readonly #changes = new InTurn();

  /** Throws `UserError`. */
  static async open(options: ManagementOptions): Promise<Opened> {
    const { loaded, checkpoints, log } = options;
    const ofFile = definitionsIn(loaded);
    const management = new Management(options, ofFile);
    if (loaded.config.management === 'file') return { management, config: loaded.config, starts: new Map() };
    const { latest } = checkpoints.definitions;
    if (!latest) {
      await checkpoints.definitions.add({
        at: Date.now(),
        by: 'tailrace run',
        cause: 'file',
        changes: [],
        definitions: ofFile,
      });
      return { management, config: loaded.config, starts: new Map() };
    }
    const { definitions, config, starts, differing } = await standing(latest, options);
    if (differing.length > 0) {
      log.info(
        { version: latest.number, differing: differing.map(textOf) },
        'Sources, sinks and subscriptions are managed online, and the file has others: `tailrace plan` shows them, `tailrace apply` takes them.',
      );
    }
    management.#definitions = definitions;
    return { management, config, starts };
  }

  private constructor(options: ManagementOptions, definitions: Definitions) {
    this.#o = options;
    this.#definitions = definitions;
  }

  get mode(): Config['management'] {
    return this.#o.loaded.config.management;
  }

  /** Whose they are now. Secrets that are written in them are not hidden. */
  get definitions(): Definitions {
    return this.#definitions;
  }

  /** Undefined where the file holds. */
  get version(): DefinitionVersion | undefined {
    return this.mode === 'online' ? this.#o.checkpoints.definitions.latest : undefined;
  }

  /** Oldest first. */
  get versions(): readonly DefinitionVersion[] {
    return this.#o.checkpoints.definitions.all;
  }

  attach(engine: Pick<Engine, 'change'>): void {
    this.#engine = engine;
  }

  /** What a change to these would do. Throws `UserError`. */
  async plan(wanted: Definitions): Promise<Difference[]> {
    const { definitions } = await whole(this.#withSecrets(wanted), this.#o);
    return differences(this.#definitions, definitions);
  }

  /** What is wrong with one, were it so. */
  async check(kind: Kind, name: string, value: unknown): Promise<readonly DefinitionFault[]> {
    const wanted = withOne(this.#definitions, kind, name, value);
    try {
      await this.configOf(wanted);
      return [];
    } catch (error) {
      if (error instanceof ConfigError) return faultsOf(error, wanted, kind, name);
      if (error instanceof UserError) return [{ path: [], found: undefined, expected: error.message }];
      throw error;
    }
  }

  /** What the engine would run with, were these all there is. Throws `ConfigError`. */
  async configOf(definitions: Definitions): Promise<Config> {
    return (await whole(definitions, this.#o)).config;
  }

  has(kind: Kind, name: string): boolean {
    return has(this.#definitions, kind, name);
  }

  /** `undefined`: it is removed. Throws as `apply`. */
  async set(
    kind: Kind,
    name: string,
    value: unknown,
    occasion: Omit<Occasion, 'cause'>,
  ): Promise<readonly Difference[]> {
    return await this.#changes.run(async () => {
      const wanted = withOne(this.#definitions, kind, name, value);
      return await this.#apply(wanted, { ...occasion, cause: 'change' });
    });
  }

  /** Throws `UserError`, `NotNowError` and `PositionLostError`; all is as it was then. */
  async apply(wanted: Definitions, occasion: Occasion): Promise<readonly Difference[]> {
    return await this.#changes.run(async () => this.#apply(wanted, occasion));
  }

  async #apply(wanted: Definitions, { starts = {}, ...occasion }: Occasion): Promise<readonly Difference[]> {
    if (this.mode === 'file') throw managedByFile();
    const engine = this.#engine;
    if (!engine) throw new NotNowError('The engine is not running yet.');
    const before = this.#definitions;
    const { definitions, config: to } = await whole(this.#withSecrets(wanted), this.#o);
    const changes = differences(before, definitions);
    if (changes.length === 0 && Object.keys(starts).length === 0) return changes;
    const { checkpoints, log } = this.#o;
    let number: number | undefined;
    await engine.change({
      to,
      checkpoints,
      starts: startsOf(starts),
      keep: async () => {
        number = await checkpoints.definitions.add({ at: Date.now(), ...occasion, starts, changes, definitions });
        this.#definitions = definitions;
      },
      takeBack: async () => {
        this.#definitions = before;
        if (number !== undefined) await checkpoints.definitions.takeBack(number);
      },
    });
    log.info({ version: number, by: occasion.by, changes: changes.map(textOf) }, 'Definitions changed.');
    return changes;
  }

  #withSecrets({ sources, sinks, subscriptions }: Definitions): Definitions {
    const now = this.#definitions;
    const each = (wanted: Readonly<Record<string, unknown>>, before: Readonly<Record<string, unknown>>) =>
      Object.fromEntries(Object.entries(wanted).map(([name, one]) => [name, withSecrets(one, before[name])]));
    return {
      sources: each(sources, now.sources),
      sinks: each(sinks, now.sinks),
      subscriptions: each(subscriptions, now.subscriptions),
    };
  }
}

/** What an engine runs with by the version that is the newest. */
export interface Standing {
  readonly definitions: Definitions;
  readonly config: Config;
  /** By subscription: where it begins, unless it has a checkpoint by now. */
  readonly starts: ReadonlyMap<string, Start>;
  /** What the file would change. */
  readonly differing: readonly Difference[];
}

type Beside = Pick<ManagementOptions, 'loaded' | 'env'>;

/** Throws `UserError`, as a start would. */
export async function standing(latest: DefinitionVersion, beside: Beside): Promise<Standing> {
  const { definitions, config } = await whole(latest.definitions, beside);
  const differing = differences(definitions, definitionsIn(beside.loaded));
  return { definitions, config, starts: startsOf(latest.starts), differing };
}

/** With everything that may be left out, and what the engine would run with. Throws `ConfigError`. */
async function whole(written: Definitions, { loaded, env }: Beside): Promise<Pick<Standing, 'definitions' | 'config'>> {
  const { sources, sinks, subscriptions } = fileOf({}, written);
  const hidden = hiddenIn({ sources, sinks, subscriptions });
  if (hidden) throw hiddenFault(hidden);
  const config = await withDefinitions(loaded, written, env);
  return { definitions: withNames(written, config.subscriptions), config };
}

/** Those of a file. */
export function definitionsIn({ written, config }: Loaded): Definitions {
  return definitionsOf(written, config.subscriptions);
}

export function textOf({ kind, name, change, settings }: Difference): string {
  const which = settings.length === 0 ? '' : ` (${settings.join(', ')})`;
  return `${kind} ${name} ${change}${which}`;
}

export function managedByFile(): UserError {
  return new UserError(
    'managed-by-file',
    'Sources, sinks and subscriptions are managed in the file: change it there, and start again; or let them be changed in a running ' +
      'engine, with `management: online` (docs/managing.md).',
  );
}

function hiddenFault(path: Path): ConfigError {
  const expected = `a value: what is shown as ${HIDDEN} stands for a secret only where it was`;
  const found = HIDDEN;
  const at = undefined;
  return new ConfigError(`${formatPath(path)}: found ${found}; expected ${expected}`, [{ path, at, found, expected }]);
}

function startsOf(written: Readonly<Record<string, string>> = {}): ReadonlyMap<string, Start> {
  return new Map(Object.entries(written).map(([name, start]) => [name, startOf(name, start)]));
}

function startOf(subscription: string, written: string): Start {
  const start = parseStart(written);
  if (start) return start;
  throw new UserError(
    'usage',
    `subscription "${subscription}": start ${JSON.stringify(written)}: expected ${START_EXPECTED}`,
  );
}

/** Those of others too: where a name is missing, the fault is at whoever names it. */
export function faultsOf(
  { faults }: ConfigError,
  definitions: Definitions,
  kind: Kind,
  name: string,
): DefinitionFault[] {
  const at = kind === 'subscription' ? Object.keys(definitions.subscriptions).indexOf(name) : name;
  return faults.map(({ path, found, expected }) => {
    const isOwn = path[0] === PLACE[kind] && path[1] === at;
    const rest: Path = isOwn ? path.slice(2) : path;
    return { path: rest, found, expected };
  });
}
