/** Where the demo's changes go, and how they are read back: RabbitMQ, or a file where no broker can be had. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'amqplib';
import type { ConsumeMessage } from 'amqplib';
import type { Delivered } from './verdict.ts';

export interface Target {
  readonly words: string;
  /** The parts of tailrace.yaml that name it. */
  readonly sinks: Readonly<Record<string, unknown>>;
  readonly to: Readonly<Record<string, unknown>>;
  /** Everything that lies there, in its order. */
  readBack(): Promise<Delivered[]>;
}

export function rabbitTarget(uri: string): Target {
  const [exchange, queue] = ['changes', 'changes'];
  return {
    words: `RabbitMQ, exchange "${exchange}", quorum queue "${queue}"`,
    sinks: { rabbit: { uri } },
    to: { exchange, queues: [{ name: queue, type: 'quorum', bind: '#' }] },
    readBack: async () => drain(uri, queue),
  };
}

export function fileTarget(folder: string): Target {
  const path = join(folder, 'changes.jsonl');
  return {
    words: `the file ${path}`,
    sinks: {},
    to: { file: path },
    readBack: async () =>
      (await readFile(path, 'utf8'))
        .split('\n')
        .filter((line) => line !== '')
        .map((body) => ({ body, routingKey: '' })),
  };
}

async function drain(uri: string, queue: string): Promise<Delivered[]> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    const { messageCount } = await channel.checkQueue(queue);
    const delivered: Delivered[] = [];
    await channel.prefetch(1_000);
    await new Promise<void>((resolve, reject) => {
      if (messageCount === 0) resolve();
      const giveUp = setTimeout(() => {
        reject(new Error(`of ${messageCount} messages only ${delivered.length} came within 20 s`));
      }, 20_000);
      const take = (message: ConsumeMessage | null): void => {
        if (message === null) return;
        delivered.push({ body: message.content.toString(), routingKey: message.fields.routingKey });
        channel.ack(message);
        if (delivered.length < messageCount) return;
        clearTimeout(giveUp);
        resolve();
      };
      channel.consume(queue, take).catch(reject);
    });
    return delivered;
  } finally {
    await connection.close();
  }
}
