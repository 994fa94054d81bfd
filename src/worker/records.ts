/**
 * A batch's messages as they are being made: one row of numbers for each (`Field`), the distinct routing keys and sets of headers
 * that rows point to, and the gates between them. Rows must be added lane by lane, each lane's in order.
 */
import { readInt64 } from './bson.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import { BEGIN_INDEX, Field, GATE, MESSAGE_TYPES, RECORD_FIELDS } from './protocol.ts';
import type { MessageHeaders } from './protocol.ts';
import type { CompiledSubscription } from './route.ts';
import { Row } from './rows.ts';

const BATCH_TYPE = MESSAGE_TYPES.indexOf('batch');

export class RecordTable {
  count = 0;
  keys: string[] = [];
  headers: MessageHeaders[] = [];
  #records = new Uint32Array(8192 * RECORD_FIELDS);
  /** The first record that an event may join. */
  #joinFrom = 0;
  #keyNumbers = new Map<string, number>();
  #headerNumbers = new Map<string, number>();

  reset(): void {
    this.count = 0;
    this.keys = [];
    this.headers = [];
    this.#joinFrom = 0;
    this.#keyNumbers = new Map();
    this.#headerNumbers = new Map();
  }

  copy(): Uint32Array<ArrayBuffer> {
    return this.#records.slice(0, this.count * RECORD_FIELDS);
  }

  /** What is there stays as it is: no event joins it any more. */
  seal(): void {
    this.#joinFrom = this.count;
  }

  /** The key's place among the batch's. */
  keyNumber(key: string): number {
    let index = this.#keyNumbers.get(key);
    if (index === undefined) {
      index = this.keys.push(key) - 1;
      this.#keyNumbers.set(key, index);
    }
    return index;
  }

  /** The number of a set of headers among the batch's, counted from 1. */
  headersNumber(headers: MessageHeaders | undefined): number {
    if (headers === undefined) return 0;
    const text = JSON.stringify(headers);
    let number = this.#headerNumbers.get(text);
    if (number === undefined) {
      number = this.headers.push(headers);
      this.#headerNumbers.set(text, number);
    }
    return number;
  }

  gate(lane: number, gate: number, counts: number): void {
    const at = this.#newRecord();
    const records = this.#records;
    records.fill(0, at, at + RECORD_FIELDS);
    records[at + Field.lane] = lane;
    records[at + Field.type] = GATE;
    records[at + Field.offset] = gate;
    records[at + Field.events] = counts;
    this.seal();
  }

  /** Plain parameters: an object for them would be the only one made per event. */
  add(
    bytes: Uint8Array,
    rows: Int32Array,
    row: number,
    lane: number,
    key: number,
    headers: number,
    start: number,
    length: number,
    joins: boolean,
    subscription: CompiledSubscription,
  ): void {
    const ts = rows[row + Row.ts]!;
    const wall = rows[row + Row.wall]!;
    const wallMs = wall < 0 ? 0 : readInt64(bytes, wall);
    const wallSeconds = wallMs > 0 ? Math.min(Math.floor(wallMs / 1000), 0xffff_ffff) : 0;
    const index = rows[row + Row.index]! >>> 0;
    const seconds = tsSeconds(bytes, ts);
    const increment = index === BEGIN_INDEX ? tsIncrement(bytes, ts) - 1 : tsIncrement(bytes, ts);
    const type = rows[row + Row.type]!;
    this.addAt(seconds, increment, index, wallSeconds, type, lane, key, headers, start, length, joins, subscription);
  }

  /** The same for an event that is no row's. The result is its record's number. */
  addAt(
    seconds: number,
    increment: number,
    index: number,
    wallSeconds: number,
    type: number,
    lane: number,
    key: number,
    headers: number,
    start: number,
    length: number,
    joins: boolean,
    subscription: CompiledSubscription,
  ): number {
    const batched = subscription.maxEvents > 1;
    let records = this.#records;
    let at = (this.count - 1) * RECORD_FIELDS;
    const joined =
      joins &&
      batched &&
      at >= this.#joinFrom * RECORD_FIELDS &&
      records[at + Field.lane] === lane &&
      records[at + Field.routingKey] === key &&
      records[at + Field.headers] === headers &&
      records[at + Field.events]! < subscription.maxEvents &&
      records[at + Field.length]! + length <= subscription.maxBytes;
    if (joined) {
      records[at + Field.length]! += length;
      records[at + Field.events]!++;
    } else {
      at = this.#newRecord();
      records = this.#records;
      records[at + Field.lane] = lane;
      records[at + Field.routingKey] = key;
      records[at + Field.headers] = headers;
      records[at + Field.type] = batched ? BATCH_TYPE : type;
      records[at + Field.offset] = start;
      records[at + Field.length] = length;
      records[at + Field.events] = 1;
      records[at + Field.firstSeconds] = seconds;
      records[at + Field.firstIncrement] = increment;
      records[at + Field.firstIndex] = index;
    }
    records[at + Field.lastSeconds] = seconds;
    records[at + Field.lastIncrement] = increment;
    records[at + Field.lastIndex] = index;
    records[at + Field.wallSeconds] = wallSeconds;
    return this.count - 1;
  }

  /** Where the next record begins; `#records` may be another array after it. */
  #newRecord(): number {
    const at = this.count * RECORD_FIELDS;
    if (at + RECORD_FIELDS > this.#records.length) {
      const larger = new Uint32Array(this.#records.length * 2);
      larger.set(this.#records);
      this.#records = larger;
    }
    this.count++;
    return at;
  }
}
