/**
 * The checkpoints and gaps on disk. `put` is for every few milliseconds: it waits for the operating system only, so that
 * what it confirmed survives the death of this process. `flushed` and `addGap` wait for the disk: that survives a power
 * cut. The first is `recent.ts`'s, the other an LMDB environment.
 * The newest records are also in a small file (`copy.ts`), written behind a flush, once a second at most.
 * Invariants: what is in `recent` is never older than what is in `checkpoints`, because all goes through `recent` first;
 * the records of one `put` appear together or not at all, in both.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Key, RootDatabase } from 'lmdb';
import type { Log } from '../observe/log.ts';
import { UserError } from '../errors.ts';
import { missingFrom, readCopy, removeCopy, writeCopy } from './copy.ts';
import type { CheckpointCopy } from './copy.ts';
import { DefinitionStore } from './definitions.ts';
import {
  CHECKPOINTS,
  COPY,
  DEFINITIONS,
  environmentExists,
  GAPS,
  inOneTransaction,
  makeFolder,
  openDatabase,
  openEnvironment,
  outdatedNames,
  RECORDS,
} from './data-folder.ts';
import type { BinaryDatabase } from './data-folder.ts';
import { probeStores } from './probe.ts';
import { RecentPositions } from './recent.ts';
import { InTurn } from '../in-turn.ts';
import { floorOf } from '../lanes/floors.ts';
import { compareTs } from '../source/position.ts';
import { decodeCheckpoint, decodeGap, encodeCheckpoint, encodeGap, textOfSealed } from './record.ts';
import type { CheckpointRecord, GapRecord } from './record.ts';

/** How old the copy may become while records change, and nothing but their positions does. */
const COPY_EVERY_MS = 1_000;

export class CheckpointStore implements AsyncDisposable {
  readonly definitions: DefinitionStore;
  readonly #path: string;
  readonly #log: Log;
  readonly #durable: RootDatabase;
  readonly #recent: RecentPositions;
  readonly #durableRecords: BinaryDatabase;
  readonly #gaps: BinaryDatabase;
  /** What was put. */
  #records: ReadonlyMap<string, CheckpointRecord> = new Map();
  /** Each change is made on what the one before it left. */
  readonly #changes = new InTurn();
  /** What survives a power cut. */
  #flushed: ReadonlyMap<string, CheckpointRecord> = new Map();
  /** Put, but not yet in `#durable`. */
  #unflushed = new Map<string, CheckpointRecord>();
  #flushing: Promise<void> = Promise.resolve();
  #flushWaiting: Promise<void> | undefined;
  /** By subscription: what is in `#durable`, as text. */
  readonly #texts = new Map<string, string>();
  /** `urgent`: there is something that the copy knows nothing of. */
  #copyDue: 'no' | 'soon' | 'urgent' = 'no';
  #copiedAt = -Infinity;
  #copyFailing = false;
  /** By subscription that has no checkpoint since somebody forgot it. */
  readonly #forgotten = new Map<string, GapRecord>();

  /** The folder's lock must be held. Throws `UserError` `store-damaged` or `store-newer`. */
  static async open({ path, log }: { readonly path: string; readonly log: Log }): Promise<CheckpointStore> {
    await makeFolder(path);
    for (const name of await outdatedNames(path)) await rm(join(path, name), { recursive: true, force: true });
    await refuseLostStore(path);
    await probeStores({ path, mode: 'write' });
    const { recent, found } = await RecentPositions.open(path);
    if (found.damage !== undefined) {
      log.warn(
        { code: 'recent-positions-damaged', reason: found.damage },
        'The positions of the last moments before the stop are damaged: the last flushed ones are used.',
      );
    }
    const durable = openEnvironment(path, CHECKPOINTS, 'write');
    const store = new CheckpointStore({ path, log, durable, recent });
    try {
      await store.#load(found.records);
    } catch (error) {
      await store.#closeAll();
      throw error;
    }
    return store;
  }

  private constructor({ path, log, durable, recent }: StoreParts) {
    this.#path = path;
    this.#log = log;
    this.#durable = durable;
    this.#recent = recent;
    this.#durableRecords = openDatabase(durable, RECORDS);
    this.#gaps = openDatabase(durable, GAPS);
    this.definitions = new DefinitionStore(
      durable,
      openDatabase(durable, DEFINITIONS),
      () => (this.#copyDue = 'urgent'),
    );
  }

  get(subscription: string): CheckpointRecord | undefined {
    return this.#records.get(subscription);
  }

  /** As a power cut would leave it. */
  durable(subscription: string): CheckpointRecord | undefined {
    return this.#flushed.get(subscription);
  }

  all(): CheckpointRecord[] {
    return [...this.#records.values()];
  }

  /** Resolves once a kill of this process cannot undo it; not yet safe from a power cut. */
  async put(records: readonly CheckpointRecord[]): Promise<void> {
    if (records.length === 0) return;
    if (this.#forgotten.size > 0) await this.#closeGaps(records);
    await this.#change((all) => {
      for (const record of records) all.set(record.subscription, record);
    });
    for (const record of records) this.#unflushed.set(record.subscription, record);
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
    await inOneTransaction(this.#durable, () => void this.#gaps.put(keyOf(gap), bytes));
    this.#copyDue = 'urgent';
  }

  /** Oldest first. */
  gaps(): GapRecord[] {
    return readGaps(this.#gaps);
  }

  /**
   * Nothing is left of the subscription when it resolves, except its gaps. `beginsAnew`: it is delivered again one day, and what lies
   * between is a gap, if it begins behind where it stood.
   */
  async forget(subscription: string, { beginsAnew }: { readonly beginsAnew: boolean }): Promise<void> {
    const stood = this.#records.get(subscription);
    if (stood && beginsAnew) await this.#openGap(stood);
    await this.flushed();
    await removeCopy(this.#path);
    await this.#changeForGood((all) => all.delete(subscription));
    await inOneTransaction(this.#durable, () => void this.#durableRecords.remove(subscription));
    this.#flushed = new Map([...this.#flushed].filter(([name]) => name !== subscription));
    this.#texts.delete(subscription);
    this.#copyDue = 'urgent';
    await this.#copy();
  }

  /** As a user decided: also to an earlier position, which the copy must not be ahead of. On disk when it resolves. */
  async set(record: CheckpointRecord): Promise<void> {
    await this.#closeGaps([record]);
    await this.flushed();
    await removeCopy(this.#path);
    this.#copyDue = 'urgent';
    await this.#changeForGood((all) => all.set(record.subscription, record));
    this.#unflushed.set(record.subscription, record);
    await this.flushed();
  }

  /** Flushes first. */
  async close(): Promise<void> {
    try {
      await this.flushed();
      if (this.#copyDue === 'soon') this.#copyDue = 'urgent';
      await this.#copy();
    } finally {
      await this.#closeAll();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Before it is forgotten, so that a kill in between cannot leave a gap without a record. */
  async #openGap({ source, subscription, ...stood }: CheckpointRecord): Promise<void> {
    const from = floorOf(stood).ts;
    const gap = { source, subscription, from, to: from, reason: 'skipped', at: Date.now(), open: true } as const;
    await this.addGap(gap);
    this.#forgotten.set(subscription, gap);
  }

  /** Before anything is delivered from there. */
  async #closeGaps(records: readonly CheckpointRecord[]): Promise<void> {
    for (const { subscription, resume } of records) {
      const gap = this.#forgotten.get(subscription);
      if (!gap) continue;
      const { open, ...closed } = gap;
      void open;
      if (compareTs(resume.ts, gap.from) > 0) await this.addGap({ ...closed, to: resume.ts });
      else await inOneTransaction(this.#durable, () => void this.#gaps.remove(keyOf(gap)));
      this.#forgotten.delete(subscription);
      this.#copyDue = 'urgent';
    }
  }

  #change(change: (all: Map<string, CheckpointRecord>) => unknown): Promise<void> {
    return this.#changes.run(async () => {
      const all = new Map(this.#records);
      change(all);
      await this.#recent.write([...all.values()]);
      this.#records = all;
    });
  }

  /** In both files: what it takes back must not count again where one of them is damaged later. */
  async #changeForGood(change: (all: Map<string, CheckpointRecord>) => unknown): Promise<void> {
    await this.#change(change);
    await this.#change(change);
  }

  async #load(recent: readonly CheckpointRecord[]): Promise<void> {
    const durable = readRecords(this.#durableRecords);
    this.#flushed = new Map(durable.map((record) => [record.subscription, record]));
    const all = [...durable, ...recent];
    this.#records = new Map(all.map((record) => [record.subscription, record]));
    await this.#refuseEmptied();
    for (const gap of readAllGaps(this.#gaps)) {
      // One that is there again was not forgotten, however that ended.
      if (gap.open && !this.#records.has(gap.subscription)) this.#forgotten.set(gap.subscription, gap);
    }
    // What a kill left in `recent` alone becomes safe before anything is built on it.
    for (const record of recent) this.#unflushed.set(record.subscription, record);
    for (const [name, record] of this.#records) this.#texts.set(name, textOfSealed(encodeCheckpoint(record)));
    if (this.#records.size > 0) this.#copyDue = 'urgent';
    await this.flushed();
  }

  /** LMDB takes a file of no bytes for a new store. Before anything is written: the copy alone knows what was there. */
  async #refuseEmptied(): Promise<void> {
    const copy = await readCopy(this.#path).catch((error: unknown) => {
      const reason = error instanceof UserError ? error.code : error instanceof Error ? error.message : String(error);
      this.#log.warn(
        { code: 'copy-failing', reason },
        `${COPY}, the copy of the checkpoints, cannot be read; the store is sound, and writes it anew.`,
      );
    });
    if (copy) refuseEmptied(this.#path, this.#records, copy);
  }

  #flush(): Promise<void> {
    this.#flushWaiting = undefined;
    const records = this.#unflushed;
    this.#unflushed = new Map();
    this.#flushing = this.#writeDurable(records).then(() => this.#copy());
    return this.#flushing;
  }

  async #writeDurable(records: ReadonlyMap<string, CheckpointRecord>): Promise<void> {
    if (records.size === 0) return;
    try {
      for (const { key, bytes } of await writeRecords(this.#durable, this.#durableRecords, [...records.values()])) {
        if (!this.#texts.has(key)) this.#copyDue = 'urgent';
        this.#texts.set(key, textOfSealed(bytes));
      }
      this.#flushed = new Map([...this.#flushed, ...records]);
      if (this.#copyDue === 'no') this.#copyDue = 'soon';
    } catch (error) {
      // Whatever was put since is newer, and stays.
      this.#unflushed = new Map([...records, ...this.#unflushed]);
      throw error;
    }
  }

  /** A copy that cannot be written costs a restore its newest positions; nothing waits for it. */
  async #copy(): Promise<void> {
    const due = this.#copyDue;
    if (due === 'no' || (due === 'soon' && performance.now() - this.#copiedAt < COPY_EVERY_MS)) return;
    this.#copyDue = 'no';
    this.#copiedAt = performance.now();
    try {
      await writeCopy(this.#path, {
        records: this.#texts.values(),
        gaps: readAllGaps(this.#gaps),
        definitions: this.definitions.latest,
      });
      if (this.#copyFailing) this.#log.info({}, 'The copy of the checkpoints is written again.');
      this.#copyFailing = false;
    } catch (error) {
      this.#copyDue = due;
      if (!this.#copyFailing) {
        this.#log.warn(
          { code: 'copy-failing', err: error },
          `${COPY} cannot be written: a restore would go further back. Is the disk full?`,
        );
      }
      this.#copyFailing = true;
    }
  }

  async #closeAll(): Promise<void> {
    await this.#recent.close();
    await this.#durable.close();
  }
}

/** Throws `UserError` where the copy has subscriptions that the store has not. */
export function refuseEmptied(path: string, records: ReadonlyMap<string, unknown>, copy: CheckpointCopy): void {
  const missing = missingFrom(copy, records);
  if (missing.length === 0) return;
  throw new UserError(
    'store-damaged',
    `The checkpoints in ${join(path, CHECKPOINTS)} lack those of ${missing.join(', ')}, which ${COPY} of ${copy.writtenAt} has. ` +
      'Run `tailrace checkpoint restore` to bring them back; or, to begin anew, move the whole folder away.',
  );
}

interface StoreParts {
  readonly path: string;
  readonly log: Log;
  readonly durable: RootDatabase;
  readonly recent: RecentPositions;
}

/** A store that has gone, while its copy tells of one, is no new folder: to begin at `start` could skip without a word. */
export async function refuseLostStore(path: string): Promise<void> {
  if (environmentExists(path, CHECKPOINTS)) return;
  const copy = await readCopy(path);
  if (copy === undefined || copy.records.length === 0) return;
  throw new UserError(
    'store-damaged',
    `The checkpoints in ${join(path, CHECKPOINTS)} are not there, though ${COPY} of ${copy.writtenAt} has those of ` +
      `${copy.records.map(({ subscription }) => subscription).join(', ')}. Run \`tailrace checkpoint restore\` to bring them back; or, to begin anew, move the whole ` +
      `folder away.`,
  );
}

/** Resolves with what was written. */
async function writeRecords(
  environment: RootDatabase,
  database: BinaryDatabase,
  records: readonly CheckpointRecord[],
): Promise<readonly { readonly key: string; readonly bytes: Buffer }[]> {
  // Encoded before the transaction begins: what throws in the middle of one would leave it half written.
  const encoded = records.map((record) => ({ key: record.subscription, bytes: encodeCheckpoint(record) }));
  await inOneTransaction(environment, () => {
    for (const { key, bytes } of encoded) void database.put(key, bytes);
  });
  return encoded;
}

export function readRecords(database: BinaryDatabase): CheckpointRecord[] {
  return [...database.getRange()].map(({ value }) => decodeCheckpoint(value));
}

/** Those whose end is known. */
export function readGaps(database: BinaryDatabase): GapRecord[] {
  return readAllGaps(database).filter(({ open }) => !open);
}

function keyOf({ at, source, subscription }: GapRecord): Key {
  return [at, source, subscription];
}

function readAllGaps(database: BinaryDatabase): GapRecord[] {
  return [...database.getRange()].map(({ value }) => decodeGap(value));
}
