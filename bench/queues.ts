/** The queues of a run: emptied out of the way before it, counted to the last event after it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { Channel, ConsumeMessage } from 'amqplib';

/** How the bodies in a queue are to be counted. */
export type Framing = 'one' | 'lines' | 'bson';

export interface Content {
  readonly messages: number;
  readonly events: number;
  /** Of the bodies; unknown where messages were counted without reading them. */
  readonly bytes: number | undefined;
  /** Queues that hold anything. */
  readonly used: number;
}

export async function deleteQueues(uri: string, queues: readonly string[]): Promise<void> {
  await withChannel(uri, async (channel) => {
    for (const queue of queues) await channel.deleteQueue(queue);
  });
}

export async function contentOf(uri: string, queues: readonly string[], framing: Framing): Promise<Content> {
  return withChannel(uri, async (channel) => {
    let depths = await depthsOf(channel, queues);
    // What is confirmed is counted a moment later.
    for (;;) {
      await sleep(200);
      const again = await depthsOf(channel, queues);
      if (again.join() === depths.join()) break;
      depths = again;
    }
    const messages = depths.reduce((sum, depth) => sum + depth, 0);
    const used = depths.filter((depth) => depth > 0).length;
    if (framing === 'one') return { messages, events: messages, bytes: undefined, used };
    return { messages, used, ...(await read(channel, { queues, messages, framing })) };
  });
}

async function depthsOf(channel: Channel, queues: readonly string[]): Promise<number[]> {
  const depths: number[] = [];
  for (const queue of queues) depths.push((await channel.checkQueue(queue)).messageCount);
  return depths;
}

interface Reading {
  readonly queues: readonly string[];
  readonly messages: number;
  readonly framing: 'lines' | 'bson';
}

async function read(
  channel: Channel,
  { queues, messages, framing }: Reading,
): Promise<{ events: number; bytes: number }> {
  let left = messages;
  let events = 0;
  let bytes = 0;
  await channel.prefetch(50);
  await new Promise<void>((resolve, reject) => {
    if (left === 0) resolve();
    const take = (message: ConsumeMessage | null): void => {
      if (message === null) return;
      events += framing === 'lines' ? lines(message.content) : documents(message.content);
      bytes += message.content.length;
      channel.ack(message);
      left -= 1;
      if (left === 0) resolve();
    };
    for (const queue of queues) channel.consume(queue, take).catch(reject);
  });
  return { events, bytes };
}

function lines(body: Buffer): number {
  let count = 0;
  for (let at = body.indexOf(10); at !== -1; at = body.indexOf(10, at + 1)) count += 1;
  return count;
}

function documents(body: Buffer): number {
  let count = 0;
  for (let at = 0; at < body.length; at += body.readInt32LE(at)) count += 1;
  return count;
}

async function withChannel<T>(uri: string, use: (channel: Channel) => Promise<T>): Promise<T> {
  const connection = await connect(uri);
  try {
    return await use(await connection.createChannel());
  } finally {
    await connection.close();
  }
}
