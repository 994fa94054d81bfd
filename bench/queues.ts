/** The queues of a run: emptied out of the way before it, watched while it fills them, counted to the last event after it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';

/** How the bodies in a queue are to be counted. */
export type Framing = 'one' | 'lines' | 'bson';

export interface Content {
  readonly messages: number;
  readonly events: number;
  /** Of the bodies read: all of them, or a few where one message is one event. */
  readonly averageBytes: number;
}

interface Queues {
  readonly queues: readonly string[];
  readonly queueType: 'classic' | 'quorum' | 'stream';
  readonly framing: Framing;
}

/** Where one message is one event, the depth tells all, and a few bodies tell their size. */
const SAMPLE = 400;
/** A stream does not say how much there is to read; nothing for so long means that this was all. */
const STREAM_END_MS = 3_000;

export async function deleteQueues(uri: string, queues: readonly string[]): Promise<void> {
  await withChannel(uri, async (channel) => {
    for (const queue of queues) await channel.deleteQueue(queue);
  });
}

export async function declareQueues(uri: string, queues: readonly string[], queueType: string): Promise<void> {
  await withChannel(uri, async (channel) => {
    const options = { durable: true, arguments: { 'x-queue-type': queueType } };
    for (const queue of queues) await channel.assertQueue(queue, options);
  });
}

/** How many messages lie in queues that exist, asked over one connection as often as one likes. */
export class QueueDepths {
  readonly #connection: ChannelModel;
  readonly #channel: Channel;
  readonly #queues: readonly string[];
  #closed: Promise<void> | undefined;

  private constructor(connection: ChannelModel, channel: Channel, queues: readonly string[]) {
    this.#connection = connection;
    this.#channel = channel;
    this.#queues = queues;
  }

  static async open(uri: string, queues: readonly string[]): Promise<QueueDepths> {
    const connection = await connect(uri);
    return new QueueDepths(connection, await connection.createChannel(), queues);
  }

  async total(): Promise<number> {
    const depths = await depthsOf(this.#channel, this.#queues);
    return depths.reduce((sum, depth) => sum + depth, 0);
  }

  /** A second time it does nothing. */
  async close(): Promise<void> {
    this.#closed ??= this.#connection.close();
    await this.#closed;
  }
}

export async function contentOf(uri: string, { queues, queueType, framing }: Queues): Promise<Content> {
  return withChannel(uri, async (channel) => {
    if (queueType === 'stream') return read(channel, { queues, framing, upTo: Infinity, stream: true });
    let depths = await depthsOf(channel, queues);
    // What is confirmed is counted a moment later.
    for (;;) {
      await sleep(200);
      const again = await depthsOf(channel, queues);
      if (again.join() === depths.join()) break;
      depths = again;
    }
    const messages = depths.reduce((sum, depth) => sum + depth, 0);
    if (framing !== 'one') return read(channel, { queues, framing, upTo: messages, stream: false });
    const sample = await read(channel, { queues, framing, upTo: Math.min(messages, SAMPLE), stream: false });
    return { messages, events: messages, averageBytes: sample.averageBytes };
  });
}

async function depthsOf(channel: Channel, queues: readonly string[]): Promise<number[]> {
  const depths: number[] = [];
  for (const queue of queues) depths.push((await channel.checkQueue(queue)).messageCount);
  return depths;
}

interface Reading {
  readonly queues: readonly string[];
  readonly framing: Framing;
  readonly upTo: number;
  readonly stream: boolean;
}

async function read(channel: Channel, { queues, framing, upTo, stream }: Reading): Promise<Content> {
  let messages = 0;
  let events = 0;
  let bytes = 0;
  await channel.prefetch(50);
  await new Promise<void>((resolve, reject) => {
    if (upTo === 0) resolve();
    const end = stream ? setTimeout(resolve, STREAM_END_MS) : undefined;
    const take = (message: ConsumeMessage | null): void => {
      if (message === null || messages === upTo) return;
      messages += 1;
      events += eventsIn(message.content, framing);
      bytes += message.content.length;
      end?.refresh();
      channel.ack(message);
      if (messages === upTo) resolve();
    };
    const options = stream ? { arguments: { 'x-stream-offset': 'first' } } : {};
    for (const queue of queues) channel.consume(queue, take, options).catch(reject);
  });
  return { messages, events, averageBytes: bytes / messages };
}

function eventsIn(body: Buffer, framing: Framing): number {
  switch (framing) {
    case 'one':
      return 1;
    case 'lines':
      return lines(body);
    case 'bson':
      return documents(body);
  }
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
