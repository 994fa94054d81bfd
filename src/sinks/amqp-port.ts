/** One lane's confirm channel: AMQP's words in, a lane's words out. */
import type { ConfirmChannel, Options } from 'amqplib';
import type { SubscriptionConfig } from '../config/config.ts';
import type { LaneMessage, OpenPort, PortListener } from '../lanes/port.ts';
import { amqpCode } from './topology.ts';

export interface AmqpPortOptions {
  readonly channel: ConfirmChannel;
  readonly listener: PortListener;
  /** '' is the default exchange: routing keys are queue names. */
  readonly exchange: string;
  readonly contentType: string;
  readonly isBlocked: () => boolean;
  /** Declares a queue whose name depends on the event, before the first message for it; undefined where none does. */
  readonly prepareQueue: ((name: string) => Promise<void>) | undefined;
  readonly onClose: () => void;
}

export class AmqpPort implements OpenPort {
  readonly #o: AmqpPortOptions;
  readonly #prepared = new Set<string>();
  /** One object for all publishes: amqplib reads it before `publish` returns, and headers and copies are what costs there. */
  readonly #options: Options.Publish;
  #full = false;
  #open = true;

  constructor(options: AmqpPortOptions) {
    this.#o = options;
    this.#options = {
      persistent: true,
      mandatory: true,
      contentType: options.contentType,
      appId: 'tailrace',
      type: '',
      messageId: '',
      timestamp: 0,
    };
    const { channel, listener } = options;
    let closedBy: Error | undefined;
    channel.on('ack', (fields) => listener.confirmed(fields.deliveryTag, fields.multiple));
    channel.on('nack', (fields) => listener.refused(fields.deliveryTag, fields.multiple));
    channel.on('return', (message) => {
      const fields = message.fields as { replyCode?: number; replyText?: string };
      listener.returned(
        String(message.properties.messageId),
        `unroutable: no queue is bound for routing key "${message.fields.routingKey}" (${fields.replyCode ?? ''} ${fields.replyText ?? ''})`,
      );
    });
    channel.on('drain', () => {
      this.#full = false;
      listener.writable();
    });
    channel.on('error', (error) => (closedBy = error));
    channel.on('close', () => {
      this.#open = false;
      options.onClose();
      listener.closed({
        kind: closedBy ? 'channel' : 'connection',
        code: amqpCode(closedBy),
        reason: closedBy?.message ?? 'the connection was lost',
      });
    });
  }

  get ready(): boolean {
    return this.#open && !this.#full && !this.#o.isBlocked();
  }

  publish(message: LaneMessage): void {
    const options = this.#options;
    options.type = message.type;
    options.messageId = message.messageId;
    options.timestamp = message.wallSeconds;
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

  unblocked(): void {
    this.#o.listener.writable();
  }

  close(): void {
    this.#open = false;
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

export function contentTypeOf(subscription: SubscriptionConfig): string {
  if (subscription.format === 'bson') return 'application/bson';
  return subscription.batch.maxEvents > 1 ? 'application/x-ndjson' : 'application/json';
}
