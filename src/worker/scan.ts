/**
 * The first of the two passes over a batch: walks the entries' heads, drops what nobody subscribed to, unrolls `applyOps`,
 * sets aside what this version cannot deliver, and notes for every operation that somebody wants where its parts lie and
 * which lanes it goes to. Nothing is written here; the second pass then works lane by lane.
 * Invariant: an entry contributes all of its operations or, when it turns out to be damaged, none and a parked record.
 */
import { crudOf, readApplyOps, readOperation } from './apply-ops.ts';
import {
  BsonType,
  MalformedBson,
  decodeText,
  documentLast,
  encodeText,
  findElement,
  malformed,
  nameEnd,
  readInt64,
} from './bson.ts';
import type { OpTime } from '../source/position.ts';
import { commandName } from './command-event.ts';
import { Commands } from './commands.ts';
import type { CommandSink } from './commands.ts';
import { EntryHead, Op, readEntry, readPrevious, tsIncrement, tsSeconds } from './entry.ts';
import { Parking } from './parking.ts';
import { StreamEvents } from './stream-events.ts';
import { hashId, toPartition } from './partition.ts';
import type {
  BatchJob,
  MessageType,
  ParkReason,
  TransactionCommit,
  TransactionMark,
  TransactionPiece,
  TransactionTally,
} from './protocol.ts';
import { BEGIN_INDEX, MESSAGE_TYPES } from './protocol.ts';
import type { CompiledSubscription, Route, Router, Target } from './route.ts';
import { TransactionEvents } from './transaction-events.ts';

/** Offsets in one row of `BatchScan.operations`; what is a place is an offset into the batch, -1 where there is nothing. */
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

/** `op` values that a damaged or hostile batch could make up without end. */
const MAX_UNKNOWN_OPS = 100;
/** Of `applyOps` in `applyOps`: deeper than any server takes. */
const MAX_NESTING = 20;

const idName = encodeText('_id');
/** The first server whose change streams know `showExpandedEvents`. */
const EXPANDED_SINCE = 600;
/** The first server whose create events say what was created. */
const NS_TYPE_SINCE = 801;

/** A transaction's mark as in `BatchResult`, but for its place: among the deliveries, which are not records yet. */
export type ScanMark =
  | Exclude<TransactionMark, { kind: 'commit' }>
  | ({ readonly kind: 'commit'; readonly session: string; readonly deliveries: number } & Omit<
      TransactionCommit,
      'records'
    >);

export interface DocumentRow {
  readonly type: MessageType;
  readonly document: Uint8Array;
  /** Its number. */
  readonly subscription: number;
  readonly lane: number;
  readonly index: number;
  readonly route: Route;
}

export class BatchScan implements CommandSink {
  readonly router: Router;
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
  marks: ScanMark[] = [];
  readonly parking: Parking;
  unknownOps = new Map<string, number>();
  filtered = 0;
  entries = 0;
  /** Places of the last entry's `ts`, `t` and `wall`. */
  lastTs = -1;
  lastTerm = -1;
  lastWall = -1;

  #bytes: Uint8Array = new Uint8Array(0);
  #floors: Uint32Array | undefined;
  #routeNumbers = new Map<Route, number>();
  #latestRoute: Route | undefined;
  #latestNumber = 0;
  #head = new EntryHead();
  #element = new EntryHead();
  #entryStart = 0;
  #entryEnd = 0;
  #firstIndex = 0;
  #piece: TransactionPiece | undefined;
  #wallTime = false;
  readonly #transaction = new TransactionEvents();
  /** Places of the `ts` and `t` of the entry before this one. */
  #beforeTs = -1;
  #beforeTerm = -1;
  #documentsLength = 0;
  readonly #commands: Commands;
  /** Of a change stream, whose batches hold events instead of entries. */
  readonly #events: StreamEvents | undefined;

  constructor(router: Router) {
    this.router = router;
    this.#commands = new Commands(router, this);
    this.parking = new Parking(router.source.name);
    if (router.source.changeStream !== undefined) this.#events = new StreamEvents(router, this, this.#commands);
  }

  /** Throws `MalformedBson` only when the batch itself cannot be taken apart into entries. */
  scan({ bytes, range, floors, piece, wallTime, serverVersion }: Omit<BatchJob, 'source' | 'collated'>): void {
    this.#reset(bytes, floors);
    this.#commands.reset(bytes, { wallTime, nsType: serverVersion !== undefined && serverVersion >= NS_TYPE_SINCE });
    const expanded = this.router.source.changeStream?.expanded ?? false;
    this.#events?.reset(expanded && serverVersion !== undefined && serverVersion >= EXPANDED_SINCE);
    this.#firstIndex = piece?.firstIndex ?? 0;
    this.#piece = piece;
    this.#wallTime = wallTime;
    const last = documentLast(bytes, 0, bytes.length);
    const from = range?.from ?? 0;
    const to = range?.to ?? Number.POSITIVE_INFINITY;
    let at = 4;
    for (let number = 0; at < last && number < to; number++) {
      if (bytes[at] !== BsonType.document) malformed('a batch holds something that is no document');
      const start = nameEnd(bytes, at + 1);
      const end = documentLast(bytes, start, last) + 1;
      if (number >= from) this.#entry(start, end);
      at = end;
    }
    if (at > last) malformed('a batch ends in the middle of an entry');
  }

  #reset(bytes: Uint8Array, floors: Uint32Array | undefined): void {
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
    this.marks = [];
    this.parking.reset(bytes);
    this.unknownOps = new Map();
    this.filtered = 0;
    this.entries = 0;
    this.lastTs = -1;
    this.lastTerm = -1;
    this.lastWall = -1;
  }

  /** Lets go of the batch's bytes, which would otherwise live until the next one. */
  release(): void {
    this.#reset(noBytes, undefined);
  }

  /**
   * Notes a finished event of one subscription for one lane; `document` is BSON without an `_id`. `index` is its number inside
   * its entry. False when an earlier life had it confirmed.
   */
  addDocument({ type, document, subscription, lane, index, route }: DocumentRow): boolean {
    const head = this.#head;
    // A begin does not come again once an operation behind it was confirmed.
    const position = index === BEGIN_INDEX ? 0 : index;
    if (this.#floors !== undefined && this.#confirmed(this.#floors, lane * 3, head.ts, position)) return false;
    const at = this.#documentsLength;
    const end = at + document.length;
    if (end > this.documents.length) {
      // Of a change stream every event comes here.
      const larger = new Uint8Array(Math.max(end * 2, this.#events === undefined ? 0 : this.#bytes.length));
      larger.set(this.documents.subarray(0, at));
      this.documents = larger;
    }
    this.documents.set(document, at);
    this.#documentsLength = end;
    this.#deliver(lane, this.operationCount, subscription);
    const row = this.#newRow();
    const rows = this.operations;
    rows.fill(-1, row, row + ROW_FIELDS);
    rows[row + Row.type] = MESSAGE_TYPES.indexOf(type);
    rows[row + Row.last] = end;
    rows[row + Row.ts] = head.ts;
    rows[row + Row.index] = index;
    rows[row + Row.wall] = head.wall;
    rows[row + Row.route] = this.#routeNumber(route);
    rows[row + Row.entryStart] = this.#entryStart;
    rows[row + Row.entryEnd] = this.#entryEnd;
    rows[row + Row.document] = at;
    return true;
  }

  /** A new gate, which opens once `arrivals` lanes have come to it; its number. */
  newGate(arrivals: number): number {
    return this.gates.push(arrivals) - 1;
  }

  /** The lane waits here until the gate is open; where its arrival `counts`, it helps to open it. */
  addGate(lane: number, gate: number, counts: boolean): void {
    this.#deliver(lane, -1 - gate, counts ? 1 : 0);
  }

  #entry(start: number, end: number): void {
    const { operationCount, deliveryCount, filtered } = this;
    const gates = this.gates.length;
    const marks = this.marks.length;
    const parkedCount = this.parking.records.length;
    this.#entryStart = start;
    this.#entryEnd = end;
    this.entries++;
    const head = this.#head;
    this.#beforeTs = this.lastTs;
    this.#beforeTerm = this.lastTerm;
    try {
      if (this.#events !== undefined) {
        this.#events.take(head, this.#bytes, start, end);
        this.lastWall = head.wall;
        return;
      }
      readEntry(head, this.#bytes, start, end);
      if (head.ts < 0) malformed('an entry without ts');
      this.lastTs = head.ts;
      this.lastTerm = head.term;
      this.lastWall = head.wall;
      if (head.opStart < 0 || head.nsStart < 0) malformed('an entry without op or ns');
      this.#operation(head);
    } catch (error) {
      if (!(error instanceof MalformedBson)) throw error;
      this.operationCount = operationCount;
      this.deliveryCount = deliveryCount;
      this.filtered = filtered;
      this.gates.length = gates;
      this.marks.length = marks;
      this.parking.records.length = parkedCount;
      if (this.#events === undefined) this.#parkDamaged(head, error.message);
      else this.#events.parkDamaged(this.#bytes, error.message);
      if (this.#piece && this.router.wantsTransactions) this.#passOver(this.#piece, head);
    }
  }

  #operation(head: EntryHead): void {
    switch (head.op) {
      case Op.insert:
      case Op.update:
      case Op.delete:
        this.#crud(head, head, 0, false);
        break;
      case Op.command:
        this.#command(head);
        break;
      case Op.noop:
        if (this.router.wantsShardingDdl && head.o2 >= 0 && !head.fromMigrate) this.#commands.shardingNoop(head);
        break;
      default:
        this.#unknown(head, 0);
    }
  }

  /** `head` is the operation's own, `entry` that of the entry it came in; they differ inside `applyOps`. */
  #crud(head: EntryHead, entry: EntryHead, index: number, transaction: boolean): void {
    if (head.fromMigrate) return;
    const bytes = this.#bytes;
    const route = this.router.route(bytes, head.nsStart, head.nsEnd);
    if (route.idle) {
      if (!route.internal) this.filtered++;
      else if (route.views && this.router.wantsViews) this.#commands.view({ head, entry, index, transaction });
      return;
    }
    const crud = crudOf(bytes, head);
    const targets = route.targets[crud]!;
    if (targets.length === 0) {
      this.filtered++;
      return;
    }
    if (head.o < 0 || (head.op === Op.update && head.o2 < 0)) malformed('an operation without its documents');
    const partition = route.partition >= 0 ? route.partition : this.#partitionOfId(head, route);
    if (transaction && this.router.wantsTransactions) this.#begin(entry, route, targets, partition);
    const number = this.operationCount;
    let wanted = false;
    for (let k = 0; k < targets.length; k++) {
      const lane = targets[k]!.subscription.index * this.router.partitions + partition;
      if (this.#floors !== undefined && this.#confirmed(this.#floors, lane * 3, entry.ts, index)) continue;
      this.#deliver(lane, number, k);
      wanted = true;
    }
    if (!wanted) return;
    const row = this.#newRow();
    const rows = this.operations;
    rows[row + Row.type] = crud;
    rows[row + Row.last] = head.last;
    rows[row + Row.ts] = entry.ts;
    rows[row + Row.index] = index;
    rows[row + Row.o] = head.o;
    rows[row + Row.o2] = head.o2;
    rows[row + Row.wall] = entry.wall;
    rows[row + Row.route] = route === this.#latestRoute ? this.#latestNumber : this.#routeNumber(route);
    rows[row + Row.lsid] = transaction ? entry.lsid : -1;
    rows[row + Row.txnNumber] = transaction ? entry.txnNumber : -1;
    rows[row + Row.entryStart] = this.#entryStart;
    rows[row + Row.entryEnd] = this.#entryEnd;
    rows[row + Row.document] = -1;
    rows[row + Row.ui] = head.ui;
  }

  /** What a piece hands on to the next one. */
  get tally(): TransactionTally | undefined {
    return this.router.wantsTransactions && this.#piece?.last === false ? this.#transaction.tally : undefined;
  }

  #begin(head: EntryHead, route: Route, targets: readonly Target[], partition: number): void {
    for (const { subscription } of targets) {
      if (!subscription.transactions) continue;
      const lane = subscription.index * this.router.partitions + partition;
      if (!this.#transaction.count(subscription.index, lane, route)) continue;
      const of = { bytes: this.#bytes, head, wallTime: this.#wallTime, lane, subscription: subscription.index, route };
      this.addDocument(this.#transaction.begin(of));
    }
  }

  /** A damaged piece changes nothing of what the others say of their transaction. */
  #passOver({ tally, last }: TransactionPiece, head: EntryHead): void {
    this.#transaction.reset(tally, (ns) => this.router.routeOf(ns));
    if (last) this.#end(head);
  }

  #end(head: EntryHead): void {
    const of = { bytes: this.#bytes, head, wallTime: this.#wallTime };
    for (const row of this.#transaction.ends(of, this.router.partitions)) this.addDocument(row);
  }

  /** Where the next row begins. */
  #newRow(): number {
    const row = this.operationCount * ROW_FIELDS;
    if (row + ROW_FIELDS > this.operations.length) this.operations = grown(this.operations);
    this.operationCount++;
    return row;
  }

  #routeNumber(route: Route): number {
    let number = this.#routeNumbers.get(route);
    if (number === undefined) {
      number = this.routes.push(route) - 1;
      this.#routeNumbers.set(route, number);
    }
    this.#latestRoute = route;
    this.#latestNumber = number;
    return number;
  }

  #deliver(lane: number, number: number, target: number): void {
    const at = this.deliveryCount * DELIVERY_FIELDS;
    if (at + DELIVERY_FIELDS > this.deliveries.length) this.deliveries = grown(this.deliveries);
    this.deliveries[at] = lane;
    this.deliveries[at + 1] = number;
    this.deliveries[at + 2] = target;
    this.deliveryCount++;
  }

  #confirmed(floors: Uint32Array, at: number, ts: number, index: number): boolean {
    const seconds = tsSeconds(this.#bytes, ts);
    if (seconds !== floors[at]!) return seconds < floors[at]!;
    const increment = tsIncrement(this.#bytes, ts);
    if (increment !== floors[at + 1]!) return increment < floors[at + 1]!;
    return index <= floors[at + 2]!;
  }

  #partitionOfId(head: EntryHead, route: Route): number {
    const bytes = this.#bytes;
    const document = head.o2 >= 0 && head.op !== Op.delete ? head.o2 : head.o;
    const id = findElement(bytes, document, head.last, idName);
    if (id < 0) return toPartition(route.hash, this.router.partitions);
    return toPartition(hashId(route.hash, bytes, id, documentLast(bytes, document, head.last)), this.router.partitions);
  }

  #command(head: EntryHead): void {
    if (head.fromMigrate) return;
    const name = commandName(this.#bytes, head);
    switch (name.name) {
      case 'applyOps':
        this.#applyOps(head, name.last);
        break;
      case 'commitTransaction':
        this.#commit(head, readPrevious(this.#bytes, head));
        break;
      case 'abortTransaction':
        if (head.lsid >= 0) this.marks.push({ kind: 'aborted', session: this.#session(head) });
        break;
      default:
        this.#commands.command({ head, entry: head, index: 0, transaction: false }, name);
    }
  }

  #applyOps(head: EntryHead, last: number): void {
    const bytes = this.#bytes;
    const { list, transaction, extent, previous } = readApplyOps(bytes, head, last);
    switch (extent) {
      case 'whole':
        this.#unroll(head, list, last, transaction);
        break;
      case 'open':
        this.marks.push({
          kind: 'open',
          session: this.#session(head),
          before: this.#opTime(this.#beforeTs, this.#beforeTerm),
          first: previous === undefined,
        });
        break;
      case 'last':
        this.#commit(head, previous);
    }
  }

  /** What takes effect here lies in other entries too, which only the main thread can get. */
  #commit(head: EntryHead, previous: OpTime | undefined): void {
    if (head.lsid < 0 || head.txnNumber < 0 || previous === undefined) malformed('a commit that does not say of what');
    this.marks.push({
      kind: 'commit',
      session: this.#session(head),
      deliveries: this.deliveryCount,
      parked: this.parking.records.length,
      before: this.#opTime(this.#beforeTs, this.#beforeTerm),
      at: this.last!,
      previous,
      start: this.#entryStart,
      end: this.#entryEnd,
    });
  }

  #session(head: EntryHead): string {
    const end = documentLast(this.#bytes, head.lsid, head.last) + 1;
    return Buffer.from(this.#bytes.subarray(head.lsid, end)).toString('base64');
  }

  #unroll(head: EntryHead, list: number, limit: number, transaction: boolean): void {
    const bytes = this.#bytes;
    const last = documentLast(bytes, list, limit);
    const element = this.#element;
    const told = transaction && this.router.wantsTransactions;
    if (told) this.#transaction.reset(this.#piece?.tally, (ns) => this.router.routeOf(ns));
    let at = list + 4;
    for (let index = this.#firstIndex; at < last;) {
      const end = readOperation(element, bytes, at, last);
      index = this.#inside(element, head, index, transaction, 0);
      at = end;
    }
    if (at !== last) malformed('applyOps ends in the middle of an operation');
    if (told && this.#piece?.last !== false) this.#end(head);
  }

  /** One operation of an `applyOps`, which has this number; the result is the number of the next one. */
  #inside(element: EntryHead, entry: EntryHead, index: number, transaction: boolean, depth: number): number {
    switch (element.op) {
      case Op.insert:
      case Op.update:
      case Op.delete:
        this.#crud(element, entry, index, transaction);
        break;
      case Op.command:
        return this.#commandInside(element, entry, index, transaction, depth);
      case Op.noop:
        break;
      default:
        this.#unknown(element, index);
    }
    return index + 1;
  }

  /** A transaction can create collections; an `applyOps` that a user ran can hold another, whose operations count in its place. */
  #commandInside(element: EntryHead, entry: EntryHead, index: number, transaction: boolean, depth: number): number {
    if (element.fromMigrate) return index + 1;
    const bytes = this.#bytes;
    const name = commandName(bytes, element);
    if (name.name !== 'applyOps') {
      this.#commands.command({ head: element, entry, index, transaction }, name);
      return index + 1;
    }
    if (name.type !== BsonType.array) malformed('applyOps without a list');
    if (depth === MAX_NESTING) malformed('applyOps is nested too deeply');
    // The pieces of a transaction count their lists' elements, so that no number comes twice.
    if (this.#piece) malformed('applyOps inside a transaction of several entries');
    const last = documentLast(bytes, name.value, name.last);
    let next = index;
    let at = name.value + 4;
    while (at < last) {
      const end = readOperation(element, bytes, at, last);
      next = this.#inside(element, entry, next, transaction, depth + 1);
      at = end;
    }
    if (at !== last) malformed('applyOps ends in the middle of an operation');
    return next;
  }

  #unknown(head: EntryHead, index: number): void {
    const op = decodeText(this.#bytes, head.opStart, Math.min(head.opEnd, head.opStart + 32));
    this.countUnknown(op);
    if (head.fromMigrate) return;
    const route = this.router.route(this.#bytes, head.nsStart, head.nsEnd);
    if (route.internal) return;
    for (const subscription of this.router.subscriptions) {
      if (route.command || subscription.matches(route.ns)) {
        this.park(subscription, route.ns, 'unknown-op', `op "${op}" is not known to this version`, index);
      }
    }
  }

  countFiltered(): void {
    this.filtered++;
  }

  isConfirmed(lane: number, index: number): boolean {
    return this.#floors !== undefined && this.#confirmed(this.#floors, lane * 3, this.#head.ts, index);
  }

  countUnknown(op: string): void {
    const count = this.unknownOps.get(op);
    if (count !== undefined || this.unknownOps.size < MAX_UNKNOWN_OPS) this.unknownOps.set(op, (count ?? 0) + 1);
  }

  #parkDamaged(head: EntryHead, detail: string): void {
    const route = head.nsStart >= 0 ? this.router.route(this.#bytes, head.nsStart, head.nsEnd) : undefined;
    // A command's namespace says nothing about what is inside.
    const telling = route !== undefined && !route.command && route.ns !== '';
    let wanted = false;
    for (const subscription of this.router.subscriptions) {
      if (telling && (route.internal || !subscription.matches(route.ns))) continue;
      wanted = true;
      this.park(subscription, route?.ns ?? '', 'undecodable', detail, this.#firstIndex);
    }
    if (!wanted) this.filtered++;
  }

  park(subscription: CompiledSubscription, ns: string, reason: ParkReason, detail: string, index = 0): void {
    this.parking.park({
      subscription: subscription.index,
      ts: this.#head.ts,
      index,
      ns,
      reason,
      detail,
      entryStart: this.#entryStart,
      entryEnd: this.#entryEnd,
      event: subscription.crafter?.shapes ? noBytes : undefined,
    });
  }

  /** The last entry's position, if it had one. */
  get last(): OpTime | undefined {
    return this.#opTime(this.lastTs, this.lastTerm);
  }

  #opTime(ts: number, term: number): OpTime | undefined {
    if (ts < 0) return undefined;
    const bytes = this.#bytes;
    return {
      ts: { seconds: tsSeconds(bytes, ts), increment: tsIncrement(bytes, ts) },
      t: term < 0 ? -1 : readInt64(bytes, term),
    };
  }

  get lastWallMs(): number {
    return this.lastWall < 0 ? 0 : readInt64(this.#bytes, this.lastWall);
  }
}

const noBytes = new Uint8Array(0);

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}
