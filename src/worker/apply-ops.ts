/**
 * `applyOps` entries: whether one is a transaction, a write of many documents, or a part of something that one entry does not
 * tell in full; and the operations inside it.
 *
 * A transaction above 16 MB is a chain of entries, each naming the one before it in `prevOpTime`; all but the last say
 * `partialTxn`. The last of a prepared one says `prepare` and takes effect at a later `commitTransaction`, which names it.
 */
import { BsonType, encodeText, findElement, malformed, nameEnd, nameIs, valueEnd } from './bson.ts';
import type { OpTime } from '../source/position.ts';
import { EntryHead, Op, readEntry, readPrevious } from './entry.ts';
import { Crud } from './crud.ts';

const names = {
  id: encodeText('_id'),
  applyOps: encodeText('applyOps'),
  partialTxn: encodeText('partialTxn'),
  prepare: encodeText('prepare'),
};

export interface ApplyOps {
  /** Where the array of operations starts. */
  readonly list: number;
  /** Its operations show `lsid` and `txnNumber`. */
  readonly transaction: boolean;
  /** `whole`: takes effect here, by itself; `open`: takes effect at a later entry; `last`: here, with those before it. */
  readonly extent: 'whole' | 'open' | 'last';
  /** The entry before it in its chain. */
  readonly previous: OpTime | undefined;
}

/** `last` is the closing zero of the entry's `o`. */
export function readApplyOps(bytes: Uint8Array, head: EntryHead, last: number): ApplyOps {
  let list = -1;
  let open = false;
  let at = head.o + 4;
  while (at < last) {
    const type = bytes[at]!;
    const name = at + 1;
    const value = nameEnd(bytes, name);
    const end = valueEnd(bytes, type, value, last);
    if (type === BsonType.array && nameIs(bytes, name, names.applyOps)) list = value;
    else if (type === BsonType.boolean && bytes[value] !== 0) {
      open ||= nameIs(bytes, name, names.partialTxn) || nameIs(bytes, name, names.prepare);
    }
    at = end;
  }
  if (list < 0) malformed('applyOps without a list');
  // Without session fields, or marked as applied one by one, it is one write of many documents and no transaction.
  const transaction = head.lsid >= 0 && head.txnNumber >= 0 && head.multiOpType !== 1;
  const previous = transaction ? readPrevious(bytes, head) : undefined;
  const extent = !transaction ? 'whole' : open ? 'open' : previous === undefined ? 'whole' : 'last';
  return { list, transaction, extent, previous };
}

/** The operation in the array element at `at`; the result is what lies behind it. */
export function readOperation(head: EntryHead, bytes: Uint8Array, at: number, last: number): number {
  if (bytes[at] !== BsonType.document) malformed('applyOps holds something that is no document');
  readEntry(head, bytes, nameEnd(bytes, at + 1), last);
  if (head.opStart < 0 || head.nsStart < 0) malformed('an operation without op or ns');
  return head.last + 1;
}

/** As the server tells them apart: only a replacement has an `_id` at the top of `o`. */
export function crudOf(bytes: Uint8Array, head: EntryHead): number {
  if (head.op === Op.insert) return Crud.insert;
  if (head.op === Op.delete) return Crud.delete;
  if (head.o < 0) malformed('an update without its document');
  return findElement(bytes, head.o, head.last, names.id) >= 0 ? Crud.replace : Crud.update;
}
