/**
 * Raw BSON, read in place: the same rules as in `src/worker/bson.ts`, and the same invariant: a document's bounds are checked
 * first, and its closing zero then stops every search for the end of a name. What does not add up ends the call.
 */
import { fail } from './memory';

/** Deeper than any server stores (200), with room for what the oplog wraps around a document. */
export const MAX_DEPTH = 500;

export const DOUBLE = 1;
export const STRING = 2;
export const DOCUMENT = 3;
export const ARRAY = 4;
export const BINARY = 5;
export const UNDEFINED = 6;
export const OBJECT_ID = 7;
export const BOOLEAN = 8;
export const DATE = 9;
export const NULL = 10;
export const REGEX = 11;
export const DB_POINTER = 12;
export const CODE = 13;
export const SYMBOL = 14;
export const CODE_WITH_SCOPE = 15;
export const INT32 = 16;
export const TIMESTAMP = 17;
export const INT64 = 18;
export const DECIMAL128 = 19;
export const MAX_KEY = 127;
export const MIN_KEY = 255;

/** By type: the bytes of a value where they are always the same, 0 where it must be looked into, or does not exist. */
const fixedSizes = memory.data(256);

export function fillBsonTables(): void {
  store<u8>(fixedSizes + DOUBLE, 8);
  store<u8>(fixedSizes + OBJECT_ID, 12);
  store<u8>(fixedSizes + DATE, 8);
  store<u8>(fixedSizes + INT32, 4);
  store<u8>(fixedSizes + TIMESTAMP, 8);
  store<u8>(fixedSizes + INT64, 8);
  store<u8>(fixedSizes + DECIMAL128, 16);
}

/** The place of the document's closing zero. `limit` is the first byte that does not belong to what encloses it. */
export function documentLast(start: usize, limit: usize): usize {
  if (start >= limit || limit - start < 5) fail();
  const length = load<i32>(start);
  if (length < 5 || <usize>length > limit - start) fail();
  const last = start + length - 1;
  if (load<u8>(last) != 0) fail();
  return last;
}

/** Behind the zero that ends a name. */
export function nameEnd(at: usize): usize {
  let zeros = zerosOf(at);
  while (zeros == 0) zeros = zerosOf((at += 16));
  return at + ctz(zeros) + 1;
}

/** A bit for each of the 16 bytes that is zero. */
function zerosOf(at: usize): u32 {
  return i8x16.bitmask(i8x16.eq(v128.load(at), i8x16.splat(0)));
}

/** Behind a string's closing zero; its text is `at + 4` … `stringEnd - 1`. */
export function stringEnd(at: usize, last: usize): usize {
  if (at >= last || last - at < 5) fail();
  const length = load<i32>(at);
  if (length < 1 || <usize>length > last - at - 4) fail();
  const end = at + 4 + length;
  if (load<u8>(end - 1) != 0) fail();
  return end;
}

/** Behind a value of so many bytes. */
export function fits(at: usize, size: usize, last: usize): usize {
  if (at > last || last - at < size) fail();
  return at + size;
}

export function binaryEnd(at: usize, last: usize): usize {
  fits(at, 5, last);
  const length = load<i32>(at);
  if (length < 0) fail();
  return fits(at + 5, length, last);
}

/** The first byte behind a value. `last` is the closing zero of the document that holds it. */
export function valueEnd(type: i32, at: usize, last: usize): usize {
  const size = <usize>load<u8>(fixedSizes + type);
  if (size != 0) return fits(at, size, last);
  switch (type) {
    case STRING:
    case CODE:
    case SYMBOL:
      return stringEnd(at, last);
    case DOCUMENT:
    case ARRAY:
      return documentLast(at, last) + 1;
    case BOOLEAN:
      return fits(at, 1, last);
    case NULL:
    case UNDEFINED:
    case MAX_KEY:
    case MIN_KEY:
      return fits(at, 0, last);
    case BINARY:
      return binaryEnd(at, last);
    case REGEX: {
      if (at >= last) fail();
      const options = nameEnd(at);
      if (options >= last) fail();
      return fits(nameEnd(options), 0, last);
    }
    case DB_POINTER:
      return fits(stringEnd(at, last), 12, last);
    case CODE_WITH_SCOPE: {
      fits(at, 14, last);
      const length = load<i32>(at);
      if (length < 14) fail();
      const end = fits(at, length, last);
      if (documentLast(stringEnd(at + 4, end), end) + 1 != end) fail();
      return end;
    }
    default:
      fail();
      return 0;
  }
}

/** Ends the call unless every value of the document, at any depth, lies where its lengths say; the result is its closing zero. */
export function checkDocument(start: usize, limit: usize, depth: i32): usize {
  if (depth > MAX_DEPTH) fail();
  const last = documentLast(start, limit);
  checkFields(start + 4, last, depth);
  return last;
}

/** What lies between two places of a document, which are not inside of an element. */
export function checkFields(at: usize, last: usize, depth: i32): void {
  while (at < last) {
    const type = <i32>load<u8>(at);
    at = nameEnd(at + 1);
    const size = <usize>load<u8>(fixedSizes + type);
    if (size != 0) {
      at += size;
      // Behind its end no value is looked into, only where it would end.
      if (at > last) fail();
    } else at = checkValue(type, at, last, depth);
  }
  if (at != last) fail();
}

/** One value; the result is what lies behind it. */
export function checkValue(type: i32, at: usize, last: usize, depth: i32): usize {
  if (type == DOCUMENT || type == ARRAY) return checkDocument(at, last, depth + 1) + 1;
  const end = valueEnd(type, at, last);
  if (type == BOOLEAN) {
    if (load<u8>(at) > 1) fail();
  } else if (type == CODE_WITH_SCOPE) checkDocument(stringEnd(at + 4, end), end, depth + 1);
  return end;
}
