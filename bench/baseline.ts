/**
 * The peer, as a process of its own: what most programs do, written with care. A change stream with the driver's defaults,
 * each event as JSON, published persistent and mandatory to one durable classic queue on a confirm channel with at most
 * 1,000 unconfirmed messages. It keeps no position, which is in its favour.
 *
 *     baseline.ts MONGODB_URI AMQP_URI QUEUE SECONDS INCREMENT EVENTS json|ejson [DATABASE]
 */
import { once } from 'node:events';
import { connect } from 'amqplib';
import { EJSON } from 'bson';
import { MongoClient, Timestamp } from 'mongodb';
import { LOAD_DB } from './load.ts';

const MAX_UNCONFIRMED = 1_000;

const [mongoUri = '', amqpUri = '', queue = '', seconds, increment, events, format, database = LOAD_DB] =
  process.argv.slice(2);
const stringify = format === 'ejson' ? (event: object) => EJSON.stringify(event) : JSON.stringify;

const client = new MongoClient(mongoUri);
const connection = await connect(amqpUri, { noDelay: true });
const channel = await connection.createConfirmChannel();
await channel.assertQueue(queue, { durable: true });

let unconfirmed = 0;
let roomAgain: (() => void) | undefined;
const onConfirm = (error: unknown): void => {
  if (error instanceof Error) throw error;
  unconfirmed -= 1;
  roomAgain?.();
};

const startAtOperationTime = new Timestamp({ t: Number(seconds), i: Number(increment) });
let left = Number(events);
for await (const event of client.db(database).watch([], { startAtOperationTime })) {
  if (unconfirmed >= MAX_UNCONFIRMED) {
    await new Promise<void>((resolve) => (roomAgain = resolve));
    roomAgain = undefined;
  }
  unconfirmed += 1;
  const options = { persistent: true, mandatory: true, contentType: 'application/json' };
  if (!channel.publish('', queue, Buffer.from(stringify(event)), options, onConfirm)) await once(channel, 'drain');
  left -= 1;
  if (left === 0) break;
}
await channel.waitForConfirms();
// The bench looks at what this process has used, then ends it.
const toldToEnd = once(process, 'SIGTERM');
process.send?.('done');
await toldToEnd;
await connection.close();
await client.close();
