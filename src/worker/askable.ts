/** Which values the driver sends back byte for byte, so that the server can be asked for them. */
import { isUtf8 } from 'node:buffer';
import { BsonType, documentLast, nameEnd, readInt64, valueEnd } from './bson.ts';

/** Where a value lies. */
export interface Place {
  readonly type: number;
  readonly value: number;
  readonly end: number;
}

/** Milliseconds since 1970. */
const LAST_DATE = 8.64e15;
/** A subtype that the driver looks into. */
const VECTOR = 9;

/** Not texts that are not UTF-8, dates beyond JavaScript's, vectors that are none, or types that nothing writes any more. */
export function isAskable(bytes: Uint8Array, { type, value, end }: Place): boolean {
  switch (type) {
    case BsonType.string:
      return isUtf8(bytes.subarray(value + 4, end - 1));
    case BsonType.date:
      return Math.abs(readInt64(bytes, value)) <= LAST_DATE;
    case BsonType.binary:
      return bytes[value + 4] !== VECTOR;
    case BsonType.document:
    case BsonType.array:
      return areAskable(bytes, value, end);
    case BsonType.undefined:
    case BsonType.dbPointer:
    case BsonType.codeWithScope:
    case BsonType.regex:
      return false;
    default:
      return true;
  }
}

function areAskable(bytes: Uint8Array, start: number, limit: number): boolean {
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, bytes[at]!, value, last);
    if (!isUtf8(bytes.subarray(at + 1, value - 1)) || !isAskable(bytes, { type: bytes[at]!, value, end })) return false;
    at = end;
  }
  return true;
}
