/**
 * Whole documents out of the last states that Tailrace keeps: which documents a batch touches (`ask`), and, once main has laid their
 * states behind the batch, what each of its operations makes of them, one behind the other (`apply`).
 * Invariant: both come to the same documents in the same order, so that a number means the same to main and to either.
 */
import {
  MalformedBson,
  documentLast,
  encodeText,
  findElement,
  latin1Text,
  nameEnd,
  readInt32,
  valueEnd,
} from './bson.ts';
import { applyUpdate } from './apply-diff.ts';
import { Crud } from './crud.ts';
import { Documents } from './documents.ts';
import { stateKey } from './state-keys.ts';
import { TRACKED_FIELDS, TrackedField } from './tracked.ts';
import type { Tracked } from './tracked.ts';
import type { ImagesConfig } from '../config/config.ts';
import type { States, StateQuestions } from './protocol.ts';

const idName = encodeText('_id');
const UUID_BYTES = 16;

/** There is no such document, or none that is known. */
export const NO_DOCUMENT = -1;
/** The update cannot be applied to the document before it. */
export const DAMAGED = -3;

/** What was made: of each operation that somebody is given, its documents; places in `bytes`. */
export interface Made {
  readonly bytes: Uint8Array;
  readonly before: Int32Array;
  readonly after: Int32Array;
  /** All that is shown, if each operation is shown once. */
  readonly shownBytes: number;
  readonly states: States;
}

/** The documents that are touched, each once, in the order in which they are. */
class Slots {
  /** By operation that is tracked: the number of its document; -1: it cannot be told. */
  readonly of: Int32Array;
  readonly keys: Buffer[] = [];
  /** By document: whether its state before the batch matters. */
  readonly isNeeded: boolean[] = [];
  isUnclear = false;

  constructor(bytes: Uint8Array, { rows, count }: Tracked, before: ImagesConfig['before']) {
    this.of = new Int32Array(count).fill(-1);
    const numbers = new Map<string, number>();
    for (let k = 0; k < count; k++) {
      const at = k * TRACKED_FIELDS;
      const start = rows[at + TrackedField.withId]!;
      const limit = rows[at + TrackedField.last]!;
      const id = findElement(bytes, start, limit, idName);
      if (id < 0) {
        this.isUnclear = true;
        continue;
      }
      const value = nameEnd(bytes, id + 1);
      const end = valueEnd(bytes, bytes[id]!, value, documentLast(bytes, start, limit));
      const uuid = rows[at + TrackedField.uuid]!;
      const name = `${latin1Text(bytes, uuid, uuid + UUID_BYTES)}${bytes[id]!} ${latin1Text(bytes, value, end)}`;
      let number = numbers.get(name);
      if (number === undefined) {
        number = this.keys.push(stateKey(bytes, { uuid: bytes.subarray(uuid, uuid + UUID_BYTES), id, value, end })) - 1;
        numbers.set(name, number);
        const type = rows[at + TrackedField.type]!;
        const isShown = before !== 'off' && rows[at + TrackedField.number]! >= 0;
        this.isNeeded.push(type === Crud.update || (type !== Crud.insert && isShown));
      }
      this.of[k] = number;
    }
  }
}

export function askForStates(bytes: Uint8Array, tracked: Tracked, images: ImagesConfig): StateQuestions {
  const slots = new Slots(bytes, tracked, images.before);
  const ends = new Uint32Array(slots.keys.length);
  let length = 0;
  for (const [number, key] of slots.keys.entries()) ends[number] = length += key.length;
  const keys = new Uint8Array(length);
  let at = 0;
  for (const key of slots.keys) {
    keys.set(key, at);
    at += key.length;
  }
  return {
    keys,
    ends,
    needed: Uint8Array.from(slots.isNeeded, Number),
    cuts: tracked.cuts,
    isUnclear: tracked.isUnclear || slots.isUnclear,
    dropped: tracked.dropped,
  };
}

export interface Applying {
  readonly tracked: Tracked;
  readonly images: ImagesConfig;
  /** By document: where its state lies in the batch's bytes; 0: it has none, or none that is needed. */
  readonly places: Uint32Array;
  /** How many operations somebody is given. */
  readonly operations: number;
  /** More is not made. */
  readonly mostBytes: number;
}

/** Undefined where it is too much. */
export function applyToStates(
  bytes: Uint8Array,
  { tracked, images, places, operations, mostBytes }: Applying,
): Made | undefined {
  const slots = new Slots(bytes, tracked, images.before);
  const { rows, count } = tracked;
  const current = Int32Array.from(places, (place) => (place === 0 ? NO_DOCUMENT : place));
  const before = new Int32Array(operations).fill(NO_DOCUMENT);
  const after = new Int32Array(operations).fill(NO_DOCUMENT);
  // Behind the batch in the same memory, so that what is made is a document like any other.
  const out = new Documents(bytes);
  let shownBytes = 0;
  for (let k = 0; k < count; k++) {
    const slot = slots.of[k]!;
    if (slot < 0) continue;
    const at = k * TRACKED_FIELDS;
    const was = current[slot]!;
    const is = changed(out, was, rows, at);
    const number = rows[at + TrackedField.number]!;
    if (number >= 0) {
      before[number] = was;
      after[number] = is;
      if (was >= 0 && images.before !== 'off') shownBytes += readInt32(out.bytes, was);
      if (is >= 0) shownBytes += readInt32(out.bytes, is);
    }
    current[slot] = isOf(out.bytes, rows, at, is) ? is : NO_DOCUMENT;
    if (out.length - bytes.length > mostBytes || shownBytes > mostBytes) return undefined;
  }
  const all = out.bytes.subarray(0, out.length);
  return { bytes: all, before, after, shownBytes, states: statesOf(all, current) };
}

function changed(out: Documents, was: number, rows: Int32Array, at: number): number {
  const o = rows[at + TrackedField.o]!;
  const type = rows[at + TrackedField.type]!;
  if (type === Crud.insert || type === Crud.replace) return o;
  if (type !== Crud.update || was < 0) return NO_DOCUMENT;
  return updated(out, was, { o, limit: rows[at + TrackedField.last]! });
}

function updated(out: Documents, before: number, update: { readonly o: number; readonly limit: number }): number {
  const { length } = out;
  try {
    return applyUpdate(out, out.bytes, { before, beforeLimit: length, ...update });
  } catch (error) {
    if (!(error instanceof MalformedBson)) throw error;
    out.length = length;
    return DAMAGED;
  }
}

/** A replacement, or an update by a pipeline, may write the same number as another type: then it has another `_id` from there on. */
function isOf(bytes: Uint8Array, rows: Int32Array, at: number, document: number): boolean {
  if (document < 0) return false;
  const withId = rows[at + TrackedField.withId]!;
  if (withId === document) return true;
  const limit = rows[at + TrackedField.last]!;
  // What was made lies behind all operations.
  const [was, is] = [idAt(bytes, withId, limit), idAt(bytes, document, bytes.length)];
  return was !== undefined && is !== undefined && Buffer.compare(was, is) === 0;
}

/** The element as it lies there. */
function idAt(bytes: Uint8Array, document: number, limit: number): Uint8Array | undefined {
  const id = findElement(bytes, document, limit, idName);
  if (id < 0) return undefined;
  const end = valueEnd(bytes, bytes[id]!, nameEnd(bytes, id + 1), documentLast(bytes, document, limit));
  return bytes.subarray(id, end);
}

/** Copies of the last ones. */
function statesOf(bytes: Uint8Array, current: Int32Array): States {
  const ends = new Uint32Array(current.length);
  let length = 0;
  for (const [slot, place] of current.entries()) ends[slot] = length += place < 0 ? 0 : readInt32(bytes, place);
  const documents = new Uint8Array(length);
  let from = 0;
  for (const [slot, place] of current.entries()) {
    const to = ends[slot]!;
    if (place >= 0) documents.set(bytes.subarray(place, place + to - from), from);
    from = to;
  }
  return { documents, ends };
}
