/** A whole change event of an operation on a document: the same bytes as `json-event.ts` and `bson-writer.ts` in `src/worker` write. */
import { binaryEnd, checkDocument, documentLast, nameEnd, valueEnd } from './bson';
import { close, putDate, putDocument, putFields, putBinary, putTimestamp, relaxed, NAMED } from './json';
import { batch, needRoom, output, prefix, prefixLength } from './memory';
import { putInt64, putUnsigned } from './numbers';
import { put } from './text';
import { closeBson, putBsonUpdate, putJsonUpdate } from './update';

/** `Crud` in `src/worker/crud.ts`. */
const INSERT = 0;
const UPDATE = 1;
const REPLACE = 2;

function operationName(operation: i32): string {
  return operation == INSERT ? 'insert' : operation == UPDATE ? 'update' : operation == REPLACE ? 'replace' : 'delete';
}

/** Bytes that JavaScript keeps here; blocks are stored whole. */
function putKept(pos: usize, at: usize, length: usize): usize {
  needRoom(pos, length);
  for (let k: usize = 0; k < length; k += 16) v128.store(pos + k, v128.load(at + k));
  return pos + length;
}

function putEventId(pos: usize, ts: usize, index: u32): usize {
  pos = putUnsigned(putKept(pos, prefix, prefixLength), load<u32>(ts + 4));
  store<u8>(pos, 0x2e);
  pos = putUnsigned(pos + 1, load<u32>(ts));
  store<u8>(pos, 0x2e);
  return putUnsigned(pos + 1, index);
}

/** The place of the `_id` element of a document, 0 where it has none. */
function idElement(start: usize, limit: usize): usize {
  const last = documentLast(start, limit);
  let at = start + 4;
  while (at < last) {
    if (load<u32>(at + 1) == 0x00_64_69_5f) return at;
    at = valueEnd(load<u8>(at), nameEnd(at + 1), last);
  }
  return 0;
}

/**
 * Places are offsets into the batch, -1 where there is nothing, but `ns` and `pos`: what is written behind the document, and an
 * offset into the output. `size`: the batch's bytes.
 */
export function putJsonEvent(
  pos: usize,
  operation: i32,
  ts: usize,
  index: u32,
  wall: i32,
  uuid: i32,
  o: i32,
  key: i32,
  limit: usize,
  lsid: i32,
  txnNumber: i32,
  ns: usize,
  nsLength: usize,
  size: usize,
): usize {
  pos += output;
  limit += batch;
  ts += batch;
  needRoom(pos, 0);
  pos = putEventId(put(pos, '{"_id":"'), ts, index);
  if (txnNumber < 0) pos = put(pos, '","operationType":"');
  else {
    const number = load<i64>(batch + txnNumber);
    if (relaxed) pos = put(putInt64(put(pos, '","txnNumber":'), number), ',"lsid":');
    else pos = put(putInt64(put(pos, '","txnNumber":{"$numberLong":"'), number), '"},"lsid":');
    pos = put(putDocument(pos, batch + lsid, batch + size, 0), ',"operationType":"');
  }
  pos = put(put(pos, operationName(operation)), '","clusterTime":');
  pos = putTimestamp(pos, load<u32>(ts + 4), load<u32>(ts));
  if (uuid >= 0) {
    const at = batch + uuid;
    pos = putBinary(put(pos, ',"collectionUUID":'), at, binaryEnd(at, batch + size));
  }
  if (wall >= 0) pos = putDate(put(pos, ',"wallTime":'), load<i64>(batch + wall));
  if (operation == INSERT || operation == REPLACE) {
    pos = putDocument(put(pos, ',"fullDocument":'), batch + o, limit, 0);
  }
  pos = put(putKept(pos, ns, nsLength), ',"documentKey":');
  if (key >= 0) pos = putDocument(pos, batch + key, limit, 0);
  else {
    const element = idElement(batch + o, limit);
    store<u8>(pos, 0x7b);
    const fields = pos + 1;
    pos = fields;
    if (element != 0) pos = putFields(pos, element, valueEnd(load<u8>(element), element + 5, limit), 0, NAMED);
    pos = close(pos, fields, 0x7d);
  }
  if (operation == UPDATE) pos = putJsonUpdate(pos, batch + o, limit);
  store<u8>(pos, 0x7d);
  return pos + 1 - output;
}

export function putBsonEvent(
  pos: usize,
  operation: i32,
  ts: usize,
  index: u32,
  wall: i32,
  uuid: i32,
  o: i32,
  key: i32,
  limit: usize,
  lsid: i32,
  txnNumber: i32,
  ns: usize,
  nsLength: usize,
  size: usize,
): usize {
  pos += output;
  limit += batch;
  ts += batch;
  needRoom(pos, 0);
  const start = pos;
  const id = put(pos + 4, '\x02_id\0');
  pos = putEventId(id + 4, ts, index);
  store<u8>(pos, 0);
  pos++;
  store<u32>(id, pos - id - 4);
  if (txnNumber >= 0) {
    pos = put(pos, '\x12txnNumber\0');
    store<u64>(pos, load<u64>(batch + txnNumber));
    pos = putRaw(put(pos + 8, '\x03lsid\0'), batch + lsid, batch + size);
  }
  pos = put(pos, '\x02operationType\0\x07\0\0\0');
  // Each of their names has six letters, but "replace".
  if (operation == REPLACE) store<u8>(pos - 4, 8);
  pos = put(put(pos, operationName(operation)), '\0\x11clusterTime\0');
  store<u64>(pos, load<u64>(ts));
  pos += 8;
  if (uuid >= 0) {
    const at = batch + uuid;
    pos = copy(put(pos, '\x05collectionUUID\0'), at, binaryEnd(at, batch + size));
  }
  if (wall >= 0) {
    pos = put(pos, '\x09wallTime\0');
    store<u64>(pos, load<u64>(batch + wall));
    pos += 8;
  }
  if (operation == INSERT || operation == REPLACE) pos = putRaw(put(pos, '\x03fullDocument\0'), batch + o, limit);
  pos = put(putKept(pos, ns, nsLength), '\x03documentKey\0');
  if (key >= 0) pos = putRaw(pos, batch + key, limit);
  else {
    const element = idElement(batch + o, limit);
    const document = pos;
    pos += 4;
    if (element != 0) pos = copy(pos, element, valueEnd(load<u8>(element), element + 5, limit));
    pos = closeBson(pos, document);
  }
  if (operation == UPDATE) pos = putBsonUpdate(pos, batch + o, limit);
  return closeBson(pos, start) - output;
}

/** A document of the batch alone, as JSON. */
export function putJsonDocument(pos: usize, start: usize, limit: usize): usize {
  pos += output;
  needRoom(pos, 0);
  return putDocument(pos, batch + start, batch + limit, 0) - output;
}

function putRaw(pos: usize, start: usize, limit: usize): usize {
  return copy(pos, start, checkDocument(start, limit, 0) + 1);
}

function copy(pos: usize, at: usize, end: usize): usize {
  needRoom(pos, end - at);
  memory.copy(pos, at, end - at);
  return pos + (end - at);
}
