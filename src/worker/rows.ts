/**
 * What the first pass over a batch leaves for the second: a row for each operation (or finished event) that somebody wants, which
 * lanes it goes to, and the gates between them. All of it lies in arrays of numbers that are filled again for each batch.
 * Invariant: a damaged entry leaves nothing: `begin` before each, `undo` takes back all since.
 */
import { noBytes } from './bson.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import type { EntryHead } from './entry.ts';
import { BEGIN_INDEX, MESSAGE_TYPES } from './protocol.ts';
import type { MessageType } from './protocol.ts';
import type { Route } from './route.ts';

/** Offsets in one row of `Rows.operations`; what is a place is an offset into the batch, -1 where there is nothing. */
export const Row = {
  /** Index into `MESSAGE_TYPES`. */
  type: 0,
  /** The closing zero of the operation's own document. */
  last: 1,
  ts: 2,
  index: 3,
  o: 4,
  o2: 5,
  wall: 6,
  /** Index into `routes`. */
  route: 7,
  lsid: 8,
  txnNumber: 9,
  entryStart: 10,
  entryEnd: 11,
  /** For what is no operation on a document: where the finished event lies in `documents`. */
  document: 12,
  /** The collection's UUID. */
  ui: 13,
} as const;
export const ROW_FIELDS = 14;

/**
 * Numbers per delivery: its lane; its row's number; its place in the route's list of targets, or the subscription's number for
 * an event that lies there finished. For a gate: its lane, -1 minus its number, and whether the lane's arrival counts.
 */
export const DELIVERY_FIELDS = 3;

/** A finished event of one subscription for one lane. */
export interface DocumentRow {
  readonly type: MessageType;
  /** BSON without an `_id`. */
  readonly document: Uint8Array;
  /** Its number. */
  readonly subscription: number;
  readonly lane: number;
  /** Its number inside its entry. */
  readonly index: number;
  readonly route: Route;
}

/** The entry that is being looked at. */
export interface EntryPlace {
  readonly head: EntryHead;
  readonly start: number;
  readonly end: number;
}

export class Rows {
  operations = new Int32Array(8192 * ROW_FIELDS);
  operationCount = 0;
  deliveries = new Int32Array(8192 * DELIVERY_FIELDS);
  deliveryCount = 0;
  /** The routes that `operations` points to. */
  routes: Route[] = [];
  /** Finished events. */
  documents = new Uint8Array(0);
  /** By gate: how many arrivals open it. */
  gates: number[] = [];

  #bytes: Uint8Array = new Uint8Array(0);
  #floors: Uint32Array | undefined;
  #routeNumbers = new Map<Route, number>();
  #latestRoute: Route | undefined;
  #latestNumber = 0;
  #documentsLength = 0;
  #operationsBefore = 0;
  #deliveriesBefore = 0;
  #gatesBefore = 0;

  reset(bytes: Uint8Array, floors: Uint32Array | undefined): void {
    this.#bytes = bytes;
    this.#floors = floors;
    this.operationCount = 0;
    this.deliveryCount = 0;
    this.routes = [];
    this.#routeNumbers.clear();
    this.#latestRoute = undefined;
    this.documents = noBytes;
    this.#documentsLength = 0;
    this.gates = [];
  }

  /** An entry begins. */
  begin(): void {
    this.#operationsBefore = this.operationCount;
    this.#deliveriesBefore = this.deliveryCount;
    this.#gatesBefore = this.gates.length;
  }

  /** It turned out to be damaged. */
  undo(): void {
    this.operationCount = this.#operationsBefore;
    this.deliveryCount = this.#deliveriesBefore;
    this.gates.length = this.#gatesBefore;
  }

  /** Whether an earlier life had this operation of the entry whose `ts` lies there confirmed in this lane. */
  isConfirmed(lane: number, ts: number, index: number): boolean {
    const floors = this.#floors;
    if (floors === undefined) return false;
    const at = lane * 3;
    const seconds = tsSeconds(this.#bytes, ts);
    if (seconds !== floors[at]!) return seconds < floors[at]!;
    const increment = tsIncrement(this.#bytes, ts);
    if (increment !== floors[at + 1]!) return increment < floors[at + 1]!;
    return index <= floors[at + 2]!;
  }

  /** Where the next row begins; `operations` may be another array after it. */
  newRow(): number {
    const row = this.operationCount * ROW_FIELDS;
    if (row + ROW_FIELDS > this.operations.length) this.operations = grown(this.operations);
    this.operationCount++;
    return row;
  }

  routeNumber(route: Route): number {
    if (route === this.#latestRoute) return this.#latestNumber;
    let number = this.#routeNumbers.get(route);
    if (number === undefined) {
      number = this.routes.push(route) - 1;
      this.#routeNumbers.set(route, number);
    }
    this.#latestRoute = route;
    this.#latestNumber = number;
    return number;
  }

  deliver(lane: number, number: number, target: number): void {
    const at = this.deliveryCount * DELIVERY_FIELDS;
    if (at + DELIVERY_FIELDS > this.deliveries.length) this.deliveries = grown(this.deliveries);
    this.deliveries[at] = lane;
    this.deliveries[at + 1] = number;
    this.deliveries[at + 2] = target;
    this.deliveryCount++;
  }

  /** `expectedBytes`: how much is likely to come in this batch. False when an earlier life had the event confirmed. */
  addDocument(
    { type, document, subscription, lane, index, route }: DocumentRow,
    { head, start, end }: EntryPlace,
    expectedBytes: number,
  ): boolean {
    // A begin does not come again once an operation behind it was confirmed.
    if (this.isConfirmed(lane, head.ts, index === BEGIN_INDEX ? 0 : index)) return false;
    const at = this.#documentsLength;
    const last = at + document.length;
    if (last > this.documents.length) {
      const larger = new Uint8Array(Math.max(last * 2, expectedBytes));
      larger.set(this.documents.subarray(0, at));
      this.documents = larger;
    }
    this.documents.set(document, at);
    this.#documentsLength = last;
    this.deliver(lane, this.operationCount, subscription);
    const row = this.newRow();
    const rows = this.operations;
    rows.fill(-1, row, row + ROW_FIELDS);
    rows[row + Row.type] = MESSAGE_TYPES.indexOf(type);
    rows[row + Row.last] = last;
    rows[row + Row.ts] = head.ts;
    rows[row + Row.index] = index;
    rows[row + Row.wall] = head.wall;
    rows[row + Row.route] = this.routeNumber(route);
    rows[row + Row.entryStart] = start;
    rows[row + Row.entryEnd] = end;
    rows[row + Row.document] = at;
    return true;
  }

  /** A new gate, which opens once `arrivals` lanes have come to it; its number. */
  newGate(arrivals: number): number {
    return this.gates.push(arrivals) - 1;
  }

  /** The lane waits here until the gate is open; where its arrival `counts`, it helps to open it. */
  addGate(lane: number, gate: number, counts: boolean): void {
    this.deliver(lane, -1 - gate, counts ? 1 : 0);
  }
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}
