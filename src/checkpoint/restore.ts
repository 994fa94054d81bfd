/**
 * Rebuilds the checkpoints from their copy. Nothing is deleted: what is damaged is moved aside. The new store is complete under
 * another name before it takes the place of the old one, and a start in between finds a copy without a store, and refuses.
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.ts';
import { missingFrom, readCopy, syncFolder } from './copy.ts';
import type { CheckpointCopy } from './copy.ts';
import {
  CHECKPOINTS,
  COPY,
  DEFINITIONS,
  environmentExists,
  GAPS,
  inOneTransaction,
  openDatabase,
  openEnvironment,
  recentName,
  RECORDS,
} from './data-folder.ts';
import { environmentDamage } from './probe.ts';
import { readDurable } from './read-only.ts';
import { readRecent } from './recent.ts';
import { encodeCheckpoint, encodeDefinitions, encodeGap } from './record.ts';

export interface Restored {
  readonly copy: CheckpointCopy;
  /** What was wrong. */
  readonly damage: string;
  /** Names inside the folder. */
  readonly movedAside: readonly string[];
}

/** Without a dot, or lmdb would take it for a file. */
const RESTORING = 'restoring-checkpoints';

/** The folder's lock must be held. Undefined where the store is not damaged. Throws `UserError` where there is nothing to restore from. */
export async function restoreCheckpoints(path: string): Promise<Restored | undefined> {
  const there = environmentExists(path, CHECKPOINTS);
  const broken = there ? await environmentDamage(path, CHECKPOINTS) : undefined;
  const stored = there && broken === undefined ? await readDurable(path) : undefined;
  // Beside a sound store with something in it, a damaged copy is no reason to refuse: the next start writes it anew.
  const copy = await readCopy(path).catch((error: unknown) => {
    if (stored === undefined || stored.size === 0) throw error;
  });
  const damage = broken ?? (copy && (stored === undefined ? 'the store is not there' : emptiness(stored, copy)));
  if (damage === undefined) return undefined;
  if (copy === undefined) {
    throw new UserError(
      'store-damaged',
      `The checkpoints in ${join(path, CHECKPOINTS)} are damaged (${damage}), and there is no ${COPY} to restore them from. Restore ` +
        `the folder from a copy of your own; or move it away, and each subscription begins at its source's \`start\`.`,
    );
  }
  await rm(join(path, RESTORING), { recursive: true, force: true });
  const environment = openEnvironment(path, RESTORING, 'write');
  const records = openDatabase(environment, RECORDS);
  const gaps = openDatabase(environment, GAPS);
  const definitions = openDatabase(environment, DEFINITIONS);
  await inOneTransaction(environment, () => {
    for (const record of copy.records) void records.put(record.subscription, encodeCheckpoint(record));
    if (copy.definitions) void definitions.put(copy.definitions.number, encodeDefinitions(copy.definitions));
    for (const gap of copy.gaps) void gaps.put([gap.at, gap.source, gap.subscription], encodeGap(gap));
  });
  await environment.close();
  const movedAside: string[] = [];
  const suffix = `.damaged-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`;
  const moveAside = async (name: string): Promise<void> => {
    await rename(join(path, name), join(path, name + suffix));
    movedAside.push(name + suffix);
  };
  // A sound one is kept: it is newer than the copy, and what it says was confirmed was.
  if ((await readRecent(path)).damage !== undefined) await moveAside(recentName());
  if (existsSync(join(path, CHECKPOINTS))) await moveAside(CHECKPOINTS);
  await rename(join(path, RESTORING), join(path, CHECKPOINTS));
  await syncFolder(path);
  return { copy, damage, movedAside };
}

/** What a store that LMDB finds in order lacks; undefined where that is nothing. */
function emptiness(stored: ReadonlyMap<string, unknown>, copy: CheckpointCopy): string | undefined {
  const missing = missingFrom(copy, stored);
  return missing.length === 0 ? undefined : `it lacks ${missing.join(', ')}`;
}
