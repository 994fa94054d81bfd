/**
 * Routing-key templates: text with `{names}` in it. A template that looks at nothing inside the document gives one key per
 * namespace and operation (and partition), which callers keep; the others are read from the raw BSON of each event.
 * Also what the configuration is checked with: `templateFaults`.
 */
import {
  BsonType,
  decodeText,
  documentLast,
  encodeText,
  findElement,
  hexText,
  nameEnd,
  readBigInt64,
  readDouble,
  readInt32,
  readInt64,
  valueEnd,
} from './bson.ts';
import { LAST_TEXT_MS } from './json-text.ts';
import { decimalText } from './decimal.ts';

const SIMPLE_NAMES = ['source', 'subscription', 'db', 'coll', 'operationType', 'partition'] as const;
type SimpleName = (typeof SIMPLE_NAMES)[number];
const PATH_ROOTS = ['documentKey', 'fullDocument'] as const;
type PathRoot = (typeof PATH_ROOTS)[number];

type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'name'; readonly name: SimpleName }
  | { readonly kind: 'path'; readonly root: PathRoot; readonly name: string; readonly path: readonly Uint8Array[] };

export interface Template {
  readonly parts: readonly Part[];
  /** Looks inside the event's documents. */
  readonly dynamic: boolean;
  readonly usesPartition: boolean;
}

/** The names between braces, as written. */
export function templateNames(template: string): string[] {
  return [...template.matchAll(/\{([^{}]*)\}/gu)].map((match) => match[1]!);
}

/** What is wrong with a template, as sentences for its author; empty when nothing is. */
export function templateFaults(template: string): string[] {
  const faults = templateNames(template)
    .filter((name) => toPart(name) === undefined)
    .map((name) => `unknown name {${name}}; known are ${knownNames()}`);
  if (/[{}]/u.test(template.replaceAll(/\{[^{}]*\}/gu, ''))) faults.push('a brace without its partner');
  return faults;
}

function knownNames(): string {
  return [...SIMPLE_NAMES, ...PATH_ROOTS.map((root) => `${root}.<field>`)].map((name) => `{${name}}`).join(', ');
}

function toPart(name: string): Part | undefined {
  const simple = SIMPLE_NAMES.find((known) => known === name);
  if (simple !== undefined) return { kind: 'name', name: simple };
  const [first, ...path] = name.split('.');
  const root = PATH_ROOTS.find((known) => known === first);
  if (root === undefined || path.length === 0 || path.includes('')) return undefined;
  return { kind: 'path', root, name, path: path.map(encodeText) };
}

/** `source` and `subscription` are filled in at once. */
export function compileTemplate(template: string, known: { source: string; subscription: string }): Template {
  const parts: Part[] = [];
  let from = 0;
  for (const match of template.matchAll(/\{([^{}]*)\}/gu)) {
    if (match.index > from) parts.push({ kind: 'text', text: template.slice(from, match.index) });
    const part = toPart(match[1]!);
    if (part === undefined) throw new Error(`unknown name {${match[1]!}} in the template "${template}"`);
    if (part.kind === 'name' && (part.name === 'source' || part.name === 'subscription')) {
      parts.push({ kind: 'text', text: known[part.name] });
    } else parts.push(part);
    from = match.index + match[0].length;
  }
  if (from < template.length) parts.push({ kind: 'text', text: template.slice(from) });
  return {
    parts,
    dynamic: parts.some((part) => part.kind === 'path'),
    usesPartition: parts.some((part) => part.kind === 'name' && part.name === 'partition'),
  };
}

/** What a template can look at; places are offsets of documents into `bytes`, -1 where the event has none. */
export interface TemplateEvent {
  readonly db: string;
  readonly coll: string;
  readonly operationType: string;
  readonly partition: number;
  readonly bytes: Uint8Array;
  readonly limit: number;
  readonly fullDocument: number;
  /** A whole key document, or -1 where the key is `_id` of the full document. */
  readonly documentKey: number;
}

/** The key, or the name of the field that is missing or has no text. */
export function renderTemplate(template: Template, event: TemplateEvent): { key: string } | { missing: string } {
  let key = '';
  for (const part of template.parts) {
    switch (part.kind) {
      case 'text':
        key += part.text;
        break;
      case 'name':
        key += simpleText(part.name, event);
        break;
      case 'path': {
        const text = partText(part, event);
        if (text === undefined) return { missing: part.name };
        key += text;
      }
    }
  }
  return { key };
}

// oxlint-disable-next-line consistent-return -- the switch covers all names, as the compiler checks
function simpleText(name: SimpleName, event: TemplateEvent): string {
  switch (name) {
    case 'source':
    case 'subscription':
      return ''; // `compileTemplate` has filled them in.
    case 'db':
      return event.db;
    case 'coll':
      return event.coll;
    case 'operationType':
      return event.operationType;
    case 'partition':
      return String(event.partition);
  }
}

const idName = encodeText('_id');

function partText({ root, path }: Part & { kind: 'path' }, event: TemplateEvent): string | undefined {
  let start = root === 'fullDocument' ? event.fullDocument : event.documentKey;
  if (root === 'documentKey' && start < 0) {
    if (!sameName(path[0]!, idName)) return undefined;
    start = event.fullDocument;
  }
  return start < 0 ? undefined : pathText(event.bytes, start, event.limit, path);
}

/** What lies at a path of a document, as text; undefined where nothing does, or what has no text. */
export function pathText(
  bytes: Uint8Array,
  document: number,
  limit: number,
  path: readonly Uint8Array[],
): string | undefined {
  let start = document;
  for (let k = 0; ; k++) {
    const element = findElement(bytes, start, limit, path[k]!);
    if (element < 0) return undefined;
    const type = bytes[element]!;
    const value = nameEnd(bytes, element + 1);
    if (k === path.length - 1) {
      const end = valueEnd(bytes, type, value, documentLast(bytes, start, limit));
      return scalarText(bytes, type, value, end);
    }
    if (type !== BsonType.document && type !== BsonType.array) return undefined;
    start = value;
  }
}

function sameName(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, k) => byte === b[k]);
}

/** Only what a person would write into a routing key; documents, arrays, null and the exotic types have no such text. */
function scalarText(bytes: Uint8Array, type: number, at: number, end: number): string | undefined {
  switch (type) {
    case BsonType.string:
    case BsonType.symbol:
      return decodeText(bytes, at + 4, end - 1);
    case BsonType.int32:
      return String(readInt32(bytes, at));
    case BsonType.int64:
      return String(readBigInt64(bytes, at));
    case BsonType.double:
      return String(readDouble(bytes, at));
    case BsonType.decimal128:
      return decimalText(bytes, at);
    case BsonType.objectId:
      return hexText(bytes, at, at + 12);
    case BsonType.boolean:
      return bytes[at] === 0 ? 'false' : 'true';
    case BsonType.date: {
      const ms = readInt64(bytes, at);
      return ms >= 0 && ms <= LAST_TEXT_MS ? new Date(ms).toISOString() : String(readBigInt64(bytes, at));
    }
    case BsonType.binary: {
      // A UUID reads as people write it; other bytes have no text.
      if (bytes[at + 4] !== 4 || end - at !== 21) return undefined;
      const hex = hexText(bytes, at + 5, at + 21);
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/u, '$1-$2-$3-$4-$5');
    }
    default:
      return undefined;
  }
}
