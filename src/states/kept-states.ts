/**
 * The last states of one subscription's documents while it is read: what a batch left lies in memory, in a layer of its own, until the
 * checkpoint behind it is on disk; then it is stored, with the position that it is of.
 *
 *     lookups ──▶ layers, the newest state of each document ──▶ the store, exactly at `position`
 *
 * Invariants:
 * - What is stored is never ahead of a checkpoint that is on disk: at a start everything that may come again finds the states before it.
 * - It is the states of one position: a layer is stored as a whole, and in order, and none that is of a position that goes on. What is
 *   read again at a start lies behind a checkpoint at once.
 * - What is not known is left out, and what might not be so any more is not known.
 */
import { floorOf } from '../lanes/floors.ts';
import { ByteBudget } from '../source/byte-budget.ts';
import { compareTs } from '../source/position.ts';
import { latin1Text } from '../worker/bson.ts';
import { Documents } from '../worker/documents.ts';
import { AnyOf } from '../source/any-of.ts';
import { UUID_BYTES } from '../worker/state-keys.ts';
import { sleep } from '../waits.ts';
import { placeOf } from './place.ts';
import type { Log } from '../observe/log.ts';
import type { OpTime, Ts } from '../source/position.ts';
import type { Checkpoints } from '../feed/route.ts';
import type { StateQuestions, States } from '../worker/protocol.ts';
import type { StatesRecord, StoredStates } from './state-store.ts';

/** Of what is not stored yet; reading waits where there is more. */
const MOST_BYTES = 64 * 2 ** 20;
/** Of one transaction's, which cannot wait for itself. */
const MOST_OF_ONE = 256 * 2 ** 20;
/** Stored in one go: main does nothing else meanwhile. */
const MOST_AT_A_TIME = 2_000;
/** Besides its bytes, of a state in memory. */
const STATE_COST = 150;
const WAITING_MS = 20;
/** So many intervals may pass before a position is stored that nothing was written for. */
const IDLE_INTERVALS = 20;
const RETRY_MS = 1_000;

export interface KeptStatesOptions {
  readonly subscription: string;
  readonly stored: StoredStates;
  readonly checkpoints: Pick<Checkpoints, 'durable' | 'flushed'>;
  readonly maxBytes: number;
  /** How often it is stored. */
  readonly intervalMs: number;
  /** But for its position. */
  readonly record: Omit<StatesRecord, 'position'>;
  readonly log: Log;
}

interface Layer {
  /** Later ones have higher ones. */
  readonly number: number;
  readonly position: OpTime;
  /** By key as Latin-1; undefined: there is none. */
  readonly states: Map<string, Uint8Array | undefined>;
  /** UUIDs as Latin-1: what is of these in it, and in all before it, counts no more. */
  readonly dropped: readonly string[];
  bytes: number;
  /** There is more of its position to come. */
  isOpen: boolean;
  isStored: boolean;
}

interface Newest {
  readonly state: Uint8Array | undefined;
  readonly layer: Layer;
}

/** What was found, behind the batch that it is for. */
export interface Found {
  readonly bytes: Uint8Array;
  /** By document's number: where its state lies; 0: it has none. */
  readonly places: Uint32Array;
}

export class KeptStates implements AsyncDisposable {
  readonly #o: KeptStatesOptions;
  readonly #budget = new ByteBudget(MOST_BYTES);
  readonly #layers: Layer[] = [];
  /** Layers, until now. */
  #made = 0;
  readonly #newest = new Map<string, Newest>();
  /** Collections of which nothing counts up to this layer; until that is stored. */
  readonly #gone = new Map<string, Layer>();
  readonly #over = new AbortController();
  readonly #running: Promise<void>;
  /** Nothing that is stored counts; it is deleted with what is stored next. */
  #isForgotten = false;
  #forgets = 0;
  /** What is stored is of this position. */
  #position: OpTime;
  /** All that takes effect up to here has been put. */
  #reached: OpTime;
  /** The last of which something was put. */
  #last: OpTime;
  #storedAt = performance.now();
  #waiting = 0;
  #wake: () => void = () => undefined;
  #isFull = false;
  #isFailing = false;
  #leftOut = 0;

  /** `position`: what is stored is of this. */
  constructor(options: KeptStatesOptions, position: OpTime) {
    this.#o = options;
    this.#position = position;
    this.#reached = position;
    this.#last = position;
    this.#running = this.#run();
  }

  get subscription(): string {
    return this.#o.subscription;
  }

  get size() {
    const { stored, maxBytes } = this.#o;
    const { documents, bytes } = stored;
    return { documents, bytes, maxBytes, memoryBytes: this.#budget.used, leftOut: this.#leftOut };
  }

  /** Once there is room in memory; at once where `stop` fires. */
  async room(stop: AbortSignal): Promise<void> {
    this.#waiting += 1;
    try {
      for (let room = this.#budget.room(stop); room; room = this.#budget.room(stop)) {
        this.#wake();
        await room;
      }
    } finally {
      this.#waiting -= 1;
    }
  }

  /** The states of the documents that matter, laid behind the batch. Undefined where they take more than `mostBytes`. */
  look(batch: Uint8Array, { keys, ends, needed }: StateQuestions, mostBytes: number): Found | undefined {
    const places = new Uint32Array(ends.length);
    if (!needed.includes(1)) return { bytes: batch, places };
    const found = new Documents(batch);
    let from = 0;
    for (let number = 0; number < ends.length; number++) {
      const to = ends[number]!;
      if (needed[number] === 1) {
        const state = this.#state(keys, from, to);
        if (state) {
          places[number] = found.length;
          found.copy(state);
          if (found.length - batch.length > mostBytes) return undefined;
        }
      }
      from = to;
    }
    return { bytes: found.bytes.subarray(0, found.length), places };
  }

  /**
   * What a batch, or a part of it that ends at `position`, left of the documents that it touched; without `states` nothing is known of
   * them. `isOpen`: more takes effect at that position, until `whole`.
   */
  put(
    { keys, ends, dropped }: StateQuestions,
    states: States | undefined,
    { position, isOpen }: { readonly position: OpTime; readonly isOpen: boolean },
  ): void {
    this.#last = position;
    if (!isOpen) this.reach(position);
    // What nothing happened in needs no layer, and holds up nobody.
    if (ends.length === 0 && dropped.length === 0) return;
    const uuids = dropped.map((uuid) => latin1Text(uuid, 0, uuid.length));
    const layer = this.#layer(position, uuids, ends.length * STATE_COST + (states?.documents.length ?? 0));
    layer.isOpen = isOpen;
    let from = 0;
    let start = 0;
    for (const [number, to] of ends.entries()) {
      const end = states?.ends[number] ?? 0;
      this.#set(layer, latin1Text(keys, from, to), end > start ? states!.documents.subarray(start, end) : undefined);
      from = to;
      start = end;
    }
    for (const uuid of uuids) this.#gone.set(uuid, layer);
    if (this.#bytesOfOne() > MOST_OF_ONE) this.forget('a transaction left more than there is memory for');
  }

  /** Of what goes on. */
  #bytesOfOne(): number {
    let bytes = 0;
    for (let n = this.#layers.length - 1; n >= 0 && this.#layers[n]!.isOpen; n--) bytes += this.#layers[n]!.bytes;
    return bytes;
  }

  /** All that takes effect at the positions until now has been put. */
  whole(): void {
    for (const layer of this.#layers) layer.isOpen = false;
    this.reach(this.#last);
  }

  /** Documents that are so at `position`. */
  putDocuments(documents: readonly (readonly [key: Buffer, state: Uint8Array])[], position: OpTime): void {
    const bytes = documents.reduce((sum, [, state]) => sum + state.length + STATE_COST, 0);
    const layer = this.#layer(position, [], bytes);
    for (const [key, state] of documents) this.#set(layer, key.toString('latin1'), state);
  }

  /** Up to here nothing more happens. */
  reach(position: OpTime): void {
    this.#last = position;
    if (compareTs(position.ts, this.#reached.ts) > 0) this.#reached = position;
  }

  /** Nobody can tell what the documents are now. */
  forget(reason: string): void {
    const { subscription, log } = this.#o;
    const had = this.#newest.size + (this.#isForgotten ? 0 : this.#o.stored.documents);
    this.#isForgotten = true;
    this.#newest.clear();
    this.#forgets += 1;
    for (const layer of this.#layers) {
      layer.states.clear();
      this.#budget.give(layer.bytes);
      layer.bytes = 0;
    }
    if (had === 0) return;
    log.warn(
      { code: 'states-forgotten', subscription, reason },
      'The documents kept for `images: local` are given up: events go without theirs until a document is written as a whole, or a snapshot shows it.',
    );
  }

  /** Resolves once what was put until now is stored; or `stop` fires. */
  async stored(stop: AbortSignal): Promise<void> {
    const last = this.#layers.at(-1);
    if (!last) return;
    const isOver = (): boolean => last.isStored || stop.aborted || this.#over.signal.aborted;
    this.#waiting += 1;
    try {
      while (!isOver()) {
        this.#wake();
        await sleep(WAITING_MS, stop);
      }
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Stores what it may; nothing is written once it resolves. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    this.#wake();
    await this.#running;
    await this.#store().catch(() => undefined);
    await this.#o.stored[Symbol.asyncDispose]();
  }

  #state(keys: Uint8Array, from: number, to: number): Uint8Array | undefined {
    const newest = this.#newest.get(latin1Text(keys, from, to));
    const gone = this.#gone.size > 0 ? this.#gone.get(latin1Text(keys, from, from + UUID_BYTES)) : undefined;
    if (newest && newest.layer.number > (gone?.number ?? -1)) return newest.state;
    if (gone || this.#isForgotten) return undefined;
    return this.#o.stored.get(Buffer.from(keys.buffer, keys.byteOffset + from, to - from));
  }

  #layer(position: OpTime, dropped: readonly string[], bytes: number): Layer {
    const number = this.#made++;
    const layer: Layer = { number, position, states: new Map(), dropped, bytes, isOpen: false, isStored: false };
    this.#layers.push(layer);
    this.#budget.take(bytes);
    return layer;
  }

  #set(layer: Layer, key: string, state: Uint8Array | undefined): void {
    layer.states.set(key, state);
    this.#newest.set(key, { state, layer });
  }

  async #run(): Promise<void> {
    const { signal } = this.#over;
    const { log, subscription } = this.#o;
    while (!signal.aborted) {
      await this.#pause(signal);
      if (signal.aborted) return;
      try {
        if (this.#waiting > 0) await this.#o.checkpoints.flushed();
        await this.#store();
        if (this.#isFailing) log.info({ subscription }, 'The documents kept for `images: local` are stored again.');
        this.#isFailing = false;
      } catch (error) {
        if (!this.#isFailing) {
          log.error(
            { code: 'states-failing', subscription, err: error },
            'The documents kept for `images: local` cannot be stored: reading waits once memory is full. Is the disk full? Retrying.',
          );
        }
        this.#isFailing = true;
      }
    }
  }

  async #pause(stop: AbortSignal): Promise<void> {
    const woken = new AbortController();
    using either = new AnyOf([stop, woken.signal]);
    this.#wake = () => woken.abort();
    // Nobody may make it go round faster than that.
    await sleep(WAITING_MS, stop);
    if (this.#isFailing) await sleep(RETRY_MS, stop);
    else if (this.#waiting === 0) await sleep(this.#o.intervalMs - WAITING_MS, either.signal);
  }

  /** All that the checkpoint on disk is behind of. */
  async #store(): Promise<void> {
    const record = this.#o.checkpoints.durable(this.#o.subscription);
    if (!record) return;
    const floor = floorOf(record);
    const isWhole = floor.index === WHOLE_ENTRY;
    for (;;) {
      const group = this.#due(floor.ts, isWhole);
      const [last] = group.slice(-1);
      if (!last) break;
      await this.#storeLayers(group, last.position);
    }
    const place = placeOf(record);
    // What is read again lies behind a checkpoint that is far ahead of it.
    const position = compareTs(place.ts, this.#reached.ts) > 0 ? this.#reached : place;
    if (isWhole && this.#isDue(position)) await this.#storeLayers([], position);
  }

  /** Of a position that nothing is written for: it can wait, but not for ever, or much would be read again at a start. */
  #isDue({ ts }: OpTime): boolean {
    const [next] = this.#layers;
    if (compareTs(ts, this.#position.ts) <= 0 || (next && compareTs(next.position.ts, ts) <= 0)) return false;
    const isSoon = performance.now() - this.#storedAt < this.#o.intervalMs * IDLE_INTERVALS;
    return this.#isForgotten || this.#over.signal.aborted || !isSoon;
  }

  /** Layers from the first on. */
  #due(ts: Ts, whole: boolean): readonly Layer[] {
    let count = 0;
    let documents = 0;
    let before: Ts | undefined;
    for (const { position, states, isOpen } of this.#layers) {
      const order = compareTs(position.ts, ts);
      if (isOpen || order > 0 || (order === 0 && !whole)) break;
      // What is of one position is stored together, or the record would say more than there is.
      const isOther = before !== undefined && compareTs(position.ts, before) !== 0;
      if (isOther && documents + states.size > MOST_AT_A_TIME) break;
      documents += states.size;
      count += 1;
      before = position.ts;
    }
    return this.#layers.slice(0, count);
  }

  async #storeLayers(group: readonly Layer[], position: OpTime): Promise<void> {
    const { stored, record } = this.#o;
    // As they are now: what is forgotten meanwhile is deleted with what is stored next.
    const all = statesOf(group);
    const dropped = group.flatMap((layer) => layer.dropped);
    if (this.#isForgotten) {
      const forgets = this.#forgets;
      await stored.clear({ ...record, position });
      this.#isForgotten = this.#forgets > forgets;
      this.#isFull = false;
    }
    await stored.write(this.#fitting(all), { ...record, position, dropped, stop: this.#over.signal });
    this.#position = position;
    this.#storedAt = performance.now();
    this.#layers.splice(0, group.length);
    for (const layer of group) {
      layer.isStored = true;
      for (const key of layer.states.keys()) if (this.#newest.get(key)?.layer === layer) this.#newest.delete(key);
      this.#budget.give(layer.bytes);
    }
    for (const [uuid, layer] of this.#gone) if (layer.isStored) this.#gone.delete(uuid);
  }

  /** Where it is full no more documents come in; where those that are in it outgrow it they leave. */
  #fitting(states: ReadonlyMap<string, Uint8Array | undefined>): ReadonlyMap<string, Uint8Array | undefined> {
    const { stored, maxBytes, subscription, log } = this.#o;
    const { bytes } = stored;
    if (bytes < maxBytes) {
      this.#isFull = false;
      return states;
    }
    if (!this.#isFull) {
      log.warn(
        { code: 'states-full', subscription, bytes, maxBytes },
        'The documents kept for `images: local` take all that `localImages.maxSize` allows: no further ones are kept, and events of those go without images.',
      );
    }
    this.#isFull = true;
    const isOver = bytes > maxBytes + maxBytes / 20;
    const fitting = new Map<string, Uint8Array | undefined>();
    for (const [key, state] of states) {
      const stays = state !== undefined && !isOver && stored.has(Buffer.from(key, 'latin1'));
      if (state !== undefined && !stays) this.#leftOut += 1;
      fitting.set(key, stays ? state : undefined);
    }
    return fitting;
  }
}

/** As `Floors` has it. */
const WHOLE_ENTRY = 0xffff_ffff;

/** The newest of each document, but for those of collections that went behind them. */
function statesOf(group: readonly Layer[]): Map<string, Uint8Array | undefined> {
  const gone = new Map<string, number>();
  for (const { number, dropped } of group) for (const uuid of dropped) gone.set(uuid, number);
  const all = new Map<string, Uint8Array | undefined>();
  for (const { number, states } of group) {
    for (const [key, state] of states) {
      if (gone.size === 0 || number > (gone.get(key.slice(0, UUID_BYTES)) ?? -1)) all.set(key, state);
    }
  }
  return all;
}
