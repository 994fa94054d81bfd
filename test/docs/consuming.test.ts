/** What docs/consuming.md says of RabbitMQ's queues, held against the broker at hand. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { connect } from 'amqplib';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { until } from '../harness/engine-process.ts';
import { onBroker } from '../harness/on-broker.ts';
import { sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

const SENT = ['1', '2', '3', '4', '5', '6'];
const TYPES = ['classic', 'quorum'] as const;
/** As the engine declares a partition's queue. */
const SINGLE = { 'x-single-active-consumer': true };

let rabbit: Shared;

before(async () => {
  rabbit = await sharedRabbit();
});

after(async () => rabbit.stop());

for (const type of TYPES) {
  test(`${type}: when the active consumer goes, the next has what was not acknowledged, in order`, async () => {
    await using queue = await filled({ 'x-queue-type': type, ...SINGLE });
    const first = await queue.consumer(3);
    const second = await queue.consumer(SENT.length);
    await until('the first has its prefetch', () => first.bodies.length === 3);
    assert.deepEqual(second.bodies, []);
    first.ack(1);
    await first.close();
    await until('the second has the rest', () => second.bodies.length === 5);
    assert.deepEqual(second.bodies, ['2', '3', '4', '5', '6']);
  });

  test(`${type}: a message that is requeued comes behind later ones`, async () => {
    await using queue = await filled({ 'x-queue-type': type });
    const consumer = await queue.consumer(SENT.length);
    await until('all are there', () => consumer.bodies.length === SENT.length);
    consumer.requeue(1);
    await until('it is there again', () => consumer.bodies.length === SENT.length + 1);
    assert.deepEqual(consumer.bodies, [...SENT, '1']);
  });
}

test('a full queue drops its oldest messages, which it has confirmed, unless it is told to refuse', async () => {
  await using dropping = await filled({ 'x-max-length': 2 });
  assert.deepEqual(dropping.answers, ['ack', 'ack', 'ack', 'ack', 'ack', 'ack']);
  assert.deepEqual(await dropping.left(), ['5', '6']);
  await using refusing = await filled({ 'x-max-length': 2, 'x-overflow': 'reject-publish' });
  assert.deepEqual(refusing.answers, ['ack', 'ack', 'nack', 'nack', 'nack', 'nack']);
  assert.deepEqual(await refusing.left(), ['1', '2']);
});

test('a stream queue takes no consumer without a prefetch', async () => {
  await using queue = await filled({ 'x-queue-type': 'stream' });
  await assert.rejects(queue.consumer(0), /406.*prefetch/);
});

/** A queue that was sent to. */
async function filled(args: Readonly<Record<string, unknown>>): Promise<Queue> {
  const connection = await connect(rabbit.uri);
  const channel = await connection.createConfirmChannel();
  const name = `consuming-${randomUUID().slice(0, 8)}`;
  await channel.assertQueue(name, { durable: true, arguments: { ...args } });
  const answers: string[] = [];
  for (const body of SENT) {
    // One after the other: what a full queue does is then no matter of chance.
    await new Promise<void>((resolve) => {
      channel.sendToQueue(name, Buffer.from(body), { persistent: true }, (error) => {
        answers.push(error === null || error === undefined ? 'ack' : 'nack');
        resolve();
      });
    });
  }
  return new Queue(connection, name, answers);
}

class Queue implements AsyncDisposable {
  readonly answers: readonly string[];
  readonly #connection: ChannelModel;
  readonly #name: string;

  constructor(connection: ChannelModel, name: string, answers: readonly string[]) {
    this.#connection = connection;
    this.#name = name;
    this.answers = answers;
  }

  async consumer(prefetch: number) {
    const channel = await this.#connection.createChannel();
    // What closes it is told to whoever waits for an answer.
    channel.on('error', () => {});
    if (prefetch > 0) await channel.prefetch(prefetch);
    const messages: ConsumeMessage[] = [];
    await channel.consume(this.#name, (message) => message && messages.push(message));
    const nth = (n: number): ConsumeMessage => messages[n - 1]!;
    return {
      get bodies(): string[] {
        return messages.map(({ content }) => content.toString());
      },
      ack: (n: number) => channel.ack(nth(n)),
      requeue: (n: number) => channel.nack(nth(n), false, true),
      close: async () => channel.close(),
    };
  }

  /** What is in it; it is empty then. */
  async left(): Promise<string[]> {
    return await onBroker(rabbit.uri, async (channel) => {
      const bodies: string[] = [];
      for (let message; (message = await channel.get(this.#name, { noAck: true })) !== false;) {
        bodies.push(message.content.toString());
      }
      return bodies;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
    await onBroker(rabbit.uri, async (channel) => channel.deleteQueue(this.#name));
  }
}
