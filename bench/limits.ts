/**
 * Scenario: the two limits that no engine can pass. How fast an oplog can be read from a real mongod, by a socket that throws the bytes
 * away, and by the driver in the ways that it offers; and how fast a broker takes messages of each size into each type of queue from
 * a publisher that does nothing else. The last table varies how that publisher works: were another way faster, it were no limit. One
 * more says what it is worth to let mongod leave out the collections that nobody wants (`serverFilter`).
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { MongoClient } from 'mongodb';
import type { Document, Timestamp } from 'mongodb';
import { pino } from 'pino';
import { namespaceFilter } from '../src/source/namespace-filter.ts';
import { readReply } from '../src/source/reply.ts';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import { ended, started } from './contenders.ts';
import { writeLoad } from './load.ts';
import type { Load } from './load.ts';
import { cpuSeconds, untilIdle } from './process-cost.ts';
import { deleteQueues } from './queues.ts';
import { environment, printHead, printTable, spreadOf, thousands, withSpread } from './report.ts';
import type { Environment, Spread } from './report.ts';
import { scenario } from './scenario.ts';
import { Wire, getMore, openOplog } from './wire.ts';

const PUBLISHER = fileURLToPath(new URL('bare-publisher.ts', import.meta.url));
const QUEUES = 16;
const WINDOW = 256;
/** Replies of about 0.5, 2 and 10 MB. */
const BATCH_SIZES = [1_000, 4_000, 20_000] as const;
const ENGINE_BATCH = 4_000;
/** Less is an empty reply: the end. */
const EMPTY_BYTES = 600;
/** So many of the load's sixteen collections. */
const WANTED = [0, 1, 4, 8, 16] as const;

const SIZES = [
  { name: '150 B', bytes: 150, messages: 60_000 },
  { name: '530 B', bytes: 530, messages: 60_000 },
  { name: '20 KB', bytes: 20_000, messages: 12_000 },
  { name: '64 KiB', bytes: 65_536, messages: 4_000 },
  { name: '1 MB', bytes: 1_000_000, messages: 300 },
] as const;
const TYPES = ['classic', 'quorum', 'stream'] as const;
type QueueType = (typeof TYPES)[number];

interface Reading {
  readonly name: string;
  readonly entriesPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly mongodMicros: number;
}

interface Publishing {
  readonly name: string;
  readonly messagesPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly brokerMicros: number;
}

interface LimitsResult extends Environment {
  readonly reading: readonly Reading[];
  readonly filtering: readonly Reading[];
  readonly publishing: readonly Publishing[];
  readonly patterns: readonly Publishing[];
}

interface LimitsOptions {
  readonly entries: number;
  readonly rounds: number;
  readonly only: readonly string[];
}

export const limits = scenario({
  words: 'how fast an oplog can be read and a broker can be filled at all, by programs that do nothing else',
  minutes: 6,
  options: {
    entries: { type: 'number', default: 300_000, words: 'in the oplog' },
    rounds: { type: 'number', default: 3, words: 'how often each reader and each other way to publish runs' },
    only: { type: 'names', words: 'read, filter, publish, patterns' },
  },
  run: measure,
});

async function measure({ entries, rounds, only }: LimitsOptions): Promise<LimitsResult> {
  const wanted = (part: string): boolean => only.length === 0 || only.includes(part);
  const progress = (line: string): void => console.log(line);
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const mongo = await startMongo({ fresh: false, args: ['--oplogSize', '4096'], progress });
    closers.push(async () => mongo.stop());
    const rabbit = await startRabbit({ fresh: false, progress });
    closers.push(async () => rabbit.stop());
    const env = await environment({ mongoUri: mongo.uri, amqpUri: rabbit.uri });
    printHead('The limits: programs that only read, and programs that only publish.', env, {
      Reading: `${thousands(entries)} inserts and $set updates, from the first to the last; ${rounds} rounds (other ways to publish too); CPU of mongod in µs an entry`,
      Publishing: `one body again and again, persistent, mandatory and confirmed; ${QUEUES} queues, window ${WINDOW}, one connection where nothing else is said; CPU of the broker in µs a message`,
    });
    const load = wanted('read') || wanted('filter') ? await written(mongo.uri, entries) : undefined;
    const from = load && { uri: mongo.uri, pid: mongo.pids[0] ?? 0, load, rounds };
    const result = {
      ...env,
      reading: from && wanted('read') ? await readings(from, READERS) : [],
      filtering: from && wanted('filter') ? await readings(from, filters(from.load)) : [],
      publishing: wanted('publish') ? await publishings(rabbit) : [],
      patterns: wanted('patterns') ? await patterns(rabbit, rounds) : [],
    };
    return result;
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

interface ReadingFrom {
  readonly uri: string;
  readonly pid: number;
  readonly load: Load;
  readonly rounds: number;
}

/** Reads from `first` to the end. */
interface Reader {
  readonly name: string;
  /** Calls `begin` once it is connected: it is reading that is measured. */
  readonly read: (uri: string, load: Load, begin: () => void) => Promise<void>;
  /** Nothing can be faster than the best of these. */
  readonly bare?: boolean;
}

const READERS: readonly Reader[] = [
  ...BATCH_SIZES.map((size) => ({
    name: `bare socket, ${thousands(size)} entries a reply`,
    bare: true,
    read: async (uri: string, { first }: Load, begin: () => void) => readBare(uri, { first, size, begin }),
  })),
  {
    name: `driver, raw command, ${thousands(ENGINE_BATCH)} entries a reply`,
    read: async (uri, { first }, begin) => withClient(uri, begin, async (client) => readRawReplies(client, first)),
  },
  {
    name: 'driver, raw cursor, documents of a reply at once',
    read: async (uri, load, begin) => withClient(uri, begin, async (client) => readRawCursor(client, load)),
  },
  {
    name: 'driver, cursor, decoded one by one',
    read: async (uri, load, begin) => withClient(uri, begin, async (client) => readDecoded(client, load)),
  },
];

/** What a source with `serverFilter` asks for, when so many collections are wanted; and everything, without a filter. */
function filters({ databases }: Load): readonly Reader[] {
  const read =
    (filter: Document) =>
    async (uri: string, { first }: Load, begin: () => void) =>
      readBare(uri, { first, size: ENGINE_BATCH, begin, filter });
  return [
    { name: 'no filter', bare: true, read: read({}) },
    ...WANTED.map((wanted) => {
      const collections = Array.from({ length: wanted }, (_, n) => databases.map((db) => `${db}.orders_${n}`)).flat();
      const log = pino({ level: 'silent' });
      const passes = namespaceFilter({
        source: 'bench',
        subscriptions: [{ namespaces: collections.length > 0 ? collections : ['none.none'], expanded: false }],
        log,
      })!;
      return {
        name: `filtered, ${wanted} of 16 collections wanted`,
        read: read({ $or: passes({ seconds: 0, increment: 0 }) }),
      };
    }),
  ];
}

async function written(uri: string, entries: number): Promise<Load> {
  const [load] = await writeLoad(uri, 'orders', [entries]);
  if (load === undefined) throw new Error('no load was written');
  return load;
}

async function readings({ uri, pid, load, rounds }: ReadingFrom, readers: readonly Reader[]): Promise<Reading[]> {
  const runs: Reading[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const { name, read } of readers) {
      await untilIdle(pid);
      const before = cpuSeconds(pid);
      let began = 0;
      await read(uri, load, () => (began = performance.now()));
      const seconds = (performance.now() - began) / 1_000;
      runs.push({
        name,
        entriesPerSecond: load.entries / seconds,
        megabytesPerSecond: (load.entries * load.averageEntryBytes) / seconds / 1e6,
        mongodMicros: ((cpuSeconds(pid) - before) * 1e6) / load.entries,
      });
    }
  }
  const rateOf = (name: string): Spread =>
    spreadOf(runs.filter((run) => run.name === name).map((run) => run.entriesPerSecond));
  const best = Math.max(...readers.filter(({ bare }) => bare).map(({ name }) => rateOf(name).median));
  printTable(
    ['reading', 'entries/s', 'MB/s', '× bare', 'mongod'],
    readers.map(({ name }) => {
      const of = (figure: (run: Reading) => number) => spreadOf(runs.filter((run) => run.name === name).map(figure));
      const rate = rateOf(name);
      return [
        name,
        withSpread(rate, thousands),
        thousands(of((run) => run.megabytesPerSecond).median),
        (rate.median / best).toFixed(2),
        `${of((run) => run.mongodMicros).median.toFixed(2)} µs`,
      ];
    }),
  );
  return runs;
}

interface Bare {
  readonly first: Timestamp;
  readonly size: number;
  readonly begin: () => void;
  readonly filter?: Document;
}

async function readBare(uri: string, { first, size, begin, filter }: Bare): Promise<void> {
  const { hostname, port } = new URL(uri.replace(/^mongodb:/, 'http:').replace(/,[^/]*/, ''));
  using wire = await Wire.connect(hostname, Number(port));
  begin();
  const id = await openOplog(wire, { filter: { ts: { $gte: first }, ...filter } });
  while ((await wire.discard(getMore(id, size))) > EMPTY_BYTES);
}

async function withClient(uri: string, begin: () => void, use: (client: MongoClient) => Promise<void>): Promise<void> {
  const client = await MongoClient.connect(uri, { directConnection: true });
  try {
    begin();
    await use(client);
  } finally {
    await client.close();
  }
}

/** As the engine reads: nothing is taken apart but the reply's few fields. */
async function readRawReplies(client: MongoClient, first: Timestamp): Promise<void> {
  const db = client.db('local');
  const session = client.startSession({ causalConsistency: false });
  const find = { find: 'oplog.rs', filter: { ts: { $gte: first } }, tailable: true, batchSize: 1 };
  let { cursorId, entries } = readReply(raw(await db.command(find, { session, raw: true })));
  while (entries > 0) {
    const command = { getMore: cursorId, collection: 'oplog.rs', batchSize: ENGINE_BATCH };
    ({ cursorId, entries } = readReply(raw(await db.command(command, { session, raw: true }))));
  }
  await session.endSession();
}

function raw(reply: Document): Uint8Array {
  return reply['cursor'] as Uint8Array;
}

async function readRawCursor(client: MongoClient, { first, entries }: Load): Promise<void> {
  const options = { raw: true, tailable: true, batchSize: ENGINE_BATCH };
  const cursor = client
    .db('local')
    .collection('oplog.rs')
    .find({ ts: { $gte: first } }, options);
  for (let seen = 0; seen < entries;) {
    if (!(await cursor.hasNext())) break;
    seen += cursor.readBufferedDocuments().length;
  }
  await cursor.close();
}

async function readDecoded(client: MongoClient, { first, entries }: Load): Promise<void> {
  const options = { tailable: true, batchSize: ENGINE_BATCH };
  const cursor = client
    .db('local')
    .collection('oplog.rs')
    .find({ ts: { $gte: first } }, options);
  for (let seen = 0; seen < entries && (await cursor.next()) !== null;) seen += 1;
  await cursor.close();
}

interface Broker {
  readonly uri: string;
  readonly pid: number;
}

async function publishings(rabbit: Broker): Promise<Publishing[]> {
  const runs: Publishing[] = [];
  for (const { name, bytes, messages } of SIZES) {
    for (const type of TYPES) {
      runs.push(await publish({ rabbit, name: `${type}, ${name}`, type, bytes, messages }));
    }
  }
  console.log('');
  printPublishing('publishing', runs);
  return runs;
}

/** One size and type, in other ways. */
async function patterns(rabbit: Broker, rounds: number): Promise<Publishing[]> {
  const { bytes, messages } = SIZES[1];
  const ways = [
    { words: '16 queues, window 256', queues: 16, window: 256, connections: 1 },
    { words: '16 queues, window 64', queues: 16, window: 64, connections: 1 },
    { words: '16 queues, window 1,024', queues: 16, window: 1_024, connections: 1 },
    { words: '4 queues, window 256', queues: 4, window: 256, connections: 1 },
    { words: '1 queue, window 1,000', queues: 1, window: 1_000, connections: 1 },
    { words: '16 queues, window 256, 2 processes', queues: 16, window: 256, connections: 2 },
    { words: '16 queues, window 256, 4 processes', queues: 16, window: 256, connections: 4 },
  ];
  const runs: Publishing[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const type of ['classic', 'quorum'] as const) {
      for (const { words, ...way } of ways) {
        runs.push(await publish({ rabbit, name: `${type}, ${words}`, type, bytes, messages, ...way }));
      }
    }
  }
  console.log('');
  printPublishing('other ways, 530 B', runs);
  return runs;
}

interface Publish {
  readonly rabbit: Broker;
  readonly name: string;
  readonly type: QueueType;
  readonly bytes: number;
  readonly messages: number;
  readonly queues?: number;
  readonly window?: number;
  /** Each in a process of its own, with its share of the queues. */
  readonly connections?: number;
}

async function publish(options: Publish): Promise<Publishing> {
  const { rabbit, name, type, bytes, messages, queues = QUEUES, window = WINDOW, connections = 1 } = options;
  const names = Array.from({ length: queues }, (_, n) => `bench.limits.${n}`);
  await deleteQueues(rabbit.uri, names);
  await untilIdle(rabbit.pid);
  const before = cpuSeconds(rabbit.pid);
  const spans = await Promise.all(
    Array.from({ length: connections }, async (_, n) => {
      const own = names.filter((_name, queue) => queue % connections === n);
      const args = [rabbit.uri, type, own.join(), window, bytes, Math.ceil(messages / connections)].map(String);
      const child = fork(PUBLISHER, args, { execArgv: ['--no-warnings', '--import', 'tsx'], detached: true });
      started(child);
      try {
        const failed = once(child, 'exit').then(() => {
          throw new Error(`the publisher ended by itself: ${name}`);
        });
        failed.catch(() => {});
        const [span] = (await Promise.race([once(child, 'message'), failed])) as [{ firstMs: number; lastMs: number }];
        return span;
      } finally {
        await ended(child, 'SIGTERM');
      }
    }),
  );
  const brokerMicros = ((cpuSeconds(rabbit.pid) - before) * 1e6) / messages;
  await deleteQueues(rabbit.uri, names);
  const first = Math.min(...spans.map(({ firstMs }) => firstMs));
  const last = Math.max(...spans.map(({ lastMs }) => lastMs));
  const messagesPerSecond = (messages * 1_000) / (last - first);
  return { name, messagesPerSecond, megabytesPerSecond: (messagesPerSecond * bytes) / 1e6, brokerMicros };
}

function printPublishing(title: string, runs: readonly Publishing[]): void {
  printTable(
    [title, 'messages/s', 'MB/s', 'broker'],
    [...new Set(runs.map(({ name }) => name))].map((name) => {
      const of = (figure: (run: Publishing) => number) => spreadOf(runs.filter((run) => run.name === name).map(figure));
      return [
        name,
        withSpread(
          of((run) => run.messagesPerSecond),
          thousands,
        ),
        thousands(of((run) => run.megabytesPerSecond).median),
        `${of((run) => run.brokerMicros).median.toFixed(0)} µs`,
      ];
    }),
  );
}
