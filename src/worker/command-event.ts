/**
 * Change events of commands, as MongoDB's expanded change streams (6.0) show them. Two steps: `readCommand` says what a command
 * is and whom it concerns; `commandDocument` writes the event of one of them as BSON, without an `_id`, its fields in the
 * server's order. Whatever a command's entry holds is copied as it stands, so that an option of a newer server comes through.
 *
 * What a server before 6.0 does not show gets the same shape here: its entries hold the same.
 */
import type { DdlOperation } from '../config/config.ts';
import { BsonBuilder } from './bson-builder.ts';
import {
  BsonType,
  decodeText,
  documentLast,
  encodeText,
  findElement,
  malformed,
  nameEnd,
  stringEnd,
  valueEnd,
} from './bson.ts';
import { Op } from './entry.ts';
import type { EntryHead } from './entry.ts';

/** What a command means to those who subscribed to it. */
export interface Command {
  readonly operation: DdlOperation;
  readonly db: string;
  /** '' for a database as a whole. */
  readonly coll: string;
  /** Where a collection was renamed to. */
  readonly to: { readonly db: string; readonly coll: string } | undefined;
  /** On a view: change streams show it only with `showExpandedEvents`, even where they show the same on a collection always. */
  readonly view: boolean;
}

/** A command's name and where its first value lies. */
export interface CommandName {
  readonly name: string;
  readonly type: number;
  readonly value: number;
  /** The closing zero of `o`. */
  readonly last: number;
}

/** Which fields the event shows. */
export interface Shown {
  /** The subscription asked for expanded events. */
  readonly expanded: boolean;
  readonly wallTime: boolean;
  /** Create events of this server tell a collection from a view. */
  readonly nsType: boolean;
}

/** By the first key of `o`. An index counts when its build commits, as change streams have it. */
const operations: ReadonlyMap<string, DdlOperation> = new Map([
  ['create', 'create'],
  ['createIndexes', 'createIndexes'],
  ['commitIndexBuild', 'createIndexes'],
  ['drop', 'drop'],
  ['dropDatabase', 'dropDatabase'],
  ['dropIndexes', 'dropIndexes'],
  ['deleteIndexes', 'dropIndexes'],
  ['collMod', 'modify'],
  ['renameCollection', 'rename'],
]);

/** By the first key of a no-op's `o2`: sharding leaves no command. */
const shardingOperations: ReadonlyMap<string, DdlOperation> = new Map([
  ['shardCollection', 'shardCollection'],
  ['reshardCollection', 'reshardCollection'],
  ['refineCollectionShardKey', 'refineCollectionShardKey'],
]);

/** Commands that no change stream shows. */
const silent: ReadonlySet<string> = new Set([
  'startIndexBuild',
  'abortIndexBuild',
  'emptycapped',
  'convertToCapped',
  'truncateRange',
  // A restored collection: not one of its documents was written.
  'importCollection',
  'createDatabaseMetadata',
  'dropDatabaseMetadata',
  'createGlobalIndex',
  'dropGlobalIndex',
  'modifyCollectionShardingIndexCatalog',
  'upgradeDowngradeViewlessTimeseries',
]);

const SYSTEM_VIEWS = 'system.views';
const BUCKETS = 'system.buckets.';

const names = {
  id: encodeText('_id'),
  to: encodeText('to'),
  indexes: encodeText('indexes'),
  optionsBefore: encodeText('collectionOptions_old'),
  indexBefore: encodeText('indexOptions_old'),
  viewOn: encodeText('viewOn'),
};

export function commandName(bytes: Uint8Array, head: EntryHead): CommandName {
  if (head.o < 0) malformed('a command without its document');
  return firstElement(bytes, head.o, head.last);
}

function firstElement(bytes: Uint8Array, start: number, limit: number): CommandName {
  const last = documentLast(bytes, start, limit);
  const first = start + 4;
  if (first === last) malformed('a command without a name');
  const value = nameEnd(bytes, first + 1);
  valueEnd(bytes, bytes[first]!, value, last);
  return { name: decodeText(bytes, first + 1, value - 1), type: bytes[first]!, value, last };
}

/** 'silent' for what change streams never show, 'unknown' for what this version has never heard of. */
export function readCommand(bytes: Uint8Array, head: EntryHead, given: CommandName): Command | 'silent' | 'unknown' {
  const operation = operations.get(given.name);
  if (operation === undefined) return silent.has(given.name) ? 'silent' : 'unknown';
  const { db } = splitNamespace(decodeText(bytes, head.nsStart, head.nsEnd));
  if (operation === 'dropDatabase') return { operation, db, coll: '', to: undefined, view: false };
  const text = textOf(bytes, given);
  if (operation !== 'rename') return { operation, db, coll: text, to: undefined, view: false };
  const to = findElement(bytes, head.o, head.last, names.to);
  if (to < 0) malformed('a rename without its target');
  const target = textOf(bytes, { type: bytes[to]!, value: nameEnd(bytes, to + 1), last: given.last });
  return { operation, ...splitNamespace(text), to: splitNamespace(target), view: false };
}

/** What a no-op entry tells of sharding; undefined when it tells nothing that is shown. */
export function readShardingNoop(bytes: Uint8Array, head: EntryHead): Command | undefined {
  if (documentLast(bytes, head.o2, head.last) === head.o2 + 4) return undefined;
  const first = firstElement(bytes, head.o2, head.last);
  const operation = shardingOperations.get(first.name);
  if (operation === undefined) return undefined;
  const ns = head.nsEnd > head.nsStart ? decodeText(bytes, head.nsStart, head.nsEnd) : textOf(bytes, first);
  return { operation, ...splitNamespace(ns), to: undefined, view: false };
}

/** Views are documents of `system.views`; undefined for any other namespace. */
export function readViewChange(bytes: Uint8Array, head: EntryHead): Command | undefined {
  const ns = splitNamespace(decodeText(bytes, head.nsStart, head.nsEnd));
  if (ns.coll !== SYSTEM_VIEWS || head.o < 0) return undefined;
  const operation = head.op === Op.insert ? 'create' : head.op === Op.update ? 'modify' : 'drop';
  const id = findElement(bytes, head.o, head.last, names.id);
  // The server replaces a view's document as a whole; anything else somebody wrote there by hand, and it changes no view.
  if (id < 0 || bytes[id] !== BsonType.string) return undefined;
  const text = textOf(bytes, { type: bytes[id], value: nameEnd(bytes, id + 1), last: head.last });
  return { operation, ...splitNamespace(text), to: undefined, view: true };
}

/** `entry` is the head of the entry that the command came in; another one than `head` inside `applyOps`. */
export function commandDocument(
  bytes: Uint8Array,
  { command, head, entry, transaction }: { command: Command; head: EntryHead; entry: EntryHead; transaction: boolean },
  shown: Shown,
): Uint8Array {
  const event = new BsonBuilder();
  const { operation, to } = command;
  if (to) putNamespace(event, 'to', to);
  if (transaction) {
    if (entry.txnNumber >= 0) event.value('txnNumber', bytes, { ...int64, at: entry.txnNumber, last: bytes.length });
    if (entry.lsid >= 0) event.value('lsid', bytes, { ...document, at: entry.lsid, last: bytes.length });
  }
  putHead(event, bytes, operation, { head, entry, view: command.view }, shown);
  putNamespace(event, 'ns', command);
  putDescription(event, bytes, command, head, shown.expanded);
  if (operation === 'create' && shown.expanded && shown.nsType) event.string('nsType', namespaceType(bytes, head));
  return event.finish();
}

/** Why what a consumer holds of a collection is no longer what is in it. */
export interface Resync {
  readonly db: string;
  readonly coll: string;
  readonly from: { readonly db: string; readonly coll: string };
}

/** No event of MongoDB's, though it looks like one: a collection's content was replaced by what no event told of. */
export function resyncDocument(
  bytes: Uint8Array,
  { db, coll, from }: Resync,
  head: EntryHead,
  shown: Shown,
): Uint8Array {
  const event = new BsonBuilder();
  putHead(event, bytes, 'resync', { head, entry: head, view: false }, shown);
  putNamespace(event, 'ns', { db, coll });
  const cause = swapCause(from.coll);
  const what =
    cause === 'rename'
      ? `${from.db}.${from.coll} was renamed to it`
      : `the server filled ${from.db}.${from.coll} (${swaps[cause]}) and swapped it in`;
  return event
    .string('cause', cause)
    .string(
      'reason',
      `All of ${db}.${coll} was replaced: ${what}. Earlier events do not add up to what it holds now; read it anew.`,
    )
    .finish();
}

type SwapCause = 'out' | 'convertToCapped' | 'renameAcrossDatabases' | 'rename';

const swaps = { out: '$out', convertToCapped: 'convertToCapped', renameAcrossDatabases: 'a rename across databases' };

/** The server's own temporary collections have names of their own kinds. */
function swapCause(coll: string): SwapCause {
  if (coll.startsWith('tmp.agg_out.')) return 'out';
  if (/^tmp[^.]+\.convertToCapped\./.test(coll)) return 'convertToCapped';
  return /^tmp[^.]+\.renameCollection/.test(coll) ? 'renameAcrossDatabases' : 'rename';
}

/** Whether a rename from there swaps in what the server has put together out of sight of whoever looks at the target. */
export function isSwap(coll: string): boolean {
  return swapCause(coll) !== 'rename';
}

const int64 = { type: BsonType.int64 };
const document = { type: BsonType.document };

function putHead(
  event: BsonBuilder,
  bytes: Uint8Array,
  operationType: string,
  { head, entry, view }: { head: EntryHead; entry: EntryHead; view: boolean },
  { expanded, wallTime }: Shown,
): void {
  const last = bytes.length;
  event.string('operationType', operationType);
  event.value('clusterTime', bytes, { type: BsonType.timestamp, at: entry.ts, last });
  if (expanded && !view && head.ui >= 0) {
    event.value('collectionUUID', bytes, { type: BsonType.binary, at: head.ui, last });
  }
  if (wallTime && entry.wall >= 0) event.value('wallTime', bytes, { type: BsonType.date, at: entry.wall, last });
}

function putNamespace(
  event: BsonBuilder,
  name: string,
  { db, coll }: { readonly db: string; readonly coll: string },
): void {
  event.begin(BsonType.document, name).string('db', db);
  if (coll !== '') event.string('coll', coll);
  event.end();
}

function putDescription(
  event: BsonBuilder,
  bytes: Uint8Array,
  { operation, to, view }: Command,
  head: EntryHead,
  expanded: boolean,
): void {
  if (operation === 'drop' || operation === 'dropDatabase' || (operation === 'rename' && !expanded)) return;
  const sharding = head.op === Op.noop;
  const start = sharding ? head.o2 : head.o;
  const last = documentLast(bytes, start, head.last);
  event.begin(BsonType.document, 'operationDescription');
  if (view) event.fields(bytes, start, last, ['_id']);
  else if (operation === 'rename') putRename(event, bytes, head, to!);
  else if (operation === 'createIndexes') putIndexes(event, bytes, start, last);
  else if (operation === 'dropIndexes') {
    event.begin(BsonType.array, 'indexes').begin(BsonType.document, '0');
    if (head.o2 >= 0) event.fields(bytes, head.o2, documentLast(bytes, head.o2, head.last), ['dropIndexes']);
    event.end().end();
  } else event.fields(bytes, start, last, [firstElement(bytes, start, head.last).name]);
  event.end();
  if (operation === 'modify' && !view) putStateBefore(event, bytes, head);
}

/** The command's options, among which the target stands in two parts. */
function putRename(
  event: BsonBuilder,
  bytes: Uint8Array,
  head: EntryHead,
  to: { readonly db: string; readonly coll: string },
): void {
  putNamespace(event, 'to', to);
  const last = documentLast(bytes, head.o, head.last);
  event.fields(bytes, head.o, last, ['renameCollection', 'stayTemp', 'to']);
}

/** `commitIndexBuild` holds a list; `createIndexes` is one index, whose fields stand beside the command's name. */
function putIndexes(event: BsonBuilder, bytes: Uint8Array, start: number, last: number): void {
  if (firstElement(bytes, start, last + 1).name === 'commitIndexBuild') {
    const list = findElement(bytes, start, last + 1, names.indexes);
    if (list >= 0) event.element(bytes, list, valueEnd(bytes, bytes[list]!, nameEnd(bytes, list + 1), last));
    return;
  }
  event.begin(BsonType.array, 'indexes').begin(BsonType.document, '0');
  event.fields(bytes, start, last, ['createIndexes']).end().end();
}

function putStateBefore(event: BsonBuilder, bytes: Uint8Array, head: EntryHead): void {
  event.begin(BsonType.document, 'stateBeforeChange');
  if (head.o2 >= 0) {
    putRenamed(event, bytes, head, names.optionsBefore, 'collectionOptions');
    putRenamed(event, bytes, head, names.indexBefore, 'indexOptions');
  }
  event.end();
}

function putRenamed(event: BsonBuilder, bytes: Uint8Array, head: EntryHead, from: Uint8Array, to: string): void {
  const at = findElement(bytes, head.o2, head.last, from);
  if (at < 0) return;
  const last = documentLast(bytes, head.o2, head.last);
  event.value(to, bytes, { type: bytes[at]!, at: nameEnd(bytes, at + 1), last });
}

function namespaceType(bytes: Uint8Array, head: EntryHead): string {
  const at = findElement(bytes, head.o, head.last, names.viewOn);
  if (at < 0 || bytes[at] !== BsonType.string) return 'collection';
  const on = textOf(bytes, { type: bytes[at], value: nameEnd(bytes, at + 1), last: head.last });
  return on.startsWith(BUCKETS) ? 'timeseries' : 'view';
}

function textOf(bytes: Uint8Array, { type, value, last }: Omit<CommandName, 'name'>): string {
  if (type !== BsonType.string) malformed('a command that does not name what it is about');
  return decodeText(bytes, value + 4, stringEnd(bytes, value, last) - 1);
}

function splitNamespace(ns: string): { readonly db: string; readonly coll: string } {
  const dot = ns.indexOf('.');
  return dot < 0 ? { db: ns, coll: '' } : { db: ns.slice(0, dot), coll: ns.slice(dot + 1) };
}
