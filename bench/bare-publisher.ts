/**
 * The broker's own limit, as a process of its own: one body, published again and again through as many confirm channels as there are
 * queues, with the engine's window and the engine's way of writing frames, and nothing else. No contender that publishes such messages
 * can be faster on the same machine.
 *
 *     bare-publisher.ts AMQP_URI QUEUE_TYPE QUEUE,QUEUE WINDOW BYTES MESSAGES
 */
import { once } from 'node:events';
import { connect } from 'amqplib';
import type { ConfirmChannel } from 'amqplib';
import type { LaneMessage } from '../src/lanes/port.ts';
import { Outbox } from '../src/sinks/outbox.ts';
import { PublishFrames } from '../src/sinks/publish-frames.ts';

const [amqpUri = '', queueType = 'classic', names = '', window, bytes, messages] = process.argv.slice(2);
const queues = names.split(',');
const body = Buffer.alloc(Number(bytes), 'x');
const share = Math.ceil(Number(messages) / queues.length);
/** Of the first and the last confirm, since 1970. */
let firstMs = 0;
let lastMs = 0;

const model = await connect(amqpUri, { noDelay: true });
const outbox = Outbox.of(model);
if (outbox === undefined) throw new Error('this amqplib is not inside as the engine knows it');
await Promise.all(queues.map(async (queue) => publish(queue, await model.createConfirmChannel(), outbox)));
const toldToEnd = once(process, 'SIGTERM');
process.send?.({ firstMs, lastMs });
await toldToEnd;
await model.close();

async function publish(queue: string, channel: ConfirmChannel, to: Outbox): Promise<void> {
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': queueType } });
  const { ch } = channel as unknown as { ch: number };
  const frames = new PublishFrames({
    outbox: to,
    channel: ch,
    exchange: '',
    contentType: 'application/json',
    appId: 'bench',
  });
  const message: LaneMessage = {
    routingKey: queue,
    type: 'insert',
    messageId: 'bench:1795327615.1000.0',
    wallSeconds: 1_795_327_615,
    events: 1,
    body,
  };
  let sent = 0;
  /** Confirms come in any order: all up to `upTo`, and these beyond it. */
  let upTo = 0;
  const beyond = new Set<number>();
  await new Promise<void>((resolve) => {
    const fill = (): void => {
      while (sent < share && sent - upTo - beyond.size < Number(window) && to.ready) {
        frames.write(message);
        sent += 1;
      }
    };
    to.onDrain(fill);
    channel.on('ack', ({ deliveryTag, multiple }: { deliveryTag: number; multiple: boolean }) => {
      lastMs = performance.timeOrigin + performance.now();
      firstMs ||= lastMs;
      if (multiple) upTo = Math.max(upTo, deliveryTag);
      else beyond.add(deliveryTag);
      while (beyond.delete(upTo + 1)) upTo += 1;
      if (multiple) for (const tag of beyond) if (tag <= upTo) beyond.delete(tag);
      if (upTo === share) resolve();
      else fill();
    });
    fill();
  });
}
