/**
 * What a document becomes by an update as servers up to 4.4 write it (`$v: 1`): `$set` and `$unset` of dotted paths. They are one tree
 * of names, whose children are dealt with in order: fields that are there keep their places, new ones come behind them in that order.
 * What cannot be done (a path through a number or a text) is passed over, as the server does when it applies an entry.
 */
import { BsonType, MAX_DEPTH, eachElement, encodeText, findElement, latin1Text, malformed, nameEnd } from './bson.ts';
import { putElement } from './documents.ts';
import type { Documents } from './documents.ts';

const setName = encodeText('$set');
const unsetName = encodeText('$unset');
/** More nulls than the server adds to reach an index. */
const MAX_PADDING = 1_500_000;

/** A value that is set: its type, and where it lies. */
interface Value {
  readonly type: number;
  readonly at: number;
  readonly end: number;
}

/** What becomes of a field: a value, nothing, or something of what it holds. */
type Change =
  | ({ readonly kind: 'set' } & Value)
  | { readonly kind: 'unset' }
  | {
      readonly kind: 'inside';
      readonly children: Map<string, Change>;
      sorted?: readonly (readonly [string, Change])[];
    };

type Inside = Change & { readonly kind: 'inside' };

/** Undefined where `o` is no such update. Throws `MalformedBson`. */
export function readModifiers(bytes: Uint8Array, o: number, limit: number): Inside | undefined {
  const set = findElement(bytes, o, limit, setName);
  const unset = findElement(bytes, o, limit, unsetName);
  if (set < 0 && unset < 0) return undefined;
  const root: Inside = { kind: 'inside', children: new Map() };
  if (set >= 0) {
    eachField(bytes, set, limit, (path, value) => put(root, path, { kind: 'set', ...value }));
  }
  if (unset >= 0) eachField(bytes, unset, limit, (path) => put(root, path, { kind: 'unset' }));
  return root;
}

/** Writes what the document `start` … `limit - 1` becomes. Throws `MalformedBson`. */
export function applyModifiers(out: Documents, bytes: Uint8Array, start: number, limit: number, root: Inside): void {
  new Modifying(out, bytes).document(start, limit, root, 0);
}

function eachField(bytes: Uint8Array, element: number, limit: number, use: (path: string, value: Value) => void): void {
  if (bytes[element] !== BsonType.document) malformed('a part of an update is not a document');
  eachElement(bytes, nameEnd(bytes, element + 1), limit, (at, value, end) =>
    use(latin1Text(bytes, at + 1, value - 1), { type: bytes[at]!, at: value, end }),
  );
}

function put(root: Inside, path: string, change: Change): void {
  const names = path.split('.');
  if (names.length > MAX_DEPTH) malformed('a path of an update is too long');
  const last = names.pop()!;
  let node = root;
  for (const name of names) {
    const next = node.children.get(name) ?? { kind: 'inside', children: new Map<string, Change>() };
    if (next.kind !== 'inside') malformed('an update changes one field in two ways');
    node.children.set(name, next);
    node = next;
  }
  if (node.children.has(last)) malformed('an update changes one field in two ways');
  node.children.set(last, change);
}

class Modifying {
  readonly #out: Documents;
  readonly #bytes: Uint8Array;

  constructor(out: Documents, bytes: Uint8Array) {
    this.#out = out;
    this.#bytes = bytes;
  }

  document(start: number, limit: number, node: Inside, depth: number): void {
    if (depth > MAX_DEPTH) malformed('a document is nested too deeply');
    const bytes = this.#bytes;
    const out = this.#out;
    const done = new Set<string>();
    const begun = out.begin();
    eachElement(bytes, start, limit, (at, value, end) => {
      const name = latin1Text(bytes, at + 1, value - 1);
      const change = done.has(name) ? undefined : node.children.get(name);
      if (change === undefined) {
        out.copy(bytes, at, end);
        return;
      }
      done.add(name);
      if (change.kind === 'unset') return;
      if (change.kind === 'inside') {
        out.copy(bytes, at, value);
        this.#value({ type: bytes[at]!, at: value, end }, change, depth);
        return;
      }
      out.byte(change.type);
      out.copy(bytes, at + 1, value);
      out.copy(bytes, change.at, change.end);
    });
    for (const [name, change] of sorted(node)) if (!done.has(name)) this.#create(name, change, depth);
    out.end(begun);
  }

  /** What is neither a document nor an array stays. */
  #value({ type, at, end }: Value, node: Inside, depth: number): void {
    if (type === BsonType.document) this.document(at, end, node, depth + 1);
    else if (type === BsonType.array) this.#array(at, end, node, depth + 1);
    else this.#out.copy(this.#bytes, at, end);
  }

  #array(start: number, limit: number, node: Inside, depth: number): void {
    if (depth > MAX_DEPTH) malformed('a document is nested too deeply');
    const bytes = this.#bytes;
    const out = this.#out;
    const changes = new Map<number, Change>();
    for (const [name, change] of sorted(node)) {
      const index = indexOf(name);
      if (index !== undefined) changes.set(index, change);
    }
    let n = 0;
    const begun = out.begin();
    eachElement(bytes, start, limit, (at, value, end) => {
      const change = changes.get(n);
      const name = encodeText(String(n++));
      if (change?.kind === 'unset') putElement(out, BsonType.null, name);
      else if (change?.kind === 'set') {
        putElement(out, change.type, name);
        out.copy(bytes, change.at, change.end);
      } else {
        putElement(out, bytes[at]!, name);
        if (change) this.#value({ type: bytes[at]!, at: value, end }, change, depth);
        else out.copy(bytes, value, end);
      }
    });
    for (const [index, change] of changes) {
      if (index < n || !creates(change)) continue;
      if (index - n > MAX_PADDING) malformed('an array cannot be that long');
      for (; n < index; n++) putElement(out, BsonType.null, encodeText(String(n)));
      this.#create(String(n++), change, depth);
    }
    out.end(begun);
  }

  /** What comes to be on the way to a field are documents, whatever the names are. */
  #create(name: string, change: Change, depth: number): void {
    if (!creates(change)) return;
    if (depth > MAX_DEPTH) malformed('a document is nested too deeply');
    const out = this.#out;
    if (change.kind === 'set') {
      putElement(out, change.type, Buffer.from(name, 'latin1'));
      out.copy(this.#bytes, change.at, change.end);
    } else if (change.kind === 'inside') {
      putElement(out, BsonType.document, Buffer.from(name, 'latin1'));
      const begun = out.begin();
      for (const [child, its] of sorted(change)) this.#create(child, its, depth + 1);
      out.end(begun);
    }
  }
}

/** Whether a field comes to be by it where there is none. */
function creates(change: Change): boolean {
  if (change.kind !== 'inside') return change.kind === 'set';
  return [...change.children.values()].some(creates);
}

function sorted(node: Inside): readonly (readonly [string, Change])[] {
  node.sorted ??= [...node.children].toSorted(([a], [b]) => compareNames(a, b));
  return node.sorted;
}

/** The server's order: indexes by their value, all else by its bytes. */
function compareNames(a: string, b: string): number {
  if (a.length !== b.length && isNumberLike(a) && isNumberLike(b)) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** It begins as a number does that is not padded with zeros. */
function isNumberLike(name: string): boolean {
  return /^(?:0$|[1-9])/.test(name);
}

function indexOf(name: string): number | undefined {
  return /^[0-9]{1,9}$/.test(name) ? Number(name) : undefined;
}
