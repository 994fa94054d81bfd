/**
 * The first of the two passes over a batch: walks the entries' heads, drops what nobody subscribed to, unrolls `applyOps`,
 * sets aside what this version cannot deliver, and notes for every operation that somebody wants where its parts lie and
 * which lanes it goes to. Nothing is written here; the second pass then works lane by lane.
 * Invariant: an entry contributes all of its operations or, when it turns out to be damaged, none and a parked record.
 */
import type { DdlOperation } from '../config/config.ts';
import {
  BsonType,
  MalformedBson,
  copyBytes,
  decodeText,
  documentLast,
  encodeText,
  findElement,
  malformed,
  nameEnd,
  nameIs,
  readInt32,
  readInt64,
  stringEnd,
  valueEnd,
} from './bson.ts';
import { EntryHead, Op, hasPrevious, readEntry, tsIncrement, tsSeconds } from './entry.ts';
import type { ParkReason, ParkedEvent } from './protocol.ts';
import { hashId, toPartition } from './partition.ts';
import { Crud, isInternal } from './route.ts';
import type { CompiledSubscription, Route, Router } from './route.ts';

/** Offsets in one row of `BatchScan.operations`; what is a place is an offset into the batch, -1 where there is nothing. */
export const Row = {
  crud: 0,
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
} as const;
export const ROW_FIELDS = 12;

/** Numbers per delivery: its lane, its row's number, its place in the route's list of targets. */
export const DELIVERY_FIELDS = 3;

/** `op` values that a damaged or hostile batch could make up without end. */
const MAX_UNKNOWN_OPS = 100;

const names = {
  id: encodeText('_id'),
  applyOps: encodeText('applyOps'),
  partialTxn: encodeText('partialTxn'),
  prepare: encodeText('prepare'),
};

/** Commands that make a DDL event, by the first key of `o`. An index counts when its build commits, as change streams have it. */
const ddlCommands: ReadonlyMap<string, DdlOperation> = new Map([
  ['create', 'create'],
  ['importCollection', 'create'],
  ['createIndexes', 'createIndexes'],
  ['commitIndexBuild', 'createIndexes'],
  ['drop', 'drop'],
  ['dropDatabase', 'dropDatabase'],
  ['dropIndexes', 'dropIndexes'],
  ['deleteIndexes', 'dropIndexes'],
  ['collMod', 'modify'],
  ['renameCollection', 'rename'],
]);
/** Commands that no change stream shows. */
const silentCommands: ReadonlySet<string> = new Set([
  'startIndexBuild',
  'abortIndexBuild',
  'emptycapped',
  'convertToCapped',
  'truncateRange',
  'createDatabaseMetadata',
  'dropDatabaseMetadata',
  'createGlobalIndex',
  'dropGlobalIndex',
  'modifyCollectionShardingIndexCatalog',
  'upgradeDowngradeViewlessTimeseries',
]);
const shardingCommands: ReadonlyMap<string, DdlOperation> = new Map([
  ['shardCollection', 'shardCollection'],
  ['reshardCollection', 'reshardCollection'],
  ['refineCollectionShardKey', 'refineCollectionShardKey'],
]);

export class BatchScan {
  readonly router: Router;
  operations = new Int32Array(8192 * ROW_FIELDS);
  operationCount = 0;
  deliveries = new Int32Array(8192 * DELIVERY_FIELDS);
  deliveryCount = 0;
  /** The routes that `operations` points to. */
  routes: Route[] = [];
  parked: ParkedEvent[] = [];
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
  /** Parked entries' bytes by where they start: one copy, however many subscriptions and operations. */
  #copies = new Map<number, Uint8Array>();

  constructor(router: Router) {
    this.router = router;
  }

  /** Throws `MalformedBson` only when the batch itself cannot be taken apart into entries. */
  scan(bytes: Uint8Array, range: { from: number; to: number } | undefined, floors: Uint32Array | undefined): void {
    this.#reset(bytes, floors);
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
    this.parked = [];
    this.#copies.clear();
    this.unknownOps = new Map();
    this.filtered = 0;
    this.entries = 0;
    this.lastTs = -1;
    this.lastTerm = -1;
    this.lastWall = -1;
  }

  /** Lets go of the batch's bytes, which would otherwise live until the next one. */
  release(): void {
    this.#reset(new Uint8Array(0), undefined);
  }

  #entry(start: number, end: number): void {
    const { operationCount, deliveryCount, filtered } = this;
    const parkedCount = this.parked.length;
    this.#entryStart = start;
    this.#entryEnd = end;
    this.entries++;
    const head = this.#head;
    try {
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
      this.parked.length = parkedCount;
      this.#parkDamaged(head, error.message);
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
        if (this.router.wantsShardingDdl && head.o2 >= 0) this.#shardingNoop(head);
        break;
      default:
        this.#unknown(head, decodeText(this.#bytes, head.opStart, Math.min(head.opEnd, head.opStart + 32)));
    }
  }

  /** `head` is the operation's own, `entry` that of the entry it came in; they differ inside `applyOps`. */
  #crud(head: EntryHead, entry: EntryHead, index: number, transaction: boolean): void {
    if (head.fromMigrate || head.destined) return;
    const bytes = this.#bytes;
    const route = this.router.route(bytes, head.nsStart, head.nsEnd);
    if (route.idle) {
      if (!route.internal) this.filtered++;
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
    const number = this.operationCount;
    let wanted = false;
    for (let k = 0; k < targets.length; k++) {
      const lane = targets[k]!.subscription.index * this.router.partitions + partition;
      if (this.#floors !== undefined && this.#confirmed(this.#floors, lane * 3, entry.ts, index)) continue;
      this.#deliver(lane, number, k);
      wanted = true;
    }
    if (!wanted) return;
    if ((number + 1) * ROW_FIELDS > this.operations.length) this.operations = grown(this.operations);
    const rows = this.operations;
    const row = number * ROW_FIELDS;
    rows[row + Row.crud] = crud;
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
    this.operationCount = number + 1;
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
    const id = findElement(bytes, document, head.last, names.id);
    if (id < 0) return toPartition(route.hash, this.router.partitions);
    return toPartition(hashId(route.hash, bytes, id, documentLast(bytes, document, head.last)), this.router.partitions);
  }

  #command(head: EntryHead): void {
    if (head.fromMigrate || head.destined) return;
    if (head.o < 0) malformed('a command without its document');
    const bytes = this.#bytes;
    const last = documentLast(bytes, head.o, head.last);
    const first = head.o + 4;
    if (first === last) malformed('a command without a name');
    const value = nameEnd(bytes, first + 1);
    const name = decodeText(bytes, first + 1, value - 1);
    switch (name) {
      case 'applyOps':
        this.#applyOps(head, last);
        break;
      case 'commitTransaction':
      case 'abortTransaction':
        for (const subscription of this.router.subscriptions) {
          if (subscription.wantsCrud) {
            this.#parkEntry(subscription, '', 'unsupported-transaction', `${name} of a prepared transaction`);
          }
        }
        break;
      default:
        this.#ddl(head, name, bytes[first]!, value, last);
    }
  }

  #applyOps(head: EntryHead, last: number): void {
    const bytes = this.#bytes;
    let list = -1;
    let unsupported = '';
    let at = head.o + 4;
    while (at < last) {
      const type = bytes[at]!;
      const name = at + 1;
      const value = nameEnd(bytes, name);
      const end = valueEnd(bytes, type, value, last);
      if (type === BsonType.array && nameIs(bytes, name, names.applyOps)) list = value;
      else if (type === BsonType.boolean && bytes[value] !== 0) {
        if (nameIs(bytes, name, names.partialTxn)) unsupported = 'a part of a transaction that spans several entries';
        else if (nameIs(bytes, name, names.prepare)) unsupported = 'a prepared transaction';
      }
      at = end;
    }
    if (list < 0) malformed('applyOps without a list');
    // Without session fields, or marked as applied one by one, it is one write of many documents and no transaction.
    const transaction = head.lsid >= 0 && head.txnNumber >= 0 && head.multiOpType !== 1;
    if (transaction && unsupported === '' && head.prevOpTime >= 0 && hasPrevious(bytes, head.prevOpTime, head.last)) {
      unsupported = 'the last part of a transaction that spans several entries';
    }
    if (unsupported === '') this.#unroll(head, list, last, transaction);
    else this.#parkTransaction(list, last, unsupported);
  }

  #unroll(head: EntryHead, list: number, limit: number, transaction: boolean): void {
    const bytes = this.#bytes;
    const last = documentLast(bytes, list, limit);
    const element = this.#element;
    let at = list + 4;
    for (let index = 0; at < last; index++) {
      const end = this.#readElement(element, at, last);
      switch (element.op) {
        case Op.insert:
        case Op.update:
        case Op.delete:
          this.#crud(element, head, index, transaction);
          break;
        case Op.command:
          this.#commandInside(element, index);
          break;
        case Op.noop:
          break;
        default:
          this.#unknown(element, decodeText(bytes, element.opStart, Math.min(element.opEnd, element.opStart + 32)));
      }
      at = end;
    }
    if (at !== last) malformed('applyOps ends in the middle of an operation');
  }

  #readElement(element: EntryHead, at: number, last: number): number {
    const bytes = this.#bytes;
    if (bytes[at] !== BsonType.document) malformed('applyOps holds something that is no document');
    const start = nameEnd(bytes, at + 1);
    readEntry(element, bytes, start, last);
    if (element.opStart < 0 || element.nsStart < 0) malformed('an operation without op or ns');
    return element.last + 1;
  }

  /** A transaction can create collections; an `applyOps` that a user ran can hold another. */
  #commandInside(element: EntryHead, index: number): void {
    if (element.fromMigrate || element.destined) return;
    if (element.o < 0) malformed('a command without its document');
    const bytes = this.#bytes;
    const last = documentLast(bytes, element.o, element.last);
    const first = element.o + 4;
    if (first === last) malformed('a command without a name');
    const value = nameEnd(bytes, first + 1);
    const name = decodeText(bytes, first + 1, value - 1);
    if (name === 'applyOps') {
      if (bytes[first] !== BsonType.array) malformed('applyOps without a list');
      this.#parkTransaction(value, last, 'applyOps inside applyOps', index);
    } else this.#ddl(element, name, bytes[first]!, value, last, index);
  }

  /** Parks the whole entry for everybody who would have seen any of its operations. */
  #parkTransaction(list: number, limit: number, detail: string, index = 0): void {
    const wanting = new Map<CompiledSubscription, string>();
    this.#collectWanting(list, limit, wanting, 0);
    for (const [subscription, ns] of wanting) {
      this.#parkEntry(subscription, ns, 'unsupported-transaction', detail, index);
    }
    if (wanting.size === 0) this.filtered++;
  }

  #collectWanting(list: number, limit: number, wanting: Map<CompiledSubscription, string>, depth: number): void {
    if (depth > 20) malformed('applyOps is nested too deeply');
    const bytes = this.#bytes;
    const last = documentLast(bytes, list, limit);
    const element = new EntryHead();
    let at = list + 4;
    while (at < last) {
      const end = this.#readElement(element, at, last);
      if (element.op === Op.command && element.o >= 0) {
        const inner = findElement(bytes, element.o, element.last, names.applyOps);
        if (inner >= 0 && bytes[inner] === BsonType.array) {
          this.#collectWanting(nameEnd(bytes, inner + 1), element.last, wanting, depth + 1);
        }
      } else if (isCrud(element.op) && !element.fromMigrate && !element.destined) {
        const route = this.router.route(bytes, element.nsStart, element.nsEnd);
        for (const { subscription } of route.idle ? [] : route.targets[crudOf(bytes, element)]!) {
          if (!wanting.has(subscription)) wanting.set(subscription, route.ns);
        }
      }
      at = end;
    }
    if (at !== last) malformed('applyOps ends in the middle of an operation');
  }

  #ddl(head: EntryHead, name: string, type: number, value: number, last: number, index = 0): void {
    const bytes = this.#bytes;
    const operation = ddlCommands.get(name);
    if (operation === undefined && silentCommands.has(name)) return;
    const commandNs = decodeText(bytes, head.nsStart, head.nsEnd);
    const db = commandNs.slice(0, Math.max(0, commandNs.indexOf('.')));
    const text = type === BsonType.string ? decodeText(bytes, value + 4, stringEnd(bytes, value, last) - 1) : '';
    // A rename names its source in full; all others their collection, dropDatabase none.
    const ns = operation === 'rename' ? text : `${db}.${text}`;
    if (isInternal(ns.slice(0, Math.max(0, ns.indexOf('.'))), ns.slice(ns.indexOf('.') + 1))) return;
    if (operation === undefined) this.#countUnknown(`c:${name.slice(0, 32)}`);
    let wanted = false;
    for (const subscription of this.router.subscriptions) {
      if (operation !== undefined && !subscription.operations.has(operation)) continue;
      if (!subscription.matches(ns)) continue;
      wanted = true;
      if (operation === undefined) this.#parkEntry(subscription, ns, 'unknown-op', `the command ${name}`, index);
      else this.#parkEntry(subscription, ns, 'unsupported-ddl', `${operation} (the command ${name})`, index);
    }
    if (!wanted && operation !== undefined) this.filtered++;
  }

  /** Sharding DDL leaves nothing but a no-op entry, with the kind as the first key of `o2`. */
  #shardingNoop(head: EntryHead): void {
    const bytes = this.#bytes;
    const last = documentLast(bytes, head.o2, head.last);
    const first = head.o2 + 4;
    if (first === last || bytes[first] !== BsonType.string) return;
    const value = nameEnd(bytes, first + 1);
    const operation = shardingCommands.get(decodeText(bytes, first + 1, value - 1));
    if (operation === undefined) return;
    const ns = decodeText(bytes, value + 4, stringEnd(bytes, value, last) - 1);
    for (const subscription of this.router.subscriptions) {
      if (subscription.operations.has(operation) && subscription.matches(ns)) {
        this.#parkEntry(subscription, ns, 'unsupported-ddl', operation);
      }
    }
  }

  #unknown(head: EntryHead, op: string): void {
    this.#countUnknown(op);
    if (head.fromMigrate || head.destined) return;
    const route = this.router.route(this.#bytes, head.nsStart, head.nsEnd);
    if (route.internal) return;
    for (const subscription of this.router.subscriptions) {
      if (route.command || subscription.matches(route.ns)) {
        this.#parkEntry(subscription, route.ns, 'unknown-op', `op "${op}" is not known to this version`);
      }
    }
  }

  #countUnknown(op: string): void {
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
      this.#parkEntry(subscription, route?.ns ?? '', 'undecodable', detail);
    }
    if (!wanted) this.filtered++;
  }

  #parkEntry(subscription: CompiledSubscription, ns: string, reason: ParkReason, detail: string, index = 0): void {
    const entryStart = this.#entryStart;
    const id =
      this.#head.ts >= 0
        ? this.eventId(this.#head.ts, index)
        : `${this.router.source.name}:damaged.${fingerprint(this.#bytes, entryStart, this.#entryEnd)}.${index}`;
    const entry = this.entryCopy(entryStart, this.#entryEnd);
    this.parked.push({ subscription: subscription.index, id, ns, reason, detail, entry });
  }

  entryCopy(start: number, end: number): Uint8Array {
    let copy = this.#copies.get(start);
    if (copy === undefined) {
      copy = copyBytes(this.#bytes, start, end);
      this.#copies.set(start, copy);
    }
    return copy;
  }

  eventId(ts: number, index: number): string {
    return `${this.router.source.name}:${tsSeconds(this.#bytes, ts)}.${tsIncrement(this.#bytes, ts)}.${index}`;
  }

  /** The last entry's position, if it had one. */
  get last(): { ts: { seconds: number; increment: number }; t: number } | undefined {
    if (this.lastTs < 0) return undefined;
    return {
      ts: { seconds: tsSeconds(this.#bytes, this.lastTs), increment: tsIncrement(this.#bytes, this.lastTs) },
      t: this.lastTerm < 0 ? -1 : readInt64(this.#bytes, this.lastTerm),
    };
  }

  get lastWallMs(): number {
    return this.lastWall < 0 ? 0 : readInt64(this.#bytes, this.lastWall);
  }
}

function isCrud(op: number): boolean {
  return op === Op.insert || op === Op.update || op === Op.delete;
}

/** As the server tells them apart: only a replacement has an `_id` at the top of `o`. */
function crudOf(bytes: Uint8Array, head: EntryHead): number {
  if (head.op === Op.insert) return Crud.insert;
  if (head.op === Op.delete) return Crud.delete;
  if (head.o < 0) malformed('an update without its document');
  return findElement(bytes, head.o, head.last, names.id) >= 0 ? Crud.replace : Crud.update;
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}

/** Names an entry whose position cannot be read; the same bytes get the same name after a restart. */
function fingerprint(bytes: Uint8Array, start: number, end: number): string {
  let h = 0x811c_9dc5 | 0;
  for (let at = start; at < end; at++) h = Math.imul(h ^ bytes[at]!, 0x0100_0193);
  return `${(h >>> 0).toString(16)}.${readInt32(bytes, start)}`;
}
