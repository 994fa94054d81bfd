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
  noBytes,
  readInt64,
} from './bson.ts';
import type { OpTime, Ts } from '../source/position.ts';
import { commandName, readCommand } from './command-event.ts';
import type { CommandName } from './command-event.ts';
import { Commands } from './commands.ts';
import type { CommandSink } from './commands.ts';
import { EntryHead, Op, readEntry, readPrevious, tsIncrement, tsSeconds } from './entry.ts';
import { Parking } from './parking.ts';
import { StreamEvents } from './stream-events.ts';
import { hashId, toPartition } from './partition.ts';
import type {
  BatchJob,
  ParkReason,
  Touched,
  TransactionCommit,
  TransactionMark,
  TransactionPiece,
  TransactionTally,
} from './protocol.ts';
import { Row, Rows } from './rows.ts';
import type { DocumentRow } from './rows.ts';
import type { CompiledSubscription, Route, Router, Target } from './route.ts';
import { Touching } from './touching.ts';
import { Tracked } from './tracked.ts';
import { TransactionEvents } from './transaction-events.ts';

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

export class BatchScan implements CommandSink {
  readonly router: Router;
  readonly rows = new Rows();
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
  #head = new EntryHead();
  #element = new EntryHead();
  #entryNumber = 0;
  #entryStart = 0;
  #entryEnd = 0;
  #firstIndex = 0;
  #piece: TransactionPiece | undefined;
  #wallTime = false;
  readonly #transaction = new TransactionEvents();
  /** Places of the `ts` and `t` of the entry before this one. */
  #beforeTs = -1;
  #beforeTerm = -1;
  readonly #commands: Commands;
  /** Where it is asked for. */
  #touching: Touching | undefined;
  /** Of a source whose one subscription keeps the last states of its documents. */
  readonly tracked = new Tracked();
  #tracks: BatchJob['tracks'];
  /** Of a change stream, whose batches hold events instead of entries. */
  readonly #events: StreamEvents | undefined;

  constructor(router: Router) {
    this.router = router;
    this.#commands = new Commands(router, this);
    this.parking = new Parking(router.source.name);
    if (router.source.changeStream !== undefined) this.#events = new StreamEvents(router, this, this.#commands);
  }

  /** Throws `MalformedBson` only when the batch itself cannot be taken apart into entries. */
  scan({
    bytes,
    range,
    floors,
    piece,
    wallTime,
    serverVersion,
    touching,
    tracks,
  }: Omit<BatchJob, 'source' | 'collated'>): void {
    this.#reset(bytes, floors);
    this.#tracks = tracks;
    this.tracked.reset();
    this.#touching = touching && new Touching(touching);
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
      if (number >= from) this.#entry(start, end, number);
      at = end;
    }
    if (at > last) malformed('a batch ends in the middle of an entry');
  }

  #reset(bytes: Uint8Array, floors: Uint32Array | undefined): void {
    this.#bytes = bytes;
    this.rows.reset(bytes, floors);
    this.marks = [];
    this.parking.reset(bytes);
    this.unknownOps = new Map();
    this.filtered = 0;
    this.entries = 0;
    this.lastTs = -1;
    this.lastTerm = -1;
    this.lastWall = -1;
  }

  get touched(): Touched | undefined {
    return this.#touching?.result;
  }

  /** Lets go of the batch's bytes, which would otherwise live until the next one. */
  release(): void {
    this.#reset(noBytes, undefined);
  }

  addDocument(row: DocumentRow): boolean {
    // Of a change stream every event comes here.
    const expectedBytes = this.#events === undefined ? 0 : this.#bytes.length;
    const entry = { head: this.#head, start: this.#entryStart, end: this.#entryEnd };
    return this.rows.addDocument(row, entry, expectedBytes);
  }

  newGate(arrivals: number): number {
    return this.rows.newGate(arrivals);
  }

  addGate(lane: number, gate: number, counts: boolean): void {
    this.rows.addGate(lane, gate, counts);
  }

  #entry(start: number, end: number, number: number): void {
    const { filtered } = this;
    this.rows.begin();
    this.tracked.begin();
    this.#entryNumber = number;
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
      this.rows.undo();
      this.tracked.undo(this.#mattersToStates(head));
      this.filtered = filtered;
      this.marks.length = marks;
      this.parking.records.length = parkedCount;
      this.#touching?.unclear('');
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
    if (this.#touching !== undefined) this.#touch(this.#touching, head);
    const bytes = this.#bytes;
    const isTracked = this.#tracks !== undefined && this.#track(head, entry);
    if (head.fromMigrate) return;
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
    const { rows } = this;
    const number = rows.operationCount;
    let wanted = false;
    for (let k = 0; k < targets.length; k++) {
      const lane = targets[k]!.subscription.index * this.router.partitions + partition;
      if (rows.isConfirmed(lane, entry.ts, index)) continue;
      rows.deliver(lane, number, k);
      wanted = true;
    }
    if (!wanted) return;
    if (isTracked) this.tracked.isGiven(number);
    const row = rows.newRow();
    const operations = rows.operations;
    operations[row + Row.type] = crud;
    operations[row + Row.last] = head.last;
    operations[row + Row.ts] = entry.ts;
    operations[row + Row.index] = index;
    operations[row + Row.o] = head.o;
    operations[row + Row.o2] = head.o2;
    operations[row + Row.wall] = entry.wall;
    operations[row + Row.route] = rows.routeNumber(route);
    operations[row + Row.lsid] = transaction ? entry.lsid : -1;
    operations[row + Row.txnNumber] = transaction ? entry.txnNumber : -1;
    operations[row + Row.entryStart] = this.#entryStart;
    operations[row + Row.entryEnd] = this.#entryEnd;
    operations[row + Row.document] = -1;
    operations[row + Row.ui] = head.ui;
  }

  /** Whether it changes a state that is kept. */
  #track(head: EntryHead, entry: EntryHead): boolean {
    const bytes = this.#bytes;
    const { after } = this.#tracks!;
    if (!isBehind(bytes, entry.ts, after) || !this.router.route(bytes, head.nsStart, head.nsEnd).keeps) return false;
    const { count } = this.tracked;
    this.tracked.operation(bytes, head, { type: crudOf(bytes, head), withId: documentWithId(head) });
    return this.tracked.count > count;
  }

  /** Of an entry that cannot be read: whether it may change a state that is kept. */
  #mattersToStates({ ts, op, nsStart, nsEnd }: EntryHead): boolean {
    if (this.#tracks === undefined) return false;
    if (ts >= 0 && !isBehind(this.#bytes, ts, this.#tracks.after)) return false;
    const isOfDocument = op === Op.insert || op === Op.update || op === Op.delete;
    return !isOfDocument || nsStart < 0 || this.router.route(this.#bytes, nsStart, nsEnd).keeps;
  }

  /** Of a collection that comes or goes by a rename, nobody knows what was done to it under the other name. */
  #trackCommand(head: EntryHead, entry: EntryHead, name: CommandName): void {
    const bytes = this.#bytes;
    const { tracked, router } = this;
    const isRename = name.name === 'renameCollection';
    if (!(isRename || name.name === 'drop') || !isBehind(bytes, entry.ts, this.#tracks!.after)) return;
    const command = readCommand(bytes, head, name);
    const { db, coll, to } = typeof command === 'string' ? malformed('a command that does not say of what') : command;
    const keeps = (one: { readonly db: string; readonly coll: string } | undefined): boolean =>
      one !== undefined && router.routeOf(`${one.db}.${one.coll}`).keeps;
    if (!isRename) {
      // Under another name there are no states: they went with the rename.
      if (keeps({ db, coll })) tracked.isGone(bytes, head);
    } else {
      if (keeps(to)) tracked.renamedOver(bytes, head);
      if (keeps({ db, coll }) === keeps(to)) return;
      tracked.isGone(bytes, head);
      tracked.cuts.push(this.#entryNumber);
    }
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

  #touch(touching: Touching, head: EntryHead): void {
    const bytes = this.#bytes;
    const route = this.router.route(bytes, head.nsStart, head.nsEnd);
    if (!touching.has(route.ns)) return;
    const document = documentWithId(head);
    const id = document < 0 ? -1 : findElement(bytes, document, head.last, idName);
    if (id < 0) touching.unclear(route.ns);
    else touching.document(hashId(route.hash, bytes, id, documentLast(bytes, document, head.last)));
  }

  #partitionOfId(head: EntryHead, route: Route): number {
    const bytes = this.#bytes;
    const document = documentWithId(head);
    const id = findElement(bytes, document, head.last, idName);
    if (id < 0) return toPartition(route.hash, this.router.partitions);
    return toPartition(hashId(route.hash, bytes, id, documentLast(bytes, document, head.last)), this.router.partitions);
  }

  #command(head: EntryHead): void {
    const name = commandName(this.#bytes, head);
    this.#touching?.command(this.#bytes, head, name);
    if (this.#tracks !== undefined) this.#trackCommand(head, head, name);
    if (head.fromMigrate) return;
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
    this.tracked.cuts.push(this.#entryNumber);
    this.marks.push({
      kind: 'commit',
      session: this.#session(head),
      deliveries: this.rows.deliveryCount,
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
    const bytes = this.#bytes;
    const name = commandName(bytes, element);
    this.#touching?.command(bytes, element, name);
    if (this.#tracks !== undefined) this.#trackCommand(element, entry, name);
    if (element.fromMigrate) return index + 1;
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
    this.#touching?.unclear('');
    this.tracked.isUnclear ||= this.router.mayKeep(this.#bytes, head.nsStart, head.nsEnd);
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
    return this.rows.isConfirmed(lane, this.#head.ts, index);
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
      this.park(subscription, route?.ns ?? '', 'undecodable', detail, this.#firstIndex, true);
    }
    if (!wanted) this.filtered++;
  }

  park(
    subscription: CompiledSubscription,
    ns: string,
    reason: ParkReason,
    detail: string,
    index = 0,
    whole = false,
  ): void {
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
      whole,
      firstIndex: this.#piece?.firstIndex,
    });
  }

  /** Of a piece of a larger transaction. */
  get firstIndex(): number | undefined {
    return this.#piece?.firstIndex;
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

/** Whether the `ts` that lies there is behind this. */
function isBehind(bytes: Uint8Array, ts: number, after: Ts): boolean {
  const seconds = tsSeconds(bytes, ts);
  return seconds === after.seconds ? tsIncrement(bytes, ts) > after.increment : seconds > after.seconds;
}

/** Of the documents of an operation the one that surely has the `_id`; -1 where there is none. */
function documentWithId(head: EntryHead): number {
  return head.o2 >= 0 && head.op !== Op.delete ? head.o2 : head.o;
}
