/**
 * The last states of documents on disk, for subscriptions with `images: local`. Of each subscription: one record, which says at which
 * position its states are so, and the documents. What is written together becomes visible together, or not at all, with the record.
 * Invariant: one holder of a subscription's states at a time; they are exactly those of the record's position.
 */
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database, RootDatabase } from 'lmdb';
import { environmentDamage } from '../checkpoint/probe.ts';
import {
  DOCUMENTS_PREFIX,
  environmentExists,
  inOneTransaction,
  openDatabase,
  openDocuments,
  openEnvironment,
  STATE_RECORDS,
  STATES,
} from '../checkpoint/data-folder.ts';
import type { BinaryDatabase } from '../checkpoint/data-folder.ts';
import { InTurn } from '../in-turn.ts';
import { settled } from '../waits.ts';
import { keysOf, UUID_BYTES } from '../worker/state-keys.ts';
import type { Log } from '../observe/log.ts';
import type { OpTime } from '../source/position.ts';

const VERSION = 1;
const PAGE_BYTES = 4096;
/** Of pages that become free LMDB keeps a list: eight bytes for each, and as much again while it is written anew. */
const PAGES_TO_LISTED = 256;
/** Removed in one go, of a collection that is gone. */
const SLICE = 2_000;

export interface StatesRecord {
  /** All entries up to this one are in the states. */
  readonly position: OpTime;
  readonly replicaSetId: string;
  /** The subscription's patterns. */
  readonly namespaces: readonly string[];
}

/** As it is stored. */
interface Stored extends StatesRecord {
  readonly version: number;
  /** UUIDs of collections of which nothing counts, and not all is deleted yet. */
  readonly gone?: readonly string[];
}

interface Opened {
  /** LMDB's. */
  readonly file: string;
  readonly environment: RootDatabase;
  readonly records: BinaryDatabase;
}

export interface StateStoreOptions {
  /** The data folder; its lock must be held. */
  readonly path: string;
  readonly log: Log;
}

export class StateStore implements AsyncDisposable {
  readonly #o: StateStoreOptions;
  readonly #turns = new Map<string, InTurn>();
  /** Once somebody needs it. */
  #opened: Promise<Opened> | undefined;

  constructor(options: StateStoreOptions) {
    this.#o = options;
  }

  /** Those of others are deleted; who keeps any is asked once they are at hand. */
  async keepOnly(subscriptions: () => ReadonlySet<string>): Promise<void> {
    if (!this.#opened && !environmentExists(this.#o.path, STATES)) return;
    const { records } = await this.#open();
    for (const name of [...records.getKeys()].map(String)) {
      if (subscriptions().has(name)) continue;
      await using states = await this.take(name);
      if (!subscriptions().has(name)) await states.delete();
    }
  }

  /** Once whoever had them before has let go; rejects when `stop` fires before that. */
  async take(subscription: string, stop?: AbortSignal): Promise<StoredStates> {
    const opened = await this.#open();
    let turns = this.#turns.get(subscription);
    if (!turns) this.#turns.set(subscription, (turns = new InTurn()));
    const inTurn = turns;
    let isOver = false;
    const taken = new Promise<StoredStates>((resolve, reject) => {
      void inTurn
        .run(async () => {
          if (isOver) return;
          await new Promise<void>((release) => {
            resolve(new StoredStates(opened, { subscription, release, log: this.#o.log }));
          });
        })
        .catch(reject);
    });
    if (!stop) return await taken;
    await settled(
      taken.then(
        () => undefined,
        () => undefined,
      ),
      stop,
    );
    if (!stop.aborted) return await taken;
    isOver = true;
    // It may have come in the same breath.
    void taken.then(
      async (states) => states[Symbol.asyncDispose](),
      () => undefined,
    );
    throw stop.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opened?.catch(() => undefined);
    await opened?.environment.close();
  }

  /** States that cannot be read are given up. */
  #open(): Promise<Opened> {
    this.#opened ??= (async () => {
      const { path, log } = this.#o;
      const damage = environmentExists(path, STATES) ? await environmentDamage(path, STATES) : undefined;
      if (damage !== undefined) {
        await rm(join(path, STATES), { recursive: true, force: true });
        log.warn(
          { code: 'states-forgotten', reason: damage },
          'The documents kept for `images: local` were damaged, and are given up: a snapshot makes them known again.',
        );
      }
      const environment = openEnvironment(path, STATES, 'write');
      const file = join(path, STATES, 'data.mdb');
      return { file, environment, records: openDatabase(environment, STATE_RECORDS) };
    })().catch((error: unknown) => {
      // Whoever comes next tries again.
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}

export class StoredStates implements AsyncDisposable {
  readonly #file: string;
  readonly #environment: RootDatabase;
  readonly #records: BinaryDatabase;
  readonly #subscription: string;
  readonly #documents: Database<Buffer, Buffer>;
  readonly #release: () => void;
  readonly #log: Log;
  readonly #writes = new InTurn();
  /** Collections, by UUID as Latin-1, of which nothing counts that is stored; it is deleted bit by bit, beside all else. */
  readonly #gone = new Set<string>();
  #sweeping: Promise<void> | undefined;
  #isClosed = false;

  /** By `StateStore.take`. */
  constructor(
    { file, environment, records }: Opened,
    { subscription, release, log }: { readonly subscription: string; readonly release: () => void; readonly log: Log },
  ) {
    this.#file = file;
    this.#environment = environment;
    this.#records = records;
    this.#subscription = subscription;
    this.#documents = openDocuments(environment, DOCUMENTS_PREFIX + subscription);
    this.#release = release;
    this.#log = log;
    for (const uuid of this.#stored?.gone ?? []) this.#gone.add(Buffer.from(uuid, 'hex').toString('latin1'));
    this.#sweep();
  }

  get record(): StatesRecord | undefined {
    return this.#stored;
  }

  get #stored(): Stored | undefined {
    const bytes = this.#records.get(this.#subscription);
    if (!bytes) return undefined;
    // oxlint-disable-next-line no-unsafe-type-assertion -- `write` wrote it
    const stored = JSON.parse(Buffer.from(bytes).toString()) as Stored;
    return stored.version === VERSION ? stored : undefined;
  }

  get documents(): number {
    return this.#size.entryCount;
  }

  /** On disk. */
  get bytes(): number {
    const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = this.#size;
    return pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages);
  }

  get #size(): Size {
    // oxlint-disable-next-line no-unsafe-type-assertion -- lmdb has no types for it
    return this.#documents.getStats() as Size;
  }

  /** Good until the next one is asked for. */
  get(key: Buffer): Buffer | undefined {
    return this.#isGone(key) ? undefined : this.#documents.getBinaryFast(key);
  }

  has(key: Buffer): boolean {
    return !this.#isGone(key) && this.#documents.doesExist(key);
  }

  #isGone(key: Buffer): boolean {
    return this.#gone.size > 0 && this.#gone.has(key.toString('latin1', 0, UUID_BYTES));
  }

  /**
   * By key, as Latin-1; undefined: there is none any more. Before that, all goes that is stored of the collections `dropped`: it counts
   * no more from here on, and is deleted beside what is written later; but for one of which there are states again. On disk when it
   * resolves; where `stop` fires before, nothing is written.
   */
  async write(
    states: ReadonlyMap<string, Uint8Array | undefined>,
    { dropped = [], stop, ...record }: StatesRecord & { dropped?: readonly string[]; stop?: AbortSignal },
  ): Promise<void> {
    if (this.#gone.size > 0 || dropped.length > 0) {
      const there = new Set<string>();
      for (const [key, state] of states) if (state) there.add(key.slice(0, UUID_BYTES));
      for (const uuid of new Set([...dropped, ...this.#gone])) {
        if (there.has(uuid)) {
          if (!(await this.#delete(uuid, () => stop?.aborted !== true))) throw new Error('it is not waited for');
          this.#gone.delete(uuid);
        } else if (this.#firstOf(uuid).length > 0) this.#gone.add(uuid);
      }
    }
    // It never becomes shorter: see `probe-child.ts`.
    const { size: fileBytes } = await stat(this.#file);
    const gone = [...this.#gone].map((uuid) => Buffer.from(uuid, 'latin1').toString('hex'));
    const encoded = Buffer.from(
      JSON.stringify({ version: VERSION, ...record, fileBytes, ...(gone.length > 0 && { gone }) }),
    );
    let bytes = encoded.length;
    for (const state of states.values()) bytes += state?.length ?? 0;
    await this.#write(
      () => {
        for (const [name, state] of states) {
          const key = Buffer.from(name, 'latin1');
          if (state) void this.#documents.put(key, bufferOf(state));
          else void this.#documents.remove(key);
        }
        void this.#records.put(this.#subscription, encoded);
      },
      // Each may lie on a page of its own, which is copied.
      { bytes, atWorst: 2 * bytes + states.size * PAGE_BYTES },
    );
    this.#sweep();
  }

  /** None are left. */
  async clear(record: StatesRecord): Promise<void> {
    await this.#write(() => void this.#documents.clearAsync(), { atWorst: this.bytes / PAGES_TO_LISTED });
    this.#gone.clear();
    await this.write(new Map(), record);
  }

  async delete(): Promise<void> {
    this.#gone.clear();
    await this.#sweeping;
    await this.#write(() => void this.#documents.drop(), { atWorst: this.bytes / PAGES_TO_LISTED });
    await this.#write(() => void this.#records.remove(this.#subscription));
  }

  /** What gone collections left. */
  #sweep(): void {
    if (this.#gone.size === 0 || this.#sweeping) return;
    this.#sweeping = this.#deleteGone()
      .catch((error: unknown) => {
        // With the next write it is tried again.
        this.#log.warn(
          { code: 'states-failing', subscription: this.#subscription, err: error },
          'What was kept for `images: local` of a collection that is gone could not be deleted.',
        );
      })
      .finally(() => (this.#sweeping = undefined));
  }

  async #deleteGone(): Promise<void> {
    for (const uuid of this.#gone) {
      // The record says so with the next write; until then there is nothing to be found.
      if (await this.#delete(uuid, () => !this.#isClosed && this.#gone.has(uuid))) this.#gone.delete(uuid);
    }
  }

  /** Bit by bit, so that others come in between. Whether it came to the end. */
  async #delete(uuid: string, isWanted: () => boolean): Promise<boolean> {
    while (isWanted()) {
      const keys = this.#firstOf(uuid, SLICE);
      if (keys.length === 0) return true;
      await this.#write(() => {
        for (const key of keys) void this.#documents.remove(key);
      });
    }
    return false;
  }

  #firstOf(uuid: string, limit = 1): Buffer[] {
    return [...this.#documents.getKeys({ ...keysOf(Buffer.from(uuid, 'latin1')), limit })];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#sweeping;
    await this.#writes.settled();
    this.#release();
  }

  async #write(write: () => void, room: Parameters<typeof inOneTransaction>[2] = {}): Promise<void> {
    await this.#writes.run(async () => inOneTransaction(this.#environment, write, room));
    this.#readAnew();
  }

  /** Reads of one turn of the event loop share a transaction, which may be older than what was just written. */
  #readAnew(): void {
    // oxlint-disable-next-line no-unsafe-type-assertion -- lmdb has no types for it
    (this.#environment as unknown as { resetReadTxn(): void }).resetReadTxn();
  }
}

interface Size {
  readonly pageSize: number;
  readonly entryCount: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
