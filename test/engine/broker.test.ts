import assert from 'node:assert/strict';
import { connect as connectSocket, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import { endOfOplog } from '../harness/history.ts';
import { confirmed } from '../harness/waiting.ts';
import { sharedMongo, sharedRabbit } from '../servers/with-servers.ts';

test('a cut between the closing of a channel and its answer holds up nobody', async () => {
  const [mongo, rabbit] = await Promise.all([sharedMongo(), sharedRabbit()]);
  const client = await MongoClient.connect(mongo.uri);
  try {
    const db = 'broker-closing';
    const start = await endOfOplog(client);
    await client.db(db).collection('c').insertOne({});
    await using link = await cutAtFirst({ port: Number(new URL(rabbit.uri).port), method: CHANNEL_CLOSE_OK });
    await using place = await EngineFolder.create({
      sources: { src: { uri: mongo.uri, start } },
      sinks: { mq: { uri: `amqp://127.0.0.1:${link.port}` } },
      subscriptions: [{ name: 'all', namespaces: [`${db}.*`], to: { queue: db } }],
      pipeline: { partitions: 4 },
    });
    const engine = place.start();
    await until('the change has arrived', async () => (await confirmed(engine)) === 1, 20_000);
    assert.equal(link.cuts, 1);
    assert.equal(await engine.terminate(), 0);
  } finally {
    await client.close();
    await Promise.all([mongo.stop(), rabbit.stop()]);
  }
});

/** Class 20, method 41. */
const CHANNEL_CLOSE_OK = Buffer.from([0, 20, 0, 41]);

/** A way to the broker that is cut, once, instead of letting the broker's first frame of this method pass. */
async function cutAtFirst({ port, method }: { port: number; method: Buffer }) {
  const link = { port: 0, cuts: 0, [Symbol.asyncDispose]: async (): Promise<void> => void server.close() };
  const server = createServer((near) => {
    const far = connectSocket(port, '127.0.0.1');
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    near.on('error', end).on('close', end).pipe(far);
    far.on('error', end).on('close', end);
    far.on('data', (bytes: Buffer) => {
      if (link.cuts > 0 || !bytes.includes(method)) near.write(bytes);
      else {
        link.cuts += 1;
        end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  link.port = (server.address() as AddressInfo).port;
  return link;
}
