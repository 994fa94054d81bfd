/**
 * Writes an event that lies there as a whole, as BSON: what a change stream gives, and what is made of a command. Its fields stay
 * as they are and in their order; only `_id` becomes ours. Writes without looking for room, see `json-text.ts`.
 */
import { BsonType, checkDocument, documentLast, encodeText, malformed, nameEnd, nameIs, valueEnd } from './bson.ts';
import { close, copy, putInt32Bytes } from './bson-writer.ts';
import { putEventId } from './event.ts';
import type { EventView } from './event.ts';
import { putText } from './json-text.ts';
import { putJsonValue } from './json-writer.ts';
import { put, textWords, wordsOf } from './output.ts';
import type { Output } from './output.ts';

const idName = encodeText('_id');
const jsonId = textWords('{"_id":"');
const jsonField = textWords(',"');
const bsonId = wordsOf(new Uint8Array([BsonType.string, ...idName, 0]));

export function putJsonEventDocument(out: Output, pos: number, event: EventView, relaxed: boolean): number {
  const to = out.bytes;
  const { bytes, document, limit } = event;
  const last = documentLast(bytes, document, limit);
  pos = putEventId(out, put(out, pos, jsonId), event);
  to[pos++] = 0x22;
  let at = document + 4;
  while (at < last) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    at = valueEnd(bytes, type, value, last);
    if (nameIs(bytes, name, idName)) continue;
    pos = putText(out, put(out, pos, jsonField), bytes, name, value - 1);
    to[pos] = 0x22;
    to[pos + 1] = 0x3a;
    pos = putJsonValue(out, pos + 2, bytes, type, value, last, relaxed, 0);
  }
  if (at !== last) malformed('an event ends in the middle of a value');
  to[pos] = 0x7d;
  return pos + 1;
}

export function putBsonEventDocument(out: Output, pos: number, event: EventView): number {
  const to = out.bytes;
  const start = pos;
  const { bytes, document, limit } = event;
  checkDocument(bytes, document, limit);
  const last = documentLast(bytes, document, limit);
  const id = put(out, pos + 4, bsonId);
  pos = putEventId(out, id + 4, event);
  to[pos++] = 0;
  putInt32Bytes(out, id, pos - id - 4);
  let at = document + 4;
  while (at < last) {
    const name = at + 1;
    const end = valueEnd(bytes, bytes[at]!, nameEnd(bytes, name), last);
    if (!nameIs(bytes, name, idName)) pos = copy(out, pos, bytes, at, end);
    at = end;
  }
  return close(out, start, pos);
}
