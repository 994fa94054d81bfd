/**
 * What the operations of a batch do to documents whose last states are kept, in the order of the oplog: also those that nobody is
 * given, since each of them changes a state.
 * Invariant: what cannot be told of an operation makes the batch `isUnclear`: then no state that is kept may be trusted.
 */
import { BsonType, encodeText, findElement, nameEnd, readInt32 } from './bson.ts';
import type { EntryHead } from './entry.ts';

/** Offsets in one row of `Tracked.rows`; places in the batch. */
export const TrackedField = {
  /** As in `Crud`. */
  type: 0,
  o: 1,
  /** What has the `_id`. */
  withId: 2,
  /** The closing zero of the operation's own document. */
  last: 3,
  /** The collection's sixteen bytes. */
  uuid: 4,
  /** Its number among the operations that somebody is given; -1: nobody is. */
  number: 5,
} as const;
export const TRACKED_FIELDS = 6;

const UUID_SUBTYPE = 4;
const UUID_BYTES = 16;
const dropTargetName = encodeText('dropTarget');

export class Tracked {
  rows = new Int32Array(1024 * TRACKED_FIELDS);
  count = 0;
  isUnclear = false;
  /** UUIDs of collections that are gone, or were changed unseen. */
  dropped: Uint8Array[] = [];
  /** Numbers of entries: see `StateQuestions`. */
  cuts: number[] = [];
  #before = 0;
  #droppedBefore = 0;

  reset(): void {
    this.count = 0;
    this.isUnclear = false;
    this.dropped = [];
    this.cuts = [];
  }

  /** An entry begins. */
  begin(): void {
    this.#before = this.count;
    this.#droppedBefore = this.dropped.length;
  }

  /** It is damaged; `matters`: it may have changed a state, and nobody knows how. */
  undo(matters: boolean): void {
    this.count = this.#before;
    this.dropped.length = this.#droppedBefore;
    this.isUnclear ||= matters;
  }

  operation(bytes: Uint8Array, head: EntryHead, { type, withId }: { type: number; withId: number }): void {
    const uuid = uuidAt(bytes, head.ui);
    if (uuid < 0 || head.o < 0 || withId < 0) {
      this.isUnclear = true;
      return;
    }
    const at = this.count * TRACKED_FIELDS;
    if (at === this.rows.length) {
      const larger = new Int32Array(at * 2);
      larger.set(this.rows);
      this.rows = larger;
    }
    const { rows } = this;
    rows[at + TrackedField.type] = type;
    rows[at + TrackedField.o] = head.o;
    rows[at + TrackedField.withId] = withId;
    rows[at + TrackedField.last] = head.last;
    rows[at + TrackedField.uuid] = uuid;
    rows[at + TrackedField.number] = -1;
    this.count++;
  }

  /** The last operation has this number among those that somebody is given. */
  isGiven(number: number): void {
    this.rows[(this.count - 1) * TRACKED_FIELDS + TrackedField.number] = number;
  }

  /** Its collection is gone, or no longer what was known of it. */
  isGone(bytes: Uint8Array, head: EntryHead): void {
    this.#drop(bytes, uuidAt(bytes, head.ui));
  }

  /** So is the one that was renamed over. */
  renamedOver(bytes: Uint8Array, head: EntryHead): void {
    const over = findElement(bytes, head.o, head.last, dropTargetName);
    if (over >= 0 && bytes[over] === BsonType.binary) this.#drop(bytes, uuidAt(bytes, nameEnd(bytes, over + 1)));
  }

  #drop(bytes: Uint8Array, uuid: number): void {
    if (uuid >= 0) this.dropped.push(bytes.slice(uuid, uuid + UUID_BYTES));
  }
}

/** Where its bytes lie; -1 where the value is none. */
function uuidAt(bytes: Uint8Array, value: number): number {
  if (value < 0 || readInt32(bytes, value) !== UUID_BYTES || bytes[value + 4] !== UUID_SUBTYPE) return -1;
  return value + 5;
}
