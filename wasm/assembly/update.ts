/**
 * What an update changed, straight from its diff: see `src/worker/update.ts` for the grammar. The diff is walked once for each
 * part of the description, so that nothing has to be remembered but the path. Whatever is not quite ordinary (a number that is
 * no int32, an update of the old form, any damage) ends the call.
 */
import { BOOLEAN, DOCUMENT, INT32, MAX_DEPTH, STRING, checkFields, documentLast, nameEnd, valueEnd } from './bson';
import { BEHIND_PATH, NAMED, PLACE, putFields, relaxed } from './json';
import { fail, needRoom } from './memory';
import { putInt32, putUnsigned } from './numbers';
import { beginPaths, countPath, endPaths, needPath, pathEnd, pathLength, putPath, setPathLength } from './path';
import { put, putText } from './text';

const A = 0x61;
const D = 0x64;
const I = 0x69;
const L = 0x6c;
const S = 0x73;
const U = 0x75;

/** What a walk over the diff writes. */
const UPDATED = 0;
const REMOVED = 1;
const TRUNCATED = 2;

let bson: bool = false;
/** The number of the next one in an array of BSON. */
let index: u32 = 0;

/** Where the diff of a `$v: 2` update begins; any other form ends the call. */
function diffOf(o: usize, limit: usize): usize {
  const last = documentLast(o, limit);
  // `$v: 2` as an int32, then `diff`.
  const at = o + 4;
  if (last - at < 15 || load<u32>(at) != 0x00_76_24_10 || load<u32>(at + 4) != 2) fail();
  if (load<u8>(at + 8) != DOCUMENT || load<u32>(at + 9) != 0x66_66_69_64 || load<u8>(at + 13) != 0) fail();
  if (documentLast(at + 14, last) + 1 != last) fail();
  return at + 14;
}

export function putJsonUpdate(pos: usize, o: usize, limit: usize): usize {
  const diff = diffOf(o, limit);
  const end = diff + load<u32>(diff);
  bson = false;
  beginPaths(end - diff);
  pos = put(pos, ',"updateDescription":{"updatedFields":{');
  pos = put(unlessEmpty(walk(pos, diff, end, 0, UPDATED), pos), '},"removedFields":[');
  pos = put(unlessEmpty(walk(pos, diff, end, 0, REMOVED), pos), '],"truncatedArrays":[');
  pos = unlessEmpty(walk(pos, diff, end, 0, TRUNCATED), pos);
  endPaths();
  return put(pos, ']}');
}

/** Without the last comma of what began at `start`. */
function unlessEmpty(pos: usize, start: usize): usize {
  return pos == start ? pos : pos - 1;
}

export function putBsonUpdate(pos: usize, o: usize, limit: usize): usize {
  const diff = diffOf(o, limit);
  const end = diff + load<u32>(diff);
  bson = true;
  beginPaths(end - diff);
  const description = put(pos, '\x03updateDescription\0');
  const fields = put(description + 4, '\x03updatedFields\0');
  pos = closeBson(walk(fields + 4, diff, end, 0, UPDATED), fields);
  const removals = put(pos, '\x04removedFields\0');
  index = 0;
  pos = closeBson(walk(removals + 4, diff, end, 0, REMOVED), removals);
  const arrays = put(pos, '\x04truncatedArrays\0');
  index = 0;
  pos = closeBson(walk(arrays + 4, diff, end, 0, TRUNCATED), arrays);
  endPaths();
  return closeBson(pos, description);
}

/** Ends a document that began at `start` with four bytes for its length. */
export function closeBson(pos: usize, start: usize): usize {
  store<u8>(pos, 0);
  store<u32>(start, pos + 1 - start);
  return pos + 1;
}

function walk(pos: usize, start: usize, limit: usize, depth: i32, what: i32): usize {
  if (depth > MAX_DEPTH) fail();
  if (depth == 0) setPathLength(0);
  const last = documentLast(start, limit);
  let at = start + 4;
  if (load<u8>(at) == BOOLEAN && load<u16>(at + 1) == A) return walkArray(pos, at + 4, last, depth, what);
  while (at < last) {
    const type = load<u8>(at);
    const name = at + 1;
    const value = nameEnd(name);
    if (type != DOCUMENT) fail();
    const end = documentLast(value, last);
    const section = load<u8>(name);
    if (section == S) pos = inside(pos, name + 1, value, last, depth, what);
    else {
      if (value != name + 2) fail();
      if (section == U || section == I) {
        if (what == UPDATED) pos = putUpdated(pos, value + 4, end);
      } else if (section == D) {
        if (what == REMOVED) pos = putRemoved(pos, value + 4, end);
      } else fail();
    }
    at = end + 1;
  }
  if (at != last) fail();
  return pos;
}

/** The diff of the field whose name begins here, and ends in front of `value`. */
function inside(pos: usize, name: usize, value: usize, last: usize, depth: i32, what: i32): usize {
  const before = pathLength;
  const bytes = value - 1 - name;
  countPath();
  needPath(bytes);
  let end = pathEnd();
  if (bson) {
    memory.copy(end, name, bytes);
    end += bytes;
  } else end = putText(end, name, value - 1);
  store<u8>(end, 0x2e);
  setPathLength(before + (end + 1 - pathEnd()));
  pos = walk(pos, value, last, depth + 1, what);
  setPathLength(before);
  return pos;
}

function walkArray(pos: usize, at: usize, last: usize, depth: i32, what: i32): usize {
  if (pathLength == 0) fail();
  while (at < last) {
    const type = <i32>load<u8>(at);
    const name = at + 1;
    const value = nameEnd(name);
    const end = valueEnd(type, value, last);
    const section = load<u8>(name);
    if ((section == U || section == S) && !isIndex(name + 1, value - 1)) fail();
    if (section == U) {
      if (what == UPDATED) pos = putUpdatedPlace(pos, at, end);
    } else if (section == S && type == DOCUMENT) pos = inside(pos, name + 1, value, last, depth, what);
    else if (section == L && value == name + 2 && type == INT32) {
      if (load<i32>(value) < 0) fail();
      if (what == TRUNCATED) pos = putTruncated(pos, load<i32>(value));
    } else fail();
    at = end;
  }
  if (at != last) fail();
  return pos;
}

function isIndex(at: usize, end: usize): bool {
  if (at == end) return false;
  for (; at < end; at++) if (load<u8>(at) < 0x30 || load<u8>(at) > 0x39) return false;
  return true;
}

function putUpdated(pos: usize, at: usize, last: usize): usize {
  if (!bson) return putFields(pos, at, last, 0, pathLength == 0 ? NAMED : BEHIND_PATH);
  checkFields(at, last, 0);
  if (pathLength == 0) {
    needRoom(pos, last - at);
    memory.copy(pos, at, last - at);
    return pos + (last - at);
  }
  while (at < last) {
    const end = valueEnd(load<u8>(at), nameEnd(at + 1), last);
    pos = putElement(pos, at, at + 1, end);
    at = end;
  }
  return pos;
}

/** One place of an array: its name is the section's letter and the place. */
function putUpdatedPlace(pos: usize, element: usize, end: usize): usize {
  if (!bson) return putFields(pos, element, end, 0, PLACE);
  checkFields(element, end, 0);
  return putElement(pos, element, element + 2, end);
}

/** A field under its path: its type lies at `element`, its name at `name`, it ends at `end`. */
function putElement(pos: usize, element: usize, name: usize, end: usize): usize {
  store<u8>(pos, load<u8>(element));
  pos = putPath(pos + 1);
  needRoom(pos, end - name);
  memory.copy(pos, name, end - name);
  return pos + (end - name);
}

function putRemoved(pos: usize, at: usize, last: usize): usize {
  while (at < last) {
    const name = at + 1;
    const value = nameEnd(name);
    at = valueEnd(load<u8>(at), value, last);
    if (bson) {
      const text = putIndex(pos, STRING);
      pos = putPath(text + 4);
      needRoom(pos, value - name);
      memory.copy(pos, name, value - name);
      pos += value - name;
      store<u32>(text, pos - text - 4);
    } else {
      needRoom(pos, 0);
      store<u8>(pos, 0x22);
      pos = putText(putPath(pos + 1), name, value - 1);
      store<u16>(pos, 0x2c22);
      pos += 2;
    }
  }
  if (at != last) fail();
  return pos;
}

function putTruncated(pos: usize, length: i32): usize {
  if (!bson) {
    needRoom(pos, 0);
    pos = putPath(put(pos, '{"field":"')) - 1;
    if (relaxed) return put(putInt32(put(pos, '","newSize":'), length), '},');
    return put(putInt32(put(pos, '","newSize":{"$numberInt":"'), length), '"}},');
  }
  const one = putIndex(pos, DOCUMENT);
  const text = put(one + 4, '\x02field\0');
  pos = putPath(text + 4);
  store<u8>(pos - 1, 0);
  store<u32>(text, pos - text - 4);
  pos = put(pos, '\x10newSize\0');
  store<u32>(pos, length);
  return closeBson(pos + 4, one);
}

function putIndex(pos: usize, type: i32): usize {
  needRoom(pos, 0);
  store<u8>(pos, type);
  pos = putUnsigned(pos + 1, index++);
  store<u8>(pos, 0);
  return pos + 1;
}
