/**
 * One batch's messages for one lane, as the worker left them: rows of the batch's record table and slices of its buffer.
 * Nothing is made of a message until it enters the lane's window.
 */
import { createHash } from 'node:crypto';
import { MAX_SHORT_STRING } from '../config/limits.ts';
import { BEGIN_INDEX, Field, MESSAGE_TYPES, RECORD_FIELDS, eventIdTail } from '../worker/protocol.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { MessageHeaders } from '../worker/protocol.ts';
import type { Gate } from './gate.ts';
import type { LaneMessage } from './port.ts';
import type { Ticket } from './ledger.ts';

/** What all runs of one batch share. */
export interface Delivery {
  readonly source: string;
  readonly ticket: Ticket;
  readonly records: Uint32Array;
  readonly bodies: Buffer;
  readonly routingKeys: readonly string[];
  readonly headers?: readonly MessageHeaders[] | undefined;
  /** By the number that a gate's record holds. */
  readonly gates: readonly Gate[];
}

export interface Run {
  readonly delivery: Delivery;
  /** The next record that is not taken yet; `to` is one past the last. */
  next: number;
  readonly to: number;
}

export function recordField(delivery: Delivery, record: number, field: number): number {
  return delivery.records[record * RECORD_FIELDS + field]!;
}

export function recordHeaders(delivery: Delivery, record: number): MessageHeaders | undefined {
  return delivery.headers?.[recordField(delivery, record, Field.headers) - 1];
}

/** The last operation of a message. */
export function recordEnd(delivery: Delivery, record: number): LanePosition {
  const at = record * RECORD_FIELDS;
  const { records } = delivery;
  return {
    ts: { seconds: records[at + Field.lastSeconds]!, increment: records[at + Field.lastIncrement]! },
    index: records[at + Field.lastIndex]!,
  };
}

/** One record of one batch. */
export interface Part {
  readonly delivery: Delivery;
  readonly record: number;
}

/** The message that these records make together; more than one only where messages hold many events. */
export function composeMessage(parts: readonly Part[]): LaneMessage {
  const { delivery, record } = parts[0]!;
  const at = record * RECORD_FIELDS;
  const { records } = delivery;
  const offset = records[at + Field.offset]!;
  let body = delivery.bodies.subarray(offset, offset + records[at + Field.length]!);
  let events = records[at + Field.events]!;
  let wallSeconds = records[at + Field.wallSeconds]!;
  let end = recordEnd(delivery, record);
  if (parts.length > 1) {
    const bodies = [body];
    for (let p = 1; p < parts.length; p++) {
      const part = parts[p]!;
      const from = recordField(part.delivery, part.record, Field.offset);
      bodies.push(part.delivery.bodies.subarray(from, from + recordField(part.delivery, part.record, Field.length)));
      events += recordField(part.delivery, part.record, Field.events);
      wallSeconds = recordField(part.delivery, part.record, Field.wallSeconds);
      end = recordEnd(part.delivery, part.record);
    }
    body = Buffer.concat(bodies);
  }
  const first = idOf(delivery.source, recordStart(delivery, record));
  const messageId = events === 1 ? first : `${first}..${idOf(delivery.source, end)}`;
  return {
    body,
    routingKey: delivery.routingKeys[records[at + Field.routingKey]!]!,
    type: MESSAGE_TYPES[records[at + Field.type]!]!,
    messageId: messageId.length <= MAX_SHORT_STRING ? messageId : shortened(messageId),
    events,
    wallSeconds,
    headers: recordHeaders(delivery, record),
  };
}

function recordStart({ records }: Delivery, record: number): LanePosition {
  const at = record * RECORD_FIELDS;
  return {
    ts: { seconds: records[at + Field.firstSeconds]!, increment: records[at + Field.firstIncrement]! },
    index: records[at + Field.firstIndex]!,
  };
}

function idOf(source: string, { ts, index }: LanePosition): string {
  return `${source}:${eventIdTail(ts.seconds, index === BEGIN_INDEX ? ts.increment + 1 : ts.increment, index)}`;
}

function shortened(id: string): string {
  const digest = createHash('sha256').update(id).digest('hex');
  return `${id.slice(0, MAX_SHORT_STRING - digest.length - 1)}#${digest}`;
}
