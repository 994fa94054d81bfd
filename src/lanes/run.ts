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

/** A batch's messages as the worker wrote them. */
export interface Encoded {
  readonly source: string;
  readonly records: Uint32Array;
  readonly bodies: Buffer;
  readonly routingKeys: readonly string[];
  readonly headers?: readonly MessageHeaders[] | undefined;
  /** See `BatchResult`. */
  readonly ids?: readonly string[] | undefined;
}

/** What all runs of one batch share. */
export interface Delivery extends Encoded {
  readonly ticket: Ticket;
  /** By the number that a gate's record holds. */
  readonly gates: readonly Gate[];
}

export interface Run {
  readonly delivery: Delivery;
  /** The next record that is not taken yet; `to` is one past the last. */
  next: number;
  readonly to: number;
}

export function recordField(delivery: Encoded, record: number, field: number): number {
  return delivery.records[record * RECORD_FIELDS + field]!;
}

export function recordHeaders(delivery: Encoded, record: number): MessageHeaders | undefined {
  return delivery.headers?.[recordField(delivery, record, Field.headers) - 1];
}

/** The last operation of a message. */
export function recordEnd(delivery: Encoded, record: number): LanePosition {
  const at = record * RECORD_FIELDS;
  const { records } = delivery;
  return {
    ts: { seconds: records[at + Field.lastSeconds]!, increment: records[at + Field.lastIncrement]! },
    index: records[at + Field.lastIndex]!,
  };
}

interface EncodedPart {
  readonly delivery: Encoded;
  readonly record: number;
}

/** One record of one batch. */
export interface Part extends EncodedPart {
  readonly delivery: Delivery;
}

/**
 * The message that these records make together; more than one only where messages hold many events. Made when it is sent, and
 * not kept: what lives until its confirm outlives the young generation, and would fill the old one (bench `end-to-end`, `quorum`: RSS).
 */
export function composeMessage(parts: readonly EncodedPart[]): LaneMessage {
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
function eventsOf(parts: readonly EncodedPart[]): number {
  let events = 0;
  for (const { delivery, record } of parts) events += recordField(delivery, record, Field.events);
  return events;
}

export function messageIdOf(parts: readonly EncodedPart[]): string {
  const { delivery, record } = parts[0]!;
  const last = parts.at(-1)!;
  const first = idOf(delivery, record, 'first');
  const id = eventsOf(parts) === 1 ? first : `${first}..${idOf(last.delivery, last.record, 'last')}`;
  return fittingId(id);
}

function bodyOf(parts: readonly EncodedPart[]): Buffer {
  const bodies = parts.length > 1 ? parts.map(sliceOf) : undefined;
  return bodies ? Buffer.concat(bodies) : sliceOf(parts[0]!);
}

function sliceOf({ delivery, record }: EncodedPart): Buffer {
  const from = recordField(delivery, record, Field.offset);
  return delivery.bodies.subarray(from, from + recordField(delivery, record, Field.length));
}

/** Of a message's first or last event. */
function idOf({ source, records, ids }: Encoded, record: number, which: 'first' | 'last'): string {
  if (ids) return ids[record * 2 + (which === 'first' ? 0 : 1)]!;
  const at = record * RECORD_FIELDS + (which === 'first' ? Field.firstSeconds : Field.lastSeconds);
  const increment = records[at + 1]!;
  const index = records[at + 2]!;
  return `${source}:${eventIdTail(records[at]!, index === BEGIN_INDEX ? increment + 1 : increment, index)}`;
}

/** As AMQP's `messageId` takes it. */
export function fittingId(id: string): string {
  if (id.length <= MAX_SHORT_STRING) return id;
  const digest = createHash('sha256').update(id).digest('hex');
  return `${id.slice(0, MAX_SHORT_STRING - digest.length - 1)}#${digest}`;
}
