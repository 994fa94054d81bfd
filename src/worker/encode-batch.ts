/**
 * The workers' one job: a batch of raw oplog entries in, encoded messages grouped by lane out. Pure: the same plan and job
 * give the same result (but for `decodeMs`), in any thread and any order. What is kept between calls are caches and
 * buffers only.
 *
 * Two passes. `BatchScan` finds out what goes to which lane; then this goes lane by lane, so that a lane's consecutive
 * events are written one behind the other and a message of many events lies in one piece without being moved. All is
 * written into one buffer that grows with the largest batch seen, and copied once to what is sent.
 */
import { performance } from 'node:perf_hooks';
import { MAX_SHORT_STRING } from '../config/limits.ts';
import { BsonType, MalformedBson, encodeText, findElement, nameEnd, noBytes, releaseViews } from './bson.ts';
import { putBsonEvent } from './bson-writer.ts';
import { compressRecords, fitsCompressed } from './compress.ts';
import type { Crafted, Crafter } from './craft.ts';
import { putBsonEventDocument, putJsonEventDocument } from './event-document.ts';
import { disambiguatedPaths } from './disambiguated-paths.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import { EventView } from './event.ts';
import { Images } from './images.ts';
import { applyToStates, askForStates } from './local-images.ts';
import { putJsonEvent } from './json-event.ts';
import { encodeChunk } from './encode-chunk.ts';
import { SLACK, copyTo, textWords } from './output.ts';
import type { Words } from './output.ts';
import { MESSAGE_TYPES, NOTHING } from './protocol.ts';
import type { Parked } from './parking.ts';
import type { BatchJob, BatchResult, Seen, States, TransactionMark, WorkerPlan } from './protocol.ts';
import { Crud } from './crud.ts';
import { BSON_FORMAT, Router } from './route.ts';
import type { CompiledSubscription, Route } from './route.ts';
import { RecordTable } from './records.ts';
import { DELIVERY_FIELDS, ROW_FIELDS, Row } from './rows.ts';
import { Sampler } from './sampler.ts';
import { BatchScan } from './scan.ts';
import { renderTemplate } from './template.ts';
import { GAVE_UP, Transcoder } from './transcoder.ts';

const idName = encodeText('_id');
const fullDocumentName = encodeText('fullDocument');
const documentKeyName = encodeText('documentKey');
const LINE_FEED = 0x0a;
/** The first server that writes updates as diffs (`$v: 2`). */
const DIFFS_SINCE = 500;
/** The first server whose expanded events carry `disambiguatedPaths`. */
const DISAMBIGUATED_SINCE = 601;

/** A buffer that one giant event made this large is let go again after the batch. */
const KEEP_BYTES = 64 * 1024 * 1024;
const START_BYTES = 4 * 1024 * 1024;

export function encodeBatch(plan: WorkerPlan, job: BatchJob): BatchResult {
  const started = performance.now();
  let encoder = compiled.get(plan);
  if (encoder === undefined) {
    encoder = new SourceEncoder(new Router(plan));
    compiled.set(plan, encoder);
  }
  return encoder.encode(job, started);
}

const compiled = new WeakMap<WorkerPlan, SourceEncoder>();

/** Shared by all sources of a thread: only one batch is worked on at a time. */
let scratch = new Transcoder(START_BYTES);

/** Encodes with another one from now on; the result is the one before. */
export function useTranscoder(transcoder: Transcoder): Transcoder {
  const before = scratch;
  scratch = transcoder;
  return before;
}

function renewScratch(): void {
  try {
    scratch = new Transcoder(START_BYTES);
  } catch {
    // No memory for another one now; the next batch has to do with the one there is.
  }
}

class SourceEncoder {
  #router: Router;
  #scan: BatchScan;
  #idPrefix: Words;
  #event: EventView | undefined;
  #batch = 0;
  readonly #records = new RecordTable();
  #pos = 0;
  #events = new Uint32Array(0);
  /** Where an operation was already written in a format, for the next subscription: start and length, 0 for not yet. */
  #written: (Int32Array | undefined)[] = [];
  /** As long as somebody watches. */
  #sampler: Sampler | undefined;
  readonly #images = new Images();
  #states: States | undefined;
  /** By gate that never opens: why. */
  #walls = new Map<number, string>();

  constructor(router: Router) {
    this.#router = router;
    this.#scan = new BatchScan(router);
    this.#idPrefix = textWords(`${router.source.name}:`);
  }

  encode(job: BatchJob, started: number): BatchResult {
    try {
      return this.#encode(job, started);
    } catch (error) {
      // Memory that was refused, or what nobody thought of: what it may have left half done writes no other batch.
      if (!(error instanceof MalformedBson)) renewScratch();
      throw error;
    } finally {
      this.#release();
    }
  }

  #release(): void {
    this.#scan.release();
    this.#states = undefined;
    if (this.#event !== undefined) this.#event.bytes = noBytes;
    releaseViews();
    scratch.end();
    if (scratch.size > KEEP_BYTES) renewScratch();
  }

  #encode(asked: BatchJob, started: number): BatchResult {
    const router = this.#router;
    const scan = this.#scan;
    this.#batch++;
    this.#records.reset();
    this.#pos = 0;
    this.#events = new Uint32Array(router.subscriptions.length);
    router.useCollated(asked.collated);
    if (asked.chunk) {
      scratch.begin(asked.bytes, this.#idPrefix);
      const chunk = encodeChunk({ router, records: this.#records, out: scratch }, asked, asked.chunk);
      return { ...chunk, decodeMs: performance.now() - started };
    }
    scan.scan(asked);
    if (asked.asks) {
      const { entries } = scan;
      const { keeping } = this.#router;
      if (asked.tracks && keeping) {
        return { ...NOTHING, entries, stateQuestions: askForStates(asked.bytes, scan.tracked, keeping) };
      }
      const questions = this.#images.ask(asked.bytes, scan.rows, asked.piece);
      return { ...NOTHING, entries, questions };
    }
    const job = asked.states ? this.#withStates(asked, asked.states) : this.#withImages(asked);
    if (job === undefined) return { ...NOTHING, isTooMuch: true };
    this.#walls = new Map();
    scratch.begin(job.bytes, this.#idPrefix);
    this.#written = router.formUsers.map((users) =>
      users > 1 ? new Int32Array(scan.rows.operationCount * 2) : undefined,
    );
    this.#sampler = job.watches && (this.#sampler ?? new Sampler(router));
    this.#sampler?.begin(job.watches ?? []);
    const marks: TransactionMark[] = [];
    let from = 0;
    for (const mark of scan.marks) {
      if (mark.kind === 'commit') {
        // What comes before a commit must be ready to go before what comes after it.
        const { deliveries, ...commit } = mark;
        this.#encodeLanes(job, from, deliveries);
        marks.push({ ...commit, records: this.#records.count });
        from = deliveries;
      } else marks.push(mark);
    }
    this.#encodeLanes(job, from, scan.rows.deliveryCount);
    const records = this.#records.copy();
    const seen = this.#seen(job.bytes);
    return {
      kind: 'done',
      records,
      bodies: this.#bodies(records, job.room),
      routingKeys: this.#records.keys,
      headers: this.#records.headers.length > 0 ? this.#records.headers : undefined,
      parked: scan.parking.records,
      gates: scan.rows.gates,
      ...(this.#walls.size > 0 && { walls: this.#walls }),
      marks,
      ...(scan.tally && { tally: scan.tally }),
      last: scan.last,
      lastWallMs: scan.lastWallMs,
      entries: scan.entries,
      events: this.#events,
      filtered: scan.filtered,
      unknownOps: Object.fromEntries(scan.unknownOps),
      decodeMs: performance.now() - started,
      ...(seen && { seen }),
      ...(job.touching && { touched: scan.touched }),
      ...(this.#states && { states: this.#states }),
    };
  }

  /** Whose bytes have the documents too; undefined where events would show too much of them. */
  #withImages(job: BatchJob): BatchJob | undefined {
    const { bytes, images, mostImageBytes = Infinity, piece } = job;
    if (images === undefined) {
      this.#images.clear();
      return job;
    }
    const all = this.#images.find(bytes, this.#scan.rows, images, piece);
    return this.#images.shownBytes > mostImageBytes ? undefined : { ...job, bytes: all };
  }

  /** As `#withImages`, of states that are kept; and what they are behind the batch. */
  #withStates(job: BatchJob, places: Uint32Array): BatchJob | undefined {
    const { tracked, rows } = this.#scan;
    const images = this.#router.keeping;
    if (images === undefined) return job;
    const made = applyToStates(job.bytes, {
      tracked,
      images,
      places,
      operations: rows.operationCount,
      mostBytes: job.mostImageBytes ?? Infinity,
    });
    if (made === undefined) return undefined;
    this.#images.use(made);
    this.#states = made.states;
    return { ...job, bytes: made.bytes };
  }

  #seen(bytes: Uint8Array): Seen[] | undefined {
    const { keys, headers } = this.#records;
    const rows = this.#scan.rows.operations;
    return this.#sampler?.take({ bytes, rows, written: scratch.bytes, keys, headers });
  }

  #bodies(records: Uint32Array, room: ArrayBuffer | undefined): Uint8Array {
    const { subscriptions, partitions } = this.#router;
    if (subscriptions.every(({ compression }) => compression === undefined))
      return copyTo(room, scratch.bytes, this.#pos);
    return compressRecords(records, scratch.bytes, (lane) => subscriptions[Math.floor(lane / partitions)]!.compression);
  }

  /** The deliveries `from` … `to - 1`, lane by lane. */
  #encodeLanes(job: BatchJob, from: number, to: number): void {
    const order = this.#sortByLane(from, to);
    this.#records.seal();
    const { deliveries } = this.#scan.rows;
    let lane = -1;
    let joins = false;
    for (let k = 0; k < order.length; k++) {
      const delivery = order[k]! * DELIVERY_FIELDS;
      joins &&= deliveries[delivery] === lane;
      lane = deliveries[delivery]!;
      const number = deliveries[delivery + 1]!;
      if (number < 0) this.#records.gate(lane, -1 - number, deliveries[delivery + 2]!);
      else this.#deliver(job, lane, number, deliveries[delivery + 2]!, joins);
      joins = number >= 0;
    }
  }

  /** The deliveries' numbers by lane, each lane's in the order in which they came. */
  #sortByLane(from: number, to: number): Int32Array {
    const { deliveries } = this.#scan.rows;
    const { subscriptions, partitions } = this.#router;
    const starts = new Int32Array(subscriptions.length * partitions + 1);
    for (let k = from; k < to; k++) starts[deliveries[k * DELIVERY_FIELDS]! + 1]!++;
    for (let lane = 1; lane < starts.length; lane++) starts[lane]! += starts[lane - 1]!;
    const order = new Int32Array(to - from);
    for (let k = from; k < to; k++) order[starts[deliveries[k * DELIVERY_FIELDS]!]!++] = k;
    return order;
  }

  #deliver(job: BatchJob, lane: number, number: number, targetNumber: number, joins: boolean): void {
    const rows = this.#scan.rows.operations;
    const row = number * ROW_FIELDS;
    const route = this.#scan.rows.routes[rows[row + Row.route]!]!;
    const subscription =
      rows[row + Row.document]! < 0
        ? route.targets[rows[row + Row.type]!]![targetNumber]!.subscription
        : this.#router.subscriptions[targetNumber]!;
    const start = this.#pos;
    const batched = subscription.maxEvents > 1;
    const lineFeed = batched && subscription.format !== BSON_FORMAT ? 1 : 0;
    const { crafter } = subscription;
    let key = -1;
    let headers = 0;
    try {
      if (job.images !== undefined && subscription.images !== undefined) {
        const isRefused = job.imagesRefused === true;
        const wall = this.#images.wall(job.bytes, this.#scan.rows, number, { images: subscription.images, isRefused });
        if (wall !== undefined) {
          const gate = this.#scan.rows.newGate(Number.MAX_SAFE_INTEGER);
          this.#walls.set(gate, wall);
          this.#records.gate(lane, gate, 0);
          return;
        }
      }
      let length: number;
      if (crafter === undefined) {
        key = this.#routingKey(job.bytes, row, route, targetNumber, lane);
        if (key < 0) return;
        length = this.#write(job, number, row, route, subscription) + lineFeed;
      } else {
        const crafted = this.#craft(job, row, route, lane, subscription, crafter);
        if (crafted === undefined) return;
        key = this.#records.keyNumber(crafted.key);
        headers = this.#records.headersNumber(crafted.headers);
        length = crafted.end - start + lineFeed;
      }
      if (length > subscription.surelyFits && !fitsCompressed(scratch.bytes, start, length, subscription)) {
        // What was written is not kept, and the next event takes its place: nobody may copy it from there.
        this.#written[subscription.form]?.fill(0, number * 2, number * 2 + 2);
        const detail = `${length} bytes, more than the limit of ${subscription.maxMessageBytes}`;
        this.#park(row, route, subscription, lane, { reason: 'too-large', detail, event: crafter?.parkable });
        return;
      }
      this.#pos = start + length;
    } catch (error) {
      if (!(error instanceof MalformedBson)) throw error;
      const event = crafter?.shapes ? noBytes : undefined;
      this.#park(row, route, subscription, lane, { reason: 'undecodable', detail: error.message, event });
      return;
    }
    if (lineFeed === 1) {
      if (this.#pos > scratch.bytes.length) scratch.grow(this.#pos, this.#pos - 1);
      scratch.bytes[this.#pos - 1] = LINE_FEED;
    }
    const length = this.#pos - start;
    const { operations } = this.#scan.rows;
    this.#records.add(job.bytes, operations, row, lane, key, headers, start, length, joins, subscription);
    this.#events[subscription.index]!++;
    if (this.#sampler === undefined) return;
    const shown = length - lineFeed;
    this.#sampler.offer(job.bytes, operations, row, route, subscription, lane, key, headers, start, shown);
  }

  /** Undefined when nothing is to be sent. */
  #craft(
    job: BatchJob,
    row: number,
    route: Route,
    lane: number,
    subscription: CompiledSubscription,
    crafter: Crafter,
  ): (Crafted & { kind: 'written' }) | undefined {
    const view = this.#view(job, row, route, subscription);
    const to = { out: scratch, pos: this.#pos, limit: subscription.maxRawBytes };
    const crafted = crafter.craft(view, lane % this.#router.partitions, to);
    switch (crafted.kind) {
      case 'written':
        return crafted;
      case 'filtered':
        this.#scan.filtered++;
        return undefined;
      case 'parked':
        this.#park(row, route, subscription, lane, { ...crafted, event: crafter.parkable });
        return undefined;
    }
  }

  /**
   * Writes the event at `#pos`, or copies it from where another subscription had it written; its length is the result. An
   * event over the subscription's limit is only measured, so that no update's dotted paths can make the buffer boundless.
   */
  #write(job: BatchJob, number: number, row: number, route: Route, subscription: CompiledSubscription): number {
    const { format, maxRawBytes } = subscription;
    const written = this.#written[subscription.form];
    const start = this.#pos;
    if (written !== undefined && written[number * 2 + 1]! > 0) {
      const from = written[number * 2]!;
      const length = written[number * 2 + 1]!;
      if (length > maxRawBytes) return length;
      if (start + length > scratch.bytes.length) scratch.grow(start + length, start);
      scratch.bytes.copyWithin(start, from, from + length);
      return length;
    }
    let end = this.#transcode(job, row, route, subscription);
    if (end === GAVE_UP) {
      const event = this.#view(job, row, route, subscription);
      end = writeEvent(event, start, format);
      if (end > scratch.bytes.length - SLACK && end - start <= maxRawBytes) {
        scratch.grow(end, start);
        end = writeEvent(event, start, format);
      }
    }
    const length = end - start;
    if (written !== undefined && length <= maxRawBytes) {
      written[number * 2] = start;
      written[number * 2 + 1] = length;
    }
    return length;
  }

  /** The fast way; `GAVE_UP` where it is none. */
  #transcode(job: BatchJob, row: number, route: Route, { format, expanded, images }: CompiledSubscription): number {
    const rows = this.#scan.rows.operations;
    if (rows[row + Row.document]! >= 0) return GAVE_UP;
    if (images !== undefined && rows[row + Row.type] !== Crud.insert) return GAVE_UP;
    const { serverVersion } = job;
    // What it would give up on every time.
    if (rows[row + Row.type] === Crud.update && serverVersion !== undefined) {
      if (serverVersion < DIFFS_SINCE || (expanded && serverVersion >= DISAMBIGUATED_SINCE)) return GAVE_UP;
    }
    return scratch.write(format, this.#pos, rows, row, route, job.wallTime, expanded);
  }

  #view(job: BatchJob, row: number, route: Route, { expanded, images }: CompiledSubscription): EventView {
    const rows = this.#scan.rows.operations;
    const bytes = job.bytes;
    const event = (this.#event ??= new EventView(route));
    const crud = rows[row + Row.type]!;
    const o = rows[row + Row.o]!;
    const o2 = rows[row + Row.o2]!;
    const ts = rows[row + Row.ts]!;
    event.idPrefix = this.#idPrefix;
    event.route = route;
    event.crud = crud;
    event.seconds = tsSeconds(bytes, ts);
    event.index = rows[row + Row.index]! >>> 0;
    event.increment = tsIncrement(bytes, ts);
    event.document = rows[row + Row.document]!;
    if (event.document >= 0) {
      event.bytes = this.#scan.rows.documents;
      event.limit = rows[row + Row.last]!;
      return event;
    }
    event.bytes = bytes;
    event.wall = job.wallTime ? rows[row + Row.wall]! : -1;
    event.limit = rows[row + Row.last]!;
    event.fullDocument = crud === Crud.insert || crud === Crud.replace ? o : -1;
    event.fullDocumentLimit = event.limit;
    event.lookedUpSeconds = -1;
    event.before = -1;
    if (images !== undefined && (job.images ?? job.states) !== undefined)
      this.#images.show(event, row / ROW_FIELDS, images);
    event.documentKey = crud === Crud.delete ? o : o2;
    event.idElement = event.documentKey < 0 ? findElement(bytes, o, event.limit, idName) : -1;
    event.lsid = rows[row + Row.lsid]!;
    event.txnNumber = rows[row + Row.txnNumber]!;
    event.collectionUUID = expanded ? rows[row + Row.ui]! : -1;
    event.disambiguatedPaths = undefined;
    if (crud === Crud.update) {
      event.update.read(bytes, o, event.limit);
      if (expanded && (job.serverVersion ?? 0) >= DISAMBIGUATED_SINCE) {
        event.disambiguatedPaths = disambiguatedPaths(bytes, o, event.limit);
      }
    }
    return event;
  }

  /** The key's place among the batch's keys; -1 when there is none and the event was parked. */
  #routingKey(bytes: Uint8Array, row: number, route: Route, targetNumber: number, lane: number): number {
    const rows = this.#scan.rows.operations;
    const partition = lane % this.#router.partitions;
    if (rows[row + Row.document]! >= 0) {
      return this.#renderKey(bytes, row, route, this.#router.subscriptions[targetNumber]!, partition);
    }
    const target = route.targets[rows[row + Row.type]!]![targetNumber]!;
    const { subscription } = target;
    const { template } = subscription;
    if (template.dynamic) return this.#renderKey(bytes, row, route, subscription, partition);
    const slot = template.usesPartition ? partition : 0;
    if (target.batch !== this.#batch) {
      target.batch = this.#batch;
      target.indexes.length = 0;
    }
    let index = target.indexes[slot];
    if (index === undefined) {
      index = this.#renderKey(bytes, row, route, subscription, partition);
      // A key that was parked is looked at again for each event: each is parked by itself.
      if (index >= 0) {
        while (target.indexes.length < slot) target.indexes.push(-1);
        target.indexes[slot] = index;
      }
    } else if (index < 0) {
      index = this.#renderKey(bytes, row, route, subscription, partition);
      target.indexes[slot] = index;
    }
    return index;
  }

  #renderKey(
    bytes: Uint8Array,
    row: number,
    route: Route,
    subscription: CompiledSubscription,
    partition: number,
  ): number {
    const rendered = this.#render(subscription, bytes, row, route, partition);
    if ('missing' in rendered) {
      const detail = `{${rendered.missing}} of the routing key is missing, or has no text`;
      this.#park(row, route, subscription, partition, { reason: 'missing-field', detail });
      return -1;
    }
    const { key } = rendered;
    if (key.length > MAX_SHORT_STRING / 3 && Buffer.byteLength(key) > MAX_SHORT_STRING) {
      const detail = `a routing key of ${Buffer.byteLength(key)} bytes, more than AMQP's ${MAX_SHORT_STRING}`;
      this.#park(row, route, subscription, partition, { reason: 'routing-key-too-long', detail });
      return -1;
    }
    return this.#records.keyNumber(key);
  }

  #render(
    { template, images }: CompiledSubscription,
    bytes: Uint8Array,
    row: number,
    route: Route,
    partition: number,
  ): { key: string } | { missing: string } {
    const { documents, operations: rows } = this.#scan.rows;
    const type = rows[row + Row.type]!;
    const o = rows[row + Row.o]!;
    let limit = rows[row + Row.last]!;
    const document = rows[row + Row.document]!;
    let fullDocument = type === Crud.insert || type === Crud.replace ? o : -1;
    let documentKey = type === Crud.delete ? o : rows[row + Row.o2]!;
    if (document >= 0) {
      fullDocument = findDocument(documents, document, limit, fullDocumentName);
      documentKey = findDocument(documents, document, limit, documentKeyName);
    } else if (type === Crud.update && images !== undefined && images.after !== 'default') {
      fullDocument = this.#images.after(row / ROW_FIELDS, images);
      limit = bytes.length;
    }
    return renderTemplate(template, {
      db: route.db,
      coll: route.coll,
      operationType: MESSAGE_TYPES[type]!,
      partition,
      bytes: document < 0 ? bytes : documents,
      limit,
      fullDocument,
      documentKey,
    });
  }

  /** `lane`: its number, or its partition. */
  #park(
    row: number,
    route: Route,
    subscription: CompiledSubscription,
    lane: number,
    { reason, detail, event }: Pick<Parked, 'reason' | 'detail' | 'event'>,
  ): void {
    const rows = this.#scan.rows.operations;
    this.#scan.parking.park({
      subscription: subscription.index,
      ts: rows[row + Row.ts]!,
      index: rows[row + Row.index]! >>> 0,
      ns: route.ns,
      reason,
      detail,
      entryStart: rows[row + Row.entryStart]!,
      entryEnd: rows[row + Row.entryEnd]!,
      event,
      partition: lane % this.#router.partitions,
      firstIndex: this.#scan.firstIndex,
    });
  }
}

/** Where the document under this name starts, or -1. */
function findDocument(bytes: Uint8Array, start: number, limit: number, name: Uint8Array): number {
  const element = findElement(bytes, start, limit, name);
  return element >= 0 && bytes[element] === BsonType.document ? nameEnd(bytes, element + 1) : -1;
}

function writeEvent(event: EventView, pos: number, format: number): number {
  if (event.document >= 0) {
    if (format === BSON_FORMAT) return putBsonEventDocument(scratch, pos, event);
    return putJsonEventDocument(scratch, pos, event, format === 0);
  }
  if (format === BSON_FORMAT) return putBsonEvent(scratch, pos, event);
  return putJsonEvent(scratch, pos, event, format === 0);
}
