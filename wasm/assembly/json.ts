/**
 * Raw BSON values to Extended JSON: the same bytes as `src/worker/json-writer.ts` writes, which is the one to read for what is
 * meant. One loop serves documents, arrays and an update's fields, so that places stay in registers.
 */
import {
  ARRAY,
  BINARY,
  BOOLEAN,
  DATE,
  DOCUMENT,
  DOUBLE,
  INT32,
  INT64,
  MAX_DEPTH,
  NULL,
  OBJECT_ID,
  STRING,
  TIMESTAMP,
  binaryEnd,
  documentLast,
  fits,
  nameEnd,
  stringEnd,
  valueEnd,
} from './bson';
import { putRareValue } from './host';
import { fail, roomEnd } from './memory';
import { LAST_TEXT_MS, putFinite, putInt32, putInt64, putIsoDate, putUnsigned } from './numbers';
import { putPath } from './path';
import { put, putBase64, putHex12, putHexByte, putText, specials } from './text';

/**
 * How a field's name is written: not at all, as it is, or behind the path of what holds it; of a place in an array's diff without
 * the letter in front of its number.
 */
export const UNNAMED = 0;
export const NAMED = 1;
export const BEHIND_PATH = 2;
export const PLACE = 3;

export let relaxed: bool = true;

export function setRelaxed(to: bool): void {
  relaxed = to;
}

export function putDocument(pos: usize, start: usize, limit: usize, depth: i32): usize {
  const last = documentLast(start, limit);
  store<u8>(pos, 0x7b);
  return close(putFields(pos + 1, start + 4, last, depth, NAMED), pos + 1, 0x7d);
}

/** Ends a list: over its last comma, where it has one. */
export function close(pos: usize, start: usize, with_: u32): usize {
  if (pos != start) pos--;
  store<u8>(pos, with_);
  return pos + 1;
}

/** Each field between the two places, with a comma behind it. */
export function putFields(pos: usize, at: usize, last: usize, depth: i32, naming: i32): usize {
  if (depth > MAX_DEPTH) fail();
  while (at < last) {
    if (pos > roomEnd) fail();
    const type = <i32>load<u8>(at);
    at++;
    if (naming == UNNAMED) at = nameEnd(at);
    else {
      store<u8>(pos, 0x22);
      pos++;
      if (naming >= BEHIND_PATH) {
        pos = putPath(pos);
        if (naming == PLACE) at++;
      }
      const block = v128.load(at);
      v128.store(pos, block);
      const plain = <usize>ctz(specials(block) | 0x1_0000);
      if (plain < 16 && load<u8>(at + plain) == 0) {
        pos += plain;
        at += plain + 1;
      } else {
        const end = nameEnd(at);
        pos = putText(pos, at, end - 1);
        at = end;
      }
      store<u16>(pos, 0x3a22);
      pos += 2;
    }
    switch (type) {
      case STRING: {
        const end = stringEnd(at, last);
        store<u8>(pos, 0x22);
        pos = putText(pos + 1, at + 4, end - 1);
        store<u8>(pos, 0x22);
        pos++;
        at = end;
        break;
      }
      case INT32: {
        const end = fits(at, 4, last);
        if (relaxed) pos = putInt32(pos, load<i32>(at));
        else pos = put(putInt32(put(pos, '{"$numberInt":"'), load<i32>(at)), '"}');
        at = end;
        break;
      }
      case OBJECT_ID: {
        const end = fits(at, 12, last);
        pos = put(putHex12(put(pos, '{"$oid":"'), at), '"}');
        at = end;
        break;
      }
      case DATE: {
        const end = fits(at, 8, last);
        pos = putDate(pos, load<i64>(at));
        at = end;
        break;
      }
      case DOUBLE: {
        const end = fits(at, 8, last);
        pos = putNumber(pos, load<f64>(at));
        at = end;
        break;
      }
      case DOCUMENT: {
        const end = documentLast(at, last);
        store<u8>(pos, 0x7b);
        pos = close(putFields(pos + 1, at + 4, end, depth + 1, NAMED), pos + 1, 0x7d);
        at = end + 1;
        break;
      }
      case ARRAY: {
        const end = documentLast(at, last);
        store<u8>(pos, 0x5b);
        pos = close(putFields(pos + 1, at + 4, end, depth + 1, UNNAMED), pos + 1, 0x5d);
        at = end + 1;
        break;
      }
      case BOOLEAN: {
        const end = fits(at, 1, last);
        const value = load<u8>(at);
        if (value > 1) fail();
        pos = value != 0 ? put(pos, 'true') : put(pos, 'false');
        at = end;
        break;
      }
      case INT64: {
        const end = fits(at, 8, last);
        if (relaxed) pos = putInt64(pos, load<i64>(at));
        else pos = put(putInt64(put(pos, '{"$numberLong":"'), load<i64>(at)), '"}');
        at = end;
        break;
      }
      case NULL:
        at = fits(at, 0, last);
        pos = put(pos, 'null');
        break;
      case TIMESTAMP: {
        const end = fits(at, 8, last);
        pos = putTimestamp(pos, load<u32>(at + 4), load<u32>(at));
        at = end;
        break;
      }
      case BINARY: {
        const end = binaryEnd(at, last);
        pos = putBinary(pos, at, end);
        at = end;
        break;
      }
      default: {
        const end = valueEnd(type, at, last);
        pos = putRareValue(pos, type, at, last, depth);
        // It was written without a look at the room.
        if (pos > roomEnd) fail();
        at = end;
      }
    }
    store<u8>(pos, 0x2c);
    pos++;
  }
  if (at != last) fail();
  return pos;
}

export function putTimestamp(pos: usize, seconds: u32, increment: u32): usize {
  pos = put(putUnsigned(put(pos, '{"$timestamp":{"t":'), seconds), ',"i":');
  return put(putUnsigned(pos, increment), '}}');
}

export function putDate(pos: usize, ms: i64): usize {
  if (relaxed && <u64>ms <= <u64>LAST_TEXT_MS) return put(putIsoDate(put(pos, '{"$date":"'), ms), '"}');
  return put(putInt64(put(pos, '{"$date":{"$numberLong":"'), ms), '"}}');
}

function putNumber(pos: usize, n: f64): usize {
  const finite = n - n == 0;
  if (relaxed && finite) return putFinite(pos, n);
  pos = put(pos, '{"$numberDouble":"');
  if (finite) pos = putFinite(pos, n);
  else pos = n != n ? put(pos, 'NaN') : n > 0 ? put(pos, 'Infinity') : put(pos, '-Infinity');
  return put(pos, '"}');
}

/** It lies at `at` … `end - 1`. */
export function putBinary(pos: usize, at: usize, end: usize): usize {
  const subType = <u32>load<u8>(at + 4);
  let data = at + 5;
  // The old binary subtype repeats its length inside; Extended JSON shows the bytes behind it.
  if (subType == 2 && end - data >= 4 && <usize>load<u32>(data) == end - data - 4) data += 4;
  pos = putBase64(put(pos, '{"$binary":{"base64":"'), data, end);
  return put(putHexByte(put(pos, '","subType":"'), subType), '"}}');
}
