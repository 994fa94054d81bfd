/** The data folder of a stopped engine, for commands that change it: locked while they do, so that none can start meanwhile. */
import { lockFolder } from '../checkpoint/folder-lock.ts';
import { environmentExists, PARKED } from '../checkpoint/data-folder.ts';
import { ParkingStore } from '../checkpoint/parking.ts';
import type { FoundParked, ParkedName } from '../checkpoint/parking.ts';
import type { ParkedFilter } from '../checkpoint/parked-filter.ts';
import type { ParkedKey } from '../checkpoint/parked-key.ts';
import { readParked } from '../checkpoint/read-only.ts';
import { probeStores } from '../checkpoint/probe.ts';
import { UserError } from '../errors.ts';
import { noLog } from '../library/no-log.ts';
import type { Config } from '../config/config.ts';

/** Undefined where it is in use: an engine runs. */
export async function lockIfStopped(path: string): Promise<AsyncDisposable | undefined> {
  try {
    return await lockFolder(path);
  } catch (error) {
    if (isLocked(error)) return undefined;
    throw error;
  }
}

/** `running`: what does the same in a running engine. */
export async function lockStopped(path: string, command: string, running = ''): Promise<AsyncDisposable> {
  try {
    return await lockFolder(path);
  } catch (error) {
    if (!isLocked(error)) throw error;
    throw new UserError(
      'folder-locked',
      `\`tailrace ${command}\` works on a stopped engine: the data folder ${path} is in use. Stop the engine (SIGTERM), run the ` +
        `command, and start it again${running}.`,
      { cause: error },
    );
  }
}

/** What has to be known of one to ask for it. */
export interface ChosenParked extends ParkedName {
  readonly key: ParkedKey;
  readonly reason: string;
}

interface Chooses {
  chosen(filter: ParkedFilter): Promise<readonly ChosenParked[]>;
}

export type OpenParked = AsyncDisposable &
  Chooses &
  (
    | { readonly kind: 'stopped'; readonly store: ParkingStore }
    /** An engine has them open: it is the one to ask. */
    | { readonly kind: 'running' }
    /** There never were any. */
    | { readonly kind: 'none' }
  );

/** Parked events; of a stopped engine with the folder locked until this is disposed of. */
export async function openParked({
  checkpoint: { path },
  parked: { maxBytes },
}: Pick<Config, 'checkpoint' | 'parked'>): Promise<OpenParked> {
  if (!environmentExists(path, PARKED)) {
    return { kind: 'none', chosen: () => Promise.resolve([]), [Symbol.asyncDispose]: nothingToDispose };
  }
  const lock = await lockIfStopped(path);
  if (!lock) {
    const chosen = async (filter: ParkedFilter): Promise<readonly ChosenParked[]> =>
      (await readParked(path, filter, asChosen)).parked;
    return { kind: 'running', chosen, [Symbol.asyncDispose]: nothingToDispose };
  }
  try {
    await probeStores({ path, mode: 'write' });
    const store = await ParkingStore.open({ path, maxBytes, log: noLog });
    return {
      kind: 'stopped',
      store,
      chosen: (filter) => Promise.resolve([...store.list(filter)].map(asChosen)),
      async [Symbol.asyncDispose]() {
        try {
          await store.close();
        } finally {
          await lock[Symbol.asyncDispose]();
        }
      },
    };
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}

function asChosen({ key, summary: { subscription, id, reason, origin } }: FoundParked): ChosenParked {
  return { key, subscription, id, reason, origin };
}

function isLocked(error: unknown): boolean {
  return error instanceof UserError && error.code === 'folder-locked';
}

async function nothingToDispose(): Promise<void> {}
