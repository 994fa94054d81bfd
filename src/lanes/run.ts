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

/**
 * The message that these records make together; more than one only where messages hold many events. Made when it is sent, and
 * not kept: what lives until its confirm outlives the young generation, and would fill the old one (bench `end-to-end`, `quorum`: RSS).
 */
export function composeMessage(parts: readonly Part[]): LaneMessage {
  const { delivery, record } = parts[0]!;
  const last = parts.at(-1)!;
  return {
    body: bodyOf(parts),
    routingKey: delivery.routingKeys[recordField(delivery, record, Field.routingKey)]!,
    type: MESSAGE_TYPES[recordField(delivery, record, Field.type)]!,
    messageId: messageIdOf(parts),
    events: eventsOf(parts),
    wallSeconds: recordField(last.delivery, last.record, Field.wallSeconds),
    headers: recordHeaders(delivery, record),
  };
}

/** How many events their message holds. */
function eventsOf(parts: readonly Part[]): number {
  let events = 0;
  for (const { delivery, record } of parts) events += recordField(delivery, record, Field.events);
  return events;
}

export function messageIdOf(parts: readonly Part[]): string {
  const { delivery, record } = parts[0]!;
  const last = parts.at(-1)!;
  const first = idOf(delivery, record * RECORD_FIELDS + Field.firstSeconds);
  const id =
    eventsOf(parts) === 1 ? first : `${first}..${idOf(last.delivery, last.record * RECORD_FIELDS + Field.lastSeconds)}`;
  return id.length <= MAX_SHORT_STRING ? id : shortened(id);
}

function bodyOf(parts: readonly Part[]): Buffer {
  const bodies = parts.length > 1 ? parts.map(sliceOf) : undefined;
  return bodies ? Buffer.concat(bodies) : sliceOf(parts[0]!);
}

function sliceOf({ delivery, record }: Part): Buffer {
  const from = recordField(delivery, record, Field.offset);
  return delivery.bodies.subarray(from, from + recordField(delivery, record, Field.length));
}

/** Of the operation whose seconds, increment and index lie there. */
function idOf({ source, records }: Delivery, at: number): string {
  const increment = records[at + 1]!;
  const index = records[at + 2]!;
  return `${source}:${eventIdTail(records[at]!, index === BEGIN_INDEX ? increment + 1 : increment, index)}`;
}

function shortened(id: string): string {
  const digest = createHash('sha256').update(id).digest('hex');
  return `${id.slice(0, MAX_SHORT_STRING - digest.length - 1)}#${digest}`;
}
