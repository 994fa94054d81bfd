/**
 * Scenario: what whole documents cost. A writer updates documents of a collection at a set rate; the engine delivers the updates without
 * documents, with looked up ones, with exact ones out of pre-images, and with exact ones out of the states that it keeps itself, each way
 * for a while and in turns. The collection that keeps pre-images is another one, since they cost the writer too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { bringUp } from './bring-up.ts';
import { EngineProcess, removeFolder } from './engine-process.ts';
import { cpuSeconds } from './process-cost.ts';
import { deleteQueues } from './queues.ts';
import { atLeast, decimals, judged, micros, printHead, printTable, spreadOf, thousands, withSpread } from './report.ts';
import type { Environment } from './report.ts';
import { scenario } from './scenario.ts';
import type { Values } from './scenario.ts';

const PARTITIONS = 4;
const KEPT_MESSAGES = 1_000;
const BATCH = 500;
const SETTLE_MS = 2_000;
const DRAIN_MS = 120_000;
const WANTED = 0.6;
const DB = 'bench';

const WAYS = {
  without: { words: 'as the oplog has it', coll: 'plain', subscription: {} },
  lookup: { words: 'fullDocument: updateLookup', coll: 'plain', subscription: { fullDocument: 'updateLookup' } },
  exact: {
    words: 'fullDocument and fullDocumentBeforeChange: required',
    coll: 'kept',
    subscription: { fullDocument: 'required', fullDocumentBeforeChange: 'required' },
  },
  local: {
    words: 'fullDocument and fullDocumentBeforeChange: whenAvailable, images: local',
    coll: 'plain',
    subscription: { fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable', images: 'local' },
  },
} as const;
type Way = keyof typeof WAYS;

const OPTIONS = {
  rounds: { type: 'number', default: 3, words: 'how often each way has its turn' },
  seconds: { type: 'number', default: 15, words: 'how long' },
  rate: { type: 'number', default: 10_000, words: 'updates a second' },
  documents: { type: 'number', default: 50_000, words: 'documents in the collection' },
  bytes: { type: 'number', default: 500, words: 'of each' },
} as const;

interface Stretch {
  readonly way: Way;
  /** Updates a second. */
  readonly written: number;
  readonly delivered: number;
  /** Until all was delivered, once nothing more was written. */
  readonly drainMs: number;
  /** CPU of the engine's process, µs an event. */
  readonly micros: number;
}

interface ImagesResult extends Environment {
  readonly stretches: readonly Stretch[];
  readonly targets: readonly object[];
}

export const images = scenario({
  words:
    'what whole documents cost: updates delivered without, with looked up and with exact documents, of the server and of our own',
  minutes: 4,
  options: OPTIONS,
  run: measure,
});

async function measure(options: Values<typeof OPTIONS>): Promise<ImagesResult> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const { mongo, rabbit, env } = await bringUp(closers, { fresh: false });
    const client = await MongoClient.connect(mongo.uri);
    closers.push(async () => client.close());
    const { rounds, seconds, rate, documents, bytes } = options;
    printHead('With whole documents and without.', env, {
      Load: `${thousands(rate)} updates a second of ${thousands(documents)} documents of ${bytes} B, in bulk writes of ${BATCH}, from this process`,
      Engine: `the built command, one process, 200 events a message, into ${PARTITIONS} classic queues`,
      Turns: `${rounds} of ${seconds} s for each way`,
    });
    await fill(client, options);
    const stretches: Stretch[] = [];
    for (let round = 0; round < rounds; round++) {
      const ways = Object.keys(WAYS) as Way[];
      for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
        const one = await stretch(way, { client, mongoUri: mongo.uri, amqpUri: rabbit.uri, ...options });
        stretches.push(one);
        console.log(
          `${way.padEnd(8)} ${thousands(one.written)} written/s, ${thousands(one.delivered)} delivered/s, all ${one.drainMs.toFixed(0)} ms after the last write, ${micros(one.micros)} an event`,
        );
      }
    }
    return { ...env, stretches, targets: print(stretches) };
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

async function fill(client: MongoClient, { documents, bytes }: Values<typeof OPTIONS>): Promise<void> {
  const db = client.db(DB);
  await db.dropDatabase();
  await db.createCollection(WAYS.exact.coll, { changeStreamPreAndPostImages: { enabled: true } });
  const filling = 'x'.repeat(Math.max(0, bytes - 50));
  for (const { coll } of Object.values(WAYS)) {
    if ((await db.collection(coll).estimatedDocumentCount()) > 0) continue;
    for (let from = 0; from < documents; from += 10_000) {
      const count = Math.min(10_000, documents - from);
      const some = Array.from({ length: count }, (_, n) => ({ _id: (from + n) as never, n: 0, filling }));
      await db.collection(coll).insertMany(some, { ordered: false });
    }
  }
}

interface Setting extends Values<typeof OPTIONS> {
  readonly client: MongoClient;
  readonly mongoUri: string;
  readonly amqpUri: string;
}

async function stretch(way: Way, setting: Setting): Promise<Stretch> {
  const { client, mongoUri, amqpUri, seconds } = setting;
  const { coll, subscription } = WAYS[way];
  const engine = await EngineProcess.start({
    config: {
      sources: { bench: { uri: mongoUri, start: way === 'local' ? 'snapshot' : 'latest' } },
      sinks: { rabbit: { uri: amqpUri } },
      subscriptions: [
        {
          name: 'bench',
          namespaces: [`${DB}.${coll}`],
          batch: { maxEvents: 200, maxBytes: '1MiB' },
          to: { queue: 'bench.{partition}', queueArguments: { 'x-max-length': KEPT_MESSAGES } },
          ...subscription,
        },
      ],
      pipeline: { partitions: PARTITIONS, partitionBy: [{ namespaces: ['*'], key: 'document' }] },
    },
  });
  try {
    await engine.whileRunning(engine.ready());
    if (way === 'local') await engine.whileRunning(snapshotRead(engine));
    const { events: earlier } = await look(engine, { written: 0 });
    const writer = new Writer(client, coll, setting);
    const writing = writer.run(SETTLE_MS + seconds * 1_000);
    await engine.whileRunning(sleep(SETTLE_MS));
    const before = await look(engine, writer);
    await engine.whileRunning(sleep(seconds * 1_000));
    const after = await look(engine, writer);
    await writing;
    const drainMs = await drained(engine, writer, earlier);
    const elapsed = (after.atMs - before.atMs) / 1_000;
    const events = after.events - before.events;
    return {
      way,
      written: (after.written - before.written) / elapsed,
      delivered: events / elapsed,
      drainMs,
      micros: ((after.cpuSeconds - before.cpuSeconds) * 1e6) / events,
    };
  } finally {
    await engine.stop();
    await removeFolder(engine.folder);
    await deleteQueues(
      amqpUri,
      Array.from({ length: PARTITIONS }, (_, p) => `bench.${p}`),
    );
  }
}

/** All documents are known, and delivered. */
async function snapshotRead(engine: EngineProcess): Promise<void> {
  const began = performance.now();
  while (!(await engine.status()).snapshots.some(({ state }) => state === 'done')) {
    if (performance.now() - began > DRAIN_MS) throw new Error('the snapshot was not read in time');
    await sleep(100);
  }
}

/** `earlier`: events that are none of the writer's. */
async function drained(engine: EngineProcess, writer: Writer, earlier: number): Promise<number> {
  const began = performance.now();
  while ((await look(engine, writer)).events - earlier < writer.written) {
    if (performance.now() - began > DRAIN_MS) throw new Error('not all was delivered in time');
    await engine.whileRunning(sleep(20));
  }
  return performance.now() - began;
}

async function look(engine: EngineProcess, writer: Pick<Writer, 'written'>) {
  const { subscriptions } = await engine.status();
  const events = subscriptions['bench']!.eventsPublished;
  return { events, written: writer.written, atMs: performance.now(), cpuSeconds: cpuSeconds(engine.pid) };
}

/** Updates one document after the other, no faster than it is to. */
class Writer {
  written = 0;
  readonly #client: MongoClient;
  readonly #coll: string;
  readonly #o: Pick<Setting, 'rate' | 'documents'>;

  constructor(client: MongoClient, coll: string, options: Pick<Setting, 'rate' | 'documents'>) {
    this.#client = client;
    this.#coll = coll;
    this.#o = options;
  }

  async run(ms: number): Promise<void> {
    const { rate, documents } = this.#o;
    const collection = this.#client.db(DB).collection<{ _id: number; n: number }>(this.#coll);
    const began = performance.now();
    while (performance.now() - began < ms) {
      const from = this.written;
      await collection.bulkWrite(
        Array.from({ length: BATCH }, (_, n) => ({
          updateOne: { filter: { _id: ((from + n) * 7_919) % documents }, update: { $inc: { n: 1 } } },
        })),
        { ordered: false },
      );
      this.written += BATCH;
      const aheadMs = (this.written / rate) * 1_000 - (performance.now() - began);
      if (aheadMs > 0) await sleep(aheadMs);
    }
  }
}

/** Returns the targets. */
function print(stretches: readonly Stretch[]): readonly object[] {
  const ways = Object.keys(WAYS) as Way[];
  const of = (way: Way, figure: (one: Stretch) => number) =>
    spreadOf(stretches.filter((one) => one.way === way).map(figure));
  const share = (way: Way) =>
    of(way, ({ delivered }) => delivered).median / of('without', (one) => one.delivered).median;
  console.log('\nMedians of the turns, least and most.\n');
  printTable(
    ['', 'written/s', 'delivered/s', 'of without', 'all there, ms later', 'engine CPU an event'],
    ways.map((way) => [
      WAYS[way].words,
      withSpread(
        of(way, ({ written }) => written),
        thousands,
      ),
      withSpread(
        of(way, ({ delivered }) => delivered),
        thousands,
      ),
      decimals(2, ' ×')(share(way)),
      withSpread(
        of(way, ({ drainMs }) => drainMs),
        thousands,
      ),
      withSpread(
        of(way, (one) => one.micros),
        micros,
      ),
    ]),
  );
  return judged([atLeast('delivered with updateLookup, to without', WANTED, share('lookup'), decimals(2, ' ×'))]);
}
