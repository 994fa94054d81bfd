/**
 * What a document becomes by an update: a `diff` (`$v: 2`) is applied to its bytes, as the server does. Fields keep their places,
 * updated ones too; what is new comes behind them, in the diff's order. The grammar of diffs is told in `update.ts`. Updates of the
 * older form are for `apply-modifiers.ts`.
 */
import {
  BsonType,
  MAX_DEPTH,
  documentLast,
  eachElement,
  encodeText,
  findElement,
  malformed,
  nameEnd,
  readInt32,
  valueEnd,
} from './bson.ts';
import { applyModifiers, readModifiers } from './apply-modifiers.ts';
import { putElement } from './documents.ts';
import type { Documents } from './documents.ts';

const diffName = encodeText('diff');
const A = 0x61;
const D = 0x64;
const I = 0x69;
const L = 0x6c;
const S = 0x73;
const U = 0x75;
/** More elements than any array that fits into a document can have. */
const MAX_ELEMENTS = 4_000_000;

/** Where things lie: the document before, and the diff, in `bytes`. */
interface Applying {
  readonly bytes: Uint8Array;
  readonly out: Documents;
}

/**
 * Writes what the document at `before` is after the update entry's `o`, and returns where; `limit`s are the first bytes that do not
 * belong to them. Throws `MalformedBson`, also for what is no update.
 */
export function applyUpdate(
  out: Documents,
  bytes: Uint8Array,
  { before, beforeLimit, o, limit }: { before: number; beforeLimit: number; o: number; limit: number },
): number {
  const start = out.length;
  const element = findElement(bytes, o, limit, diffName);
  if (element < 0 || bytes[element] !== BsonType.document) {
    const modifiers = readModifiers(bytes, o, limit) ?? malformed('an update of no form that is known');
    applyModifiers(out, bytes, before, beforeLimit, modifiers);
    return start;
  }
  const diff = nameEnd(bytes, element + 1);
  applyToDocument({ bytes, out }, before, documentLast(bytes, before, beforeLimit), diff, limit, 0);
  return start;
}

/** What a diff says of the fields of one document, by name. */
interface FieldChanges {
  /** Latin-1 names. */
  readonly removed: ReadonlySet<string>;
  /** Where the element with the new value lies: updated or inserted, in the diff's order. */
  readonly values: ReadonlyMap<string, { readonly at: number; readonly end: number; readonly inserted: boolean }>;
  /** Where the diff of what the field holds lies. */
  readonly inner: ReadonlyMap<string, { readonly at: number; readonly limit: number }>;
}

function applyToDocument(to: Applying, start: number, last: number, diff: number, limit: number, depth: number): void {
  if (depth > MAX_DEPTH) malformed('a diff is nested too deeply');
  const { bytes, out } = to;
  const { removed, values, inner } = readChanges(bytes, diff, limit);
  const written = new Set<string>();
  const begun = out.begin();
  let at = start + 4;
  while (at < last) {
    const type = bytes[at]!;
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, type, value, last);
    const name = text(bytes, at + 1, value - 1);
    const changed = values.get(name);
    const within = inner.get(name);
    if (changed && !changed.inserted) {
      out.copy(bytes, changed.at, changed.end);
      written.add(name);
    } else if (within) {
      out.copy(bytes, at, value);
      applyInside(to, { type, at: value, end }, within, depth);
    } else if (!changed && !removed.has(name)) out.copy(bytes, at, end);
    at = end;
  }
  for (const [name, element] of values) if (!written.has(name)) out.copy(bytes, element.at, element.end);
  out.end(begun);
}

/** As the server does with what is not what the diff takes it for: it stays. */
function applyInside(
  to: Applying,
  value: { readonly type: number; readonly at: number; readonly end: number },
  { at: diff, limit }: { readonly at: number; readonly limit: number },
  depth: number,
): void {
  const { bytes, out } = to;
  const ofArray = isArrayDiff(bytes, diff);
  if (value.type === BsonType.array && ofArray) applyToArray(to, value.at, value.end, diff, limit, depth + 1);
  else if (value.type === BsonType.document && !ofArray)
    applyToDocument(to, value.at, value.end - 1, diff, limit, depth + 1);
  else out.copy(bytes, value.at, value.end);
}

function readChanges(bytes: Uint8Array, start: number, limit: number): FieldChanges {
  const removed = new Set<string>();
  const values = new Map<string, { at: number; end: number; inserted: boolean }>();
  const inner = new Map<string, { at: number; limit: number }>();
  const last = documentLast(bytes, start, limit);
  for (let at = start + 4; at < last;) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    const end = valueEnd(bytes, type, value, last);
    if (type !== BsonType.document) malformed('a section of a diff is not a document');
    const section = bytes[name];
    if (section === S) inner.set(text(bytes, name + 1, value - 1), { at: value, limit: end });
    else if (value === name + 2 && (section === U || section === I)) {
      eachField(bytes, value, end, (field, from, to) => {
        values.set(field, { at: from, end: to, inserted: section === I });
      });
    } else if (value === name + 2 && section === D) eachField(bytes, value, end, (field) => removed.add(field));
    else malformed('a section of a diff that this version does not know');
    at = end;
  }
  return { removed, values, inner };
}

function eachField(
  bytes: Uint8Array,
  start: number,
  limit: number,
  use: (name: string, at: number, end: number) => void,
): void {
  eachElement(bytes, start, limit, (at, value, end) => use(text(bytes, at + 1, value - 1), at, end));
}

/** An element of an array that comes to be: its type, and where its value lies; of `inner`, the diff of it. */
interface Element {
  readonly type: number;
  readonly at: number;
  readonly end: number;
  readonly inner?: { readonly at: number; readonly limit: number };
}

const NULL: Element = { type: BsonType.null, at: 0, end: 0 };

function applyToArray(
  to: Applying,
  start: number,
  limit: number,
  diff: number,
  diffLimit: number,
  depth: number,
): void {
  if (depth > MAX_DEPTH) malformed('a diff is nested too deeply');
  const { bytes, out } = to;
  const elements: Element[] = [];
  eachElement(bytes, start, limit, (at, value, end) => elements.push({ type: bytes[at]!, at: value, end }));
  changeElements(bytes, elements, diff, diffLimit);
  const begun = out.begin();
  for (const [n, { type, at, end, inner }] of elements.entries()) {
    putElement(out, type, encodeText(String(n)));
    if (inner) applyInside(to, { type, at, end }, inner, depth);
    else out.copy(bytes, at, end);
  }
  out.end(begun);
}

function changeElements(bytes: Uint8Array, elements: Element[], diff: number, limit: number): void {
  const last = documentLast(bytes, diff, limit);
  // Behind `a: true`.
  for (let at = diff + 8; at < last;) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    const end = valueEnd(bytes, type, value, last);
    const section = bytes[name];
    if (section === L && value === name + 2) {
      const length = readInt32(bytes, value);
      if (type !== BsonType.int32 || length < 0) malformed('an array cannot have that length');
      if (length < elements.length) elements.length = length;
    } else if (section === U || section === S) {
      const index = Number(text(bytes, name + 1, value - 1));
      if (!Number.isInteger(index) || index > MAX_ELEMENTS) malformed('an array has no such place');
      while (elements.length < index) elements.push(NULL);
      const before = elements[index];
      if (section === U) elements[index] = { type, at: value, end };
      else if (type !== BsonType.document) malformed('a section of a diff is not a document');
      else if (before) elements[index] = { ...before, inner: { at: value, limit: end } };
    } else malformed("a section of an array's diff that this version does not know");
    at = end;
  }
}

function isArrayDiff(bytes: Uint8Array, start: number): boolean {
  const at = start + 4;
  return bytes[at] === BsonType.boolean && bytes[at + 1] === A && bytes[at + 2] === 0;
}

/** Every byte a character: names are compared, not read. */
function text(bytes: Uint8Array, start: number, end: number): string {
  let name = '';
  for (let at = start; at < end; at++) name += String.fromCharCode(bytes[at]!);
  return name;
}
