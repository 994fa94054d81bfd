/**
 * A change event as JSON: MongoDB's own field order, `_id` the only difference. Writes without looking for room, see
 * `json-text.ts`.
 */
import { BsonType, nameEnd, readInt32 } from './bson.ts';
import { NULL_DOCUMENT, putEventId } from './event.ts';
import type { EventView } from './event.ts';
import { putInt32, putInt64, putText } from './json-text.ts';
import { putDate, putJsonDocument, putJsonValue, putTimestamp } from './json-writer.ts';
import { put, textWords } from './output.ts';
import type { Output, Words } from './output.ts';
import { CRUD, Crud } from './crud.ts';
import type { Route } from './route.ts';
import { TRUNCATED_FIELDS, UPDATED_FIELDS } from './update.ts';

const text = {
  id: textWords('{"_id":"'),
  collectionUUID: textWords(',"collectionUUID":'),
  wallTime: textWords(',"wallTime":'),
  fullDocument: textWords(',"fullDocument":'),
  fullDocumentNull: textWords(',"fullDocument":null'),
  fullDocumentTime: textWords(',"fullDocumentTime":'),
  fullDocumentBeforeChange: textWords(',"fullDocumentBeforeChange":'),
  documentKey: textWords(',"documentKey":'),
  documentKeyId: textWords(',"documentKey":{"_id":'),
  documentKeyEmpty: textWords(',"documentKey":{}'),
  updatedFields: textWords(',"updateDescription":{"updatedFields":{'),
  removedFields: textWords('},"removedFields":['),
  truncatedArrays: textWords('],"truncatedArrays":['),
  disambiguatedPaths: textWords(',"disambiguatedPaths":'),
  field: textWords('{"field":"'),
  newSize: textWords('","newSize":'),
  newSizeCanonical: textWords('","newSize":{"$numberInt":"'),
  quoteBrace: textWords('"}'),
  txnNumber: textWords('","txnNumber":'),
  txnNumberCanonical: textWords('","txnNumber":{"$numberLong":"'),
  lsid: textWords(',"lsid":'),
};
/** Behind the text of `_id`, and behind a transaction's fields. */
const operationTypes = CRUD.map((name) => textWords(`","operationType":"${name}","clusterTime":`));
const operationTypesInTransaction = CRUD.map((name) => textWords(`,"operationType":"${name}","clusterTime":`));

const nsTexts = new WeakMap<Route, Words>();

/** `,"ns":{"db":…,"coll":…}`, the same for every event of a namespace. */
export function nsText(route: Route): Words {
  let known = nsTexts.get(route);
  if (known === undefined) {
    known = textWords(`,"ns":${JSON.stringify({ db: route.db, coll: route.coll })}`);
    nsTexts.set(route, known);
  }
  return known;
}

export function putJsonEvent(out: Output, pos: number, event: EventView, relaxed: boolean): number {
  const to = out.bytes;
  const { bytes, limit } = event;
  pos = putEventId(out, put(out, pos, text.id), event);
  if (event.txnNumber < 0) pos = put(out, pos, operationTypes[event.crud]!);
  else pos = put(out, putTransaction(out, pos, event, relaxed), operationTypesInTransaction[event.crud]!);
  pos = putTimestamp(out, pos, event.seconds, event.increment);
  if (event.collectionUUID >= 0) {
    pos = put(out, pos, text.collectionUUID);
    pos = putJsonValue(out, pos, bytes, BsonType.binary, event.collectionUUID, bytes.length, relaxed, 0);
  }
  if (event.wall >= 0) pos = putDate(out, put(out, pos, text.wallTime), bytes, event.wall, relaxed);
  if (event.fullDocument >= 0) {
    const { fullDocument, fullDocumentLimit } = event;
    pos = putJsonDocument(out, put(out, pos, text.fullDocument), bytes, fullDocument, fullDocumentLimit, relaxed);
  } else if (event.fullDocument === NULL_DOCUMENT) pos = put(out, pos, text.fullDocumentNull);
  if (event.lookedUpSeconds >= 0) {
    pos = putTimestamp(out, put(out, pos, text.fullDocumentTime), event.lookedUpSeconds, event.lookedUpIncrement);
  }
  pos = put(out, pos, nsText(event.route));
  if (event.documentKey >= 0) {
    pos = putJsonDocument(out, put(out, pos, text.documentKey), bytes, event.documentKey, limit, relaxed);
  } else if (event.idElement >= 0) {
    const value = nameEnd(bytes, event.idElement + 1);
    pos = put(out, pos, text.documentKeyId);
    pos = putJsonValue(out, pos, bytes, bytes[event.idElement]!, value, limit, relaxed, 0);
    to[pos++] = 0x7d;
  } else pos = put(out, pos, text.documentKeyEmpty);
  if (event.crud === Crud.update) pos = putUpdate(out, pos, event, relaxed);
  if (event.before >= 0) {
    pos = putJsonDocument(
      out,
      put(out, pos, text.fullDocumentBeforeChange),
      bytes,
      event.before,
      bytes.length,
      relaxed,
    );
  }
  to[pos] = 0x7d;
  return pos + 1;
}

function putTransaction(out: Output, pos: number, event: EventView, relaxed: boolean): number {
  const { bytes, txnNumber } = event;
  pos = put(out, pos, relaxed ? text.txnNumber : text.txnNumberCanonical);
  pos = putInt64(out, pos, readInt32(bytes, txnNumber + 4), readInt32(bytes, txnNumber));
  if (!relaxed) pos = put(out, pos, text.quoteBrace);
  return putJsonDocument(out, put(out, pos, text.lsid), bytes, event.lsid, bytes.length, relaxed);
}

function putUpdate(out: Output, pos: number, event: EventView, relaxed: boolean): number {
  const to = out.bytes;
  const { bytes, update, disambiguatedPaths } = event;
  const { paths, updated, removed, truncated } = update;
  pos = put(out, pos, text.updatedFields);
  for (let k = 0; k < update.updatedLength; k += UPDATED_FIELDS) {
    if (k > 0) to[pos++] = 0x2c;
    pos = putName(out, pos, paths, updated[k]!, updated[k + 1]!);
    to[pos] = 0x3a;
    pos = putJsonValue(out, pos + 1, bytes, updated[k + 2]!, updated[k + 3]!, updated[k + 4]!, relaxed, 0);
  }
  pos = put(out, pos, text.removedFields);
  for (let k = 0; k < update.removedLength; k += 2) {
    if (k > 0) to[pos++] = 0x2c;
    pos = putName(out, pos, paths, removed[k]!, removed[k + 1]!);
  }
  if (update.hasTruncated) {
    pos = put(out, pos, text.truncatedArrays);
    for (let k = 0; k < update.truncatedLength; k += TRUNCATED_FIELDS) {
      if (k > 0) to[pos++] = 0x2c;
      pos = putText(out, put(out, pos, text.field), paths, truncated[k]!, truncated[k + 1]!);
      pos = putInt32(out, put(out, pos, relaxed ? text.newSize : text.newSizeCanonical), truncated[k + 2]!);
      if (!relaxed) pos = put(out, pos, text.quoteBrace);
      to[pos++] = 0x7d;
    }
  }
  to[pos++] = 0x5d;
  if (disambiguatedPaths !== undefined) {
    pos = put(out, pos, text.disambiguatedPaths);
    pos = putJsonDocument(out, pos, disambiguatedPaths, 0, disambiguatedPaths.length, relaxed);
  }
  to[pos] = 0x7d;
  return pos + 1;
}

function putName(out: Output, pos: number, paths: Uint8Array, from: number, end: number): number {
  const to = out.bytes;
  to[pos] = 0x22;
  pos = putText(out, pos + 1, paths, from, end);
  to[pos] = 0x22;
  return pos + 1;
}
