/**
 * `disambiguatedPaths`: for each path of an update whose dots do not tell what is a field and what a place in an array, its
 * parts one by one, places as numbers. Only expanded events of servers that have it carry it, so that it has a walk of its own
 * through the diff, and costs the others nothing.
 *
 * A path is ambiguous when a part behind the first is a number written as the server writes array indexes, and is a field; or
 * when any part holds a dot. In a document, updated and inserted fields come before removed ones, and those before what is
 * changed further inside, whatever the diff's own order.
 */
import { BsonBuilder } from './bson-builder.ts';
import {
  BsonType,
  MAX_DEPTH,
  decodeText,
  documentLast,
  encodeText,
  findElement,
  malformed,
  nameEnd,
  valueEnd,
} from './bson.ts';

const diffName = encodeText('diff');

const A = 0x61;
const D = 0x64;
const L = 0x6c;
const S = 0x73;
const U = 0x75;

/** A field's name, or a place in an array. */
type Part = string | number;

/** `o` is where the entry's `o` document starts; the result is a BSON document, undefined for the old form of updates. */
export function disambiguatedPaths(bytes: Uint8Array, o: number, limit: number): Uint8Array | undefined {
  const diff = findElement(bytes, o, limit, diffName);
  if (diff < 0) return undefined;
  const paths = new BsonBuilder();
  walkDocument(paths, bytes, nameEnd(bytes, diff + 1), limit, [], 0);
  return paths.finish();
}

function walkDocument(
  paths: BsonBuilder,
  bytes: Uint8Array,
  start: number,
  limit: number,
  path: Part[],
  depth: number,
): void {
  if (depth > MAX_DEPTH) malformed('a diff is nested too deeply');
  const last = documentLast(bytes, start, limit);
  const first = start + 4;
  if (bytes[first] === BsonType.boolean && bytes[first + 1] === A && bytes[first + 2] === 0) {
    walkArray(paths, bytes, first + 4, last, path, depth);
    return;
  }
  for (const removed of [false, true]) {
    for (let at = first; at < last;) {
      const value = nameEnd(bytes, at + 1);
      const end = valueEnd(bytes, bytes[at]!, value, last);
      const section = bytes[at + 1];
      if (section !== S && (section === D) === removed) fields(paths, bytes, value, end, path);
      at = end;
    }
  }
  for (let at = first; at < last;) {
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, bytes[at]!, value, last);
    if (bytes[at + 1] === S) {
      path.push(decodeText(bytes, at + 2, value - 1));
      walkDocument(paths, bytes, value, end, path, depth + 1);
      path.pop();
    }
    at = end;
  }
}

function walkArray(
  paths: BsonBuilder,
  bytes: Uint8Array,
  first: number,
  last: number,
  path: Part[],
  depth: number,
): void {
  for (let at = first; at < last;) {
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, bytes[at]!, value, last);
    const section = bytes[at + 1];
    if (section === L && value === at + 3) note(paths, path);
    else if (section === U || section === S) {
      path.push(Number(decodeText(bytes, at + 2, value - 1)));
      if (section === U) note(paths, path);
      else walkDocument(paths, bytes, value, end, path, depth + 1);
      path.pop();
    }
    at = end;
  }
}

function fields(paths: BsonBuilder, bytes: Uint8Array, start: number, limit: number, path: Part[]): void {
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const value = nameEnd(bytes, at + 1);
    path.push(decodeText(bytes, at + 1, value - 1));
    note(paths, path);
    path.pop();
    at = valueEnd(bytes, bytes[at]!, value, last);
  }
}

function note(paths: BsonBuilder, path: readonly Part[]): void {
  if (!path.some((part, k) => typeof part === 'string' && (part.includes('.') || (k > 0 && isIndex(part))))) return;
  paths.begin(BsonType.array, path.join('.'));
  for (const [k, part] of path.entries()) {
    if (typeof part === 'number') paths.int32(String(k), part);
    else paths.string(String(k), part);
  }
  paths.end();
}

function isIndex(part: string): boolean {
  return /^(0|[1-9]\d*)$/.test(part);
}
