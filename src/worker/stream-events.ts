/**
 * A change stream's events on their way into a batch's result: the server made them whole, so that what is left is to find out
 * who gets each, in which lane, and what of it. Lanes, positions, `_id`s and gates are those that the same change has when it
 * is read from the oplog.
 * Invariant: an event that cannot be delivered is parked for everybody who may have wanted it, but an `invalidate`, which tells
 * of the stream and not of the data.
 */
import { DDL_OPERATIONS } from '../config/operations.ts';
import type { DdlOperation } from '../config/operations.ts';
import { decodeText, documentLast, encodeText, findElement, malformed } from './bson.ts';
import { ChangeEvent, readChangeEvent, shapedEvent } from './change-event.ts';
import type { NamespacePlaces } from './change-event.ts';
import type { CommandSink, Commands } from './commands.ts';
import type { EntryHead } from './entry.ts';
import { hashId, toPartition } from './partition.ts';
import type { ParkReason } from './protocol.ts';
import { CRUD } from './crud.ts';
import type { Route, Router } from './route.ts';

const idName = encodeText('_id');

/** They tell of the stream, or of no change. */
const SILENT = new Set(['invalidate', 'endOfTransaction']);
const DDL: ReadonlySet<string> = new Set(DDL_OPERATIONS);
/** What streams without `showExpandedEvents` show as well; it shows them for views too. */
const ALWAYS_SHOWN = new Set(['drop', 'dropDatabase', 'rename']);
const ON_VIEWS = new Set(['create', 'drop', 'modify']);

export class StreamEvents {
  readonly #router: Router;
  readonly #sink: CommandSink;
  readonly #commands: Commands;
  readonly #event = new ChangeEvent();
  /** "db.coll" of the event at hand, as the router takes it. */
  #ns = new Uint8Array(512);
  readonly #types = new Map<string, Uint8Array>([...CRUD, ...DDL, ...SILENT].map((type) => [type, encodeText(type)]));
  #latestType = 'insert';
  #expanded = false;

  constructor(router: Router, sink: CommandSink, commands: Commands) {
    this.#router = router;
    this.#sink = sink;
    this.#commands = commands;
  }

  /** `expanded`: the stream was opened with `showExpandedEvents`. */
  reset(expanded: boolean): void {
    this.#expanded = expanded;
  }

  /** `head` becomes what the rest of the scan must know of the event. */
  take(head: EntryHead, bytes: Uint8Array, start: number, end: number): void {
    const event = this.#event;
    head.clear();
    try {
      readChangeEvent(event, bytes, start, end);
    } finally {
      // Without a token its place in its transaction is not known: with the time alone two would have one id, and one of them would
      // not be kept.
      head.ts = event.tokenKnown ? event.clusterTime : -1;
      head.wall = event.wall;
      head.ui = event.collectionUUID;
      head.last = event.last;
    }
    if (event.clusterTime < 0 || !event.tokenKnown || event.typeStart < 0) {
      malformed('an event without its time, its resume token or its operationType');
    }
    const type = this.#typeOf(bytes);
    if (SILENT.has(type)) return;
    if (event.tooLarge)
      this.#park(bytes, 'too-large', 'the change stream cannot send it: with its documents it is over 16 MB');
    else if (DDL.has(type)) this.#ddl(type as DdlOperation, head, bytes, start);
    else if (CRUD.some((one) => one === type)) this.#crud(type as (typeof CRUD)[number], bytes, start, end);
    else {
      this.#sink.countUnknown(type.slice(0, 32));
      this.#park(bytes, 'unknown-op', `operationType "${type.slice(0, 64)}" is not known to this version`);
    }
  }

  /** After a `MalformedBson`: for whom it may have been, as far as it could be read. */
  parkDamaged(bytes: Uint8Array, detail: string): void {
    this.#park(bytes, 'undecodable', detail);
  }

  #park(bytes: Uint8Array, reason: ParkReason, detail: string): void {
    const { ns: places, token, tokenKnown } = this.#event;
    const ns = textOf(bytes, places);
    const index = tokenKnown ? token.index : 0;
    let wanted = false;
    for (const subscription of this.#router.subscriptions) {
      if (ns !== '' && !subscription.matches(ns)) continue;
      wanted = true;
      this.#sink.park(subscription, ns, reason, detail, index);
    }
    if (!wanted) this.#sink.countFiltered();
  }

  #crud(type: (typeof CRUD)[number], bytes: Uint8Array, start: number, end: number): void {
    const event = this.#event;
    const sink = this.#sink;
    const router = this.#router;
    const route = this.#route(bytes);
    const targets = route.targets[CRUD.indexOf(type)]!;
    if (targets.length === 0) {
      if (!route.internal) sink.countFiltered();
      return;
    }
    if (event.documentKey < 0) malformed('an event without its documentKey');
    const partition = route.partition >= 0 ? route.partition : this.#partitionOfId(bytes, route);
    const { index } = event.token;
    let shaped: Uint8Array | undefined;
    for (let k = 0; k < targets.length; k++) {
      const { subscription } = targets[k]!;
      const lane = subscription.index * router.partitions + partition;
      if (sink.isConfirmed(lane, index)) continue;
      // The writers leave the `_id` out themselves.
      let document: Uint8Array;
      if (subscription.expanded || !this.#expanded) document = bytes.subarray(start, end);
      else document = shaped ??= shapedEvent(event, bytes, start, { keepDescription: false });
      sink.addDocument({ type, document, subscription: subscription.index, lane, index, route });
    }
  }

  #ddl(operation: DdlOperation, head: EntryHead, bytes: Uint8Array, start: number): void {
    const event = this.#event;
    const { ns, to, token } = event;
    const command = {
      operation,
      db: text(bytes, ns.dbStart, ns.dbEnd),
      coll: text(bytes, ns.collStart, ns.collEnd),
      to:
        to.dbStart < 0
          ? undefined
          : { db: text(bytes, to.dbStart, to.dbEnd), coll: text(bytes, to.collStart, to.collEnd) },
      view: this.#expanded && ON_VIEWS.has(operation) && event.collectionUUID < 0,
    };
    const keepDescription = !ALWAYS_SHOWN.has(operation);
    this.#commands.given(command, { head, entry: head, index: token.index, transaction: false }, (expanded) =>
      expanded ? bytes.subarray(start, event.last + 1) : shapedEvent(event, bytes, start, { keepDescription }),
    );
  }

  #route(bytes: Uint8Array): Route {
    const { dbStart, dbEnd, collStart, collEnd } = this.#event.ns;
    if (dbStart < 0 || collStart < 0) malformed('an event without its namespace');
    const dbLength = dbEnd - dbStart;
    const length = dbLength + 1 + collEnd - collStart;
    if (length > this.#ns.length) this.#ns = new Uint8Array(length);
    const ns = this.#ns;
    let to = 0;
    for (let at = dbStart; at < dbEnd; at++) ns[to++] = bytes[at]!;
    ns[to++] = 0x2e;
    for (let at = collStart; at < collEnd; at++) ns[to++] = bytes[at]!;
    return this.#router.route(ns, 0, length);
  }

  #partitionOfId(bytes: Uint8Array, route: Route): number {
    const { documentKey, last } = this.#event;
    const { partitions } = this.#router;
    const id = findElement(bytes, documentKey, last, idName);
    if (id < 0) return toPartition(route.hash, partitions);
    return toPartition(hashId(route.hash, bytes, id, documentLast(bytes, documentKey, last)), partitions);
  }

  /** Without making a text of it where it is one of those that come all the time. */
  #typeOf(bytes: Uint8Array): string {
    const { typeStart, typeEnd } = this.#event;
    if (sameText(this.#types.get(this.#latestType), bytes, typeStart, typeEnd)) return this.#latestType;
    for (const [type, known] of this.#types) {
      if (!sameText(known, bytes, typeStart, typeEnd)) continue;
      this.#latestType = type;
      return type;
    }
    return decodeText(bytes, typeStart, typeEnd);
  }
}

function sameText(known: Uint8Array | undefined, bytes: Uint8Array, start: number, end: number): boolean {
  if (known === undefined || known.length !== end - start) return false;
  for (let k = 0; k < known.length; k++) if (known[k] !== bytes[start + k]) return false;
  return true;
}

function textOf(bytes: Uint8Array, { dbStart, dbEnd, collStart, collEnd }: NamespacePlaces): string {
  if (dbStart < 0) return '';
  const db = text(bytes, dbStart, dbEnd);
  return collStart < 0 ? db : `${db}.${text(bytes, collStart, collEnd)}`;
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return start < 0 ? '' : decodeText(bytes, start, end);
}
