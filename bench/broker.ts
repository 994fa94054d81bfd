/**
 * The broker's own limit: bare messages, made beforehand, through as many channels as there are queues, with the engine's
 * window. No contender can be faster than this on the same machine, whatever it does.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { ConfirmChannel } from 'amqplib';

export interface BrokerOptions {
  readonly amqpUri: string;
  readonly queueType: 'classic' | 'quorum';
  readonly queues: readonly string[];
  /** Unconfirmed messages a queue. */
  readonly window: number;
  readonly messageBytes: number;
  readonly messages: number;
}

/** Messages a second, from the first confirm to the last. */
export async function brokerRate(options: BrokerOptions): Promise<number> {
  const { amqpUri, queueType, queues, messages } = options;
  const connection = await connect(amqpUri, { noDelay: true });
  try {
    const channels: ConfirmChannel[] = [];
    for (const queue of queues) {
      const channel = await connection.createConfirmChannel();
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': queueType } });
      channels.push(channel);
    }
    const share = Math.ceil(messages / queues.length);
    const tally = { first: 0, last: 0, confirmed: 0 };
    const onConfirm = (): void => {
      tally.last = performance.now();
      tally.first ||= tally.last;
      tally.confirmed += 1;
    };
    await Promise.all(
      channels.map((channel, index) => publish({ ...options, channel, queue: queues[index]!, share, onConfirm })),
    );
    while (tally.confirmed < share * queues.length) await sleep(5);
    return (tally.confirmed * 1_000) / (tally.last - tally.first);
  } finally {
    await connection.close();
  }
}

interface Publishing extends BrokerOptions {
  readonly channel: ConfirmChannel;
  readonly queue: string;
  readonly share: number;
  readonly onConfirm: () => void;
}

async function publish({ channel, queue, share, onConfirm, window, messageBytes }: Publishing): Promise<void> {
  const body = Buffer.alloc(messageBytes, 'x');
  const options = { persistent: true, mandatory: true, contentType: 'application/json', messageId: 'bench:1.1.0' };
  let unconfirmed = 0;
  let wake: (() => void) | undefined;
  const answered = (error: unknown): void => {
    if (error instanceof Error) throw error;
    unconfirmed -= 1;
    onConfirm();
    wake?.();
  };
  for (let sent = 0; sent < share; sent++) {
    if (unconfirmed >= window) await new Promise<void>((resolve) => (wake = resolve));
    unconfirmed += 1;
    if (!channel.publish('', queue, body, options, answered)) await once(channel, 'drain');
  }
}
