/**
 * The buffer that a worker writes into, and the fast way to write an event there: a WebAssembly module (`wasm/assembly`), which
 * moves 16 bytes at a time where JavaScript moves four (bench `encode`). The batch is copied into the module's memory once, and
 * events are written behind it; `bytes` and `view` are of the same memory, so that JavaScript writes there as well.
 *
 *     the module's tables │ prefix and namespaces, kept from batch to batch │ the batch │ what is written
 *
 * The module writes what documents hold as a rule. For anything else (damage, no room, an update of the old form) it gives up,
 * and the event is written by `json-event.ts` or `bson-writer.ts`, which define what is right: tests hold the two byte for byte
 * against each other. Where the processor does not know the module's instructions, JavaScript writes everything.
 */
import { nsElement } from './bson-writer.ts';
import { nsText } from './json-event.ts';
import { putFiniteDouble, putJsonValue } from './json-writer.ts';
import { Output, SLACK } from './output.ts';
import type { Words } from './output.ts';
import { Crud } from './crud.ts';
import { BSON_FORMAT } from './route.ts';
import type { Route } from './route.ts';
import { Row } from './rows.ts';
import { TRANSCODER_MODULE } from './transcoder-module.ts';

/** What `write` returns where JavaScript has to write the event. */
export const GAVE_UP = -1;

const PAGE_BYTES = 65_536;
/** The text in front of an event's number: its place, and how much of it there may be. */
const PREFIX_BYTES = 1024;
/** For namespaces' texts; when it is full it is filled anew. */
const KEPT_BYTES = 256 * 1024;
/** The batch's part grows in these steps. */
const BATCH_STEP = 1024 * 1024;

type PutEvent = (
  pos: number,
  operation: number,
  ts: number,
  index: number,
  wall: number,
  uuid: number,
  o: number,
  key: number,
  limit: number,
  lsid: number,
  txnNumber: number,
  ns: number,
  nsLength: number,
  size: number,
) => number;

interface Exports {
  readonly memory: WebAssembly.Memory;
  readonly putJsonEvent: PutEvent;
  readonly putBsonEvent: PutEvent;
  readonly putJsonDocument: (pos: number, start: number, limit: number) => number;
  readonly free: () => number;
  readonly setPlaces: (batch: number, prefix: number, prefixBytes: number, output: number) => void;
  readonly setRelaxed: (relaxed: number) => void;
}

/** Thrown through the module; one object for all, as making one costs more than an event. */
const gaveUp = new Error('the module gives up');

interface Kept {
  readonly at: number;
  readonly length: number;
}

export interface TranscoderOptions {
  /** False: JavaScript writes everything, for tests and the bench that compare the two. */
  readonly module?: boolean;
  /** The most bytes that it may hold, for tests. */
  readonly most?: number;
}

let compiled: WebAssembly.Module | undefined;

export class Transcoder extends Output {
  /** How often the module did not write an event that it was asked for. */
  gaveUp = 0;
  /** How often it ran out of its memory instead, which it sees coming: never. */
  trapped = 0;
  readonly #wasm: Exports | undefined;
  #source: Uint8Array = new Uint8Array(0);
  #relaxed = true;
  #prefixAt = 0;
  #prefixBytes = 0;
  #keptAt = 0;
  #batchAt = 0;
  #batchRoom = 0;
  #outputAt = 0;
  /** Texts by namespace, of JSON and of BSON. */
  #kept = [new WeakMap<Route, Kept>(), new WeakMap<Route, Kept>()] as const;
  #latestRoute: Route | undefined;
  #latestBson = false;
  #latest: Kept = { at: 0, length: 0 };

  /** Room for so many bytes at first. */
  constructor(length: number, { module = true, most }: TranscoderOptions = {}) {
    const wasm = module ? instance(() => this) : undefined;
    super(wasm === undefined ? length : 0, most);
    this.#wasm = wasm;
    if (wasm === undefined) return;
    this.#prefixAt = wasm.free();
    this.#keptAt = this.#prefixAt + PREFIX_BYTES;
    this.#batchAt = this.#keptAt + KEPT_BYTES;
    this.#place(wasm, BATCH_STEP, length, 0);
  }

  /** All that it holds, the batch too. */
  get size(): number {
    return this.bytes.buffer.byteLength;
  }

  /** A batch begins: nothing that was written before is needed any more. */
  begin(batch: Uint8Array, prefix: Words): void {
    const wasm = this.#wasm;
    if (wasm === undefined) return;
    this.#source = batch;
    const room = Math.ceil(batch.length / BATCH_STEP) * BATCH_STEP;
    if (room > this.#batchRoom) this.#place(wasm, room, this.bytes.length, 0);
    new Uint8Array(wasm.memory.buffer, this.#batchAt, batch.length).set(batch);
    this.#prefixBytes = prefix.length;
    if (prefix.length <= PREFIX_BYTES) this.#putKept(this.#prefixAt, prefix);
    wasm.setPlaces(this.#batchAt, this.#prefixAt, this.#prefixBytes, this.#outputAt);
  }

  /** Lets go of the batch. */
  end(): void {
    this.#source = new Uint8Array(0);
  }

  /**
   * Writes the event of a row of `Rows.operations` (no finished one) at `pos`; the result is the place behind it, or `GAVE_UP`.
   * `wall` and `uuid`: whether it carries `wallTime`, `collectionUUID`.
   */
  write(
    format: number,
    pos: number,
    rows: Int32Array,
    row: number,
    route: Route,
    wall: boolean,
    uuid: boolean,
  ): number {
    const wasm = this.#wasm;
    if (wasm === undefined || this.#prefixBytes > PREFIX_BYTES) return GAVE_UP;
    const bson = format === BSON_FORMAT;
    const ns = this.#namespace(route, bson);
    if (ns === undefined) return GAVE_UP;
    if (!bson) this.#useRelaxed(wasm, format === 0);
    const operation = rows[row + Row.type]!;
    const o = rows[row + Row.o]!;
    const put = bson ? wasm.putBsonEvent : wasm.putJsonEvent;
    try {
      return put(
        pos,
        operation,
        rows[row + Row.ts]!,
        rows[row + Row.index]!,
        wall ? rows[row + Row.wall]! : -1,
        uuid ? rows[row + Row.ui]! : -1,
        o,
        operation === Crud.delete ? o : rows[row + Row.o2]!,
        rows[row + Row.last]!,
        rows[row + Row.lsid]!,
        rows[row + Row.txnNumber]!,
        ns.at,
        ns.length,
        this.#source.length,
      );
    } catch (error) {
      // Whatever it was, JavaScript says what there is to say.
      this.gaveUp++;
      if (error instanceof WebAssembly.RuntimeError) this.trapped++;
      return GAVE_UP;
    }
  }

  /** A document of the batch alone, as JSON, at `pos`; the place behind it, or `GAVE_UP`. */
  writeDocument(pos: number, start: number, limit: number, relaxed: boolean): number {
    const wasm = this.#wasm;
    if (wasm === undefined) return GAVE_UP;
    this.#useRelaxed(wasm, relaxed);
    try {
      return wasm.putJsonDocument(pos, start, limit);
    } catch (error) {
      this.gaveUp++;
      if (error instanceof WebAssembly.RuntimeError) this.trapped++;
      return GAVE_UP;
    }
  }

  #useRelaxed(wasm: Exports, relaxed: boolean): void {
    if (relaxed === this.#relaxed) return;
    this.#relaxed = relaxed;
    wasm.setRelaxed(relaxed ? 1 : 0);
  }

  override grow(needed: number, used: number): void {
    const wasm = this.#wasm;
    if (wasm === undefined) {
      super.grow(needed, used);
      return;
    }
    this.#place(wasm, this.#batchRoom, needed + SLACK, needed / 2);
  }

  /** For the module: the digits of a double, at a place of its memory. */
  putDouble(at: number, value: number): number {
    return putFiniteDouble(this, at - this.#outputAt, value) + this.#outputAt;
  }

  /** For the module: a value of a rare type. */
  putRareValue(to: number, type: number, at: number, last: number, depth: number): number {
    const batch = this.#batchAt;
    const pos = to - this.#outputAt;
    return putJsonValue(this, pos, this.#source, type, at - batch, last - batch, this.#relaxed, depth) + this.#outputAt;
  }

  /** The memory may refuse to grow: only once it has, anything is somewhere else than it was. */
  #place(wasm: Exports, batchRoom: number, outputBytes: number, more: number): void {
    // A block that is read across the batch's end stays in the memory.
    const outputAt = this.#batchAt + batchRoom + 64;
    const size = this.withMore(outputAt + outputBytes, more);
    const pages = Math.ceil((size - wasm.memory.buffer.byteLength) / PAGE_BYTES);
    if (pages > 0) wasm.memory.grow(pages);
    this.#batchRoom = batchRoom;
    this.#outputAt = outputAt;
    const { buffer } = wasm.memory;
    // The buffer that was there is gone.
    this.bytes = new Uint8Array(buffer, outputAt);
    this.view = new DataView(buffer, outputAt);
    wasm.setPlaces(this.#batchAt, this.#prefixAt, this.#prefixBytes, outputAt);
  }

  #namespace(route: Route, bson: boolean): Kept | undefined {
    if (route === this.#latestRoute && bson === this.#latestBson) return this.#latest;
    let kept = this.#kept[bson ? 1 : 0].get(route);
    if (kept === undefined) {
      const text = bson ? nsElement(route) : nsText(route);
      const length = text.length;
      if (length > KEPT_BYTES / 4) return undefined;
      if (this.#keptAt + length + SLACK > this.#batchAt) {
        this.#keptAt = this.#prefixAt + PREFIX_BYTES;
        this.#kept = [new WeakMap<Route, Kept>(), new WeakMap<Route, Kept>()];
      }
      kept = { at: this.#keptAt, length };
      this.#keptAt += this.#putKept(kept.at, text);
      this.#kept[bson ? 1 : 0].set(route, kept);
    }
    this.#latestRoute = route;
    this.#latestBson = bson;
    this.#latest = kept;
    return kept;
  }

  /** The result is how much of the memory it takes. */
  #putKept(at: number, { words }: Words): number {
    new Uint8Array(this.#wasm!.memory.buffer, at, words.byteLength).set(new Uint8Array(words.buffer));
    return words.byteLength;
  }
}

/** Undefined where the processor lacks what the module needs. */
function instance(owner: () => Transcoder): Exports | undefined {
  try {
    compiled ??= new WebAssembly.Module(Buffer.from(TRANSCODER_MODULE, 'base64'));
    const host = {
      giveUp: () => {
        throw gaveUp;
      },
      putDouble: (at: number, value: number) => owner().putDouble(at, value),
      putRareValue: (to: number, type: number, at: number, last: number, depth: number) =>
        owner().putRareValue(to, type, at, last, depth),
    };
    // oxlint-disable-next-line no-unsafe-type-assertion -- what `wasm/assembly/index.ts` exports
    return new WebAssembly.Instance(compiled, { host }).exports as unknown as Exports;
  } catch {
    return undefined;
  }
}
