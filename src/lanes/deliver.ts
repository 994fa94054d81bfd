/**
 * From a worker's result to the lanes: the batch gets its place in the ledger, and each lane its run of messages. Must be
 * called in batch order; within a lane the worker has kept the oplog's order.
 */
import { Field, GATE, RECORD_FIELDS } from '../worker/protocol.ts';
import { Gate } from './gate.ts';
import type { OpTime } from '../source/position.ts';
import type { BatchResult } from '../worker/protocol.ts';
import type { Ledger, Ticket } from './ledger.ts';
import type { Lane } from './lane.ts';

export interface DeliverOptions {
  readonly source: string;
  readonly subscriptions: number;
  readonly partitions: number;
  readonly ledger: Ledger;
  /** The position to count it under where no entry of it had one. */
  readonly before: OpTime;
  /** The lane of this number, made when it is first needed. */
  readonly lane: (number: number) => Lane;
}

/** What a result keeps in memory until it is done with: the messages, and the entries of parked events (which may share one). */
export function heldBytes({ bodies, parked }: BatchResult): number {
  let bytes = bodies.byteLength;
  for (const entry of new Set(parked.map((event) => event.entry))) bytes += entry.byteLength;
  return bytes;
}

/** Returns the batch's ticket: the parked events of the result must be reported done on it by the caller. */
export function deliver(
  result: BatchResult,
  { source, subscriptions, partitions, ledger, before, lane }: DeliverOptions,
): Ticket {
  const { records, bodies, routingKeys } = result;
  const count = records.length / RECORD_FIELDS;
  const pending = new Uint32Array(subscriptions);
  for (let r = 0; r < count; r++) {
    // A gate is no message: nothing is ever confirmed of it.
    if (records[r * RECORD_FIELDS + Field.type] === GATE) continue;
    pending[Math.floor(records[r * RECORD_FIELDS + Field.lane]! / partitions)]! += 1;
  }
  for (const { subscription } of result.parked) pending[subscription]! += 1;

  const ticket = ledger.open(result.last ?? before, heldBytes(result), pending);
  const delivery = {
    source,
    ticket,
    records,
    bodies: Buffer.from(bodies.buffer, bodies.byteOffset, bodies.byteLength),
    routingKeys,
    gates: result.gates.map((arrivals) => new Gate(arrivals)),
  };
  for (let from = 0; from < count;) {
    const number = records[from * RECORD_FIELDS + Field.lane]!;
    let to = from + 1;
    while (to < count && records[to * RECORD_FIELDS + Field.lane] === number) to++;
    lane(number).push({ delivery, next: from, to });
    from = to;
  }
  return ticket;
}
