/**
 * Events that cannot be delivered through no fault of the destination, with their bytes and the reason. The watermark
 * passes an event only once its record is on disk, so `put` resolves no sooner.
 * Invariants: an event is stored once however often it is parked (a replay after a crash parks it again); the store holds
 * at most `maxBytes`, unless one event alone is larger. When it is full, `put` waits: what is upstream then holds.
 * An operation and its whole entry may bear the same id. The entry's record stands for the operation too, but not the other
 * way round: where the operation came first, the entry lies beside it.
 * Puts that come while a commit is under way share the next one, and so one wait for the disk.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RootDatabase } from 'lmdb';
import type { Log } from '../observe/log.ts';
import { INDEX, inOneTransaction, makeFolder, openDatabase, openEnvironment, PARKED, PAYLOADS } from './data-folder.ts';
import type { BinaryDatabase } from './data-folder.ts';
import { matches } from './parked-filter.ts';
import type { ParkedFilter } from './parked-filter.ts';
import { keyBeside, parkedKey, parkedKeySchema, subscriptionRange } from './parked-key.ts';
import type { ParkedKey } from './parked-key.ts';
import { decodeParked, encodeParked } from './record.ts';
import type { ParkedRecord, ParkedSummary } from './record.ts';

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;
/** Records that are looked at in one go: well under a millisecond. */
export const SLICE = 200;

export interface ParkingOptions {
  readonly path: string;
  readonly maxBytes: number;
  readonly log: Log;
}

/** Which record is meant; of `origin` only whether it is of a whole entry. */
export interface ParkedName extends Pick<ParkedSummary, 'subscription' | 'id'> {
  readonly origin?: ParkedSummary['origin'] | undefined;
}

export interface FoundParked {
  readonly key: ParkedKey;
  readonly summary: ParkedSummary;
  /** Of what was set aside. */
  readonly bytes: number;
}

export interface ParkedSlice {
  readonly found: readonly FoundParked[];
  readonly last: ParkedKey | undefined;
}

/** What waits for room. */
export interface ParkingShortage {
  readonly events: number;
  /** With so large a bound, all that waits now would fit. */
  readonly neededBytes: number;
}

/** What became of parked events that were tried again. */
export interface Settlement {
  /** Delivered, or given up. */
  readonly gone: readonly ParkedName[];
  /** They stay, for another reason than before. */
  readonly kept: readonly ParkedSummary[];
}

/** A record that is not on disk yet. */
interface Pending {
  readonly key: ParkedKey;
  readonly subscription: string;
  readonly whole: boolean;
  readonly sealed: Buffer;
  readonly payload: Uint8Array;
  readonly bytes: number;
  readonly stored: Promise<void>;
  readonly resolve: () => void;
}

export class ParkingStore implements AsyncDisposable {
  readonly #environment: RootDatabase;
  readonly #index: BinaryDatabase;
  readonly #payloads: BinaryDatabase;
  readonly #maxBytes: number;
  readonly #log: Log;
  readonly #counts = new Map<string, number>();
  #totalBytes = 0;
  /** By key; what is here counts in `#totalBytes` already. */
  readonly #pending = new Map<string, Pending>();
  #queue: Pending[] = [];
  #writing: Promise<void> | undefined;
  /** What wakes them, and how many bytes each needs. */
  readonly #waiting = new Map<() => void, number>();
  #failing: string | undefined;
  readonly #closing = new AbortController();

  /** The folder's lock must be held, and `CheckpointStore.open` have checked the folder. */
  static async open(options: ParkingOptions): Promise<ParkingStore> {
    await makeFolder(options.path);
    return new ParkingStore(options);
  }

  private constructor({ path, maxBytes, log }: ParkingOptions) {
    this.#environment = openEnvironment(path, PARKED, 'write');
    this.#index = openDatabase(this.#environment, INDEX);
    this.#payloads = openDatabase(this.#environment, PAYLOADS);
    this.#maxBytes = maxBytes;
    this.#log = log;
    this.#totalBytes = storedBytes(this.#index);
    for (const { value } of this.#index.getRange()) {
      const { summary } = decodeParked(value);
      this.#counts.set(summary.subscription, this.count(summary.subscription) + 1);
    }
  }

  /** Undefined while nobody waits for room. */
  get shortage(): ParkingShortage | undefined {
    if (this.#waiting.size === 0) return undefined;
    let neededBytes = this.#totalBytes;
    for (const bytes of this.#waiting.values()) neededBytes += bytes;
    return { events: this.#waiting.size, neededBytes };
  }

  /** Why nothing can be written now; undefined while it can. */
  get failing(): string | undefined {
    return this.#failing;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  count(subscription: string): number {
    return this.#counts.get(subscription) ?? 0;
  }

  /** Resolves once the record is on disk; rejects with the signal's reason when `stop` fires while there is no room. */
  async put({ payload, ...summary }: ParkedRecord, stop: AbortSignal): Promise<void> {
    const sealed = encodeParked(summary, payload.byteLength);
    const bytes = sealed.byteLength + payload.byteLength;
    let key: ParkedKey;
    let name: string;
    for (;;) {
      key = this.#keyOf(summary);
      name = JSON.stringify(key);
      const pending = this.#pending.get(name);
      if (pending !== undefined) return pending.stored;
      if (this.#index.doesExist(key)) return undefined;
      if (this.#totalBytes + bytes <= this.#maxBytes || this.#totalBytes === 0) break;
      await this.#room(bytes, stop);
      stop.throwIfAborted();
    }
    let resolve = (): void => undefined;
    const stored = new Promise<void>((done) => (resolve = done));
    this.#totalBytes += bytes;
    const whole = summary.origin?.whole === true;
    const entry = { key, subscription: summary.subscription, whole, sealed, payload, bytes, stored, resolve };
    this.#pending.set(name, entry);
    this.#queue.push(entry);
    this.#writing ??= this.#write();
    await stored;
    this.#pending.delete(name);
    return undefined;
  }

  /** In the order of subscription, source and position. */
  *list(filter: ParkedFilter = {}): Generator<FoundParked> {
    yield* listParked(this.#index, filter);
  }

  /**
   * Those of the next `SLICE` records behind `after` that are asked for: short work, however many lie there. `last` is the key of
   * the last one looked at; undefined at the end.
   */
  slice(filter: ParkedFilter, after?: ParkedKey): ParkedSlice {
    const range = filter.subscription === undefined ? {} : subscriptionRange(filter.subscription);
    const from = after === undefined ? {} : { start: after, exclusiveStart: true };
    const found: FoundParked[] = [];
    let looked = 0;
    let last: ParkedKey | undefined;
    for (const { key, value } of this.#index.getRange({ ...range, ...from, limit: SLICE })) {
      looked += 1;
      last = parkedKeySchema.parse(key);
      const { summary, bytes } = decodeParked(value);
      if (matches(summary, filter)) found.push({ key: last, summary, bytes });
    }
    return { found, last: looked < SLICE ? undefined : last };
  }

  /** Without its bytes where there are more than `mostBytes`. */
  look(key: ParkedKey, mostBytes: number): (FoundParked & { readonly payload: Uint8Array | undefined }) | undefined {
    const sealed = this.#index.get(key);
    if (sealed === undefined) return undefined;
    const { summary, bytes } = decodeParked(sealed);
    return { key, summary, bytes, payload: bytes > mostBytes ? undefined : this.#payloads.get(key) };
  }

  read(name: ParkedName): ParkedRecord | undefined {
    const key = this.#keyOf(name);
    const sealed = this.#index.get(key);
    const payload = this.#payloads.get(key);
    return sealed === undefined || payload === undefined ? undefined : { ...decodeParked(sealed).summary, payload };
  }

  /** Gives the room of those that are gone back; the result is how many there were. On disk when it resolves, all or nothing. */
  async settle({ gone, kept }: Settlement): Promise<number> {
    const removed = gone.flatMap((name) => {
      const key = this.#keyOf(name);
      const sealed = this.#index.get(key);
      const { subscription } = name;
      return sealed === undefined ? [] : [{ key, subscription, bytes: sealed.byteLength + decodeParked(sealed).bytes }];
    });
    const changed = kept.flatMap((summary) => {
      const key = this.#keyOf(summary);
      const before = this.#index.get(key);
      if (before === undefined) return [];
      const sealed = encodeParked(summary, decodeParked(before).bytes);
      return [{ key, sealed, more: sealed.byteLength - before.byteLength }];
    });
    if (removed.length + changed.length === 0) return 0;
    await inOneTransaction(this.#environment, () => {
      for (const { key } of removed) {
        void this.#index.remove(key);
        void this.#payloads.remove(key);
      }
      for (const { key, sealed } of changed) void this.#index.put(key, sealed);
    });
    for (const { subscription, bytes } of removed) {
      this.#totalBytes -= bytes;
      this.#counts.set(subscription, this.count(subscription) - 1);
    }
    for (const { more } of changed) this.#totalBytes += more;
    for (const wake of this.#waiting.keys()) wake();
    return removed.length;
  }

  /** What could not be written until now is given up: its events come again after the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#writing;
    await this.#environment.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #keyOf({ subscription, id, origin }: ParkedName): ParkedKey {
    const key = parkedKey(subscription, id);
    if (origin?.whole !== true) return key;
    const beside = keyBeside(key);
    if (this.#pending.has(JSON.stringify(beside)) || this.#index.doesExist(beside)) return beside;
    const pending = this.#pending.get(JSON.stringify(key));
    if (pending !== undefined) return pending.whole ? key : beside;
    const stored = this.#index.get(key);
    return stored === undefined || decodeParked(stored).summary.origin?.whole === true ? key : beside;
  }

  #room(bytes: number, stop: AbortSignal): Promise<void> {
    if (stop.aborted) return Promise.resolve();
    // Once all of the batch is here: only then is it known how much room would do.
    if (this.#waiting.size === 0) setImmediate(() => this.#tellShortage());
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        stop.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.set(done, bytes);
      stop.addEventListener('abort', done, { once: true });
    });
  }

  #tellShortage(): void {
    const { shortage } = this;
    if (shortage === undefined) return;
    this.#log.error(
      { code: 'parking-full', maxBytes: this.#maxBytes, totalBytes: this.#totalBytes, ...shortage },
      `The store of parked events is full: ${shortageText(shortage)}`,
    );
  }

  async #write(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (this.#queue.length > 0 && !this.#closing.signal.aborted) {
      const entries = this.#queue;
      this.#queue = [];
      try {
        const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
        await inOneTransaction(
          this.#environment,
          () => {
            for (const { key, sealed, payload } of entries) {
              void this.#index.put(key, sealed);
              void this.#payloads.put(key, payload);
            }
          },
          { bytes },
        );
      } catch (error) {
        this.#queue = [...entries, ...this.#queue];
        this.#failed(error);
        await sleep(retryMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
        continue;
      }
      if (this.#failing !== undefined) this.#log.info({}, 'Parked events are written again.');
      this.#failing = undefined;
      retryMs = FIRST_RETRY_MS;
      for (const { subscription, resolve } of entries) {
        this.#counts.set(subscription, this.count(subscription) + 1);
        resolve();
      }
    }
    this.#writing = undefined;
  }

  #failed(error: unknown): void {
    if (this.#failing === undefined) {
      this.#log.error(
        { code: 'parking-failing', err: error },
        'Parked events cannot be written: what waits for them is held. Is the disk full? Retrying.',
      );
    }
    this.#failing = error instanceof Error ? error.message : String(error);
  }
}

export function* listParked(index: BinaryDatabase, filter: ParkedFilter): Generator<FoundParked> {
  const { subscription } = filter;
  const range = subscription === undefined ? {} : subscriptionRange(subscription);
  for (const { key, value } of index.getRange(range)) {
    const { summary, bytes } = decodeParked(value);
    if (matches(summary, filter)) yield { key: parkedKeySchema.parse(key), summary, bytes };
  }
}

/** After a start, what one batch parks comes again until all of it was stored. */
export function shortageText({ events, neededBytes }: ParkingShortage): string {
  return (
    `${events} ${events === 1 ? 'event waits' : 'events wait'} for room, and their sources with them. Replay or drop what is parked, or stop the engine and set ` +
    `\`parked.maxBytes\` to ${neededBytes} or more; where what was read together parks more than the limit, only a higher limit helps.`
  );
}

/** As the bound counts it. */
export function storedBytes(index: BinaryDatabase): number {
  let total = 0;
  for (const { value } of index.getRange()) total += value.byteLength + decodeParked(value).bytes;
  return total;
}
