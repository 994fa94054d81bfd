/**
 * Raw BSON values to Extended JSON v2 bytes, relaxed or canonical, for every BSON type. Like the writers in `json-text.ts`
 * it never looks for room: see there. What it writes is always valid JSON and valid UTF-8, whatever it reads.
 * Integral doubles keep a `.0`, so that a double can be told from an integer; -0.0 is `-0.0`; NaN and the infinities,
 * which JSON cannot say, are canonical in both forms.
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
  readUint32,
  stringEnd,
  valueEnd,
  viewOf,
} from './bson.ts';
import { decimalText } from './decimal.ts';
import {
  LAST_TEXT_MS,
  plainInJson,
  plainWord,
  putAscii,
  putBase64,
  putHex,
  putInt32,
  putInt64,
  putIsoDate,
  putText,
  putUnsigned,
} from './json-text.ts';
import { put, textWords } from './output.ts';
import type { Output } from './output.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const BRACE_CLOSE = 0x7d;

const text = {
  true: textWords('true'),
  false: textWords('false'),
  null: textWords('null'),
  undefined: textWords('{"$undefined":true}'),
  minKey: textWords('{"$minKey":1}'),
  maxKey: textWords('{"$maxKey":1}'),
  oid: textWords('{"$oid":"'),
  date: textWords('{"$date":"'),
  dateLong: textWords('{"$date":{"$numberLong":"'),
  int: textWords('{"$numberInt":"'),
  long: textWords('{"$numberLong":"'),
  double: textWords('{"$numberDouble":"'),
  decimal: textWords('{"$numberDecimal":"'),
  timestamp: textWords('{"$timestamp":{"t":'),
  increment: textWords(',"i":'),
  binary: textWords('{"$binary":{"base64":"'),
  subType: textWords('","subType":"'),
  regex: textWords('{"$regularExpression":{"pattern":"'),
  options: textWords('","options":"'),
  ref: textWords('{"$dbPointer":{"$ref":"'),
  refId: textWords('","$id":{"$oid":"'),
  code: textWords('{"$code":"'),
  scope: textWords('","$scope":'),
  symbol: textWords('{"$symbol":"'),
  quoteBrace: textWords('"}'),
  quoteBraces: textWords('"}}'),
  quoteBraces3: textWords('"}}}'),
  braces: textWords('}}'),
};

/** Where the value that `putJsonValue` wrote last ends in its BSON: a second result without an object for it. */
let ended = 0;

/** A whole document or array; `limit` is the first byte behind what encloses it. */
export function putJsonDocument(
  out: Output,
  pos: number,
  bytes: Uint8Array,
  start: number,
  limit: number,
  relaxed: boolean,
  depth = 0,
): number {
  const to = out.bytes;
  if (depth > MAX_DEPTH) malformed('documents are nested too deeply');
  const view = viewOf(bytes);
  const room = out.view.byteLength - 4;
  const last = documentLast(bytes, start, limit);
  to[pos++] = 0x7b;
  let at = start + 4;
  if (at === last) {
    to[pos++] = BRACE_CLOSE;
    return pos;
  }
  while (at < last) {
    const type = bytes[at++]!;
    to[pos++] = QUOTE;
    for (; at + 4 <= last && pos <= room; at += 4, pos += 4) {
      const word = view.getInt32(at, true);
      if (!plainWord(word)) break;
      out.view.setInt32(pos, word, true);
    }
    for (;;) {
      const c = bytes[at]!;
      if (plainInJson[c] === 1) {
        to[pos++] = c;
        at++;
      } else if (c === 0) break;
      else {
        const end = nameEnd(bytes, at) - 1;
        pos = putText(out, pos, bytes, at, end);
        at = end;
      }
    }
    to[pos] = QUOTE;
    to[pos + 1] = 0x3a;
    pos = putJsonValue(out, pos + 2, bytes, type, at + 1, last, relaxed, depth);
    at = ended;
    to[pos++] = COMMA;
  }
  if (at !== last) malformed('a document ends in the middle of a value');
  to[pos - 1] = BRACE_CLOSE;
  return pos;
}

function putJsonArray(
  out: Output,
  pos: number,
  bytes: Uint8Array,
  start: number,
  limit: number,
  relaxed: boolean,
  depth: number,
): number {
  const to = out.bytes;
  if (depth > MAX_DEPTH) malformed('documents are nested too deeply');
  const last = documentLast(bytes, start, limit);
  to[pos++] = 0x5b;
  let at = start + 4;
  if (at === last) {
    to[pos++] = 0x5d;
    return pos;
  }
  while (at < last) {
    const type = bytes[at]!;
    pos = putJsonValue(out, pos, bytes, type, nameEnd(bytes, at + 1), last, relaxed, depth);
    at = ended;
    to[pos++] = COMMA;
  }
  if (at !== last) malformed('an array ends in the middle of a value');
  to[pos - 1] = 0x5d;
  return pos;
}

/** One value of the given type; `last` is the closing zero of the document that holds it. */
export function putJsonValue(
  out: Output,
  pos: number,
  bytes: Uint8Array,
  type: number,
  at: number,
  last: number,
  relaxed: boolean,
  depth: number,
): number {
  const to = out.bytes;
  switch (type) {
    case BsonType.string: {
      const end = stringEnd(bytes, at, last);
      to[pos++] = QUOTE;
      pos = putString(out, pos, bytes, at + 4, end - 1);
      to[pos] = QUOTE;
      ended = end;
      return pos + 1;
    }
    case BsonType.int32:
      ended = fits(at, 4, last);
      return relaxed
        ? putInt32(out, pos, readInt32(bytes, at))
        : put(out, putInt32(out, put(out, pos, text.int), readInt32(bytes, at)), text.quoteBrace);
    case BsonType.objectId:
      ended = fits(at, 12, last);
      return put(out, putHex(out, put(out, pos, text.oid), bytes, at, 12), text.quoteBrace);
    case BsonType.date:
      ended = fits(at, 8, last);
      return putDate(out, pos, bytes, at, relaxed);
    case BsonType.double:
      ended = fits(at, 8, last);
      return putDouble(out, pos, readDouble(bytes, at), relaxed);
    case BsonType.boolean:
      ended = fits(at, 1, last);
      if (bytes[at]! > 1) malformed('a boolean is neither true nor false');
      return put(out, pos, bytes[at] === 0 ? text.false : text.true);
    case BsonType.int64:
      ended = fits(at, 8, last);
      return relaxed
        ? putInt64(out, pos, readInt32(bytes, at + 4), readInt32(bytes, at))
        : put(
            out,
            putInt64(out, put(out, pos, text.long), readInt32(bytes, at + 4), readInt32(bytes, at)),
            text.quoteBrace,
          );
    case BsonType.document:
      pos = putJsonDocument(out, pos, bytes, at, last, relaxed, depth + 1);
      ended = at + readInt32(bytes, at);
      return pos;
    case BsonType.array:
      pos = putJsonArray(out, pos, bytes, at, last, relaxed, depth + 1);
      ended = at + readInt32(bytes, at);
      return pos;
    case BsonType.null:
      ended = fits(at, 0, last);
      return put(out, pos, text.null);
    default:
      return putRareValue(out, pos, bytes, type, at, last, relaxed, depth);
  }
}

function fits(at: number, size: number, last: number): number {
  const end = at + size;
  if (end > last) malformed('a value is longer than its document');
  return end;
}

/** `putText` with the ordinary case in front: apart from it this loop is small enough to be compiled well. */
function putString(out: Output, pos: number, bytes: Uint8Array, at: number, end: number): number {
  const to = out.bytes;
  const view = viewOf(bytes);
  const target = out.view;
  const room = target.byteLength - 4;
  for (; at + 4 <= end && pos <= room; at += 4, pos += 4) {
    const word = view.getInt32(at, true);
    if (!plainWord(word)) break;
    target.setInt32(pos, word, true);
  }
  while (at < end) {
    const c = bytes[at]!;
    if (plainInJson[c] !== 1) return putText(out, pos, bytes, at, end);
    to[pos++] = c;
    at++;
  }
  return pos;
}

function putRareValue(
  out: Output,
  pos: number,
  bytes: Uint8Array,
  type: number,
  at: number,
  last: number,
  relaxed: boolean,
  depth: number,
): number {
  const to = out.bytes;
  const end = valueEnd(bytes, type, at, last);
  switch (type) {
    case BsonType.timestamp:
      pos = putTimestamp(out, pos, readUint32(bytes, at + 4), readUint32(bytes, at));
      break;
    case BsonType.binary:
      pos = putBinary(out, pos, bytes, at, end);
      break;
    case BsonType.decimal128:
      pos = putAscii(out, put(out, pos, text.decimal), decimalText(bytes, at));
      pos = put(out, pos, text.quoteBrace);
      break;
    case BsonType.undefined:
      pos = put(out, pos, text.undefined);
      break;
    case BsonType.regex: {
      const options = nameEnd(bytes, at);
      pos = putText(out, put(out, pos, text.regex), bytes, at, options - 1);
      pos = putText(out, put(out, pos, text.options), bytes, options, end - 1);
      pos = put(out, pos, text.quoteBraces);
      break;
    }
    case BsonType.dbPointer:
      pos = putText(out, put(out, pos, text.ref), bytes, at + 4, end - 13);
      pos = put(out, putHex(out, put(out, pos, text.refId), bytes, end - 12, 12), text.quoteBraces3);
      break;
    case BsonType.code:
      pos = put(out, putText(out, put(out, pos, text.code), bytes, at + 4, end - 1), text.quoteBrace);
      break;
    case BsonType.symbol:
      pos = put(out, putText(out, put(out, pos, text.symbol), bytes, at + 4, end - 1), text.quoteBrace);
      break;
    case BsonType.codeWithScope: {
      const scope = stringEnd(bytes, at + 4, end);
      pos = put(out, putText(out, put(out, pos, text.code), bytes, at + 8, scope - 1), text.scope);
      pos = putJsonDocument(out, pos, bytes, scope, end, relaxed, depth + 1);
      to[pos++] = BRACE_CLOSE;
      break;
    }
    case BsonType.minKey:
      pos = put(out, pos, text.minKey);
      break;
    default:
      // `valueEnd` has thrown for all that does not exist.
      pos = put(out, pos, text.maxKey);
  }
  ended = end;
  return pos;
}

export function putTimestamp(out: Output, pos: number, seconds: number, increment: number): number {
  pos = putUnsigned(out, put(out, pos, text.timestamp), seconds);
  return put(out, putUnsigned(out, put(out, pos, text.increment), increment), text.braces);
}

export function putDate(out: Output, pos: number, bytes: Uint8Array, at: number, relaxed: boolean): number {
  const ms = readInt64(bytes, at);
  if (relaxed && ms >= 0 && ms <= LAST_TEXT_MS)
    return put(out, putIsoDate(out, put(out, pos, text.date), ms), text.quoteBrace);
  pos = putInt64(out, put(out, pos, text.dateLong), readInt32(bytes, at + 4), readInt32(bytes, at));
  return put(out, pos, text.quoteBraces);
}

function putDouble(out: Output, pos: number, n: number, relaxed: boolean): number {
  if (relaxed && n - n === 0) return putFiniteDouble(out, pos, n);
  pos = put(out, pos, text.double);
  pos = n - n === 0 ? putFiniteDouble(out, pos, n) : putAscii(out, pos, String(n));
  return put(out, pos, text.quoteBrace);
}

export function putFiniteDouble(out: Output, pos: number, n: number): number {
  const to = out.bytes;
  const size = n < 0 ? -n : n;
  if (size < 1e13) {
    // Prices and the like: a number of at most 15 digits that rounds to this double is the shortest text for it.
    const hundredths = Math.round(size * 100);
    if (hundredths / 100 === size) {
      if (n < 0 || (n === 0 && 1 / n < 0)) to[pos++] = 0x2d;
      const whole = Math.floor(hundredths / 100);
      const rest = hundredths - whole * 100;
      pos = putUnsigned(out, pos, whole);
      to[pos] = 0x2e;
      const tens = (rest / 10) | 0;
      const ones = rest - tens * 10;
      to[pos + 1] = 0x30 + tens;
      if (ones === 0) return pos + 2;
      to[pos + 2] = 0x30 + ones;
      return pos + 3;
    }
  }
  const digits = String(n);
  pos = putAscii(out, pos, digits);
  if (size < 1e21 && Number.isInteger(n)) {
    to[pos] = 0x2e;
    to[pos + 1] = 0x30;
    pos += 2;
  }
  return pos;
}

function putBinary(out: Output, pos: number, bytes: Uint8Array, at: number, end: number): number {
  const subType = bytes[at + 4]!;
  let data = at + 5;
  // The old binary subtype repeats its length inside; Extended JSON shows the bytes behind it.
  if (subType === 2 && data + 4 <= end && readInt32(bytes, data) === end - data - 4) data += 4;
  pos = putBase64(out, put(out, pos, text.binary), bytes, data, end);
  pos = putHex(out, put(out, pos, text.subType), bytes, at + 4, 1);
  return put(out, pos, text.quoteBraces);
}
