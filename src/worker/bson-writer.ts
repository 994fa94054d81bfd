/**
 * A change event as BSON. Documents are copied as they are, after a look that they are well-formed: a subscriber's decoder
 * must not be the first to notice. Writes without looking for room, see `json-text.ts`; only block copies have to be told.
 */
import { BsonType, checkDocument, checkValue, encodeText, nameEnd, readInt32, valueEnd } from './bson.ts';
import { NULL_DOCUMENT, putEventId } from './event.ts';
import type { EventView } from './event.ts';
import { putUnsigned } from './json-text.ts';
import { put, wordsOf } from './output.ts';
import type { Output, Words } from './output.ts';
import { CRUD, Crud } from './crud.ts';
import type { Route } from './route.ts';
import { TRUNCATED_FIELDS, UPDATED_FIELDS } from './update.ts';

/** An element's type and name. */
function element(type: number, name: string): number[] {
  return [type, ...encodeText(name), 0];
}

function stringBytes(text: string): number[] {
  const bytes = encodeText(text);
  return [...int32Bytes(bytes.length + 1), ...bytes, 0];
}

function int32Bytes(n: number): number[] {
  return [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
}

function elementWords(type: number, name: string): Words {
  return wordsOf(new Uint8Array(element(type, name)));
}

export function putInt32Bytes(out: Output, pos: number, n: number): number {
  const to = out.bytes;
  to[pos] = n;
  to[pos + 1] = n >> 8;
  to[pos + 2] = n >> 16;
  to[pos + 3] = n >> 24;
  return pos + 4;
}

const names = {
  id: elementWords(BsonType.string, '_id'),
  clusterTime: elementWords(BsonType.timestamp, 'clusterTime'),
  collectionUUID: elementWords(BsonType.binary, 'collectionUUID'),
  wallTime: elementWords(BsonType.date, 'wallTime'),
  fullDocument: elementWords(BsonType.document, 'fullDocument'),
  fullDocumentNull: elementWords(BsonType.null, 'fullDocument'),
  fullDocumentTime: elementWords(BsonType.timestamp, 'fullDocumentTime'),
  fullDocumentBeforeChange: elementWords(BsonType.document, 'fullDocumentBeforeChange'),
  documentKey: elementWords(BsonType.document, 'documentKey'),
  updateDescription: elementWords(BsonType.document, 'updateDescription'),
  updatedFields: elementWords(BsonType.document, 'updatedFields'),
  removedFields: elementWords(BsonType.array, 'removedFields'),
  truncatedArrays: elementWords(BsonType.array, 'truncatedArrays'),
  disambiguatedPaths: elementWords(BsonType.document, 'disambiguatedPaths'),
  field: elementWords(BsonType.string, 'field'),
  newSize: elementWords(BsonType.int32, 'newSize'),
  lsid: elementWords(BsonType.document, 'lsid'),
  txnNumber: elementWords(BsonType.int64, 'txnNumber'),
};
const operationTypes = CRUD.map((name) =>
  wordsOf(new Uint8Array([...element(BsonType.string, 'operationType'), ...stringBytes(name)])),
);

const nsTexts = new WeakMap<Route, Words>();

/** The whole `ns` element, the same for every event of a namespace. */
export function nsElement(route: Route): Words {
  let known = nsTexts.get(route);
  if (known === undefined) {
    const fields = [
      ...element(BsonType.string, 'db'),
      ...stringBytes(route.db),
      ...element(BsonType.string, 'coll'),
      ...stringBytes(route.coll),
      0,
    ];
    const length = int32Bytes(fields.length + 4);
    known = wordsOf(new Uint8Array([...element(BsonType.document, 'ns'), ...length, ...fields]));
    nsTexts.set(route, known);
  }
  return known;
}

export function putBsonEvent(out: Output, pos: number, event: EventView): number {
  const to = out.bytes;
  const start = pos;
  const { bytes, limit } = event;
  pos = put(out, pos + 4, names.id);
  const id = pos;
  pos = putEventId(out, pos + 4, event);
  to[pos++] = 0;
  putInt32Bytes(out, id, pos - id - 4);
  if (event.txnNumber >= 0) {
    pos = copy(out, put(out, pos, names.txnNumber), bytes, event.txnNumber, event.txnNumber + 8);
    pos = putRaw(out, put(out, pos, names.lsid), bytes, event.lsid, bytes.length);
  }
  pos = put(out, pos, operationTypes[event.crud]!);
  pos = putInt32Bytes(out, put(out, pos, names.clusterTime), event.increment);
  pos = putInt32Bytes(out, pos, event.seconds);
  if (event.collectionUUID >= 0) {
    pos = put(out, pos, names.collectionUUID);
    const end = valueEnd(bytes, BsonType.binary, event.collectionUUID, bytes.length);
    pos = copy(out, pos, bytes, event.collectionUUID, end);
  }
  if (event.wall >= 0) pos = copy(out, put(out, pos, names.wallTime), bytes, event.wall, event.wall + 8);
  if (event.fullDocument >= 0) {
    pos = putRaw(out, put(out, pos, names.fullDocument), bytes, event.fullDocument, event.fullDocumentLimit);
  } else if (event.fullDocument === NULL_DOCUMENT) pos = put(out, pos, names.fullDocumentNull);
  if (event.lookedUpSeconds >= 0) {
    pos = putInt32Bytes(out, put(out, pos, names.fullDocumentTime), event.lookedUpIncrement);
    pos = putInt32Bytes(out, pos, event.lookedUpSeconds);
  }
  pos = put(out, pos, nsElement(event.route));
  pos = put(out, pos, names.documentKey);
  if (event.documentKey >= 0) pos = putRaw(out, pos, bytes, event.documentKey, limit);
  else if (event.idElement >= 0) {
    const key = pos;
    const value = nameEnd(bytes, event.idElement + 1);
    const end = valueEnd(bytes, bytes[event.idElement]!, value, limit);
    pos = copy(out, pos + 4, bytes, event.idElement, end);
    pos = close(out, key, pos);
  } else pos = close(out, pos, pos + 4);
  if (event.crud === Crud.update) pos = putUpdate(out, pos, event);
  if (event.before >= 0) {
    pos = putRaw(out, put(out, pos, names.fullDocumentBeforeChange), bytes, event.before, bytes.length);
  }
  return close(out, start, pos);
}

/** Ends a document that began at `start` with four bytes for its length. */
export function close(out: Output, start: number, pos: number): number {
  const to = out.bytes;
  to[pos] = 0;
  putInt32Bytes(out, start, pos + 1 - start);
  return pos + 1;
}

function putRaw(out: Output, pos: number, bytes: Uint8Array, start: number, limit: number): number {
  checkDocument(bytes, start, limit);
  return copy(out, pos, bytes, start, start + readInt32(bytes, start));
}

export function copy(out: Output, pos: number, bytes: Uint8Array, start: number, end: number): number {
  const to = out.bytes;
  const length = end - start;
  if (length <= 64) for (let k = 0; k < length; k++) to[pos + k] = bytes[start + k]!;
  else if (pos + length <= to.length) to.set(bytes.subarray(start, end), pos);
  return pos + length;
}

function putUpdate(out: Output, pos: number, event: EventView): number {
  const to = out.bytes;
  const { bytes, update, disambiguatedPaths } = event;
  const { paths, updated, removed, truncated } = update;
  const description = put(out, pos, names.updateDescription);
  const fields = put(out, description + 4, names.updatedFields);
  pos = fields + 4;
  for (let k = 0; k < update.updatedLength; k += UPDATED_FIELDS) {
    const type = updated[k + 2]!;
    const value = updated[k + 3]!;
    to[pos] = type;
    pos = copy(out, pos + 1, paths, updated[k]!, updated[k + 1]!);
    to[pos++] = 0;
    const end = checkValue(bytes, type, value, updated[k + 4]!);
    pos = copy(out, pos, bytes, value, end);
  }
  pos = close(out, fields, pos);
  const removals = put(out, pos, names.removedFields);
  pos = removals + 4;
  for (let k = 0; k < update.removedLength; k += 2) {
    pos = putIndex(out, pos, BsonType.string, k / 2);
    pos = putPath(out, pos, paths, removed[k]!, removed[k + 1]!);
  }
  pos = close(out, removals, pos);
  if (update.hasTruncated) {
    const arrays = put(out, pos, names.truncatedArrays);
    pos = arrays + 4;
    for (let k = 0; k < update.truncatedLength; k += TRUNCATED_FIELDS) {
      pos = putIndex(out, pos, BsonType.document, k / TRUNCATED_FIELDS);
      const one = pos;
      pos = putPath(out, put(out, one + 4, names.field), paths, truncated[k]!, truncated[k + 1]!);
      pos = putInt32Bytes(out, put(out, pos, names.newSize), truncated[k + 2]!);
      pos = close(out, one, pos);
    }
    pos = close(out, arrays, pos);
  }
  if (disambiguatedPaths !== undefined) {
    pos = put(out, pos, names.disambiguatedPaths);
    pos = copy(out, pos, disambiguatedPaths, 0, disambiguatedPaths.length);
  }
  return close(out, description, pos);
}

function putIndex(out: Output, pos: number, type: number, index: number): number {
  const to = out.bytes;
  to[pos] = type;
  pos = putUnsigned(out, pos + 1, index);
  to[pos] = 0;
  return pos + 1;
}

function putPath(out: Output, pos: number, paths: Uint8Array, from: number, end: number): number {
  const to = out.bytes;
  putInt32Bytes(out, pos, end - from + 1);
  pos = copy(out, pos + 4, paths, from, end);
  to[pos] = 0;
  return pos + 1;
}
