/** One lane's confirm channel: AMQP's words in, a lane's words out. */
import type { ConfirmChannel, Options } from 'amqplib';
import type { SubscriptionConfig } from '../config/config.ts';
import type { LaneMessage, OpenPort, PortListener } from '../lanes/port.ts';
import { PublishFrames } from './publish-frames.ts';
import { amqpCode } from './topology.ts';
import type { Outbox } from './outbox.ts';

/** What a body is, as AMQP's properties say it. */
export interface BodyProperties {
  readonly contentType: string;
  readonly contentEncoding: string | undefined;
}

export interface AmqpPortOptions extends BodyProperties {
  readonly channel: ConfirmChannel;
  readonly listener: PortListener;
  /** The connection's; without one, amqplib publishes. */
  readonly outbox: Outbox | undefined;
  /** '' is the default exchange: routing keys are queue names. */
  readonly exchange: string;
  readonly isBlocked: () => boolean;
  /** Declares a queue whose name depends on the event, before the first message for it; undefined where none does. */
  readonly prepareQueue: ((name: string) => Promise<void>) | undefined;
  readonly onClose: () => void;
}

const APP_ID = 'tailrace';
const NO_HEADERS = {};

export class AmqpPort implements OpenPort {
  readonly #o: AmqpPortOptions;
  readonly #prepared = new Set<string>();
  /** One object for all publishes: amqplib reads it before `publish` returns, and headers and copies are what costs there. */
  readonly #options: Options.Publish;
  readonly #frames: PublishFrames | undefined;
  #full = false;
  #open = true;

  constructor(options: AmqpPortOptions) {
    this.#o = options;
    this.#options = {
      persistent: true,
      mandatory: true,
      contentType: options.contentType,
      ...(options.contentEncoding !== undefined && { contentEncoding: options.contentEncoding }),
      appId: APP_ID,
      type: '',
      messageId: '',
      timestamp: 0,
    };
    const { channel, listener, outbox, exchange, contentType, contentEncoding } = options;
    this.#frames =
      outbox &&
      new PublishFrames({
        outbox,
        channel: (channel as unknown as { ch: number }).ch,
        exchange,
        contentType,
        contentEncoding,
        appId: APP_ID,
      });
    let closedBy: Error | undefined;
    channel.on('ack', (fields) => listener.confirmed(fields.deliveryTag, fields.multiple));
    channel.on('nack', (fields) => listener.refused(fields.deliveryTag, fields.multiple));
    channel.on('return', (message) => {
      const fields = message.fields as { replyCode?: number; replyText?: string };
      // Its queue was declared once and has been deleted since: the next try declares it again.
      this.#prepared.delete(message.fields.routingKey);
      listener.returned(
        String(message.properties.messageId),
        `no queue is bound for routing key "${message.fields.routingKey}" (${fields.replyCode ?? ''} ${fields.replyText ?? ''})`,
      );
    });
    channel.on('drain', () => {
      this.#full = false;
      listener.writable();
    });
    channel.on('error', (error) => (closedBy = error));
    channel.on('close', () => {
      this.#open = false;
      // Before amqplib's answer to the closing: after it the channel's number means nothing any more.
      outbox?.flush();
      options.onClose();
      listener.closed({
        kind: closedBy ? 'channel' : 'connection',
        code: amqpCode(closedBy),
        reason: closedBy?.message ?? 'the connection was lost',
      });
    });
  }

  get ready(): boolean {
    return this.#open && !this.#full && this.#o.outbox?.ready !== false && !this.#o.isBlocked();
  }

  publish(message: LaneMessage): void {
    if (this.#frames) {
      this.#frames.write(message);
      return;
    }
    const options = this.#options;
    options.type = message.type;
    options.messageId = message.messageId;
    options.timestamp = message.wallSeconds;
    options.headers = message.headers ?? NO_HEADERS;
    // False: taken, but the channel's buffer is full; `drain` follows.
    if (!this.#o.channel.publish(this.#o.exchange, message.routingKey, message.body, options)) this.#full = true;
  }

  prepare(routingKey: string): Promise<void> | undefined {
    const { prepareQueue } = this.#o;
    if (!prepareQueue || this.#prepared.has(routingKey)) return undefined;
    return prepareQueue(routingKey).then(() => {
      this.#prepared.add(routingKey);
    });
  }

  /** The connection takes messages again. */
  writable(): void {
    this.#o.listener.writable();
  }

  close(): void {
    this.#open = false;
    this.#o.outbox?.flush();
    // Not awaited: a channel that hangs must not hang its lane; the connection's heartbeat sees to the rest.
    void closeQuietly(this.#o.channel);
  }
}

async function closeQuietly(channel: ConfirmChannel): Promise<void> {
  try {
    await channel.close();
  } catch {
    // Already closed by the other end.
  }
}

export function bodyPropertiesOf(subscription: SubscriptionConfig): BodyProperties {
  return { contentType: contentTypeOf(subscription), contentEncoding: subscription.compression };
}

export function contentTypeOf(subscription: SubscriptionConfig): string {
  const { format, cloudEvents } = subscription;
  if (format === 'bson') return 'application/bson';
  if (cloudEvents?.mode === 'structured') return 'application/cloudevents+json; charset=utf-8';
  return subscription.batch.maxEvents > 1 ? 'application/x-ndjson' : 'application/json';
}
