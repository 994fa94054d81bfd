/**
 * BSON as the workload needs it: what the driver's serialiser cannot write (deprecated types, a document whose order of
 * fields or whose doubled names an object cannot have), and a walk over documents that shares no code with the engine's.
 */
import { serialize } from 'bson';

/** A value by its bytes: types that the library has no class for. */
export class RawValue {
  readonly type: number;
  readonly bytes: Uint8Array;

  constructor(type: number, bytes: Uint8Array) {
    this.type = type;
    this.bytes = bytes;
  }
}

/** A document by its fields, in this order whatever their names. */
export class Fields {
  readonly list: readonly (readonly [string, unknown])[];

  constructor(list: readonly (readonly [string, unknown])[]) {
    this.list = list;
  }
}

export function encode(document: object): Buffer {
  const parts: Uint8Array[] = [];
  const entries = document instanceof Fields ? document.list : Object.entries(document);
  for (const [name, value] of entries) pushElement(parts, name, value);
  return closed(parts);
}

function pushElement(parts: Uint8Array[], name: string, value: unknown): void {
  if (value === undefined) return;
  const [type, bytes] = encodeValue(value);
  parts.push(Buffer.from([type]), Buffer.from(`${name}\0`), bytes);
}

function encodeValue(value: unknown): readonly [type: number, bytes: Uint8Array] {
  if (value instanceof RawValue) return [value.type, value.bytes];
  if (value instanceof Fields) return [3, encode(value)];
  if (Array.isArray(value)) {
    const parts: Uint8Array[] = [];
    for (const [index, item] of value.entries()) pushElement(parts, String(index), item ?? null);
    return [4, closed(parts)];
  }
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return [3, encode(value)];
  }
  // One element called "": type, empty name, value, closing zero.
  const leaf = serialize({ '': value });
  return [leaf[4]!, leaf.subarray(6, -1)];
}

function closed(parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.alloc(4), ...parts, Buffer.alloc(1)]);
  body.writeInt32LE(body.length);
  return body;
}

export interface Element {
  readonly name: string;
  readonly type: number;
  /** The value's bytes. */
  readonly bytes: Uint8Array;
}

/** The elements of the document (or array) that `bytes` begins with. */
export function elementsOf(bytes: Uint8Array): Element[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = view.readInt32LE(0) - 1;
  const elements: Element[] = [];
  for (let at = 4; at < end;) {
    const type = view[at]!;
    const nameEnd = view.indexOf(0, at + 1);
    const start = nameEnd + 1;
    const next = start + valueLength(view, type, start);
    elements.push({ name: view.toString('utf8', at + 1, nameEnd), type, bytes: view.subarray(start, next) });
    at = next;
  }
  return elements;
}

function valueLength(view: Buffer, type: number, at: number): number {
  switch (type) {
    case 1:
    case 9:
    case 17:
    case 18:
      return 8;
    case 2:
    case 13:
    case 14:
      return 4 + view.readInt32LE(at);
    case 3:
    case 4:
    case 15:
      return view.readInt32LE(at);
    case 5:
      return 5 + view.readInt32LE(at);
    case 6:
    case 10:
    case 127:
    case 255:
      return 0;
    case 7:
      return 12;
    case 8:
      return 1;
    case 11:
      return view.indexOf(0, view.indexOf(0, at) + 1) + 1 - at;
    case 12:
      return 4 + view.readInt32LE(at) + 12;
    case 16:
      return 4;
    case 19:
      return 16;
    default:
      throw new Error(`an element of the unknown type ${type}`);
  }
}
