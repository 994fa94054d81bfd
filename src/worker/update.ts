/**
 * What an update entry changed, out of either of its forms: `$v: 1` (`$set` and `$unset` with dotted names, servers up to
 * 4.4) and `$v: 2` (a `diff`). The result is a list of places in the batch's bytes and of dotted paths, filled anew for each
 * update and then written by the JSON or the BSON writer; fields keep the order in which the entry has them.
 *
 * The diff's grammar. A document: `d: {field: false}` removed, `u` and `i: {field: value}` updated and inserted,
 * `s<field>: {…}` a diff of what the field holds, `b` a change inside a binary value, which does not say what the value became
 * (servers write it for time-series buckets only). An array begins with `a: true`, then `l: <new length>`, `u<index>: value`,
 * `s<index>: {…}`. Section names are one letter and user names only ever follow an `s` or lie one level deeper, so a user's
 * field called `a`, `u` or `s0` cannot be mistaken for a section.
 */
import {
  BsonType,
  MAX_DEPTH,
  documentLast,
  encodeText,
  malformed,
  nameEnd,
  nameIs,
  readDouble,
  readInt32,
  readInt64,
  valueEnd,
} from './bson.ts';

/** Numbers per updated field: its path's start and end, its type, its value's place, its document's closing zero. */
export const UPDATED_FIELDS = 5;
/** Numbers per truncated array: its path's start and end, its new length. */
export const TRUNCATED_FIELDS = 3;
/** An update whose dotted paths alone take more than this is not written out. */
const MAX_PATH_BYTES = 64 * 1024 * 1024;

const names = {
  version: encodeText('$v'),
  set: encodeText('$set'),
  unset: encodeText('$unset'),
  diff: encodeText('diff'),
};

const MAX_INT32 = 0x7fff_ffff;

const A = 0x61;
const B = 0x62;
const D = 0x64;
const I = 0x69;
const L = 0x6c;
const S = 0x73;
const U = 0x75;

export class UpdateDescription {
  /** The text of all paths, one behind the other. */
  paths = new Uint8Array(4096);
  readonly updated: number[] = [];
  /** Numbers per removed field: its path's start and end. */
  readonly removed: number[] = [];
  readonly truncated: number[] = [];
  updatedLength = 0;
  removedLength = 0;
  truncatedLength = 0;
  /** Change streams of servers that write `$v: 1` have no `truncatedArrays`. */
  hasTruncated = false;
  #pathsLength = 0;

  /** `o` is where the entry's `o` document starts. */
  read(bytes: Uint8Array, o: number, limit: number): void {
    this.updatedLength = 0;
    this.removedLength = 0;
    this.truncatedLength = 0;
    this.hasTruncated = false;
    this.#pathsLength = 0;
    const last = documentLast(bytes, o, limit);
    let version = 1;
    let at = o + 4;
    while (at < last) {
      const type = bytes[at]!;
      const name = at + 1;
      const value = nameEnd(bytes, name);
      const end = valueEnd(bytes, type, value, last);
      if (nameIs(bytes, name, names.version)) {
        version = wholeNumber(bytes, type, value);
        if (version !== 1 && version !== 2) malformed(`an update of the unknown version ${version}`);
      } else if (version === 2 && type === BsonType.document && nameIs(bytes, name, names.diff)) {
        this.hasTruncated = true;
        this.#diff(bytes, value, end, 0, -1, 0);
      } else if (version === 1 && type === BsonType.document && nameIs(bytes, name, names.set)) {
        this.#fields(bytes, value, end, 0, -1);
      } else if (version === 1 && type === BsonType.document && nameIs(bytes, name, names.unset)) {
        this.#removals(bytes, value, end, 0, -1);
      } else malformed('an update with a part that this version does not know');
      at = end;
    }
    if (at !== last) malformed('an update ends in the middle of a value');
  }

  /** `from` … `to` is the path of what this diff is about; `to` is -1 at the top. */
  #diff(bytes: Uint8Array, start: number, limit: number, from: number, to: number, depth: number): void {
    if (depth > MAX_DEPTH) malformed('a diff is nested too deeply');
    const last = documentLast(bytes, start, limit);
    let at = start + 4;
    if (bytes[at] === BsonType.boolean && bytes[at + 1] === A && bytes[at + 2] === 0) {
      this.#arrayDiff(bytes, at + 4, last, from, to, depth);
      return;
    }
    while (at < last) {
      const type = bytes[at]!;
      const name = at + 1;
      const value = nameEnd(bytes, name);
      const end = valueEnd(bytes, type, value, last);
      if (type !== BsonType.document) malformed('a section of a diff is not a document');
      const section = bytes[name];
      if (section === S) {
        const path = this.#path(bytes, name + 1, value - 1, from, to);
        this.#diff(bytes, value, end, path, this.#pathsLength, depth + 1);
      } else if (value !== name + 2) malformed('a section of a diff that this version does not know');
      else if (section === U || section === I) this.#fields(bytes, value, end, from, to);
      else if (section === D) this.#removals(bytes, value, end, from, to);
      else if (section === B) malformed('a change inside a binary value, which does not say what the value is now');
      else malformed('a section of a diff that this version does not know');
      at = end;
    }
    if (at !== last) malformed('a diff ends in the middle of a value');
  }

  #arrayDiff(bytes: Uint8Array, at: number, last: number, from: number, to: number, depth: number): void {
    if (to < 0) malformed('a diff of an array that is no field');
    while (at < last) {
      const type = bytes[at]!;
      const name = at + 1;
      const value = nameEnd(bytes, name);
      const end = valueEnd(bytes, type, value, last);
      const section = bytes[name];
      if ((section === U || section === S) && !isIndex(bytes, name + 1, value - 1))
        malformed('an array has no such place');
      if (section === U) {
        this.#addUpdated(this.#path(bytes, name + 1, value - 1, from, to), type, value, last);
      } else if (section === S && type === BsonType.document) {
        const path = this.#path(bytes, name + 1, value - 1, from, to);
        this.#diff(bytes, value, end, path, this.#pathsLength, depth + 1);
      } else if (section === L && value === name + 2) {
        const length = wholeNumber(bytes, type, value);
        if (!(length >= 0 && length <= MAX_INT32)) malformed('an array cannot have that length');
        this.truncated[this.truncatedLength++] = from;
        this.truncated[this.truncatedLength++] = to;
        this.truncated[this.truncatedLength++] = length;
      } else malformed("a section of an array's diff that this version does not know");
      at = end;
    }
    if (at !== last) malformed("an array's diff ends in the middle of a value");
  }

  #fields(bytes: Uint8Array, start: number, limit: number, from: number, to: number): void {
    const last = documentLast(bytes, start, limit);
    let at = start + 4;
    while (at < last) {
      const type = bytes[at]!;
      const value = nameEnd(bytes, at + 1);
      const end = valueEnd(bytes, type, value, last);
      this.#addUpdated(this.#path(bytes, at + 1, value - 1, from, to), type, value, last);
      at = end;
    }
    if (at !== last) malformed('a diff ends in the middle of a value');
  }

  #removals(bytes: Uint8Array, start: number, limit: number, from: number, to: number): void {
    const last = documentLast(bytes, start, limit);
    let at = start + 4;
    while (at < last) {
      const value = nameEnd(bytes, at + 1);
      const end = valueEnd(bytes, bytes[at]!, value, last);
      this.removed[this.removedLength++] = this.#path(bytes, at + 1, value - 1, from, to);
      this.removed[this.removedLength++] = this.#pathsLength;
      at = end;
    }
    if (at !== last) malformed('a diff ends in the middle of a value');
  }

  #addUpdated(path: number, type: number, value: number, last: number): void {
    const updated = this.updated;
    const at = this.updatedLength;
    updated[at] = path;
    updated[at + 1] = this.#pathsLength;
    updated[at + 2] = type;
    updated[at + 3] = value;
    updated[at + 4] = last;
    this.updatedLength = at + UPDATED_FIELDS;
  }

  /** Writes "outer.name" (or "name" at the top) behind the other paths; its start is the result, its end `#pathsLength`. */
  #path(bytes: Uint8Array, name: number, end: number, from: number, to: number): number {
    const start = this.#pathsLength;
    const outer = to < 0 ? 0 : to - from + 1;
    const needed = start + outer + end - name;
    if (needed > this.paths.length) this.#grow(needed);
    const paths = this.paths;
    let at = start;
    if (outer > 0) {
      for (let k = from; k < to; k++) paths[at++] = paths[k]!;
      paths[at++] = 0x2e;
    }
    for (let k = name; k < end; k++) paths[at++] = bytes[k]!;
    this.#pathsLength = at;
    return start;
  }

  #grow(needed: number): void {
    if (needed > MAX_PATH_BYTES) malformed('the paths of an update are too long to write out');
    // Not more, though it would be kept: what is too long must not depend on what was written before.
    const paths = new Uint8Array(Math.min(needed * 2, MAX_PATH_BYTES));
    paths.set(this.paths);
    this.paths = paths;
  }
}

function isIndex(bytes: Uint8Array, at: number, end: number): boolean {
  if (at === end) return false;
  for (; at < end; at++) if (bytes[at]! < 0x30 || bytes[at]! > 0x39) return false;
  return true;
}

/** Servers write these as int32; a double or a long is read all the same. */
function wholeNumber(bytes: Uint8Array, type: number, value: number): number {
  switch (type) {
    case BsonType.int32:
      return readInt32(bytes, value);
    case BsonType.int64:
      return readInt64(bytes, value);
    case BsonType.double: {
      const number = readDouble(bytes, value);
      return Number.isInteger(number) ? number : malformed('a whole number was expected');
    }
    default:
      return malformed('a number was expected');
  }
}
