/**
 * `where`, as the file has it and as the workers get it: conditions over an event's operation and fields, joined by `all`, `any`
 * and `not`. A condition on a field names it from one of the event's parts on: `fullDocument.status`, `documentKey._id`,
 * `updatedFields.status`, `fullDocumentBeforeChange.status`.
 */
import { OPERATIONS } from './operations.ts';
import { isMapping } from './salvage.ts';

export type Condition =
  | { readonly kind: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'operation'; readonly in: readonly string[] }
  | { readonly kind: 'field'; readonly root: FieldRoot; readonly path: string; readonly test: Test };

export type Test =
  | { readonly op: 'exists'; readonly value: boolean }
  | { readonly op: 'in'; readonly values: readonly Literal[] }
  | { readonly op: Comparison; readonly value: Literal };

export type Comparison = 'gt' | 'gte' | 'lt' | 'lte';

/** Numbers of 64 bits and decimals are texts of digits; dates and UUIDs are found out by the value they are held against. */
export type Literal =
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'number'; readonly value: number | bigint }
  | { readonly type: 'boolean'; readonly value: boolean }
  | { readonly type: 'null' }
  | { readonly type: 'objectId'; readonly hex: string }
  | { readonly type: 'uuid'; readonly hex: string }
  | { readonly type: 'date'; readonly ms: number };

export const FIELD_ROOTS = ['fullDocument', 'documentKey', 'updatedFields', 'fullDocumentBeforeChange'] as const;
export type FieldRoot = (typeof FIELD_ROOTS)[number];

export interface WhereConfig {
  readonly condition: Condition;
  /** What happens to an event of which the condition cannot be judged. */
  readonly whenUnknown: 'deliver' | 'skip';
}

/** What is wrong with a condition, and where in it. */
export class ConditionFault extends Error {
  override readonly name = 'ConditionFault';
}

const MAX_DEPTH = 20;
const TESTS = ['equals', 'in', 'exists', 'gt', 'gte', 'lt', 'lte'] as const;

/** Throws `ConditionFault`. */
export function parseCondition(written: unknown, at = 'where', depth = 0): Condition {
  if (depth > MAX_DEPTH) throw new ConditionFault(`${at} is nested too deeply`);
  if (!isMapping(written)) throw new ConditionFault(`${at} must be a mapping`);
  const keys = Object.keys(written);
  const first = keys.find((key) => ['all', 'any', 'not', 'operation', 'field'].includes(key));
  if (first === undefined) throw new ConditionFault(`${at} needs one of all, any, not, operation, field`);
  if (first !== 'field' && keys.length > 1) throw new ConditionFault(`${at} has more than ${first} in it`);
  switch (first) {
    case 'all':
    case 'any': {
      const list = written[first];
      if (!Array.isArray(list) || list.length === 0) throw new ConditionFault(`${at}.${first} must be a list`);
      return { kind: first, of: list.map((one, k) => parseCondition(one, `${at}.${first}[${k}]`, depth + 1)) };
    }
    case 'not':
      return { kind: 'not', of: parseCondition(written['not'], `${at}.not`, depth + 1) };
    case 'operation': {
      const named: unknown[] = Array.isArray(written['operation']) ? written['operation'] : [written['operation']];
      const operations = named.filter((one) => typeof one === 'string');
      if (operations.length < named.length || operations.length === 0) {
        throw new ConditionFault(`${at}.operation must be an operation's name, or a list of them`);
      }
      const unknown = operations.find((one) => !OPERATIONS.some((known) => known === one));
      if (unknown !== undefined) {
        throw new ConditionFault(`${at}.operation names ${unknown}; there are ${OPERATIONS.join(', ')}`);
      }
      return { kind: 'operation', in: operations };
    }
    default:
      return parseField(written, keys, at);
  }
}

function parseField(written: Record<string, unknown>, keys: readonly string[], at: string): Condition {
  const { field } = written;
  const root = FIELD_ROOTS.find((one) => typeof field === 'string' && field.startsWith(`${one}.`));
  if (root === undefined || typeof field !== 'string' || pathFault(field) !== undefined) {
    throw new ConditionFault(`${at}.field must be one of ${FIELD_ROOTS.map((one) => `${one}.x`).join(', ')}`);
  }
  const names = keys.filter((key) => key !== 'field');
  const op = TESTS.find((one) => one === names[0]);
  if (op === undefined || names.length !== 1) {
    throw new ConditionFault(`${at} needs exactly one of ${TESTS.join(', ')} beside field`);
  }
  const path = field.slice(root.length + 1);
  const value = written[op];
  return { kind: 'field', root, path, test: parseTest(op, value, `${at}.${op}`) };
}

function parseTest(op: (typeof TESTS)[number], value: unknown, at: string): Test {
  switch (op) {
    case 'exists':
      if (typeof value !== 'boolean') throw new ConditionFault(`${at} must be true or false`);
      return { op, value };
    case 'equals':
      return { op: 'in', values: [parseLiteral(value, at)] };
    case 'in':
      if (!Array.isArray(value) || value.length === 0) throw new ConditionFault(`${at} must be a list`);
      return { op, values: value.map((one, k) => parseLiteral(one, `${at}[${k}]`)) };
    case 'gt':
    case 'gte':
    case 'lt':
    case 'lte': {
      const literal = parseLiteral(value, at);
      if (literal.type === 'null' || literal.type === 'boolean') {
        throw new ConditionFault(
          `${at} must be something that comes before or after another: a number, a text, a date`,
        );
      }
      return { op, value: literal };
    }
  }
}

function parseLiteral(value: unknown, at: string): Literal {
  if (value === null) return { type: 'null' };
  if (typeof value === 'string') return { type: 'string', value };
  if (typeof value === 'number' && !Number.isNaN(value)) return { type: 'number', value };
  if (typeof value === 'boolean') return { type: 'boolean', value };
  if (isMapping(value) && Object.keys(value).length === 1) {
    const [[key, inner]] = Object.entries(value) as [[string, unknown]];
    const text = typeof inner === 'string' ? inner : '';
    if (key === '$oid' && /^[0-9a-f]{24}$/i.test(text)) return { type: 'objectId', hex: text.toLowerCase() };
    if (key === '$numberLong' && /^-?\d{1,19}$/.test(text)) return { type: 'number', value: BigInt(text) };
    if (key === '$uuid' && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
      return { type: 'uuid', hex: text.replaceAll('-', '').toLowerCase() };
    }
    if (key === '$date' && !Number.isNaN(Date.parse(text))) return { type: 'date', ms: Date.parse(text) };
  }
  throw new ConditionFault(
    `${at} must be a text, a number, true, false, null, {$oid: …}, {$uuid: …}, {$date: …} or {$numberLong: …}`,
  );
}

/** A dotted path inside documents. */
export function pathFault(path: string): string | undefined {
  if (path === '' || path.split('.').includes('')) return 'a path such as address.street: names with dots between them';
  if (path.includes('\0')) return 'a path without a zero character';
  return undefined;
}
