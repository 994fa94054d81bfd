/**
 * A transaction whose operations lie in several entries, read again from the oplog when it takes effect, and cut into pieces
 * that look like transactions of one entry at the commit's position. So it is never held in memory as a whole, however large
 * it is, and it makes no difference whether its beginning was read by this process, an earlier one, or nobody.
 * Invariant: the pieces hold every operation of the chain once, first to last.
 */
import {
  BsonType,
  MalformedBson,
  documentLast,
  encodeText,
  malformed,
  nameEnd,
  nameIs,
  valueEnd,
} from '../worker/bson.ts';
import { readApplyOps } from '../worker/apply-ops.ts';
import { EntryHead, readEntry, tsIncrement, tsSeconds } from '../worker/entry.ts';
import type { Found, OplogHistory } from '../source/history.ts';
import type { OpTime } from '../source/position.ts';
import type { TransactionPart } from '../worker/protocol.ts';

/** Bytes of operations in a piece, unless one operation alone is larger: about what a batch of the tail is. */
const PIECE_BYTES = 2 * 1024 * 1024;

export interface Piece {
  /** A batch of one entry; good until the next piece is asked for. */
  readonly bytes: Uint8Array;
  /** How many operations the pieces before it hold. */
  readonly firstIndex: number;
  readonly part: TransactionPart;
  readonly last: boolean;
}

/** The part of a chain that cannot be had. */
export type Gone = Extract<Found<never>, { kind: 'gone' }> & { readonly at: OpTime };

/** The entries before the commit, first to last. */
export async function walkBack(
  history: OplogHistory,
  previous: OpTime,
  stop: AbortSignal,
): Promise<{ readonly kind: 'found'; readonly chain: readonly OpTime[] } | Gone> {
  const chain: OpTime[] = [];
  for (let at: OpTime | undefined = previous; at !== undefined;) {
    chain.push(at);
    const found: Found<OpTime | undefined> = await history.previous(at, stop);
    if (found.kind === 'gone') return { ...found, at };
    at = found.value;
  }
  return { kind: 'found', chain: chain.toReversed() };
}

export interface PiecesOptions {
  readonly history: OplogHistory;
  readonly chain: readonly OpTime[];
  /** The raw entry at which the transaction takes effect: its last part, or `commitTransaction`. */
  readonly commit: Uint8Array;
}

/** Throws `EntryGoneError` where the oplog has lost a part since the walk, and `DamagedPartError`. */
export async function* pieces({ history, chain, commit }: PiecesOptions, stop: AbortSignal): AsyncGenerator<Piece> {
  const head = new EntryHead();
  readEntry(head, commit, 0, commit.length);
  const envelope = envelopeOf(commit, head);
  const wrapping = new Wrapping();
  let firstIndex = 0;
  const pieceOf = ({ operations, part }: Group, last: boolean): Piece => {
    return { bytes: wrapping.wrap(envelope, operations), firstIndex, part, last };
  };
  let ready: Group | undefined;
  try {
    for await (const group of groupsOf({ history, chain, commit }, head, stop)) {
      if (ready) {
        yield pieceOf(ready, false);
        firstIndex += ready.count;
      }
      ready = group;
    }
  } catch (error) {
    if (!(error instanceof MalformedBson)) throw error;
    if (ready) {
      yield pieceOf(ready, true);
      firstIndex += ready.count;
    }
    throw new DamagedPartError(firstIndex, error);
  }
  if (ready) yield pieceOf(ready, true);
}

interface Group {
  /** Elements of an array, of whatever names. */
  readonly operations: Uint8Array;
  readonly count: number;
  readonly part: TransactionPart;
}

async function* groupsOf(
  { history, chain, commit }: PiecesOptions,
  head: EntryHead,
  stop: AbortSignal,
): AsyncGenerator<Group> {
  for (const at of chain) {
    const found = await history.entry(at, stop);
    if (found.kind === 'gone') throw new EntryGoneError({ ...found, at });
    yield* groups(found.value);
  }
  if (holdsOperations(commit, head)) yield* groups(commit);
}

/** A part that cannot be taken apart into operations; so those behind it have no numbers either. */
export class DamagedPartError extends Error {
  override readonly name = 'DamagedPartError';
  /** The number of the first operation that cannot be delivered. */
  readonly firstIndex: number;

  constructor(firstIndex: number, cause: MalformedBson) {
    super(cause.message, { cause });
    this.firstIndex = firstIndex;
  }
}

export class EntryGoneError extends Error {
  override readonly name = 'EntryGoneError';
  readonly gone: Gone;

  constructor(gone: Gone) {
    super('a part of a transaction has left the oplog');
    this.gone = gone;
  }
}

const applyOpsName = encodeText('applyOps');

function holdsOperations(bytes: Uint8Array, head: EntryHead): boolean {
  return bytes[head.o + 4] === BsonType.array && nameIs(bytes, head.o + 5, applyOpsName);
}

/** The array elements of `o.applyOps`, in runs of about `PIECE_BYTES`. */
function* groups(entry: Uint8Array): Generator<Group> {
  const head = new EntryHead();
  readEntry(head, entry, 0, entry.length);
  if (head.o < 0) malformed('a part of a transaction without its document');
  const { list } = readApplyOps(entry, head, documentLast(entry, head.o, head.last));
  const last = documentLast(entry, list, head.last);
  const ts = { seconds: tsSeconds(entry, head.ts), increment: tsIncrement(entry, head.ts) };
  let from = list + 4;
  let number = 0;
  let count = 0;
  for (let at = from; at < last;) {
    const end = valueEnd(entry, entry[at]!, nameEnd(entry, at + 1), last);
    if (count > 0 && end - from > PIECE_BYTES) {
      yield { operations: entry.subarray(from, at), count, part: { ts, from: number } };
      from = at;
      number += count;
      count = 0;
    }
    count++;
    at = end;
  }
  if (count > 0) yield { operations: entry.subarray(from, last), count, part: { ts, from: number } };
}

/** What all pieces share: the commit's position, wall clock and session. */
function envelopeOf(commit: Uint8Array, head: EntryHead): Buffer {
  const parts: Uint8Array[] = [];
  const add = (type: number, name: string, from: number, to: number): void => {
    if (from >= 0) parts.push(Buffer.from([type]), encodeText(name), ZERO, commit.subarray(from, to));
  };
  add(BsonType.timestamp, 'ts', head.ts, head.ts + 8);
  add(BsonType.int64, 't', head.term, head.term + 8);
  add(BsonType.date, 'wall', head.wall, head.wall + 8);
  add(BsonType.document, 'lsid', head.lsid, head.lsid < 0 ? 0 : documentLast(commit, head.lsid, head.last) + 1);
  add(BsonType.int64, 'txnNumber', head.txnNumber, head.txnNumber + 8);
  parts.push(OP_AND_NS);
  return Buffer.concat(parts);
}

const ZERO = Buffer.alloc(1);
const OP_AND_NS = Buffer.from('\x02op\0\x02\0\0\0c\0\x02ns\0\x0b\0\0\0admin.$cmd\0', 'latin1');

/**
 * A batch of one entry around the operations, in a buffer that each piece uses anew: made in one go, since every copy more would be
 * garbage of the transaction's own size (bench `memory`, `transaction`).
 */
class Wrapping {
  #room = Buffer.alloc(0);

  wrap(envelope: Buffer, operations: Uint8Array): Uint8Array {
    const list = operations.length + EMPTY_BYTES;
    const o = APPLY_OPS.length + list + EMPTY_BYTES;
    const entry = envelope.length + O.length + o + EMPTY_BYTES;
    const batch = FIRST.length + entry + EMPTY_BYTES;
    if (this.#room.length < batch) this.#room = Buffer.allocUnsafeSlow(batch);
    const bytes = this.#room.subarray(0, batch);
    let at = bytes.writeInt32LE(batch, 0);
    at += FIRST.copy(bytes, at);
    at = bytes.writeInt32LE(entry, at);
    at += envelope.copy(bytes, at);
    at += O.copy(bytes, at);
    at = bytes.writeInt32LE(o, at);
    at += APPLY_OPS.copy(bytes, at);
    at = bytes.writeInt32LE(list, at);
    bytes.set(operations, at);
    // The list's end, that of `o`, of the entry and of the batch.
    bytes.fill(0, at + operations.length);
    return bytes;
  }
}

/** Of a document without elements: its length and its end. */
const EMPTY_BYTES = 5;
const FIRST = Buffer.from('\x030\0', 'latin1');
const O = Buffer.from('\x03o\0', 'latin1');
const APPLY_OPS = Buffer.from('\x04applyOps\0', 'latin1');
