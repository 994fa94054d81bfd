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
import { keysOf } from '../worker/state-keys.ts';
import type { Log } from '../observe/log.ts';
import type { OpTime } from '../source/position.ts';

const VERSION = 1;
/** Removed in one go, of a collection that is gone. */
const SLICE = 2_000;

export interface StatesRecord {
  /** All entries up to this one are in the states. */
  readonly position: OpTime;
  readonly replicaSetId: string;
  /** The subscription's patterns. */
  readonly namespaces: readonly string[];
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

  /** Those of others are deleted. */
  async keepOnly(subscriptions: ReadonlySet<string>): Promise<void> {
    if (!this.#opened && !environmentExists(this.#o.path, STATES)) return;
    const { records } = await this.#open();
    for (const name of [...records.getKeys()].map(String)) {
      if (subscriptions.has(name)) continue;
      await using states = await this.take(name);
      await states.delete();
    }
  }

  /** Once whoever had them before has let go. */
  async take(subscription: string): Promise<StoredStates> {
    const opened = await this.#open();
    let turns = this.#turns.get(subscription);
    if (!turns) this.#turns.set(subscription, (turns = new InTurn()));
    const inTurn = turns;
    return await new Promise((resolve, reject) => {
      void inTurn
        .run(
          () =>
            new Promise<void>((release) => {
              resolve(new StoredStates(opened, subscription, release));
            }),
        )
        .catch(reject);
    });
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
    })();
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
  readonly #writes = new InTurn();
  #isClosed = false;

  /** By `StateStore.take`. */
  constructor({ file, environment, records }: Opened, subscription: string, release: () => void) {
    this.#file = file;
    this.#environment = environment;
    this.#records = records;
    this.#subscription = subscription;
    this.#documents = openDocuments(environment, DOCUMENTS_PREFIX + subscription);
    this.#release = release;
  }

  get record(): StatesRecord | undefined {
    const bytes = this.#records.get(this.#subscription);
    if (!bytes) return undefined;
    // oxlint-disable-next-line no-unsafe-type-assertion -- `write` wrote it
    const stored = JSON.parse(Buffer.from(bytes).toString()) as StatesRecord & { readonly version: number };
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
    return this.#documents.getBinaryFast(key);
  }

  has(key: Buffer): boolean {
    return this.#documents.doesExist(key);
  }

  /** By key, as Latin-1; undefined: there is none any more. On disk when it resolves. */
  async write(states: ReadonlyMap<string, Uint8Array | undefined>, record: StatesRecord): Promise<void> {
    // It never becomes shorter: see `probe-child.ts`.
    const { size: fileBytes } = await stat(this.#file);
    const encoded = Buffer.from(JSON.stringify({ version: VERSION, ...record, fileBytes }));
    let bytes = 0;
    for (const state of states.values()) bytes += state?.length ?? 0;
    await this.#write(() => {
      for (const [name, state] of states) {
        const key = Buffer.from(name, 'latin1');
        if (state) void this.#documents.put(key, bufferOf(state));
        else void this.#documents.remove(key);
      }
      void this.#records.put(this.#subscription, encoded);
    }, bytes);
  }

  /** None are left. */
  async clear(record: StatesRecord): Promise<void> {
    await this.#writes.run(async () => this.#documents.clearAsync());
    this.#readAnew();
    await this.write(new Map(), record);
  }

  async delete(): Promise<void> {
    await this.#writes.run(async () => this.#documents.drop());
    await this.#write(() => void this.#records.remove(this.#subscription));
  }

  /** What a collection left that is gone, bit by bit. */
  async forget(uuid: Uint8Array): Promise<void> {
    for (;;) {
      const keys = [...this.#documents.getKeys({ ...keysOf(uuid), limit: SLICE })];
      if (keys.length === 0 || this.#isClosed) return;
      await this.#write(() => {
        for (const key of keys) void this.#documents.remove(key);
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#writes.settled();
    this.#release();
  }

  async #write(write: () => void, bytes = 0): Promise<void> {
    await this.#writes.run(async () => inOneTransaction(this.#environment, write, bytes));
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
