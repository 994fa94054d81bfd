/**
 * What a lane needs of a sink: a way that takes messages one after another, numbers them from 1 each time it is opened, and
 * answers each by its number. AMQP channels are this, and so is a file; a test can be it too.
 */
import type { MessageHeaders } from '../worker/protocol.ts';

/** One message, ready to go. */
export interface LaneMessage {
  readonly body: Buffer;
  readonly routingKey: string;
  readonly type: string;
  readonly messageId: string;
  /** How many events the body holds. */
  readonly events: number;
  /** Wall clock of the last event, seconds since 1970. */
  readonly wallSeconds: number;
  readonly headers?: MessageHeaders | undefined;
}

/** Why a way was closed, and so what the lane does: a broker's code where there is one. */
export interface PortFault {
  /** `connection`: open again at once, the sink waits and retries; `channel`: this lane's own trouble, back off first. */
  readonly kind: 'connection' | 'channel';
  readonly code: number | undefined;
  readonly reason: string;
}

/** Answers come in any order. After `closed` nothing comes any more. */
export interface PortListener {
  /** Of which of its subscription's lanes. */
  readonly partition: number;
  confirmed(tag: number, multiple: boolean): void;
  refused(tag: number, multiple: boolean): void;
  /** Comes before the message's confirm: it reached no queue. */
  returned(messageId: string, reason: string): void;
  /** There is room again after `publish` said no, or after a blocked connection. */
  writable(): void;
  closed(fault: PortFault): void;
}

export interface OpenPort {
  /** False while the connection is blocked or its buffer is full: publish nothing now, `writable` tells when. */
  readonly ready: boolean;
  /** The n-th call since opening is answered as tag n. */
  publish(message: LaneMessage): void;
  /** Makes sure that the destination of this routing key exists, where it can be known only now; undefined: it does. */
  prepare(routingKey: string): Promise<void> | undefined;
  close(): void;
}

export interface LanePort {
  /** Waits as long as the sink is away; rejects with a `PortFault` when this lane in particular cannot be opened. */
  open(listener: PortListener, stop: AbortSignal): Promise<OpenPort>;
  /** Puts the destination right if the configuration allows it (declares again); may fail, the lane tries anyway. */
  mend(): Promise<void>;
}
