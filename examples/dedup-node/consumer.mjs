/**
 * Takes change events from a queue and lets each have its effect exactly once, though the queue may hold some of them twice.
 * The effect here: how often each document was changed, counted in MongoDB.
 *
 *     QUEUE=orders AMQP_URI=amqp://localhost MONGODB_URI='mongodb://localhost/?replicaSet=rs0' node consumer.mjs
 *
 * What has been seen is written in the same transaction as the effect, and the queue is told after it: whenever this process
 * is killed, either both are there, or neither is and the messages come again. It keeps the newest WINDOW ids of each lane;
 * docs/exactly-once.md tells how many those must be. Anything unexpected ends the process: start it again.
 */
import { connect } from 'amqplib';
import { MongoClient } from 'mongodb';

const { QUEUE, AMQP_URI, MONGODB_URI, DATABASE = 'effects', WINDOW = '20000' } = process.env;
const PREFETCH = 200;

const client = await MongoClient.connect(MONGODB_URI);
const db = client.db(DATABASE);
const [seen, lanes, changes] = ['seen', 'lanes', 'changes'].map((name) => db.collection(`${QUEUE}.${name}`));
await seen.createIndex({ lane: 1, n: 1 });

const connection = await connect(AMQP_URI);
connection.on('close', () => process.exit(1));
connection.on('error', () => process.exit(1));
const channel = await connection.createChannel();
await channel.prefetch(PREFETCH);

const inbox = [];
let wake = () => {};
await channel.consume(QUEUE, (message) => {
  if (message === null) process.exit(1); // The queue is gone.
  inbox.push(message);
  wake();
});

for (;;) {
  if (inbox.length === 0) await new Promise((resolve) => (wake = resolve));
  // All that has come, in one transaction: the more there is to do, the less each costs.
  const messages = inbox.splice(0);
  const events = messages.flatMap(eventsOf);
  await client.withSession((session) => session.withTransaction(() => take(events, session)));
  channel.ack(messages.at(-1), true);
}

/** A message holds one event, or with `batch.maxEvents` JSON lines. Each has a lane: what repeats keep their order in. */
function eventsOf({ content, properties }) {
  const text = content.toString();
  const lines = properties.contentType === 'application/x-ndjson' ? text.trimEnd().split('\n') : [text];
  return lines.map((line) => {
    const event = JSON.parse(line);
    return { event, lane: properties.headers?.lane ?? `${event.ns.db}.${event.ns.coll}` };
  });
}

/** It may run several times, as transactions do: nothing outside of the database is changed here. */
async function take(events, session) {
  const known = await seen.find({ _id: { $in: events.map(keyOf) } }, { session, projection: { _id: 1 } }).toArray();
  const done = new Set(known.map(({ _id }) => _id));
  const byLane = new Map();
  for (const { lane, event } of events) {
    if (done.has(keyOf({ lane, event }))) continue;
    done.add(keyOf({ lane, event }));
    if (!byLane.has(lane)) byLane.set(lane, []);
    byLane.get(lane).push(event);
  }
  for (const [lane, fresh] of byLane) {
    await work(fresh, session);
    await remember(lane, fresh, session);
  }
}

/** The effect: yours stands here. Within a lane the events are in order. */
async function work(events, session) {
  const counts = events.map(({ ns, documentKey }) => ({
    updateOne: {
      filter: { _id: `${ns.db}.${ns.coll} ${JSON.stringify(documentKey._id)}` },
      update: { $inc: { n: 1 } },
      upsert: true,
    },
  }));
  await changes.bulkWrite(counts, { session });
}

/** Events get numbers in their lane, so that the oldest can be forgotten. */
async function remember(lane, events, session) {
  const counter = await lanes.findOneAndUpdate(
    { _id: lane },
    { $inc: { n: events.length } },
    { session, upsert: true, returnDocument: 'after' },
  );
  const from = counter.n - events.length;
  await seen.insertMany(
    events.map((event, i) => ({ _id: keyOf({ lane, event }), lane, n: from + i })),
    { session },
  );
  await seen.deleteMany({ lane, n: { $lt: counter.n - Number(WINDOW) } }, { session });
}

function keyOf({ lane, event }) {
  return `${lane} ${event._id}`;
}
