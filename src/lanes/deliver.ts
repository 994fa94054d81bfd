/**
 * From a worker's result to the lanes: the batch gets its place in the ledger, and each lane its run of messages. Must be
 * called in batch order; within a lane the worker has kept the oplog's order.
 */
import { Field, GATE, RECORD_FIELDS } from '../worker/protocol.ts';
import { Gate } from './gate.ts';
import type { OpTime } from '../source/position.ts';
import type { BatchResult } from '../worker/protocol.ts';
import type { Ledger, Release, Ticket } from './ledger.ts';
import type { Lane } from './lane.ts';

export interface DeliverOptions {
  readonly source: string;
  /** How many numbers there are. */
  readonly subscriptions: number;
  /** Whether somebody has this number; what was encoded for one that has left since is dropped. */
  readonly has: (subscription: number) => boolean;
  readonly partitions: number;
  readonly ledger: Ledger;
  /** The position up to which everything is done once this is. */
  readonly last: OpTime;
  /** Takes the bytes back, where not the usual budget does. */
  readonly release?: Release | undefined;
  /** The lane of this number, made when it is first needed. */
  readonly lane: (number: number) => Pick<Lane, 'push'>;
}

/** A part of a result: some of its records, and of its parked events, in order. */
export interface Stretch {
  readonly result: BatchResult;
  readonly from: Place;
  readonly to: Place;
}

export interface Place {
  readonly records: number;
  readonly parked: number;
}

export const START: Place = { records: 0, parked: 0 };

export function wholeOf(result: BatchResult): Stretch {
  return { result, from: START, to: endOf(result) };
}

/** Whether all of the result's messages are in it, and so no other stretch shares its buffer. */
export function isWhole({ result, from, to }: Stretch): boolean {
  return from.records === 0 && to.records > 0 && to.records === result.records.length / RECORD_FIELDS;
}

export function endOf({ records, parked }: BatchResult): Place {
  return { records: records.length / RECORD_FIELDS, parked: parked.length };
}

/**
 * What it keeps in memory until it is done with: the buffer that its messages lie in, with what is left over in it; of one that
 * is shared the messages alone; and the entries of parked events (which may share one).
 */
export function heldBytes(stretch: Stretch): number {
  const { result, from, to } = stretch;
  let bytes = isWhole(stretch) ? result.bodies.buffer.byteLength : messageBytes(stretch);
  for (const entry of new Set(result.parked.slice(from.parked, to.parked).map((event) => event.entry))) {
    bytes += entry.byteLength;
  }
  return bytes;
}

function messageBytes({ result: { records }, from, to }: Stretch): number {
  let bytes = 0;
  for (let r = from.records; r < to.records; r++) bytes += records[r * RECORD_FIELDS + Field.length]!;
  return bytes;
}

/** Returns its ticket: the parked events must be reported done on it by the caller. */
export function deliver(
  stretch: Stretch,
  { source, subscriptions, has, partitions, ledger, last, release, lane }: DeliverOptions,
): Ticket {
  const { result, from: start, to: end } = stretch;
  const { records, bodies, routingKeys, headers, ids } = result;
  const pending = new Uint32Array(subscriptions);
  for (let r = start.records; r < end.records; r++) {
    const at = r * RECORD_FIELDS;
    // A gate is no message: nothing is ever confirmed of it. What a wall stands for is never done.
    const isWall = result.walls?.has(records[at + Field.offset]!) ?? false;
    if (records[at + Field.type] !== GATE || isWall) pending[Math.floor(records[at + Field.lane]! / partitions)]! += 1;
  }
  for (let p = start.parked; p < end.parked; p++) pending[result.parked[p]!.subscription]! += 1;
  for (let s = 0; s < subscriptions; s++) if (!has(s)) pending[s] = 0;

  const ticket = ledger.open(last, heldBytes(stretch), pending, release);
  // Behind the last message there is nothing to send, and its buffer may be in other hands by now.
  if (start.records === end.records) return ticket;
  const delivery = {
    source,
    ticket,
    records,
    bodies: Buffer.from(bodies.buffer, bodies.byteOffset, bodies.byteLength),
    routingKeys,
    headers,
    ids,
    gates: result.gates.map((arrivals, number) => new Gate(arrivals, result.walls?.get(number))),
  };
  for (let from = start.records; from < end.records;) {
    const number = records[from * RECORD_FIELDS + Field.lane]!;
    let to = from + 1;
    while (to < end.records && records[to * RECORD_FIELDS + Field.lane] === number) to++;
    if (has(Math.floor(number / partitions))) lane(number).push({ delivery, next: from, to });
    from = to;
  }
  return ticket;
}
