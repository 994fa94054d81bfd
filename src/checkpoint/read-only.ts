/**
 * What the commands that only look need: reads the stores beside a running engine, which is not disturbed (LMDB's readers
 * block nobody). Nothing is made or changed: a folder without stores reads as empty.
 */
import type { RootDatabase } from 'lmdb';
import {
  CHECKPOINTS,
  environmentExists,
  GAPS,
  INDEX,
  openDatabaseIfThere,
  openEnvironment,
  PARKED,
  RECORDS,
} from './data-folder.ts';
import { listParked, storedBytes } from './parking.ts';
import type { FoundParked } from './parking.ts';
import type { ParkedFilter } from './parked-filter.ts';
import { probeStores } from './probe.ts';
import { readRecent } from './recent.ts';
import type { CheckpointRecord, GapRecord } from './record.ts';
import { readGaps, readRecords } from './store.ts';

export interface CheckpointView {
  /** By name. */
  readonly records: readonly CheckpointRecord[];
  /** Oldest first. */
  readonly gaps: readonly GapRecord[];
}

export async function readCheckpoints(path: string): Promise<CheckpointView> {
  await probeStores({ path, mode: 'read' });
  const records = new Map<string, CheckpointRecord>();
  let gaps: GapRecord[] = [];
  await reading(path, CHECKPOINTS, (environment) => {
    for (const record of recordsIn(environment)) records.set(record.subscription, record);
    const database = openDatabaseIfThere(environment, GAPS);
    gaps = database === undefined ? [] : readGaps(database);
  });
  // What is in `recent` is never older; where it is damaged, a start goes on without it too.
  for (const record of (await readRecent(path)).records) records.set(record.subscription, record);
  return { records: [...records.values()].sort((a, b) => (a.subscription < b.subscription ? -1 : 1)), gaps };
}

export interface ParkedView<T> {
  readonly parked: readonly T[];
  /** Of the whole store, as the bound counts it. */
  readonly storeBytes: number;
}

/** By subscription, without what was confirmed in the last moments. The store must be sound. */
export async function readDurable(path: string): Promise<ReadonlyMap<string, CheckpointRecord>> {
  const records = new Map<string, CheckpointRecord>();
  await reading(path, CHECKPOINTS, (environment) => {
    for (const record of recordsIn(environment)) records.set(record.subscription, record);
  });
  return records;
}

/** `as`: what is kept of each; there may be millions. */
export async function readParked<T>(
  path: string,
  filter: ParkedFilter,
  as: (found: FoundParked) => T,
): Promise<ParkedView<T>> {
  await probeStores({ path, mode: 'read' });
  let view: ParkedView<T> = { parked: [], storeBytes: 0 };
  await reading(path, PARKED, (environment) => {
    const index = openDatabaseIfThere(environment, INDEX);
    if (index !== undefined)
      view = { parked: [...mapped(listParked(index, filter), as)], storeBytes: storedBytes(index) };
  });
  return view;
}

function* mapped<A, B>(all: Iterable<A>, as: (one: A) => B): Generator<B> {
  for (const one of all) yield as(one);
}

function recordsIn(environment: RootDatabase): CheckpointRecord[] {
  const database = openDatabaseIfThere(environment, RECORDS);
  return database === undefined ? [] : readRecords(database);
}

export async function reading(path: string, name: string, read: (environment: RootDatabase) => void): Promise<void> {
  if (!environmentExists(path, name)) return;
  const environment = openEnvironment(path, name, 'read');
  try {
    read(environment);
  } finally {
    await environment.close();
  }
}
