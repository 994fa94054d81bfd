/**
 * The head of one oplog entry, or of one operation inside `applyOps`: where its parts lie in the batch's bytes. Fields come
 * in whatever order; unknown ones are stepped over. One `EntryHead` is filled again and again, so that walking an entry
 * allocates nothing. Places are offsets into the batch; -1 stands for what is not there.
 */
import type { OpTime, Ts } from '../source/position.ts';
import { BsonType, documentLast, malformed, nameEnd, readInt32, readInt64, readUint32, valueEnd } from './bson.ts';

/** The first byte of `op`, where `op` is one letter; what `EntryHead.op` holds. */
export const Op = { insert: 0x69, update: 0x75, delete: 0x64, command: 0x63, noop: 0x6e, unknown: 0 } as const;

export class EntryHead {
  /** One of `Op`. */
  op = 0;
  /** The text of `op`, of `ns`: without the closing zero. */
  opStart = -1;
  opEnd = -1;
  nsStart = -1;
  nsEnd = -1;
  /** Where the documents start (their length), and the closing zero of the whole entry. */
  o = -1;
  o2 = -1;
  lsid = -1;
  /** Where the values lie. */
  ui = -1;
  ts = -1;
  term = -1;
  wall = -1;
  txnNumber = -1;
  prevOpTime = -1;
  fromMigrate = false;
  multiOpType = 0;
  last = -1;

  clear(): void {
    this.op = Op.unknown;
    this.opStart = -1;
    this.opEnd = -1;
    this.nsStart = -1;
    this.nsEnd = -1;
    this.o = -1;
    this.o2 = -1;
    this.lsid = -1;
    this.ui = -1;
    this.ts = -1;
    this.term = -1;
    this.wall = -1;
    this.txnNumber = -1;
    this.prevOpTime = -1;
    this.fromMigrate = false;
    this.multiOpType = 0;
    this.last = -1;
  }
}

/** Names as numbers: up to four of their bytes, the first lowest, which tells all of those below apart. */
const Name = {
  op: 0x70_6f,
  ns: 0x73_6e,
  o: 0x6f,
  o2: 0x32_6f,
  ts: 0x73_74,
  ui: 0x69_75,
  t: 0x74,
  wall: 0x6c_6c_61_77,
  lsid: 0x64_69_73_6c,
} as const;

const longNames = {
  txnNumber: textOf('txnNumber'),
  prevOpTime: textOf('prevOpTime'),
  fromMigrate: textOf('fromMigrate'),
  multiOpType: textOf('multiOpType'),
};

function textOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** What was found before a `MalformedBson` is thrown stays in `head`: it may be enough to say whose entry it was. */
export function readEntry(head: EntryHead, bytes: Uint8Array, start: number, limit: number): void {
  head.clear();
  const last = documentLast(bytes, start, limit);
  head.last = last;
  let at = start + 4;
  while (at < last) {
    const type = bytes[at]!;
    const name = at + 1;
    let key = 0;
    let value = name;
    for (let c = bytes[value]!; c !== 0; c = bytes[++value]!) {
      const place = value - name;
      // Five bytes and more can be none of the short names.
      if (place < 4) key |= c << (place << 3);
      else key = -1;
    }
    value++;
    at = valueEnd(bytes, type, value, last);
    switch (key) {
      case Name.op:
        if (type === BsonType.string) {
          head.opStart = value + 4;
          head.opEnd = at - 1;
          if (at - value === 6) head.op = knownOp(bytes[value + 4]!);
        }
        break;
      case Name.ns:
        if (type === BsonType.string) {
          head.nsStart = value + 4;
          head.nsEnd = at - 1;
        }
        break;
      case Name.o:
        if (type === BsonType.document) head.o = value;
        break;
      case Name.o2:
        if (type === BsonType.document) head.o2 = value;
        break;
      case Name.ts:
        if (type === BsonType.timestamp) head.ts = value;
        break;
      case Name.ui:
        if (type === BsonType.binary) head.ui = value;
        break;
      case Name.t:
        if (type === BsonType.int64) head.term = value;
        break;
      case Name.wall:
        if (type === BsonType.date) head.wall = value;
        break;
      case Name.lsid:
        if (type === BsonType.document) head.lsid = value;
        break;
      case -1:
        readLongName(head, bytes, type, name, value);
        break;
      default:
    }
  }
  if (at !== last) malformed('an entry ends in the middle of a value');
}

function readLongName(head: EntryHead, bytes: Uint8Array, type: number, name: number, value: number): void {
  switch (value - name - 1) {
    case 9:
      if (type === BsonType.int64 && startsWith(bytes, name, longNames.txnNumber)) head.txnNumber = value;
      break;
    case 10:
      if (type === BsonType.document && startsWith(bytes, name, longNames.prevOpTime)) head.prevOpTime = value;
      break;
    case 11:
      if (type === BsonType.boolean && startsWith(bytes, name, longNames.fromMigrate)) {
        head.fromMigrate = bytes[value] !== 0;
      } else if (type === BsonType.int32 && startsWith(bytes, name, longNames.multiOpType)) {
        head.multiOpType = readInt32(bytes, value);
      }
      break;
    default:
  }
}

function startsWith(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
  for (let k = 0; k < text.length; k++) if (bytes[at + k] !== text[k]) return false;
  return true;
}

function knownOp(letter: number): number {
  switch (letter) {
    case Op.insert:
    case Op.update:
    case Op.delete:
    case Op.command:
    case Op.noop:
      return letter;
    default:
      return Op.unknown;
  }
}

/** The parts of a BSON timestamp's value. */
export function tsSeconds(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at + 4);
}

export function tsIncrement(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at);
}

/** What `prevOpTime` names; undefined where the entry is the first of its chain, which it says with a `ts` of (0, 0). */
export function readPrevious(bytes: Uint8Array, head: EntryHead): OpTime | undefined {
  if (head.prevOpTime < 0) return undefined;
  const last = documentLast(bytes, head.prevOpTime, head.last);
  let ts: Ts | undefined;
  let t = -1;
  let at = head.prevOpTime + 4;
  while (at < last) {
    const type = bytes[at]!;
    const value = nameEnd(bytes, at + 1);
    const end = valueEnd(bytes, type, value, last);
    if (type === BsonType.timestamp) ts = { seconds: tsSeconds(bytes, value), increment: tsIncrement(bytes, value) };
    else if (type === BsonType.int64) t = readInt64(bytes, value);
    at = end;
  }
  return ts === undefined || (ts.seconds === 0 && ts.increment === 0) ? undefined : { ts, t };
}
