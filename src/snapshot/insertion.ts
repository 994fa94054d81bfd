/** What is put into a feed's order beside its batches. */
import { Field, RECORD_FIELDS } from '../worker/protocol.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import type { OpTime } from '../source/position.ts';
import type { BatchResult } from '../worker/protocol.ts';

/** What is to be put in order, and what is to be told of it. */
export interface Insertion {
  readonly result: BatchResult;
  /** Looked at once more right before. */
  readonly isWanted: () => boolean;
  readonly budget: ByteBudget;
  /** All of it was confirmed, or (false) will never be. */
  readonly over: (confirmed: boolean) => void;
  /** The documents that it shows, and under what they are kept, where they are. */
  readonly states?: (() => readonly (readonly [key: Buffer, state: Uint8Array])[]) | undefined;
}

/** What stands in for an operation's number: all that happened at its time. */
const WHOLE_ENTRY = 0xffff_ffff;

/** In lanes and checkpoints all of it stands where it was put: behind everything there. */
export function placedAt(result: BatchResult, { ts: { seconds, increment } }: OpTime): BatchResult {
  const records = Uint32Array.from(result.records);
  for (let at = 0; at < records.length; at += RECORD_FIELDS) {
    records[at + Field.firstSeconds] = seconds;
    records[at + Field.firstIncrement] = increment;
    records[at + Field.firstIndex] = WHOLE_ENTRY;
    records[at + Field.lastSeconds] = seconds;
    records[at + Field.lastIncrement] = increment;
    records[at + Field.lastIndex] = WHOLE_ENTRY;
  }
  return { ...result, records };
}
