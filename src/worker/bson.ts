/**
 * Reading raw BSON in place: where values end, and finding fields, without making an object of anything.
 * Invariant: nothing here reads past the document it was given, whatever lengths are written inside; what does not add up
 * throws `MalformedBson`. A document's bounds are checked first (`documentLast`), and its closing zero then stops every
 * search for the end of a name.
 */

/** Bytes that are not BSON. Caught per entry, never seen outside the worker. */
export class MalformedBson extends Error {
  override readonly name = 'MalformedBson';
}

/** One place for the throw keeps the hot functions small enough to be inlined. */
export function malformed(what: string): never {
  throw new MalformedBson(what);
}

/** Deeper than any server stores (200), with room for what the oplog wraps around a document. */
export const MAX_DEPTH = 500;

export const BsonType = {
  double: 1,
  string: 2,
  document: 3,
  array: 4,
  binary: 5,
  undefined: 6,
  objectId: 7,
  boolean: 8,
  date: 9,
  null: 10,
  regex: 11,
  dbPointer: 12,
  code: 13,
  symbol: 14,
  codeWithScope: 15,
  int32: 16,
  timestamp: 17,
  int64: 18,
  decimal128: 19,
  maxKey: 127,
  minKey: 255,
} as const;

export function readInt32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at) >>> 0;
}

/** As a number: exact up to 2^53. */
export function readInt64(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + 4) * 4_294_967_296 + readUint32(bytes, at);
}

const doubleBox = new Float64Array(1);
const doubleWords = new Int32Array(doubleBox.buffer);

export function readDouble(bytes: Uint8Array, at: number): number {
  doubleWords[0] = readInt32(bytes, at);
  doubleWords[1] = readInt32(bytes, at + 4);
  return doubleBox[0]!;
}

export function readBigInt64(bytes: Uint8Array, at: number): bigint {
  return (BigInt(readInt32(bytes, at + 4)) << 32n) | BigInt(readUint32(bytes, at));
}

/** The place of the document's closing zero. `limit` is the first byte that does not belong to what encloses it. */
export function documentLast(bytes: Uint8Array, start: number, limit: number): number {
  if (start + 5 > limit) malformed('a document is cut short');
  const last = start + readInt32(bytes, start) - 1;
  if (last < start + 4 || last >= limit || bytes[last] !== 0) malformed('a document is not as long as it says');
  return last;
}

/** Behind the zero that ends a name; `last` (a zero byte) stops the search. */
export function nameEnd(bytes: Uint8Array, at: number): number {
  while (bytes[at] !== 0) at++;
  return at + 1;
}

/** Bytes of the types that have one size; 0 stands for those that must be looked into, or do not exist. */
const fixedSize = new Uint8Array(256);
fixedSize[BsonType.double] = 8;
fixedSize[BsonType.objectId] = 12;
fixedSize[BsonType.boolean] = 1;
fixedSize[BsonType.date] = 8;
fixedSize[BsonType.int32] = 4;
fixedSize[BsonType.timestamp] = 8;
fixedSize[BsonType.int64] = 8;
fixedSize[BsonType.decimal128] = 16;

/** The first byte behind a value. `last` is the closing zero of the document that holds it. */
export function valueEnd(bytes: Uint8Array, type: number, at: number, last: number): number {
  const size = fixedSize[type]!;
  const end = size !== 0 ? at + size : variableEnd(bytes, type, at, last);
  if (end > last) malformed('a value is longer than its document');
  return end;
}

function variableEnd(bytes: Uint8Array, type: number, at: number, last: number): number {
  switch (type) {
    case BsonType.string:
    case BsonType.code:
    case BsonType.symbol:
      return stringEnd(bytes, at, last);
    case BsonType.document:
    case BsonType.array:
      return documentLast(bytes, at, last) + 1;
    case BsonType.undefined:
    case BsonType.null:
    case BsonType.maxKey:
    case BsonType.minKey:
      return at;
    case BsonType.binary: {
      if (at + 5 > last) malformed('a binary value is cut short');
      const length = readInt32(bytes, at);
      if (length < 0) malformed('a binary value has a negative length');
      return at + 5 + length;
    }
    case BsonType.regex: {
      if (at >= last) malformed('a regular expression is cut short');
      const options = nameEnd(bytes, at);
      if (options >= last) malformed('a regular expression is cut short');
      return nameEnd(bytes, options);
    }
    case BsonType.dbPointer:
      return stringEnd(bytes, at, last) + 12;
    case BsonType.codeWithScope: {
      if (at + 14 > last) malformed('code with scope is cut short');
      const end = at + readInt32(bytes, at);
      if (end < at + 14 || end > last) malformed('code with scope is not as long as it says');
      const scope = stringEnd(bytes, at + 4, end);
      if (documentLast(bytes, scope, end) + 1 !== end) malformed('code with scope is not as long as it says');
      return end;
    }
    default:
      return malformed(`no BSON type has the number ${type}`);
  }
}

/** Behind a string's closing zero; its text is `at + 4` … `stringEnd - 1`. */
export function stringEnd(bytes: Uint8Array, at: number, last: number): number {
  if (at + 5 > last) malformed('a string is cut short');
  const length = readInt32(bytes, at);
  const end = at + 4 + length;
  if (length < 1 || end > last || bytes[end - 1] !== 0) malformed('a string is not as long as it says');
  return end;
}

/** Throws unless every value of the document, at any depth, lies where its lengths say. */
export function checkDocument(bytes: Uint8Array, start: number, limit: number, depth = 0): void {
  if (depth > MAX_DEPTH) malformed('documents are nested too deeply');
  const last = documentLast(bytes, start, limit);
  let at = start + 4;
  while (at < last) {
    const type = bytes[at]!;
    const value = nameEnd(bytes, at + 1);
    at = valueEnd(bytes, type, value, last);
    if (holdsMore[type] === 1) checkInside(bytes, type, value, at, depth);
  }
  if (at !== last) malformed('a document ends in the middle of a value');
}

/** The same for one value; the result is what lies behind it. */
export function checkValue(bytes: Uint8Array, type: number, at: number, last: number): number {
  const end = valueEnd(bytes, type, at, last);
  if (holdsMore[type] === 1) checkInside(bytes, type, at, end, 0);
  return end;
}

/** 1 for the types of which the length alone does not tell that a value is well-formed. */
const holdsMore = new Uint8Array(256);
holdsMore[BsonType.document] = 1;
holdsMore[BsonType.array] = 1;
holdsMore[BsonType.codeWithScope] = 1;
holdsMore[BsonType.boolean] = 1;

function checkInside(bytes: Uint8Array, type: number, at: number, end: number, depth: number): void {
  if (type === BsonType.boolean) {
    if (bytes[at]! > 1) malformed('a boolean is neither true nor false');
  } else checkDocument(bytes, type === BsonType.codeWithScope ? stringEnd(bytes, at + 4, end) : at, end, depth + 1);
}

/**
 * Calls `use` for each element of a document or an array: where it starts, where its value does, and where it ends. Loops that every
 * change goes through have this written out.
 */
export function eachElement(
  bytes: Uint8Array,
  start: number,
  limit: number,
  use: (at: number, value: number, end: number) => void,
): void {
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, bytes[at]!, value, last);
    use(at, value, end);
    at = end;
  }
}

/** Where the element called `name` starts (its type byte), or -1. */
export function findElement(bytes: Uint8Array, start: number, limit: number, name: Uint8Array): number {
  const last = documentLast(bytes, start, limit);
  let at = start + 4;
  while (at < last) {
    if (nameIs(bytes, at + 1, name)) return at;
    at = valueEnd(bytes, bytes[at]!, nameEnd(bytes, at + 1), last);
  }
  return -1;
}

/** Whether the name (ended by a zero) at `at` is this one. */
export function nameIs(bytes: Uint8Array, at: number, name: Uint8Array): boolean {
  const length = name.length;
  for (let k = 0; k < length; k++) if (bytes[at + k] !== name[k]) return false;
  return bytes[at + length] === 0;
}

const encoder = new TextEncoder();

/** Bytes that are not UTF-8 become U+FFFD. */
export function decodeText(bytes: Uint8Array, start: number, end: number): string {
  return bufferOf(bytes).toString('utf8', start, end);
}

/** As Latin-1, whatever it is: every byte a character, and none is lost. */
export function latin1Text(bytes: Uint8Array, start: number, end: number): string {
  return bufferOf(bytes).toString('latin1', start, end);
}

export function hexText(bytes: Uint8Array, start: number, end: number): string {
  return bufferOf(bytes).toString('hex', start, end);
}

export function encodeText(text: string): Uint8Array {
  // A copy of its own: what the encoder returns may be a view of a larger buffer.
  return new Uint8Array(encoder.encode(text));
}

/** A copy of its own; `slice` would share the memory of a `Buffer`. */
export function copyBytes(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end));
}

/** One behind the other, in memory of their own. */
export function joinedBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

let viewed: Uint8Array = new Uint8Array(0);
let view = new DataView(viewed.buffer);
let buffered: Uint8Array = viewed;
let buffer: Buffer = Buffer.alloc(0);

/** A view of the bytes, made once for all that is read from the same batch. */
export function viewOf(bytes: Uint8Array): DataView {
  if (bytes !== viewed) {
    viewed = bytes;
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  return view;
}

/** The same for texts: to make a buffer takes longer than to read a name from it (bench `encode`, where + mask). */
function bufferOf(bytes: Uint8Array): Buffer {
  if (bytes !== buffered) {
    buffered = bytes;
    buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  return buffer;
}

/** What stands where bytes were, so that nothing holds a batch. */
export const noBytes = new Uint8Array(0);

/** Lets go of what was read last. */
export function releaseViews(): void {
  viewOf(noBytes);
  bufferOf(noBytes);
}
