/**
 * Documents of a collection, as they stood at one time, in; an event for each of them out, encoded like any other event of their
 * subscription and in the lanes that changes of the same documents take. A collection's documents are no entries: they have no position,
 * and an `_id` of another kind (`snapshot-id.ts`).
 *
 * Whoever puts them in order may have to take some out again. So each is told by itself (`BatchResult.documents`): its hash, and
 * where its event lies.
 */
import { MAX_SHORT_STRING } from '../config/limits.ts';
import {
  BsonType,
  MalformedBson,
  checkDocument,
  documentLast,
  encodeText,
  findElement,
  malformed,
  nameEnd,
  noBytes,
  valueEnd,
} from './bson.ts';
import { BsonBuilder } from './bson-builder.ts';
import { copy, nsElement, putInt32Bytes, close as closeBson } from './bson-writer.ts';
import { compressRecords, fitsCompressed } from './compress.ts';
import { putAscii, putText } from './json-text.ts';
import { nsText } from './json-event.ts';
import { putJsonDocument, putJsonValue } from './json-writer.ts';
import { SLACK, copyTo, put, textWords, wordsOf } from './output.ts';
import { hashId, toPartition } from './partition.ts';
import { DOCUMENT_FIELDS, DocumentField, MESSAGE_TYPES, NOTHING } from './protocol.ts';
import { idText, putIdText, snapshotId, snapshotIdPrefix } from './snapshot-id.ts';
import { renderTemplate } from './template.ts';
import { GAVE_UP } from './transcoder.ts';
import type { Words } from './output.ts';
import type { BatchJob, BatchResult, ChunkJob, ParkReason, ParkedEvent } from './protocol.ts';
import type { RecordTable } from './records.ts';
import { BSON_FORMAT } from './route.ts';
import type { CompiledSubscription, Route, Router } from './route.ts';
import type { Transcoder } from './transcoder.ts';

const SNAPSHOT = MESSAGE_TYPES.indexOf('snapshot');
const LINE_FEED = 0x0a;
const idName = encodeText('_id');
const documentKeyText = textWords(',"documentKey":{"_id":');
const bsonId = wordsOf(new Uint8Array([BsonType.string, ...idName, 0]));
const bsonFullDocument = wordsOf(new Uint8Array([BsonType.document, ...encodeText('fullDocument'), 0]));
const bsonDocumentKey = wordsOf(new Uint8Array([BsonType.document, ...encodeText('documentKey'), 0]));

/** Of a document: where it begins and ends in the batch, where its `_id` element is, its partition, its number. */
const FIELDS = 4;

export interface ChunkTools {
  readonly router: Router;
  readonly records: RecordTable;
  readonly out: Transcoder;
}

/** The batch must have been given to `out`. */
export function encodeChunk(tools: ChunkTools, job: BatchJob, chunk: ChunkJob): Omit<BatchResult, 'decodeMs'> {
  return new ChunkEncoder(tools, job, chunk).encode();
}

class ChunkEncoder {
  readonly #router: Router;
  readonly #records: RecordTable;
  readonly #out: Transcoder;
  readonly #bytes: Uint8Array;
  readonly #job: BatchJob;
  readonly #chunk: ChunkJob;
  readonly #subscription: CompiledSubscription;
  readonly #route: Route;
  readonly #prefix: string;
  #documents = new Int32Array(0);
  #count = 0;
  #table = new Uint32Array(0);
  #pos = 0;
  readonly #parked: ParkedEvent[] = [];
  readonly #keys = new Map<number, number>();
  /** By record: numbers of the first and the last document in it. */
  readonly #ends: number[] = [];
  /** In front of an event's own part of its `_id`, and behind it. */
  readonly #head: Words;
  readonly #middle: Words;
  #events = 0;
  #filtered = 0;

  constructor({ router, records, out }: ChunkTools, job: BatchJob, chunk: ChunkJob) {
    this.#router = router;
    this.#records = records;
    this.#out = out;
    this.#job = job;
    this.#bytes = job.bytes;
    this.#chunk = chunk;
    this.#subscription = router.subscriptions[chunk.subscription]!;
    this.#route = router.routeOf(chunk.ns);
    this.#prefix = snapshotIdPrefix({ source: router.source.name, ...chunk });
    const { seconds, increment } = chunk.at;
    if (this.#subscription.format === BSON_FORMAT) {
      this.#head = textWords(this.#prefix);
      const behind = new BsonBuilder().string('operationType', 'snapshot').timestamp('clusterTime', chunk.at).finish();
      this.#middle = wordsOf(behind.subarray(4, -1));
    } else {
      this.#head = textWords(JSON.stringify({ _id: this.#prefix }).slice(0, -2));
      const clusterTime = { $timestamp: { t: seconds, i: increment } };
      this.#middle = textWords(
        `",${JSON.stringify({ operationType: 'snapshot', clusterTime }).slice(1, -1)},"fullDocument":`,
      );
    }
  }

  encode(): Omit<BatchResult, 'decodeMs'> {
    this.#walk();
    const order = this.#sortByPartition();
    let partition = -1;
    for (const number of order) {
      const its = this.#documents[number * FIELDS + 3]!;
      this.#deliver(number, its, its === partition);
      partition = its;
    }
    const records = this.#records.copy();
    const { compression, index } = this.#subscription;
    const events = new Uint32Array(this.#router.subscriptions.length);
    events[index] = this.#events;
    const bodies =
      compression === undefined
        ? copyTo(this.#job.room, this.#out.bytes, this.#pos)
        : compressRecords(records, this.#out.bytes, () => compression);
    return {
      ...NOTHING,
      records,
      bodies,
      routingKeys: this.#records.keys,
      headers: this.#records.headers.length > 0 ? this.#records.headers : undefined,
      parked: this.#parked,
      entries: this.#count,
      events,
      filtered: this.#filtered,
      ids: this.#ends.map((number) => this.#idOf(number)),
      documents: this.#table,
      firstDocument: this.#job.range?.from ?? 0,
    };
  }

  #walk(): void {
    const bytes = this.#bytes;
    const { range } = this.#job;
    const { partitions } = this.#router;
    const { hash, partition } = this.#route;
    const last = documentLast(bytes, 0, bytes.length);
    let documents = new Int32Array(1024 * FIELDS);
    const hashes: number[] = [];
    let count = 0;
    for (let at = 4, number = 0; at < last; number++) {
      const start = nameEnd(bytes, at + 1);
      const end = documentLast(bytes, start, last);
      at = end + 1;
      if (range && (number < range.from || number >= range.to)) continue;
      const element = findElement(bytes, start, end + 1, idName);
      if (element < 0) malformed('a document without an _id');
      const place = count * FIELDS;
      if (place === documents.length) {
        const larger = new Int32Array(documents.length * 2);
        larger.set(documents);
        documents = larger;
      }
      const itsHash = hashId(hash, bytes, element, end);
      documents[place] = start;
      documents[place + 1] = end;
      documents[place + 2] = element;
      documents[place + 3] = partition >= 0 ? partition : toPartition(itsHash, partitions);
      hashes.push(itsHash);
      count++;
    }
    this.#documents = documents;
    this.#count = count;
    this.#table = new Uint32Array(count * DOCUMENT_FIELDS);
    for (let k = 0; k < count; k++) this.#table[k * DOCUMENT_FIELDS + DocumentField.hash] = hashes[k]!;
  }

  /** Numbers of documents, each partition's in the order in which they came. */
  #sortByPartition(): Int32Array {
    const documents = this.#documents;
    const starts = new Int32Array(this.#router.partitions + 1);
    for (let k = 0; k < this.#count; k++) starts[documents[k * FIELDS + 3]! + 1]!++;
    for (let p = 1; p < starts.length; p++) starts[p]! += starts[p - 1]!;
    const order = new Int32Array(this.#count);
    for (let k = 0; k < this.#count; k++) order[starts[documents[k * FIELDS + 3]!]!++] = k;
    return order;
  }

  #deliver(number: number, partition: number, joins: boolean): void {
    const subscription = this.#subscription;
    const start = this.#pos;
    const lineFeed = subscription.maxEvents > 1 && subscription.format !== BSON_FORMAT ? 1 : 0;
    const { crafter } = subscription;
    let key: number | undefined;
    let headers = 0;
    let length: number;
    try {
      if (crafter === undefined) {
        key = this.#key(number, partition);
        if (key === undefined) return;
        length = this.#write(number) + lineFeed;
      } else {
        const to = { out: this.#out, pos: start, limit: subscription.maxRawBytes };
        const crafted = crafter.craftEvent(this.#event(number), { ...this.#route, partition }, to);
        if (crafted.kind === 'filtered') {
          this.#filtered++;
          return;
        }
        if (crafted.kind === 'parked') {
          this.#park(number, partition, crafted.reason, crafted.detail);
          return;
        }
        key = this.#records.keyNumber(crafted.key);
        headers = this.#records.headersNumber(crafted.headers);
        length = crafted.end - start + lineFeed;
      }
    } catch (error) {
      if (!(error instanceof MalformedBson)) throw error;
      // What the crafter shaped last is not this one.
      this.#park(number, partition, 'undecodable', error.message, noBytes);
      return;
    }
    if (length > subscription.surelyFits && !fitsCompressed(this.#out.bytes, start, length, subscription)) {
      this.#park(
        number,
        partition,
        'too-large',
        `${length} bytes, more than the limit of ${subscription.maxMessageBytes}`,
      );
      return;
    }
    this.#pos = start + length;
    if (lineFeed === 1) {
      if (this.#pos > this.#out.bytes.length) this.#out.grow(this.#pos, this.#pos - 1);
      this.#out.bytes[this.#pos - 1] = LINE_FEED;
    }
    this.#note(number, partition, { key, headers, start, length, joins });
  }

  #note(
    number: number,
    partition: number,
    {
      key,
      headers,
      start,
      length,
      joins,
    }: { key: number; headers: number; start: number; length: number; joins: boolean },
  ): void {
    const subscription = this.#subscription;
    const { seconds, increment } = this.#chunk.at;
    const lane = subscription.index * this.#router.partitions + partition;
    const record = this.#records.addAt(
      seconds,
      increment,
      0,
      seconds,
      SNAPSHOT,
      lane,
      key,
      headers,
      start,
      length,
      joins,
      subscription,
    );
    if (record * 2 === this.#ends.length) this.#ends.push(number, number);
    else this.#ends[record * 2 + 1] = number;
    const at = number * DOCUMENT_FIELDS;
    this.#table[at + DocumentField.record] = record + 1;
    this.#table[at + DocumentField.start] = start;
    this.#table[at + DocumentField.length] = length;
    this.#events++;
  }

  /** The key's place among the batch's; undefined where there is none, and the event was parked. */
  #key(number: number, partition: number): number | undefined {
    const { template } = this.#subscription;
    const known = template.dynamic ? undefined : this.#keys.get(template.usesPartition ? partition : 0);
    if (known !== undefined) return known;
    const at = number * FIELDS;
    const rendered = renderTemplate(template, {
      db: this.#route.db,
      coll: this.#route.coll,
      operationType: 'snapshot',
      partition,
      bytes: this.#bytes,
      limit: this.#documents[at + 1]! + 1,
      fullDocument: this.#documents[at]!,
      documentKey: -1,
    });
    if ('missing' in rendered) {
      const detail = `{${rendered.missing}} of the routing key is missing, or has no text`;
      this.#park(number, partition, 'missing-field', detail);
      return undefined;
    }
    const { key } = rendered;
    if (Buffer.byteLength(key) > MAX_SHORT_STRING) {
      const detail = `a routing key of ${Buffer.byteLength(key)} bytes, more than AMQP's ${MAX_SHORT_STRING}`;
      this.#park(number, partition, 'routing-key-too-long', detail);
      return undefined;
    }
    const place = this.#records.keyNumber(key);
    if (!template.dynamic) this.#keys.set(template.usesPartition ? partition : 0, place);
    return place;
  }

  /** At `#pos`; the length is the result. What is over the limit is only measured. */
  #write(number: number): number {
    const start = this.#pos;
    const { format, maxRawBytes } = this.#subscription;
    const put = (): number => (format === BSON_FORMAT ? this.#putBson(number) : this.#putJson(number));
    let end = put();
    if (end > this.#out.bytes.length - SLACK && end - start <= maxRawBytes) {
      this.#out.grow(end, start);
      end = put();
    }
    return end - start;
  }

  #putJson(number: number): number {
    const out = this.#out;
    const bytes = this.#bytes;
    const at = number * FIELDS;
    const start = this.#documents[at]!;
    const last = this.#documents[at + 1]!;
    const element = this.#documents[at + 2]!;
    const relaxed = this.#subscription.format === 0;
    const id = putIdText(bytes, element, last);
    let pos = putText(out, put(out, this.#pos, this.#head), idText.bytes, 0, id);
    pos = put(out, pos, this.#middle);
    const written = out.writeDocument(pos, start, last + 1, relaxed);
    pos = written === GAVE_UP ? putJsonDocument(out, pos, bytes, start, last + 1, relaxed) : written;
    pos = put(out, put(out, pos, nsText(this.#route)), documentKeyText);
    pos = putJsonValue(out, pos, bytes, bytes[element]!, nameEnd(bytes, element + 1), last, relaxed, 0);
    return putAscii(out, pos, '}}');
  }

  #putBson(number: number): number {
    const out = this.#out;
    const bytes = this.#bytes;
    const at = number * FIELDS;
    const start = this.#documents[at]!;
    const last = this.#documents[at + 1]!;
    const element = this.#documents[at + 2]!;
    checkDocument(bytes, start, last + 1);
    const id = put(out, this.#pos + 4, bsonId);
    const length = putIdText(bytes, element, last);
    let pos = copy(out, put(out, id + 4, this.#head), idText.bytes, 0, length);
    out.bytes[pos++] = 0;
    putInt32Bytes(out, id, pos - id - 4);
    pos = put(out, put(out, pos, this.#middle), bsonFullDocument);
    pos = put(out, copy(out, pos, bytes, start, last + 1), nsElement(this.#route));
    const key = put(out, pos, bsonDocumentKey);
    pos = copy(out, key + 4, bytes, element, valueEnd(bytes, bytes[element]!, nameEnd(bytes, element + 1), last));
    pos = closeBson(out, key, pos);
    return closeBson(out, this.#pos, pos);
  }

  /** As BSON; for those who look into it. */
  #event(number: number): Uint8Array {
    const bytes = this.#bytes;
    const at = number * FIELDS;
    const start = this.#documents[at]!;
    const last = this.#documents[at + 1]!;
    const element = this.#documents[at + 2]!;
    checkDocument(bytes, start, last + 1);
    const { db, coll } = this.#route;
    return new BsonBuilder()
      .string('_id', this.#idOf(number))
      .string('operationType', 'snapshot')
      .timestamp('clusterTime', this.#chunk.at)
      .value('fullDocument', bytes, { type: BsonType.document, at: start, last: last + 1 })
      .begin(BsonType.document, 'ns')
      .string('db', db)
      .string('coll', coll)
      .end()
      .begin(BsonType.document, 'documentKey')
      .element(bytes, element, valueEnd(bytes, bytes[element]!, nameEnd(bytes, element + 1), last))
      .finish();
  }

  #idOf(number: number): string {
    const at = number * FIELDS;
    return snapshotId(this.#prefix, this.#bytes, this.#documents[at + 2]!, this.#documents[at + 1]!);
  }

  #park(
    number: number,
    partition: number,
    reason: ParkReason,
    detail: string,
    entry = this.#subscription.crafter?.parkable ?? this.#event(number),
  ): void {
    this.#parked.push({
      subscription: this.#subscription.index,
      id: this.#idOf(number),
      ns: this.#chunk.ns,
      reason,
      detail,
      entry,
      shaped: true,
      partition,
      document: number,
    });
  }
}
