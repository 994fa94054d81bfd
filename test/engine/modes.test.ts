/** A source that is switched between the oplog and a change stream while writes go on. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'amqplib';
import { EJSON } from 'bson';
import type { Document } from 'bson';
import { MongoClient } from 'mongodb';
import type { Timestamp } from 'mongodb';
import { placeInToken } from '../equality/resume-token.ts';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import { assertKept, judge } from '../harness/queue-reader.ts';
import type { Change } from '../harness/history.ts';
import { untilReading } from '../harness/waiting.ts';
import { startMongo, startRabbit } from '../servers/index.ts';
import type { MongoServer, RabbitServer } from '../servers/index.ts';

const PARTITIONS = 4;
const WINDOW = 50;
/** Confirms of the last 50 ms, at more than this broker gives. */
const CONFIRMS_IN_50_MS = 500;
const COLLECTIONS = 4;
/** So that most transactions span several entries. */
const OPERATIONS_PER_ENTRY = 5;

const MODES = {
  oplog: { mode: 'oplog' },
  deployment: { mode: 'changeStream' },
  database: { mode: 'changeStream', changeStream: { watch: 'flow' } },
} as const;
type Mode = keyof typeof MODES;

describe('a source that is switched between the oplog and a change stream', () => {
  let mongo: MongoServer;
  let rabbit: RabbitServer;
  let client: MongoClient;
  before(async () => {
    const parameter = `maxNumberOfTransactionOperationsInSingleOplogEntry=${OPERATIONS_PER_ENTRY}`;
    [mongo, rabbit] = await Promise.all([
      startMongo({ args: ['--setParameter', 'enableTestCommands=1', '--setParameter', parameter] }),
      startRabbit(),
    ]);
    client = await MongoClient.connect(mongo.uri);
  });
  after(async () => {
    await client?.close();
    await Promise.all([mongo?.stop(), rabbit?.stop()]);
  });

  const config = (mode: Mode, queue: string): object => ({
    sources: { src: { uri: mongo.uri, ...MODES[mode] } },
    sinks: { mq: { uri: rabbit.uri, window: WINDOW } },
    subscriptions: [{ name: 'all', namespaces: ['flow.*'], format: 'json-canonical', to: { queue } }],
    pipeline: {
      workers: 1,
      partitions: PARTITIONS,
      partitionBy: [{ namespaces: ['flow.c0', 'flow.c1'], key: 'document' }],
    },
  });

  /** One engine after another, each with the next mode, while writes go on; then all that was written has arrived. */
  async function switched(queue: string, modes: readonly Mode[], end: (engine: EngineProcess) => Promise<unknown>) {
    /** What went on besides: where the broker itself refuses a message, those under way with it come again. */
    let logged = '';
    const ended = async (engine: EngineProcess): Promise<void> => {
      const outcome = await end(engine);
      logged += engine.log();
      if (end === stopCleanly) assert.equal(outcome, 0, engine.log());
    };
    await client.db('flow').dropDatabase();
    for (let c = 0; c < COLLECTIONS; c++) await client.db('flow').createCollection(`c${c}`);
    await using place = await EngineFolder.create(config(modes[0]!, queue));
    const first = place.start();
    await untilReading(first);
    const { operationTime } = await client.db('flow').command({ ping: 1 });
    const stop = new AbortController();
    const writing = writeUntil(client, stop.signal);
    await pause(1_500);
    await ended(first);
    for (const mode of modes.slice(1)) {
      await place.configure(config(mode, queue));
      const engine = place.start();
      await untilReading(engine);
      await pause(1_500);
      await ended(engine);
    }
    stop.abort();
    await writing;
    const events = await eventsSince(client, operationTime as Timestamp);
    const last = place.start();
    const { seconds, increment } = placeInToken(events.at(-1)!['_id']._data);
    await until('everything has arrived', async () => {
      const { watermark, lanes } = (await last.status()).subscriptions['all']!;
      const [at = 0, of = 0] = (watermark ?? '').split(':').map(Number);
      const idle = lanes.every((lane) => lane.queued === 0 && lane.unconfirmed === 0);
      return idle && (at > seconds || (at === seconds && of > increment));
    });
    assert.equal(await last.terminate(), 0);
    return { events, bodies: await readAll(rabbit.uri, queue), logged };
  }

  function verify({ events, bodies }: { events: readonly Document[]; bodies: readonly Document[] }): number {
    const expected = new Map(events.map((event) => [idOf(event), event]));
    assert.equal(expected.size, events.length);
    const received = bodies.map(({ _id: id }) => String(id).slice('src:'.length));
    const changes = events.map((event): Change => {
      const ns = `${event['ns'].db}.${event['ns'].coll}`;
      return { id: idOf(event), ns, document: String(event['documentKey']._id) };
    });
    const key = ({ ns, document }: Change) => (/\.c[01]$/.test(ns) ? `${ns}/${document}` : ns);
    const verdict = judge(changes, received, key);
    assertKept(verdict);
    for (const [n, { _id: _mine, ...body }] of bodies.entries()) {
      const { _id: _token, ...theirs } = EJSON.serialize(expected.get(received[n]!)!, { relaxed: false });
      assert.deepEqual(body, theirs);
    }
    return verdict.repeated;
  }

  test('and back, stopped cleanly, delivers each change once, the same from both', { timeout: 300_000 }, async (t) => {
    const modes: Mode[] = ['deployment', 'oplog', 'database', 'deployment', 'oplog'];
    const found = await switched('clean', modes, stopCleanly);
    const repeated = verify(found);
    const inside = found.events.filter(({ txnNumber }) => txnNumber !== undefined).length;
    t.diagnostic(`${found.events.length} changes, ${inside} of them in transactions; ${repeated} repeated`);
    assert.ok(inside > 200 && found.events.length > 2_000);
    if (repeated > 0 && found.logged.includes('"code":"held-nacked"')) t.diagnostic('the broker refused messages');
    else assert.equal(repeated, 0, `${again(found.bodies)}\n${found.logged}`);
  });

  test(
    'and killed each time, loses nothing and repeats no more than was under way',
    { timeout: 300_000 },
    async (t) => {
      const modes: Mode[] = ['oplog', 'deployment', 'oplog', 'database', 'database', 'oplog', 'deployment'];
      const found = await switched('killed', modes, (engine) => engine.kill());
      const repeated = verify(found);
      t.diagnostic(`${found.events.length} changes, ${repeated} repeated in ${modes.length} kills`);
      assert.ok(repeated <= modes.length * (PARTITIONS * WINDOW + CONFIRMS_IN_50_MS));
    },
  );
});

/** Which came again, and as the how manieth message each time. */
function again(bodies: readonly Document[]): string {
  const places = new Map<string, number[]>();
  for (const [n, { _id: id }] of bodies.entries()) places.set(String(id), [...(places.get(String(id)) ?? []), n]);
  return [...places].flatMap(([id, at]) => (at.length > 1 ? `${id}: ${at.join(', ')}` : [])).join('\n');
}

const stopCleanly = (engine: EngineProcess): Promise<number | string> => engine.terminate();

/** Inserts, updates, replaces and deletes, a third of them in transactions of up to 20 operations. */
async function writeUntil(client: MongoClient, stop: AbortSignal): Promise<void> {
  const collection = (n: number) => client.db('flow').collection<{ _id: number; n?: number }>(`c${n % COLLECTIONS}`);
  for (let n = 0; !stop.aborted; n += 30) {
    for (let k = 0; k < COLLECTIONS; k++) {
      await collection(n + k).insertMany(Array.from({ length: 10 }, (_, m) => ({ _id: n * 100 + k * 10 + m })));
      await collection(n + k).updateMany({ _id: { $gte: n * 100 + k * 10 } }, { $set: { n } });
      await collection(n + k).replaceOne({ _id: n * 100 + k * 10 + 1 }, { n: -n });
      await collection(n + k).deleteOne({ _id: n * 100 + k * 10 });
    }
    await client.withSession(async (session) =>
      session.withTransaction(async () => {
        for (let k = 0; k < 2 + (n % 7) * 3; k++) {
          await collection(k).insertOne({ _id: n * 100 + 50 + k }, { session });
        }
      }),
    );
    await pause(5);
  }
}

/** The server's own events. */
async function eventsSince(client: MongoClient, startAtOperationTime: Timestamp): Promise<Document[]> {
  const end = await client.db('flow').collection<{ _id: string }>('c3').insertOne({ _id: 'end' });
  const stream = client.db('flow').watch([], { startAtOperationTime, promoteLongs: false });
  const events: Document[] = [];
  for (;;) {
    const event: Document = await stream.next();
    if (event['operationType'] === 'create') continue;
    events.push(event);
    if (event['documentKey']?._id === end.insertedId) break;
  }
  await stream.close();
  return events;
}

function idOf(event: Document): string {
  const { seconds, increment, index } = placeInToken(event['_id']._data);
  return `${seconds}.${increment}.${index}`;
}

async function readAll(uri: string, queue: string): Promise<Document[]> {
  const connection = await connect(uri);
  try {
    const channel = await connection.createChannel();
    const bodies: Document[] = [];
    for (;;) {
      const message = await channel.get(queue, { noAck: true });
      if (message === false) return bodies;
      bodies.push(JSON.parse(message.content.toString()) as Document);
    }
  } finally {
    await connection.close().catch(() => undefined);
  }
}
