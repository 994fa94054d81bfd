/**
 * Judges `where` on a finished event: true, false, or undefined where the event does not carry what a condition asks about
 * (an update without its full document, say). `all`, `any` and `not` reckon with the third value: one false makes `all` false
 * whatever is unknown beside it, one true makes `any` true, and `not` leaves the unknown unknown.
 */
import type { Comparison, Condition, FieldRoot, Literal, Test } from '../config/where.ts';
import {
  BsonType,
  documentLast,
  encodeText,
  hexText,
  latin1Text,
  nameEnd,
  readBigInt64,
  readDouble,
  readInt32,
  readInt64,
  stringEnd,
  valueEnd,
} from './bson.ts';
import { documentField, field, textField } from './event-fields.ts';
import type { FieldPlace } from './event-fields.ts';
import { decimalText } from './decimal.ts';
import { DOT, latin1 } from './path-rules.ts';

export type Verdict = boolean | undefined;

export function judge(condition: Condition, event: Uint8Array): Verdict {
  switch (condition.kind) {
    case 'all':
    case 'any': {
      const decisive = condition.kind === 'any';
      let verdict: Verdict = !decisive;
      for (const one of condition.of) {
        const its = judge(one, event);
        if (its === decisive) return decisive;
        if (its === undefined) verdict = undefined;
      }
      return verdict;
    }
    case 'not': {
      const verdict = judge(condition.of, event);
      return verdict === undefined ? undefined : !verdict;
    }
    case 'operation':
      return condition.in.includes(textField(event, 0, 'operationType'));
    case 'field':
      return judgeField(condition.test, lookUp(event, condition.root, encoded(condition.path)));
  }
}

interface Found {
  /** Whether the event says what the field holds, be it nothing. */
  readonly told: boolean;
  /** Several where arrays lie on the way, or at its end. */
  readonly values: readonly FieldPlace[];
  readonly bytes: Uint8Array;
  /** It is there, and was changed in part: what it holds is not told. */
  readonly partly: boolean;
}

function judgeField(test: Test, { told, values, bytes, partly }: Found): Verdict {
  if (test.op === 'exists') {
    if (values.length > 0 || partly) return test.value;
    return told ? !test.value : undefined;
  }
  for (const value of values) if (passes(test, bytes, value)) return true;
  return told && !partly ? false : undefined;
}

const paths = new Map<string, Uint8Array>();

/** Of the plan's paths, which are few. */
function encoded(path: string): Uint8Array {
  let bytes = paths.get(path);
  if (bytes === undefined) paths.set(path, (bytes = encodeText(path)));
  return bytes;
}

const APART = -1;
const BELOW = -2;

/**
 * What a name is to a path: the path itself (its length is the result), a beginning of it (where the dot lies behind which the
 * rest of the path begins), something below it, or apart. Byte by byte: most differ in the first one (bench `encode`, where + mask).
 */
function relation(bytes: Uint8Array, name: number, end: number, path: Uint8Array): number {
  const { length } = path;
  for (let k = 0; ; k++) {
    if (name + k === end) return k === length || path[k] === DOT ? k : APART;
    if (k === length) return bytes[name + k] === DOT ? BELOW : APART;
    if (bytes[name + k] !== path[k]) return APART;
  }
}

function lookUp(bytes: Uint8Array, root: FieldRoot, path: Uint8Array): Found {
  const values: FieldPlace[] = [];
  if (root === 'updatedFields') return lookUpUpdate(bytes, path, values);
  const start = documentField(bytes, 0, root);
  if (start >= 0) collect(bytes, start, path, values);
  // A key holds the fields it is made of, a document all that it has.
  return { told: start >= 0 && (root !== 'documentKey' || values.length > 0), values, bytes, partly: false };
}

function lookUpUpdate(bytes: Uint8Array, path: Uint8Array, values: FieldPlace[]): Found {
  const update = documentField(bytes, 0, 'updateDescription');
  const updated = update < 0 ? -1 : documentField(bytes, update, 'updatedFields');
  let told = false;
  let partly = false;
  if (updated >= 0) {
    forEach(bytes, updated, (name, place) => {
      const at = relation(bytes, name, place.at - 1, path);
      if (at === BELOW) partly = true;
      else if (at !== APART) {
        told = true;
        if (at === path.length) add(bytes, place, values);
        else inside(bytes, place, path.subarray(at + 1), values);
      }
    });
  }
  const removed = update < 0 ? undefined : field(bytes, update, 'removedFields');
  if (removed?.type === BsonType.array) {
    forEach(bytes, removed.at, (_, { type, at, last }) => {
      if (type !== BsonType.string) return;
      const what = relation(bytes, at + 4, stringEnd(bytes, at, last) - 1, path);
      if (what === BELOW) partly = true;
      else if (what !== APART) told = true;
    });
  }
  return { told, values, bytes, partly };
}

/** What lies at a path, through arrays too, and through fields whose names have dots. */
function collect(bytes: Uint8Array, start: number, path: Uint8Array, values: FieldPlace[]): void {
  const last = documentLast(bytes, start, bytes.length);
  for (let name = start + 5; name <= last;) {
    const type = bytes[name - 1]!;
    const at = nameEnd(bytes, name);
    const where = relation(bytes, name, at - 1, path);
    if (where === path.length) add(bytes, { type, at, last }, values);
    else if (where >= 0) inside(bytes, { type, at, last }, path.subarray(where + 1), values);
    name = valueEnd(bytes, type, at, last) + 1;
  }
}

function inside(bytes: Uint8Array, place: FieldPlace, rest: Uint8Array, values: FieldPlace[]): void {
  if (place.type !== BsonType.document && place.type !== BsonType.array) return;
  collect(bytes, place.at, rest, values);
  if (place.type === BsonType.document) return;
  forEach(bytes, place.at, (_, item) => {
    if (item.type === BsonType.document) collect(bytes, item.at, rest, values);
  });
}

/** As in a query, an array stands for each of its items too. */
function add(bytes: Uint8Array, place: FieldPlace, values: FieldPlace[]): void {
  values.push(place);
  if (place.type === BsonType.array) forEach(bytes, place.at, (_, item) => values.push(item));
}

function forEach(bytes: Uint8Array, start: number, each: (name: number, place: FieldPlace) => void): void {
  const last = documentLast(bytes, start, bytes.length);
  for (let at = start + 4; at < last;) {
    const value = nameEnd(bytes, at + 1);
    each(at + 1, { type: bytes[at]!, at: value, last });
    at = valueEnd(bytes, bytes[at]!, value, last);
  }
}

function passes(test: Exclude<Test, { op: 'exists' }>, bytes: Uint8Array, value: FieldPlace): boolean {
  if (test.op === 'in') return test.values.some((literal) => compare(bytes, value, literal) === 0);
  const order = compare(bytes, value, test.value);
  return order !== undefined && agrees(test.op, order);
}

// oxlint-disable-next-line consistent-return -- the switch covers all, as the compiler checks
function agrees(op: Comparison, order: number): boolean {
  switch (op) {
    case 'gt':
      return order > 0;
    case 'gte':
      return order >= 0;
    case 'lt':
      return order < 0;
    case 'lte':
      return order <= 0;
  }
}

/** Below 0, 0 or above; undefined where the two are of kinds that have no order. */
function compare(bytes: Uint8Array, { type, at, last }: FieldPlace, literal: Literal): number | undefined {
  switch (type) {
    case BsonType.double:
      return compareNumbers(readDouble(bytes, at), literal);
    case BsonType.int32:
      return compareNumbers(readInt32(bytes, at), literal);
    case BsonType.int64:
      return compareNumbers(readBigInt64(bytes, at), literal);
    case BsonType.decimal128:
      return compareNumbers(decimalNumber(decimalText(bytes, at)), literal);
    case BsonType.string:
    case BsonType.symbol:
      if (literal.type !== 'string') return undefined;
      return order(latin1Text(bytes, at + 4, stringEnd(bytes, at, last) - 1), latin1(literal.value));
    case BsonType.date: {
      const ms = literal.type === 'date' ? literal.ms : literal.type === 'string' ? Date.parse(literal.value) : NaN;
      return Number.isNaN(ms) ? undefined : order(readInt64(bytes, at), ms);
    }
    case BsonType.objectId:
      return literal.type === 'objectId' ? order(hexText(bytes, at, at + 12), literal.hex) : undefined;
    case BsonType.binary:
      if (literal.type !== 'uuid' || bytes[at + 4] !== 4 || readInt32(bytes, at) !== 16) return undefined;
      return order(hexText(bytes, at + 5, at + 21), literal.hex);
    case BsonType.boolean:
      return literal.type === 'boolean' ? order(bytes[at]!, literal.value ? 1 : 0) : undefined;
    case BsonType.null:
      return literal.type === 'null' ? 0 : undefined;
    default:
      return undefined;
  }
}

/** JavaScript compares a number and a bigint exactly. */
function compareNumbers(value: number | bigint, literal: Literal): number | undefined {
  if (literal.type !== 'number') return undefined;
  return order(value, literal.value);
}

function order<T extends number | bigint | string>(a: T, b: T): number | undefined {
  if (a < b) return -1;
  if (a > b) return 1;
  // NaN is neither.
  return a >= b ? 0 : undefined;
}

/** Whole numbers exactly, others to a double's precision: 19.99 equals the decimal that is written so. */
function decimalNumber(text: string): number | bigint {
  return /^-?\d+$/.test(text) ? BigInt(text) : Number(text);
}
