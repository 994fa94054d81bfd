/**
 * The values of a raw BSON array as the driver sends them back byte for byte: numbers keep their types, and documents the order of
 * their fields, which an object of JavaScript does not where names look like numbers.
 */
import { deserialize } from 'bson';
import { BsonType, decodeText, eachElement } from '../worker/bson.ts';

const EXACT = { promoteValues: false, promoteLongs: false, promoteBuffers: false, bsonRegExp: true } as const;

export function exactValues(array: Uint8Array): unknown[] {
  return valuesIn(array, 0, array.length);
}

function valuesIn(bytes: Uint8Array, start: number, limit: number): unknown[] {
  const values: unknown[] = [];
  eachElement(bytes, start, limit, (at, value, end) => values.push(exactValue(bytes, at, value, end)));
  return values;
}

function exactValue(bytes: Uint8Array, at: number, value: number, end: number): unknown {
  const type = bytes[at];
  if (type === BsonType.array) return valuesIn(bytes, value, end);
  if (type !== BsonType.document) return only(bytes, at, value, end);
  const fields = new Map<string, unknown>();
  eachElement(bytes, value, end, (field, fieldValue, fieldEnd) => {
    fields.set(decodeText(bytes, field + 1, fieldValue - 1), exactValue(bytes, field, fieldValue, fieldEnd));
  });
  return fields;
}

/** One that holds no others, out of a document of its own. */
function only(bytes: Uint8Array, at: number, value: number, end: number): unknown {
  const document = new Uint8Array(8 + end - value);
  new DataView(document.buffer).setInt32(0, document.length, true);
  document[4] = bytes[at]!;
  document[5] = 0x76;
  document.set(bytes.subarray(value, end), 7);
  return deserialize(document, EXACT)['v'];
}
