/**
 * What those who watch are shown of a batch: of the events that a watcher asked for as many as it may have, each with the same
 * chance wherever in the batch it stands. Every event is held against every filter, by numbers and by what is known of its namespace,
 * so that a rare one is found among any number of others; only what was chosen is copied, as JSON whatever its message is.
 * Invariant: the same batch and the same filters choose the same events.
 */
import { decodeText, MalformedBson } from './bson.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import { putJsonDocument } from './json-writer.ts';
import { Output, SLACK } from './output.ts';
import { compilePatterns } from './pattern.ts';
import type { Matcher } from './pattern.ts';
import { BEGIN_INDEX, eventIdTail, MESSAGE_TYPES } from './protocol.ts';
import type { MessageHeaders, Sample, Seen, Watch } from './protocol.ts';
import { BSON_FORMAT } from './route.ts';
import type { CompiledSubscription, Route, Router } from './route.ts';
import { Row } from './rows.ts';

/** Of an event more is not shown. */
const MOST_SHOWN_BYTES = 64 * 1024;
/** A larger event in BSON is not made JSON: it has to be read to its end for that. */
const MOST_READ_BYTES = 256 * 1024;
/** For a watcher of a batch. */
const MOST_COPIED_BYTES = 512 * 1024;

interface Chosen {
  readonly row: number;
  readonly route: Route;
  readonly subscription: CompiledSubscription;
  readonly lane: number;
  readonly key: number;
  readonly headers: number;
  readonly start: number;
  readonly length: number;
}

/** Where what was chosen lies. */
export interface EncodedBatch {
  readonly bytes: Uint8Array;
  readonly rows: Int32Array;
  readonly written: Uint8Array;
  readonly keys: readonly string[];
  readonly headers: readonly MessageHeaders[];
}

export class Sampler {
  readonly #router: Router;
  readonly #known = new Map<number, Filter>();
  #filters: readonly Filter[] = [];

  constructor(router: Router) {
    this.#router = router;
  }

  begin(watches: readonly Watch[]): void {
    for (const watcher of this.#known.keys()) {
      if (!watches.some((one) => one.watcher === watcher)) this.#known.delete(watcher);
    }
    this.#filters = watches.map((watch) => {
      const filter = this.#known.get(watch.watcher) ?? new Filter(watch, this.#router);
      this.#known.set(watch.watcher, filter);
      filter.begin(watch.most);
      return filter;
    });
  }

  /** An event was written. Plain parameters, as for `RecordTable.add`. */
  offer(
    bytes: Uint8Array,
    rows: Int32Array,
    row: number,
    route: Route,
    subscription: CompiledSubscription,
    lane: number,
    key: number,
    headers: number,
    start: number,
    length: number,
  ): void {
    for (const filter of this.#filters) {
      if (!filter.wants(route, subscription, rows[row + Row.type]!)) continue;
      const place = filter.place(tsIncrement(bytes, rows[row + Row.ts]!));
      if (place >= 0) filter.chosen[place] = { row, route, subscription, lane, key, headers, start, length };
    }
  }

  /** What was chosen, in the oplog's order. */
  take(batch: EncodedBatch): Seen[] {
    return this.#filters.map(({ watcher, matched, chosen }) => {
      const samples: Sample[] = [];
      let bytes = 0;
      for (const one of chosen.toSorted((a, b) => inOrder(batch, a, b))) {
        const sample = this.#sample(batch, one);
        bytes += sample.text.length;
        if (bytes > MOST_COPIED_BYTES) break;
        samples.push(sample);
      }
      return { watcher, matched, samples };
    });
  }

  #sample(batch: EncodedBatch, one: Chosen): Sample {
    const { row, route, subscription, lane, key, headers, length } = one;
    const { bytes, rows } = batch;
    const ts = rows[row + Row.ts]!;
    const id = eventIdTail(tsSeconds(bytes, ts), tsIncrement(bytes, ts), rows[row + Row.index]! >>> 0);
    return {
      subscription: subscription.name,
      number: subscription.index,
      partition: lane % this.#router.partitions,
      ns: route.ns,
      operationType: MESSAGE_TYPES[rows[row + Row.type]!]!,
      id: `${this.#router.source.name}:${id}`,
      routingKey: batch.keys[key]!,
      headers: batch.headers[headers - 1] ?? {},
      bytes: length,
      ...textOf(batch.written, one),
    };
  }
}

/** One watcher's. */
class Filter {
  readonly watcher: number;
  readonly chosen: Chosen[] = [];
  /** In this batch. */
  matched = 0;
  /** By number, by type. */
  readonly #subscriptions: readonly boolean[];
  readonly #types: readonly boolean[];
  readonly #matches: Matcher | undefined;
  readonly #judged = new WeakMap<Route, boolean>();
  #latest: Route | undefined;
  #isWanted = true;
  #most = 0;
  #random = 0;

  constructor({ watcher, subscriptions, namespaces, operations }: Watch, router: Router) {
    this.watcher = watcher;
    this.#subscriptions = router.subscriptions.map(({ name }) => subscriptions?.includes(name) ?? true);
    this.#types = MESSAGE_TYPES.map((type) => operations?.includes(type) ?? true);
    this.#matches = namespaces && compilePatterns(namespaces);
  }

  begin(most: number): void {
    this.matched = 0;
    this.#most = most;
    this.#random = 0;
    this.chosen.length = 0;
  }

  wants(route: Route, subscription: CompiledSubscription, type: number): boolean {
    if (!this.#subscriptions[subscription.index] || !this.#types[type]) return false;
    if (this.#matches === undefined) return true;
    if (route !== this.#latest) {
      this.#latest = route;
      let wanted = this.#judged.get(route);
      if (wanted === undefined) this.#judged.set(route, (wanted = this.#matches(route.ns)));
      this.#isWanted = wanted;
    }
    return this.#isWanted;
  }

  /** Which place among the chosen this event takes, of another perhaps; -1 for none. `seed`: something of the batch. */
  place(seed: number): number {
    const before = this.matched++;
    if (before < this.#most) return before;
    if (this.#most === 0) return -1;
    // xorshift, which must not begin with 0.
    let random = this.#random === 0 ? Math.imul(seed + 1, 0x9e37_79b1) | 1 : this.#random;
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    this.#random = random;
    const place = (random >>> 0) % this.matched;
    return place < this.#most ? place : -1;
  }
}

/** A transaction's begin stands before its operations. */
function inOrder({ bytes, rows }: EncodedBatch, a: Chosen, b: Chosen): number {
  const aTs = rows[a.row + Row.ts]!;
  const bTs = rows[b.row + Row.ts]!;
  return (
    tsSeconds(bytes, aTs) - tsSeconds(bytes, bTs) ||
    tsIncrement(bytes, aTs) - tsIncrement(bytes, bTs) ||
    indexOf(rows, a) - indexOf(rows, b)
  );
}

function indexOf(rows: Int32Array, { row }: Chosen): number {
  const index = rows[row + Row.index]! >>> 0;
  return index === BEGIN_INDEX ? -1 : index;
}

function textOf(written: Uint8Array, { start, length, subscription }: Chosen): Pick<Sample, 'text' | 'whole'> {
  const end = start + length;
  if (subscription.format !== BSON_FORMAT) return shown(written, start, end);
  if (length > MOST_READ_BYTES) return NOTHING_SHOWN;
  try {
    const out = new Output(length * 2);
    let last = putJsonDocument(out, 0, written, start, end, true);
    if (last > out.bytes.length - SLACK) {
      out.grow(last, 0);
      last = putJsonDocument(out, 0, written, start, end, true);
    }
    return shown(out.bytes, 0, last);
  } catch (error) {
    // Nested too deeply for JSON, say: that is no trouble of the message.
    if (error instanceof MalformedBson) return NOTHING_SHOWN;
    throw error;
  }
}

const NOTHING_SHOWN = { text: '', whole: false };

function shown(bytes: Uint8Array, start: number, end: number): Pick<Sample, 'text' | 'whole'> {
  if (end - start <= MOST_SHOWN_BYTES) return { text: decodeText(bytes, start, end), whole: true };
  let cut = start + MOST_SHOWN_BYTES;
  // Not within a character.
  while ((bytes[cut]! & 0xc0) === 0x80) cut--;
  return { text: decodeText(bytes, start, cut), whole: false };
}
