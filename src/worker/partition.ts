/**
 * Which partition an event belongs to. Users' consumers and checkpoints depend on the answer, so the algorithm is fixed by
 * the vectors in its test, and a change of it is a breaking change:
 *
 *   h = FNV-1a (32 bit) over the namespace's UTF-8 bytes;
 *   key `document`: h goes on over 0xff and the normalised `_id`;
 *   h is finished with murmur3's fmix32; the partition is h modulo the number of partitions.
 *
 * The server takes Int32 1, Double 1.0, Long 1 and Decimal 1 for one key, so `_id` is normalised: at any depth a value is one
 * byte for its kind and then its content, and every number's content is the nearest double (8 bytes, little endian, -0.0 as
 * 0.0, every NaN as one). Equal numbers have the same nearest double, whatever their types; that some unequal ones share it
 * costs nothing but their company in one partition.
 */
import {
  BsonType,
  MAX_DEPTH,
  documentLast,
  malformed,
  nameEnd,
  readDouble,
  readInt32,
  readInt64,
  stringEnd,
  valueEnd,
} from './bson.ts';
import { decimalText } from './decimal.ts';

const OFFSET = 0x811c_9dc5 | 0;
const PRIME = 0x0100_0193;

/** The unfinished hash of a namespace; the start of `hashId`. */
export function hashNamespace(ns: Uint8Array): number {
  return hashBytes(OFFSET, ns, 0, ns.length);
}

export function toPartition(hash: number, partitions: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return ((h ^ (h >>> 16)) >>> 0) % partitions;
}

/** `element` is where the `_id` element starts (its type byte), `last` the closing zero of the document that holds it. */
export function hashId(nsHash: number, bytes: Uint8Array, element: number, last: number): number {
  return hashValue(hashByte(nsHash, 0xff), bytes, bytes[element]!, nameEnd(bytes, element + 1), last, 0);
}

function hashByte(h: number, byte: number): number {
  return Math.imul(h ^ byte, PRIME);
}

function hashBytes(h: number, bytes: Uint8Array, at: number, end: number): number {
  for (; at < end; at++) h = Math.imul(h ^ bytes[at]!, PRIME);
  return h;
}

const NUMBER = 1;
const numberBox = new Float64Array(1);
const numberBytes = new Uint8Array(numberBox.buffer);

function hashNumber(h: number, n: number): number {
  // Adding 0 turns -0.0 into 0.0; the constant gives every NaN the same bits.
  numberBox[0] = n === n ? n + 0 : Number.NaN;
  h = hashByte(h, NUMBER);
  for (let k = 0; k < 8; k++) h = Math.imul(h ^ numberBytes[k]!, PRIME);
  return h;
}

function hashValue(h: number, bytes: Uint8Array, type: number, at: number, last: number, depth: number): number {
  const end = valueEnd(bytes, type, at, last);
  switch (type) {
    case BsonType.int32:
      return hashNumber(h, readInt32(bytes, at));
    case BsonType.int64:
      // Two exact halves, rounded once by the sum: the nearest double.
      return hashNumber(h, readInt64(bytes, at));
    case BsonType.double:
      return hashNumber(h, readDouble(bytes, at));
    case BsonType.decimal128:
      return hashNumber(h, Number(decimalText(bytes, at)));
    case BsonType.string:
    case BsonType.symbol:
      // The server compares symbols as strings.
      return hashBytes(hashByte(h, BsonType.string), bytes, at, end);
    case BsonType.document:
      return hashDocument(hashByte(h, BsonType.document), bytes, at, end, depth + 1, true);
    case BsonType.array:
      return hashDocument(hashByte(h, BsonType.array), bytes, at, end, depth + 1, false);
    case BsonType.null:
    case BsonType.undefined:
      return hashByte(h, BsonType.null);
    case BsonType.boolean:
      return hashByte(hashByte(h, BsonType.boolean), bytes[at] === 0 ? 0 : 1);
    case BsonType.codeWithScope: {
      const scope = stringEnd(bytes, at + 4, end);
      h = hashBytes(hashByte(h, BsonType.codeWithScope), bytes, at + 4, scope);
      return hashDocument(h, bytes, scope, end, depth + 1, true);
    }
    default:
      return hashBytes(hashByte(h, type), bytes, at, end);
  }
}

function hashDocument(
  h: number,
  bytes: Uint8Array,
  start: number,
  limit: number,
  depth: number,
  named: boolean,
): number {
  if (depth > MAX_DEPTH) malformed('documents are nested too deeply');
  const last = documentLast(bytes, start, limit);
  let at = start + 4;
  while (at < last) {
    const type = bytes[at]!;
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, type, value, last);
    if (named) h = hashBytes(h, bytes, at + 1, value);
    h = hashValue(h, bytes, type, value, last, depth);
    at = end;
  }
  return hashByte(h, 0);
}
