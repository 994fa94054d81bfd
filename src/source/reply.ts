/**
 * Reads what the main thread must know of a raw reply, and no more: the cursor's id, where the batch lies, how many entries
 * it has and which is the last. Entries are skipped by their lengths; only one header is walked, as far as `ts` and `t`.
 * Invariant: nothing is copied; `batch` is a view of the reply's own memory, which the driver may point into as well
 * (`$clusterTime`), so it must never be transferred or written to.
 */
import type { OpTime } from './position.ts';

export interface Reply {
  /** 0 when the server has closed the cursor. */
  readonly cursorId: bigint;
  /** The BSON array `firstBatch` or `nextBatch`. */
  readonly batch: Uint8Array;
  readonly entries: number;
  readonly last: OpTime | undefined;
}

const KIND_DOCUMENT = 3;
const KIND_ARRAY = 4;
const KIND_INT32 = 16;
const KIND_TIMESTAMP = 17;
const KIND_INT64 = 18;
/** Its length and the zero behind it. */
const SMALLEST_DOCUMENT = 5;

/** A change stream's reply. */
export interface StreamReply extends Omit<Reply, 'last'> {
  /** `postBatchResumeToken`: the stream's place behind the batch, which moves on without events too. */
  readonly token: Uint8Array | undefined;
}

/** `cursor` is the raw document under the reply's field of that name. */
export function readReply(cursor: Uint8Array): Reply {
  const { cursorId, batch } = parts(cursor);
  const { entries, lastAt } = skim(batch);
  return { cursorId, batch, entries, last: entries === 0 ? undefined : opTimeAt(batch, lastAt) };
}

/** Of a collection's documents, which have no positions. `last`: one of them. */
export function readDocuments(
  cursor: Uint8Array,
): Pick<Reply, 'batch' | 'entries'> & { readonly last: Uint8Array | undefined } {
  const { batch } = parts(cursor);
  const { entries, lastAt } = skim(batch);
  return { batch, entries, last: entries === 0 ? undefined : batch.subarray(lastAt, batch.byteLength - 1) };
}

export function readStreamReply(cursor: Uint8Array): StreamReply {
  const { cursorId, batch, token } = parts(cursor);
  return { cursorId, batch, entries: skim(batch).entries, token };
}

function parts(cursor: Uint8Array): Pick<StreamReply, 'cursorId' | 'batch' | 'token'> {
  let cursorId = 0n;
  let batch: Uint8Array | undefined;
  let token: Uint8Array | undefined;
  const end = endOfDocument(cursor, 0, cursor.byteLength) - 1;
  let at = 4;
  while (at < end) {
    const kind = cursor[at]!;
    const value = endOfName(cursor, at + 1) + 1;
    at = endOfValue(cursor, kind, value, end);
    if (kind === KIND_ARRAY) batch = cursor.subarray(value, at);
    // "id" is the only 64-bit number here, the token the only document.
    else if (kind === KIND_INT64) cursorId = int64(cursor, value);
    else if (kind === KIND_DOCUMENT) token = cursor.subarray(value, at);
  }
  if (batch === undefined) throw new Error('the reply has neither firstBatch nor nextBatch');
  return { cursorId, batch, token };
}

/** How many entries there are, and where the last one's document lies. */
function skim(batch: Uint8Array): { readonly entries: number; readonly lastAt: number } {
  let entries = 0;
  let lastAt = 0;
  const batchEnd = batch.byteLength - 1;
  for (let at = 4; at < batchEnd; entries += 1) {
    if (batch[at] !== KIND_DOCUMENT) throw new Error(`entry ${entries} of the reply is not a document`);
    lastAt = endOfName(batch, at + 1) + 1;
    at = endOfDocument(batch, lastAt, batchEnd);
  }
  return { entries, lastAt };
}

/** `ts` and `t` of the oplog entry that begins at `start`. */
function opTimeAt(bytes: Uint8Array, start: number): OpTime {
  let seconds: number | undefined;
  let increment = 0;
  let t: number | undefined;
  const end = endOfDocument(bytes, start, bytes.byteLength) - 1;
  let at = start + 4;
  while (at < end) {
    const kind = bytes[at]!;
    const name = at + 1;
    const nameEnd = endOfName(bytes, name);
    const value = nameEnd + 1;
    at = endOfValue(bytes, kind, value, end);
    if (bytes[name] === 0x74 /* t */) {
      if (nameEnd === name + 1) {
        if (kind === KIND_INT64) t = Number(int64(bytes, value));
        else if (kind === KIND_INT32) t = int32(bytes, value);
      } else if (nameEnd === name + 2 && bytes[name + 1] === 0x73 /* s */ && kind === KIND_TIMESTAMP) {
        increment = int32(bytes, value) >>> 0;
        seconds = int32(bytes, value + 4) >>> 0;
      }
      if (seconds !== undefined && t !== undefined) break;
    }
  }
  if (seconds === undefined) throw new Error('an oplog entry without a ts');
  return { ts: { seconds, increment }, t: t ?? -1 };
}

function endOfName(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] !== 0) {
    if (at >= bytes.byteLength) throw new Error('the reply ends inside a name');
    at += 1;
  }
  return at;
}

/** A length that leads back or out would have this thread walk in a circle, or read what is not the reply's. */
function endOfDocument(bytes: Uint8Array, start: number, limit: number): number {
  const end = start + int32(bytes, start);
  if (end < start + SMALLEST_DOCUMENT || end > limit) throw new Error('the reply has a length that cannot be');
  return end;
}

/** Where the element behind a value begins: further on, and not behind `limit`. */
function endOfValue(bytes: Uint8Array, kind: number, at: number, limit: number): number {
  const end = endByKind(bytes, kind, at);
  if (end < at || end > limit) throw new Error('the reply has a length that cannot be');
  return end;
}

function endByKind(bytes: Uint8Array, kind: number, at: number): number {
  switch (kind) {
    case 1: // double
    case 9: // date
    case KIND_TIMESTAMP:
    case KIND_INT64:
      return at + 8;
    case 2: // string
    case 13: // code
    case 14: // symbol
      return at + 4 + int32(bytes, at);
    case KIND_DOCUMENT:
    case KIND_ARRAY:
    case 15: // code with scope
      return at + int32(bytes, at);
    case 5: // binary
      return at + 5 + int32(bytes, at);
    case 6: // undefined
    case 10: // null
    case 127: // max key
    case 255: // min key
      return at;
    case 7: // ObjectId
      return at + 12;
    case 8: // boolean
      return at + 1;
    case 11: // regular expression: two names
      return endOfName(bytes, endOfName(bytes, at) + 1) + 1;
    case 12: // DBPointer
      return at + 4 + int32(bytes, at) + 12;
    case KIND_INT32:
      return at + 4;
    case 19: // decimal128
      return at + 16;
    default:
      throw new Error(`the reply has an element of unknown kind ${kind}`);
  }
}

function int32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function int64(bytes: Uint8Array, at: number): bigint {
  return (BigInt(int32(bytes, at + 4)) << 32n) | BigInt(int32(bytes, at) >>> 0);
}

/** The n-th entry of a batch, for the rare moment that main must look at one. */
export function entryAt(batch: Uint8Array, index: number): { readonly opTime: OpTime; readonly bytes: Uint8Array } {
  const bytes = documentAt(batch, index);
  return { opTime: opTimeAt(bytes, 0), bytes };
}

/** Where the documents of a batch begin, and behind them where the last one ends. */
export function documentStarts(batch: Uint8Array, documents: number): Uint32Array {
  const starts = new Uint32Array(documents + 1);
  let at = 4;
  for (let k = 0; k < documents; k++) {
    const start = endOfName(batch, at + 1) + 1;
    starts[k] = start;
    at = endOfDocument(batch, start, batch.byteLength);
  }
  starts[documents] = at;
  return starts;
}

/** The bytes of the n-th document of a batch. */
export function documentAt(batch: Uint8Array, index: number): Uint8Array {
  let at = 4;
  for (let entry = 0; ; entry += 1) {
    const start = endOfName(batch, at + 1) + 1;
    const end = endOfDocument(batch, start, batch.byteLength);
    if (entry === index) return batch.subarray(start, end);
    at = end;
  }
}
