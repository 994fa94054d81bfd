/**
 * Whole documents for events that are to carry them: which ones the operations of a batch take (`ask`), and, once main has them, where
 * they lie (`find`). A document after an update is what was looked up, or the pre-image with the update applied to it.
 * Invariant: what main sends lies behind the batch in the same bytes, and what is made of it behind that: a place is an offset.
 */
import {
  BsonType,
  MalformedBson,
  documentLast,
  eachElement,
  encodeText,
  findElement,
  latin1Text,
  malformed,
  nameEnd,
  readInt32,
  valueEnd,
} from './bson.ts';
import { applyUpdate } from './apply-diff.ts';
import { isAskable } from './askable.ts';
import type { Place } from './askable.ts';
import { Documents, putElement } from './documents.ts';
import { IdLists } from './id-lists.ts';
import { Crud } from './crud.ts';
import { tsIncrement, tsSeconds } from './entry.ts';
import { NULL_DOCUMENT } from './event.ts';
import type { EventView } from './event.ts';
import { DAMAGED, NO_DOCUMENT } from './local-images.ts';
import type { Made } from './local-images.ts';
import { compareTs, formatTs } from '../source/position.ts';
import type { Ts } from '../source/position.ts';
import type { ImagesConfig } from '../config/config.ts';
import type { ImageSection, Lookup, Questions, TransactionPiece } from './protocol.ts';
import { DELIVERY_FIELDS, ROW_FIELDS, Row } from './rows.ts';
import type { Rows } from './rows.ts';

const idName = encodeText('_id');
const preImageName = encodeText('preImage');
const nsUUIDName = encodeText('nsUUID');
const tsName = encodeText('ts');
const applyOpsIndexName = encodeText('applyOpsIndex');

/** What an operation is to be shown with. */
const Need = { lookup: 1, before: 2, after: 4 } as const;

/** The document cannot be asked for. */
const NOT_ASKED = -4;

export class Images {
  /** By operation: what somebody needs. */
  #needs = new Uint8Array(0);
  /** By operation: how many events show its documents. */
  #uses = new Uint32Array(0);
  #shownBytes = 0;
  /** The time that pre-images have, where it is not their entry's; its bytes. */
  #partTime: Uint8Array | undefined;
  /** From an operation's number in its transaction to that in its part. */
  #toPart = 0;
  /** By operation: places, or -1. */
  #before: Int32Array = new Int32Array(0);
  #after: Int32Array = new Int32Array(0);
  #lookedUp: Int32Array = new Int32Array(0);
  /** By namespace: when it was looked at last. */
  #lookedUpAt = new Map<string, Ts>();

  /** About as many bytes of documents are in all events together; known once they were found. */
  get shownBytes(): number {
    return this.#shownBytes;
  }

  /** Undefined where the batch needs none. */
  ask(bytes: Uint8Array, rows: Rows, piece?: TransactionPiece): Questions | undefined {
    this.#look(rows, piece);
    const lookups = new Map<string, Asked>();
    const preImages = new Map<string, IdLists>();
    for (let number = 0; number < rows.operationCount; number++) {
      const need = this.#needs[number]!;
      const row = number * ROW_FIELDS;
      if ((need & Need.lookup) !== 0) this.#askFor(bytes, rows, row, lookups);
      if ((need & (Need.before | Need.after)) !== 0 && rows.operations[row + Row.ui]! >= 0) {
        const uuid = uuidOf(bytes, rows.operations, row);
        const lists = preImages.get(uuid) ?? new IdLists();
        preImages.set(uuid, lists);
        putPreImageId(lists.next(BsonType.document), bytes, rows.operations[row + Row.ui]!, {
          time: this.#timeOf(bytes, rows, row),
          index: rows.operations[row + Row.index]! + this.#toPart,
        });
      }
    }
    const asked = [...lookups.values()].flatMap(({ place, lists }) =>
      lists.finish().map((ids) => ({ ...place, ...ids })),
    );
    const images = [...preImages.values()].flatMap((lists) => lists.finish());
    return asked.length + images.length === 0 ? undefined : { lookups: asked, preImages: images };
  }

  /** `bytes`, and behind them what was made of what lies there; the places of all are known then. */
  find(bytes: Uint8Array, rows: Rows, sections: readonly ImageSection[], piece?: TransactionPiece): Uint8Array {
    this.#look(rows, piece);
    const { operations, operationCount } = rows;
    this.#before = new Int32Array(operationCount).fill(NO_DOCUMENT);
    this.#after = new Int32Array(operationCount).fill(NO_DOCUMENT);
    this.#lookedUp = new Int32Array(operationCount).fill(NO_DOCUMENT);
    this.#lookedUpAt = new Map();
    this.#shownBytes = 0;
    const { found, places: asked } = this.#index(bytes, sections);
    const made = new Documents();
    for (let number = 0; number < operationCount; number++) {
      const need = this.#needs[number]!;
      if (need === 0) continue;
      const row = number * ROW_FIELDS;
      if ((need & Need.lookup) !== 0) {
        const at = this.#lookedUpPlace(bytes, rows, row, { found, asked });
        this.#lookedUp[number] = at;
        if (at >= 0) this.#shownBytes += this.#uses[number]! * readInt32(bytes, at);
      }
      if ((need & (Need.before | Need.after)) === 0 || operations[row + Row.ui]! < 0) continue;
      const key = preImageKey(
        uuidOf(bytes, operations, row),
        this.#timeOf(bytes, rows, row),
        operations[row + Row.index]! + this.#toPart,
      );
      const before = found.get(key) ?? NO_DOCUMENT;
      this.#before[number] = before;
      if (before < 0) continue;
      this.#shownBytes += this.#uses[number]! * readInt32(bytes, before);
      if ((need & Need.after) === 0) continue;
      const places = {
        before,
        beforeLimit: bytes.length,
        o: operations[row + Row.o]!,
        limit: operations[row + Row.last]!,
      };
      this.#after[number] = applied(made, bytes, places);
    }
    if (made.length === 0) return bytes;
    const all = new Uint8Array(bytes.length + made.length);
    all.set(bytes);
    all.set(made.bytes.subarray(0, made.length), bytes.length);
    return all;
  }

  /** What was made of states that are kept. */
  use({ before, after, shownBytes }: Pick<Made, 'before' | 'after' | 'shownBytes'>): void {
    this.clear();
    this.#before = before;
    this.#after = after;
    this.#shownBytes = shownBytes;
  }

  /** No documents came with the batch: events go without. */
  clear(): void {
    this.#needs = new Uint8Array(0);
    this.#before = new Int32Array(0);
    this.#after = this.#before;
    this.#lookedUp = this.#before;
    this.#lookedUpAt = new Map();
  }

  /** Where the document after an update lies; negative where there is none. Throws `MalformedBson` where it could not be made. */
  after(number: number, images: ImagesConfig): number {
    const place = (images.after === 'updateLookup' ? this.#lookedUp : this.#after)[number] ?? NO_DOCUMENT;
    if (place === DAMAGED) malformed('an update that cannot be applied to the document before it');
    if (place === NOT_ASKED) malformed('an `_id` that MongoDB cannot be asked for');
    return place;
  }

  /** Shows the event of this operation with the documents that it is to carry. Throws `MalformedBson` where one could not be made. */
  show(event: EventView, number: number, images: ImagesConfig): void {
    if (images.before !== 'off') event.before = this.#before[number] ?? NO_DOCUMENT;
    if (event.crud !== Crud.update || images.after === 'default') return;
    event.fullDocument = this.after(number, images);
    event.fullDocumentLimit = event.bytes.length;
    if (images.after !== 'updateLookup') return;
    const at = this.#lookedUpAt.get(event.route.ns);
    if (event.fullDocument < 0) event.fullDocument = NULL_DOCUMENT;
    event.lookedUpSeconds = at?.seconds ?? -1;
    event.lookedUpIncrement = at?.increment ?? 0;
  }

  /**
   * Why nothing may go further in the lane, where the event lacks a document that it may not be delivered without. `isRefused`: the
   * documents are too large. Throws `MalformedBson` as `after` does.
   */
  wall(
    bytes: Uint8Array,
    { operations, routes }: Rows,
    number: number,
    { images, isRefused }: { readonly images: ImagesConfig; readonly isRefused: boolean },
  ): string | undefined {
    if ((this.#needs[number] ?? 0) === 0) return undefined;
    const row = number * ROW_FIELDS;
    const isUpdate = operations[row + Row.type] === Crud.update;
    const isLacking =
      (images.before === 'required' && this.#before[number]! < 0) ||
      (isUpdate && images.after === 'required' && this.after(number, images) < 0);
    if (!isRefused && !isLacking) return undefined;
    const ts = operations[row + Row.ts]!;
    const at = formatTs({ seconds: tsSeconds(bytes, ts), increment: tsIncrement(bytes, ts) });
    const { ns } = routes[operations[row + Row.route]!]!;
    return isRefused
      ? `the documents of the transaction at ${at}, ${ns} among them, take more memory than there may be`
      : `MongoDB has no pre-image of the change at ${at} in ${ns}`;
  }

  /** Its bytes. */
  #timeOf(bytes: Uint8Array, { operations }: Rows, row: number): Uint8Array {
    const ts = operations[row + Row.ts]!;
    return this.#partTime ?? bytes.subarray(ts, ts + 8);
  }

  #lookedUpPlace(
    bytes: Uint8Array,
    rows: Rows,
    row: number,
    { found, asked }: { readonly found: ReadonlyMap<string, number>; readonly asked: ReadonlySet<string> },
  ): number {
    const id = idOf(bytes, rows.operations, row);
    const { ns } = rows.routes[rows.operations[row + Row.route]!]!;
    const place = placeOf(ns, uuidOf(bytes, rows.operations, row));
    if (!id || !asked.has(place) || !isAskable(bytes, id)) return NOT_ASKED;
    return found.get(`${place} ${id.type} ${latin1Text(bytes, id.value, id.end)}`) ?? NO_DOCUMENT;
  }

  #look(rows: Rows, piece: TransactionPiece | undefined): void {
    this.#partTime = piece?.part && tsBytes(piece.part.ts);
    this.#toPart = piece?.part ? piece.part.from - piece.firstIndex : 0;
    const { deliveries, deliveryCount, operations, operationCount, routes } = rows;
    const needs = new Uint8Array(operationCount);
    const uses = new Uint32Array(operationCount);
    for (let k = 0; k < deliveryCount; k++) {
      const delivery = k * DELIVERY_FIELDS;
      const number = deliveries[delivery + 1]!;
      if (number < 0) continue;
      const row = number * ROW_FIELDS;
      if (operations[row + Row.document]! >= 0) continue;
      const type = operations[row + Row.type]!;
      const target = routes[operations[row + Row.route]!]!.targets[type]![deliveries[delivery + 2]!]!;
      const { images } = target.subscription;
      if (images === undefined) continue;
      needs[number]! |= needOf(images, type);
      uses[number]! += 1;
    }
    this.#needs = needs;
    this.#uses = uses;
  }

  #askFor(bytes: Uint8Array, rows: Rows, row: number, lookups: Map<string, Asked>): void {
    const id = idOf(bytes, rows.operations, row);
    if (id === undefined || !isAskable(bytes, id)) return;
    const route = rows.routes[rows.operations[row + Row.route]!]!;
    const uuid = uuidOf(bytes, rows.operations, row);
    const place = placeOf(route.ns, uuid);
    let asked = lookups.get(place);
    if (asked === undefined) {
      const { db, coll } = route;
      asked = {
        place: { db, coll, uuid: uuid === '' ? undefined : Buffer.from(uuid, 'latin1') },
        lists: new IdLists(),
        known: new Set(),
      };
      lookups.set(place, asked);
    }
    const text = latin1Text(bytes, id.value, id.end);
    const key = `${id.type} ${text}`;
    if (asked.known.has(key)) return;
    asked.known.add(key);
    asked.lists.next(id.type).copy(bytes, id.value, id.end);
  }

  /** `found`: where documents lie, by their collection and `_id`, or `preImageKey`; `places`: collections that were asked. */
  #index(bytes: Uint8Array, sections: readonly ImageSection[]) {
    const found = new Map<string, number>();
    const places = new Set<string>();
    for (const { from, to, lookup } of sections) {
      const place = lookup && placeOf(lookup.ns, lookup.uuid ? latin1Text(lookup.uuid, 0, lookup.uuid.length) : '');
      if (place !== undefined) places.add(place);
      if (lookup && isLater(lookup.at, this.#lookedUpAt.get(lookup.ns))) this.#lookedUpAt.set(lookup.ns, lookup.at);
      eachElement(bytes, from, to, (_at, value, end) => {
        const id = place === undefined ? undefined : elementOf(bytes, value, end, idName);
        if (place === undefined) readPreImage(bytes, value, end, found);
        else if (id) found.set(`${place} ${id.type} ${latin1Text(bytes, id.value, id.end)}`, value);
      });
    }
    return { found, places };
  }
}

/** Its place behind `bytes`. */
function applied(made: Documents, bytes: Uint8Array, places: Parameters<typeof applyUpdate>[2]): number {
  const { length } = made;
  try {
    return bytes.length + applyUpdate(made, bytes, places);
  } catch (error) {
    if (!(error instanceof MalformedBson)) throw error;
    made.length = length;
    return DAMAGED;
  }
}

function isLater(one: Ts, other: Ts | undefined): boolean {
  return other === undefined || compareTs(one, other) > 0;
}

interface Asked {
  readonly place: Pick<Lookup, 'db' | 'coll' | 'uuid'>;
  readonly lists: IdLists;
  readonly known: Set<string>;
}

function needOf({ after, before }: ImagesConfig, type: number): number {
  if (type === Crud.insert) return 0;
  const earlier = before === 'off' ? 0 : Need.before;
  if (type !== Crud.update || after === 'default') return earlier;
  return earlier | (after === 'updateLookup' ? Need.lookup : Need.after);
}

function elementOf(bytes: Uint8Array, start: number, limit: number, name: Uint8Array): Place | undefined {
  const at = findElement(bytes, start, limit, name);
  if (at < 0) return undefined;
  const value = nameEnd(bytes, at + 1);
  const last = documentLast(bytes, start, limit);
  return { type: bytes[at]!, value, end: valueEnd(bytes, bytes[at]!, value, last) };
}

/** Of an update: its document's `_id`. */
function idOf(bytes: Uint8Array, operations: Int32Array, row: number): Place | undefined {
  return elementOf(bytes, operations[row + Row.o2]!, operations[row + Row.last]!, idName);
}

/** Of the collection, as Latin-1; '' where the entry has none. */
function uuidOf(bytes: Uint8Array, operations: Int32Array, row: number): string {
  const ui = operations[row + Row.ui]!;
  return ui < 0 ? '' : latin1Text(bytes, ui + 5, ui + 5 + readInt32(bytes, ui));
}

/** One collection; another that has its name later is another place. */
function placeOf(ns: string, uuid: string): string {
  return `${ns}\0${uuid}`;
}

function preImageKey(uuid: string, time: Uint8Array, index: number): string {
  return `${uuid}${latin1Text(time, 0, 8)}${index >>> 0}`;
}

/** As BSON has a timestamp. */
function tsBytes({ seconds, increment }: Ts): Uint8Array {
  return new Uint8Array(Uint32Array.of(increment, seconds).buffer);
}

/** `{nsUUID, ts, applyOpsIndex}`; `ui`: where the collection's UUID lies. */
function putPreImageId(
  to: Documents,
  bytes: Uint8Array,
  ui: number,
  { time, index }: { readonly time: Uint8Array; readonly index: number },
): void {
  const start = to.begin();
  putElement(to, BsonType.binary, nsUUIDName);
  to.copy(bytes, ui, ui + 5 + readInt32(bytes, ui));
  putElement(to, BsonType.timestamp, tsName);
  to.copy(time, 0, 8);
  putElement(to, BsonType.int64, applyOpsIndexName);
  to.copy(Uint8Array.of(index, index >> 8, index >> 16, index >>> 24, 0, 0, 0, 0), 0, 8);
  to.end(start);
}

/** A record of `config.system.preimages`. */
function readPreImage(bytes: Uint8Array, start: number, limit: number, found: Map<string, number>): void {
  const id = elementOf(bytes, start, limit, idName);
  const image = elementOf(bytes, start, limit, preImageName);
  if (id?.type !== BsonType.document || image?.type !== BsonType.document) return;
  const uuid = elementOf(bytes, id.value, id.end, nsUUIDName);
  const ts = elementOf(bytes, id.value, id.end, tsName);
  const index = elementOf(bytes, id.value, id.end, applyOpsIndexName);
  if (!uuid || !ts || !index) return;
  const time = bytes.subarray(ts.value, ts.end);
  const key = preImageKey(latin1Text(bytes, uuid.value + 5, uuid.end), time, readInt32(bytes, index.value));
  found.set(key, image.value);
}
