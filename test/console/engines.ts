/** Two engines for the console to show: one that is well and under load, and one that has every trouble and a token. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { EngineFolder, until } from '../harness/engine-process.ts';
import type { EngineProcess } from '../harness/engine-process.ts';
import type { SharedServers } from '../servers/with-servers.ts';

export const TOKEN = 'a-token-of-the-console-1234567890';
/** Queues that nobody reads shall not grow. */
const SHORT = { 'x-max-length': 500 };

export interface EngineUnderTest extends AsyncDisposable {
  readonly place: EngineFolder;
  readonly engine: EngineProcess;
  /** Of the console. */
  readonly url: string;
  readonly token?: string;
}

export async function wellEngine({ mongo, rabbit }: SharedServers, database: string): Promise<EngineUnderTest> {
  const queue = (name: string): object => ({ name: `${database}-${name}`, arguments: SHORT, bind: '#' });
  const well = await start({
    sources: { shop: { uri: mongo.uri } },
    sinks: { rabbit: { uri: rabbit.uri } },
    subscriptions: [
      {
        name: 'orders',
        namespaces: [`${database}.orders`],
        to: { exchange: `${database}-orders`, queues: [queue('orders')] },
      },
      {
        name: 'search-index',
        namespaces: [`${database}.products`, `${database}.reviews`],
        to: { exchange: `${database}-search`, queues: [queue('search')] },
      },
      {
        name: 'audit',
        namespaces: [`${database}.*`],
        batch: { maxEvents: 50, linger: '20ms' },
        to: { exchange: `${database}-audit`, queues: [queue('audit')] },
      },
    ],
  });
  const traffic = load(mongo.uri, database);
  return {
    ...well,
    async [Symbol.asyncDispose]() {
      await traffic.stop();
      await well[Symbol.asyncDispose]();
    },
  };
}

export async function illEngine({ mongo, rabbit, client }: SharedServers, database: string): Promise<EngineUnderTest> {
  const ill = await start({
    sources: { shop: { uri: mongo.uri }, spare: { uri: 'mongodb://nowhere.invalid/?replicaSet=rs' } },
    sinks: { rabbit: { uri: rabbit.uri } },
    subscriptions: [
      {
        name: 'good',
        source: 'shop',
        namespaces: [`${database}.*`],
        to: { queue: `${database}-good`, queueArguments: SHORT },
      },
      { name: 'stuck', source: 'shop', namespaces: [`${database}.*`], to: { exchange: `${database}-nobody` } },
      {
        name: 'parking',
        source: 'shop',
        namespaces: [`${database}.*`],
        mask: [{ fields: ['ssn'], with: 'hidden' }],
        to: { exchange: `${database}-parking`, routingKey: '{fullDocument.absent}' },
      },
    ],
    http: { listen: '127.0.0.1:0', token: TOKEN },
  });
  await client
    .db(database)
    .collection('people')
    .insertMany([1, 2, 3].map((n) => ({ n, ssn: 'PRIVATE', name: `<b>${n}</b>` })));
  await until('it has its troubles', async () => {
    const { subscriptions } = await statusOf(ill);
    return subscriptions['stuck']?.state === 'held' && subscriptions['parking']?.parked === 3;
  });
  return { ...ill, token: TOKEN };
}

/** Whose definitions are changed here. */
export async function onlineEngine({ mongo, rabbit }: SharedServers, database: string): Promise<EngineUnderTest> {
  const online = await start({
    management: 'online',
    sources: { shop: { uri: mongo.uri } },
    sinks: {
      rabbit: { uri: rabbit.uri.replace('//', '//guest:guest@').replace('guest:guest@guest:guest@', 'guest:guest@') },
    },
    subscriptions: [
      {
        name: 'orders',
        source: 'shop',
        namespaces: [`${database}.orders`],
        to: { sink: 'rabbit', queue: `${database}-orders`, queueArguments: SHORT },
      },
    ],
    http: { listen: '127.0.0.1:0', token: TOKEN },
  });
  return { ...online, token: TOKEN };
}

/** With documents that were there before it, which it reads slowly; and a subscription of a change stream, which can have no snapshot. */
export async function snapshotEngine(
  { mongo, rabbit, client }: SharedServers,
  database: string,
): Promise<EngineUnderTest> {
  const collection = (name: string) => client.db(database).collection<{ _id: number; status: string }>(name);
  const some = (many: number) =>
    Array.from({ length: many }, (_, _id) => ({ _id, status: _id % 100 === 0 ? 'open' : 'closed' }));
  await collection('orders').insertMany(some(5_000));
  await collection('returns').insertMany(some(200));
  const to = (name: string): object => ({ queue: `${database}-${name}`, queueArguments: SHORT });
  const reading = await start({
    sources: { shop: { uri: mongo.uri }, stream: { uri: mongo.uri, mode: 'changeStream' } },
    sinks: { rabbit: { uri: rabbit.uri } },
    subscriptions: [
      {
        name: 'orders',
        source: 'shop',
        namespaces: [`${database}.*`],
        snapshot: { maxRate: 50, parallel: 1 },
        to: to('orders'),
      },
      { name: 'returns', source: 'shop', namespaces: [`${database}.returns`], to: to('returns') },
      { name: 'streamed', source: 'stream', namespaces: [`${database}.*`], to: to('streamed') },
    ],
    http: { listen: '127.0.0.1:0', token: TOKEN },
  });
  return { ...reading, token: TOKEN };
}

async function start(config: object): Promise<EngineUnderTest> {
  const place = await EngineFolder.create(config);
  const engine = place.start();
  const url = `${await engine.url()}/console/`;
  const started: EngineUnderTest = {
    place,
    engine,
    url,
    [Symbol.asyncDispose]: async () => place[Symbol.asyncDispose](),
  };
  await until('it reads', async () =>
    Object.values((await statusOf(started)).subscriptions).every(({ state }) => state === 'flowing'),
  );
  return started;
}

async function statusOf({
  url,
}: Pick<EngineUnderTest, 'url'>): Promise<{ subscriptions: Record<string, { state: string; parked: number }> }> {
  const response = await fetch(new URL('../status', url), { headers: { Authorization: `Bearer ${TOKEN}` } });
  return (await response.json()) as { subscriptions: Record<string, { state: string; parked: number }> };
}

/** Writes until it is stopped, at a few hundred a second. Of its own connection, which outlives nobody's. */
function load(uri: string, database: string): { stop(): Promise<void> } {
  const stop = new AbortController();
  const running = (async () => {
    const client = await MongoClient.connect(uri);
    const collections = ['orders', 'products', 'reviews', 'sessions'].map((name) =>
      client.db(database).collection(name),
    );
    for (let round = 0; !stop.signal.aborted; round++) {
      const many = 8 + Math.round(6 * Math.sin(round / 12));
      const documents = (n: number): object[] =>
        Array.from({ length: many * n }, (_, at) => ({ round, at, customer: { city: 'Ulm' }, total: at * 1.5 }));
      await Promise.all(collections.map(async (one, n) => one.insertMany(documents(n + 1))));
      await sleep(100, undefined, { signal: stop.signal }).catch(() => {});
    }
    await client.db(database).dropDatabase();
    await client.close();
  })();
  return {
    async stop() {
      stop.abort();
      await running;
    },
  };
}
