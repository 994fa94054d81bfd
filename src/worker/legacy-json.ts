/**
 * Extended JSON of version 1, "strict mode": what Debezium writes whole documents in (the Java driver's `JsonMode.STRICT`). Only
 * 64-bit integers, decimals and what JSON has no word for are wrapped; dates are numbers of milliseconds, binary values have
 * their subtype beside them. Off the hot path: it makes strings. Where that mode would write what is no JSON (NaN and the
 * infinities), version 2's `$numberDouble` stands instead.
 */
import { BsonType, decodeText, documentLast, hexText, nameEnd, readDouble, readInt32, readUint32 } from './bson.ts';
import { readBigInt64, stringEnd, valueEnd } from './bson.ts';
import { decimalText } from './decimal.ts';

/** `last` is the closing zero of the document that holds the value. */
function legacyJson(bytes: Uint8Array, type: number, at: number, last: number): string {
  const end = valueEnd(bytes, type, at, last);
  switch (type) {
    case BsonType.double: {
      const n = readDouble(bytes, at);
      if (!Number.isFinite(n))
        return `{"$numberDouble": "${Number.isNaN(n) ? 'NaN' : n > 0 ? 'Infinity' : '-Infinity'}"}`;
      return Object.is(n, -0) ? '-0.0' : Number.isInteger(n) && Math.abs(n) < 1e21 ? `${n}.0` : String(n);
    }
    case BsonType.string:
      return quoted(bytes, at);
    case BsonType.document:
      return legacyDocument(bytes, at, last);
    case BsonType.array: {
      const items: string[] = [];
      forEach(bytes, at, last, (_, itsType, value, itsLast) => items.push(legacyJson(bytes, itsType, value, itsLast)));
      return `[${items.join(', ')}]`;
    }
    case BsonType.binary: {
      const data = Buffer.from(bytes.buffer, bytes.byteOffset + at + 5, end - at - 5).toString('base64');
      return `{"$binary": "${data}", "$type": "${bytes[at + 4]!.toString(16).padStart(2, '0')}"}`;
    }
    case BsonType.undefined:
      return '{"$undefined": true}';
    case BsonType.objectId:
      return objectId(bytes, at);
    case BsonType.boolean:
      return bytes[at] === 0 ? 'false' : 'true';
    case BsonType.date:
      return `{"$date": ${readBigInt64(bytes, at)}}`;
    case BsonType.null:
      return 'null';
    case BsonType.regex: {
      const options = nameEnd(bytes, at);
      const pattern = JSON.stringify(decodeText(bytes, at, options - 1));
      return `{"$regex": ${pattern}, "$options": ${JSON.stringify(decodeText(bytes, options, end - 1))}}`;
    }
    case BsonType.dbPointer:
      return `{"$ref": ${quoted(bytes, at)}, "$id": ${objectId(bytes, end - 12)}}`;
    case BsonType.code:
      return `{"$code": ${quoted(bytes, at)}}`;
    case BsonType.symbol:
      return `{"$symbol": ${quoted(bytes, at)}}`;
    case BsonType.codeWithScope: {
      const scope = stringEnd(bytes, at + 4, end);
      return `{"$code": ${quoted(bytes, at + 4)}, "$scope": ${legacyDocument(bytes, scope, end)}}`;
    }
    case BsonType.int32:
      return String(readInt32(bytes, at));
    case BsonType.timestamp:
      return `{"$timestamp": {"t": ${readUint32(bytes, at + 4)}, "i": ${readUint32(bytes, at)}}}`;
    case BsonType.int64:
      return `{"$numberLong": "${readBigInt64(bytes, at)}"}`;
    case BsonType.decimal128:
      return `{"$numberDecimal": "${decimalText(bytes, at)}"}`;
    case BsonType.minKey:
      return '{"$minKey": 1}';
    default:
      return '{"$maxKey": 1}';
  }
}

export function legacyDocument(bytes: Uint8Array, start: number, limit: number): string {
  const fields: string[] = [];
  forEach(bytes, start, limit, (name, type, value, last) => {
    fields.push(`${JSON.stringify(name)}: ${legacyJson(bytes, type, value, last)}`);
  });
  return `{${fields.join(', ')}}`;
}

function forEach(
  bytes: Uint8Array,
  start: number,
  limit: number,
  each: (name: string, type: number, value: number, last: number) => void,
): void {
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const value = nameEnd(bytes, at + 1);
    each(decodeText(bytes, at + 1, value - 1), bytes[at]!, value, last);
    at = valueEnd(bytes, bytes[at]!, value, last);
  }
}

function quoted(bytes: Uint8Array, at: number): string {
  return JSON.stringify(decodeText(bytes, at + 4, stringEnd(bytes, at, bytes.length) - 1));
}

function objectId(bytes: Uint8Array, at: number): string {
  return `{"$oid": "${hexText(bytes, at, at + 12)}"}`;
}
