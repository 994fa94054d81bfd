/**
 * The checkpoints and gaps on disk. `put` is for every few milliseconds: it waits for the operating system only, so that
 * what it confirmed survives the death of this process. `flushed` and `addGap` wait for the disk: that survives a power
 * cut. See `data-folder.ts` for why these are two environments.
 * Invariants: what is in `recent` is never older than what is in `checkpoints`, because all goes through `recent` first;
 * the records of one `put` appear together or not at all, in both.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { RootDatabase } from 'lmdb';
import type { Log } from '../observe/log.ts';
import {
  CHECKPOINTS,
  GAPS,
  inOneTransaction,
  makeFolder,
  openDatabase,
  openEnvironment,
  outdatedNames,
  recentName,
  RECORDS,
} from './data-folder.ts';
import type { BinaryDatabase } from './data-folder.ts';
import { probeStores } from './probe.ts';
import { decodeCheckpoint, decodeGap, encodeCheckpoint, encodeGap } from './record.ts';
import type { CheckpointRecord, GapRecord } from './record.ts';

export class CheckpointStore implements AsyncDisposable {
  readonly #durable: RootDatabase;
  readonly #recent: RootDatabase;
  readonly #durableRecords: BinaryDatabase;
  readonly #recentRecords: BinaryDatabase;
  readonly #gaps: BinaryDatabase;
  readonly #records: Map<string, CheckpointRecord>;
  /** Put, but not yet in `#durable`. */
  #unflushed = new Map<string, CheckpointRecord>();
  #flushing: Promise<void> = Promise.resolve();
  #flushWaiting: Promise<void> | undefined;

  /** The folder's lock must be held. Throws `UserError` `store-damaged` or `store-newer`. */
  static async open({ path, log }: { readonly path: string; readonly log: Log }): Promise<CheckpointStore> {
    await makeFolder(path);
    for (const name of await outdatedNames(path)) await rm(join(path, name), { recursive: true, force: true });
    await probeStores({ path, mode: 'write', log });
    const durable = openEnvironment(path, CHECKPOINTS, 'write');
    const recent = openEnvironment(path, recentName(), 'write');
    const store = new CheckpointStore(durable, recent);
    try {
      await store.#load();
    } catch (error) {
      await store.#closeEnvironments();
      throw error;
    }
    return store;
  }

  private constructor(durable: RootDatabase, recent: RootDatabase) {
    this.#durable = durable;
    this.#recent = recent;
    this.#durableRecords = openDatabase(durable, RECORDS);
    this.#recentRecords = openDatabase(recent, RECORDS);
    this.#gaps = openDatabase(durable, GAPS);
    this.#records = new Map();
  }

  get(subscription: string): CheckpointRecord | undefined {
    return this.#records.get(subscription);
  }

  all(): CheckpointRecord[] {
    return [...this.#records.values()];
  }

  /** Resolves once a kill of this process cannot undo it; not yet safe from a power cut. */
  async put(records: readonly CheckpointRecord[]): Promise<void> {
    if (records.length === 0) return;
    await writeRecords(this.#recent, this.#recentRecords, records);
    for (const record of records) {
      this.#records.set(record.subscription, record);
      this.#unflushed.set(record.subscription, record);
    }
  }

  /** Resolves once all that was put before this call is on disk. Calls that come while one is running share the next. */
  flushed(): Promise<void> {
    this.#flushWaiting ??= this.#flushing.then(
      () => this.#flush(),
      () => this.#flush(),
    );
    return this.#flushWaiting;
  }

  /** On disk when it resolves. */
  async addGap(gap: GapRecord): Promise<void> {
    const bytes = encodeGap(gap);
    await inOneTransaction(this.#durable, () => void this.#gaps.put([gap.at, gap.source, gap.subscription], bytes));
  }

  /** Oldest first. */
  gaps(): GapRecord[] {
    return readGaps(this.#gaps);
  }

  /** Nothing is left of the subscription when it resolves, except its gaps. */
  async forget(subscription: string): Promise<void> {
    await this.flushed();
    await inOneTransaction(this.#recent, () => void this.#recentRecords.remove(subscription));
    await inOneTransaction(this.#durable, () => void this.#durableRecords.remove(subscription));
    this.#records.delete(subscription);
  }

  /** Flushes first. */
  async close(): Promise<void> {
    try {
      await this.flushed();
    } finally {
      await this.#closeEnvironments();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #load(): Promise<void> {
    const recent = readRecords(this.#recentRecords);
    for (const record of readRecords(this.#durableRecords)) this.#records.set(record.subscription, record);
    for (const record of recent) this.#records.set(record.subscription, record);
    // What a kill left in `recent` alone becomes safe before anything is built on it.
    for (const record of recent) this.#unflushed.set(record.subscription, record);
    await this.flushed();
  }

  #flush(): Promise<void> {
    this.#flushWaiting = undefined;
    const records = this.#unflushed;
    this.#unflushed = new Map();
    this.#flushing = this.#writeDurable(records);
    return this.#flushing;
  }

  async #writeDurable(records: ReadonlyMap<string, CheckpointRecord>): Promise<void> {
    if (records.size === 0) return;
    try {
      await writeRecords(this.#durable, this.#durableRecords, [...records.values()]);
    } catch (error) {
      // Whatever was put since is newer, and stays.
      this.#unflushed = new Map([...records, ...this.#unflushed]);
      throw error;
    }
  }

  async #closeEnvironments(): Promise<void> {
    await this.#recent.close();
    await this.#durable.close();
  }
}

function writeRecords(
  environment: RootDatabase,
  database: BinaryDatabase,
  records: readonly CheckpointRecord[],
): Promise<void> {
  // Encoded before the transaction begins: what throws in the middle of one would leave it half written.
  const encoded = records.map((record) => ({ key: record.subscription, bytes: encodeCheckpoint(record) }));
  return inOneTransaction(environment, () => {
    for (const { key, bytes } of encoded) void database.put(key, bytes);
  });
}

export function readRecords(database: BinaryDatabase): CheckpointRecord[] {
  return [...database.getRange()].map(({ value }) => decodeCheckpoint(value));
}

export function readGaps(database: BinaryDatabase): GapRecord[] {
  return [...database.getRange()].map(({ value }) => decodeGap(value));
}
