import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect } from 'amqplib';
import type { ChannelModel, ConfirmChannel, ConsumeMessage } from 'amqplib';
import { Outbox } from '../../src/sinks/outbox.ts';
import { PublishFrames } from '../../src/sinks/publish-frames.ts';
import { sharedRabbit } from '../servers/with-servers.ts';
import type { Shared } from '../servers/with-servers.ts';

let rabbit: Shared;
let model: ChannelModel;
let outbox: Outbox;

before(async () => {
  rabbit = await sharedRabbit();
  model = await connect(rabbit.uri);
  outbox = Outbox.of(model)!;
});

after(async () => {
  await model.close();
  await rabbit.stop();
});

function frames(channel: ConfirmChannel, exchange = ''): PublishFrames {
  const { ch } = channel as unknown as { ch: number };
  return new PublishFrames({ outbox, channel: ch, exchange, contentType: 'application/json', appId: 'tailrace' });
}

function message(routingKey: string, body: Buffer, n = 1) {
  return {
    routingKey,
    body,
    type: 'insert',
    messageId: `shop:1795327615.${n}.0`,
    events: 1,
    wallSeconds: 1_795_327_615,
  };
}

async function tempQueue(channel: ConfirmChannel): Promise<string> {
  return (await channel.assertQueue('', { exclusive: true })).queue;
}

async function read(channel: ConfirmChannel, queue: string, count: number): Promise<ConsumeMessage[]> {
  const messages: ConsumeMessage[] = [];
  await new Promise<void>((resolve, reject) => {
    const take = (one: ConsumeMessage | null): void => {
      if (one) messages.push(one);
      if (messages.length === count) resolve();
    };
    channel.consume(queue, take, { noAck: true }).catch(reject);
  });
  return messages;
}

test('a message has the properties that amqplib would have given it', async () => {
  const channel = await model.createConfirmChannel();
  const queue = await tempQueue(channel);
  const body = Buffer.from('{"ä":1}');
  frames(channel).write(message(queue, body));
  outbox.flush();
  channel.publish('', queue, body, {
    persistent: true,
    contentType: 'application/json',
    appId: 'tailrace',
    type: 'insert',
    messageId: 'shop:1795327615.1.0',
    timestamp: 1_795_327_615,
  });
  const [ours, theirs] = await read(channel, queue, 2);
  assert.deepEqual({ ...ours!.properties, headers: {} }, { ...theirs!.properties, headers: {} });
  assert.equal(ours!.properties.deliveryMode, 2);
  assert.deepEqual(ours!.content, body);
  await channel.close();
});

test('headers and an encoding stand where amqplib would have put them, and only in messages that have them', async () => {
  const channel = await model.createConfirmChannel();
  const queue = await tempQueue(channel);
  const { ch } = channel as unknown as { ch: number };
  const to = { outbox, channel: ch, exchange: '', contentType: 'application/json', appId: 'tailrace' };
  const ours = new PublishFrames({ ...to, contentEncoding: 'gzip' });
  const headers = { tenant: 'ä'.repeat(200), 'cloudEvents:id': 'shop:1.2.0', empty: '' };
  const large = Buffer.alloc(200_000, 'x');
  ours.write({ ...message(queue, Buffer.from('{}'), 1), headers });
  ours.write(message(queue, large, 2));
  ours.write({ ...message(queue, large, 3), headers });
  outbox.flush();
  const [first, second, third] = await read(channel, queue, 3);
  assert.deepEqual(first!.properties.headers, headers);
  assert.deepEqual([first!.properties.contentEncoding, first!.properties.deliveryMode], ['gzip', 2]);
  assert.equal(first!.properties.messageId, 'shop:1795327615.1.0');
  assert.deepEqual(second!.properties.headers ?? {}, {});
  assert.equal(second!.properties.contentEncoding, 'gzip');
  assert.deepEqual([third!.properties.headers, third!.content], [headers, large]);
  await channel.close();
});

test('bodies of every size arrive whole and in order, on channels that take turns', async () => {
  const sizes = [1, 4_095, 4_096, 4_097, 60_000, 131_063, 131_064, 131_065, 262_128, 1_000_000, 2];
  const lanes = await Promise.all(
    [1, 2].map(async (lane) => {
      const channel = await model.createConfirmChannel();
      return { lane, channel, queue: await tempQueue(channel), frames: frames(channel) };
    }),
  );
  const bodies = sizes.flatMap((size) => [Buffer.alloc(size, `${size}-`), Buffer.alloc(100, `${size}+`)]);
  for (const [n, body] of bodies.entries()) {
    for (const { lane, queue, frames } of lanes) frames.write(message(queue, body, lane * 1_000 + n));
  }
  for (const { lane, channel, queue } of lanes) {
    const got = await read(channel, queue, bodies.length);
    for (const [n, body] of bodies.entries()) {
      assert.equal(got[n]!.properties.messageId, `shop:1795327615.${lane * 1_000 + n}.0`);
      assert.ok(got[n]!.content.equals(body), `body ${n} of ${body.length} bytes differs`);
    }
    await channel.close();
  }
});

test('each message is confirmed by its number, and one that reaches no queue comes back first', async () => {
  const channel = await model.createConfirmChannel();
  const seen: string[] = [];
  let confirmed = 0;
  channel.on('return', (returned) => seen.push(`returned ${returned.properties.messageId}`));
  const all = new Promise<void>((resolve) => {
    channel.on('ack', ({ deliveryTag, multiple }) => {
      confirmed = multiple ? deliveryTag : confirmed + 1;
      seen.push('ack');
      if (confirmed === 3) resolve();
    });
  });
  const queue = await tempQueue(channel);
  const way = frames(channel);
  way.write(message('no such queue', Buffer.from('x'), 7));
  way.write(message(queue, Buffer.from('y'), 8));
  way.write(message(queue, Buffer.from('z'), 9));
  await all;
  assert.equal(seen[0], 'returned shop:1795327615.7.0');
  await channel.close();
});

test('what amqplib sends in the same turn, a heartbeat or a declare, lands between frames', async () => {
  const channel = await model.createConfirmChannel();
  const other = await model.createConfirmChannel();
  const queue = await tempQueue(channel);
  const way = frames(channel);
  const { connection } = model as unknown as { connection: { sendHeartbeat(): void } };
  const declared: Promise<unknown>[] = [];
  for (let n = 0; n < 50; n++) {
    way.write(message(queue, Buffer.alloc(n % 2 === 0 ? 8_192 : 100, 'x'), n));
    connection.sendHeartbeat();
    declared.push(other.checkQueue(queue));
    way.write(message(queue, Buffer.alloc(200_000, 'y'), n));
    connection.sendHeartbeat();
    if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(declared);
  assert.equal((await read(channel, queue, 100)).length, 100);
  await channel.close();
  await other.close();
});

test('a channel that the broker closes in mid-flow takes no other with it', async () => {
  const sound = await model.createConfirmChannel();
  const queue = await tempQueue(sound);
  const soundFrames = frames(sound);
  const doomed = await model.createConfirmChannel();
  const doomedFrames = frames(doomed, 'no such exchange');
  const state = { open: true };
  doomed.on('error', () => {});
  doomed.on('close', () => {
    outbox.flush();
    state.open = false;
  });
  let written = 0;
  while (state.open || written < 2_000) {
    for (let n = 0; n < 20; n++) {
      soundFrames.write(message(queue, Buffer.alloc(50, 'x'), (written += 1)));
      if (state.open) doomedFrames.write(message('any', Buffer.alloc(6_000, 'y')));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const got = await read(sound, queue, written);
  assert.deepEqual(
    got.map(({ properties }) => properties.messageId),
    Array.from({ length: written }, (_, n) => `shop:1795327615.${n + 1}.0`),
  );
  await sound.close();
});

test('an amqplib that is not as we know it is left to publish by itself', () => {
  assert.equal(Outbox.of({ connection: { stream: {} } } as unknown as ChannelModel), undefined);
});
