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

/** More events than a batch has. */
const NEVER = 0x3fff_ffff;

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
    const filters = this.#filters;
    const type = subscription.index * MESSAGE_TYPES.length + rows[row + Row.type]!;
    for (let k = 0; k < filters.length; k++) {
      const filter = filters[k]!;
      if (filter.asked[type] === 0 || (filter.hasPatterns && !filter.matches(route))) continue;
      if (++filter.matched < filter.next) continue;
      const event = { row, route, subscription, lane, key, headers, start, length };
      filter.take(event, tsIncrement(bytes, rows[row + Row.ts]!));
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

/**
 * One watcher's. Which events it takes is reservoir sampling that knows beforehand which is the next (Li's algorithm L): those
 * between cost a comparison.
 */
class Filter {
  readonly watcher: number;
  readonly chosen: Chosen[] = [];
  /** In this batch. */
  matched = 0;
  /** The one of those that match that is chosen next. */
  next = 1;
  /** By subscription's number and type: 1 where it is asked for. */
  readonly asked: Uint8Array;
  readonly hasPatterns: boolean;
  readonly #matches: Matcher;
  readonly #judged = new WeakMap<Route, boolean>();
  #latest: Route | undefined;
  #isWanted = true;
  #most = 0;
  #weight = 1;
  #random = 0;

  constructor({ watcher, subscriptions, namespaces, operations }: Watch, router: Router) {
    this.watcher = watcher;
    this.asked = Uint8Array.from(
      router.subscriptions.flatMap(({ name }) =>
        MESSAGE_TYPES.map((type) =>
          (subscriptions?.includes(name) ?? true) && (operations?.includes(type) ?? true) ? 1 : 0,
        ),
      ),
    );
    this.hasPatterns = namespaces !== undefined;
    this.#matches = compilePatterns(namespaces ?? ['*']);
  }

  begin(most: number): void {
    this.matched = 0;
    this.chosen.length = 0;
    this.next = most > 0 ? 1 : NEVER;
    this.#most = most;
    this.#weight = 1;
    this.#random = 0;
  }

  matches(route: Route): boolean {
    if (route !== this.#latest) {
      this.#latest = route;
      let wanted = this.#judged.get(route);
      if (wanted === undefined) this.#judged.set(route, (wanted = this.#matches(route.ns)));
      this.#isWanted = wanted;
    }
    return this.#isWanted;
  }

  /** Takes the event that is `next`. `seed`: something of the batch. */
  take(event: Chosen, seed: number): void {
    const most = this.#most;
    // xorshift must not begin with 0.
    if (this.#random === 0) this.#random = Math.imul(seed + 1, 0x9e37_79b1) | 1;
    if (this.matched <= most) this.chosen.push(event);
    else this.chosen[Math.floor(this.#draw() * most)] = event;
    if (this.matched < most) {
      this.next++;
      return;
    }
    this.#weight *= Math.exp(Math.log(this.#draw()) / most);
    const between = Math.log(this.#draw()) / Math.log(1 - this.#weight);
    this.next = Math.min(NEVER, this.matched + Math.floor(between) + 1);
  }

  /** Between 0 and 1, neither of them. */
  #draw(): number {
    let random = this.#random;
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    this.#random = random;
    return (random >>> 0) / 2 ** 32;
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
