/**
 * The servers that test files share: those the runner has started once for all of them, or, when a file is run by itself,
 * one of its own. Use databases, queues and exchanges with names of your own: others use the same servers.
 */
import { after, before } from 'node:test';
import { MongoClient } from 'mongodb';
import { startMongo } from './mongo.ts';
import { startRabbit } from './rabbit.ts';

export const SHARED_MONGO = 'TAILRACE_TEST_MONGODB_URI';
export const SHARED_RABBIT = 'TAILRACE_TEST_AMQP_URI';

export interface Shared extends AsyncDisposable {
  readonly uri: string;
  /** Call it in `after`: without a runner the server is this file's own. */
  stop(): Promise<void>;
}

export async function sharedMongo(): Promise<Shared> {
  return shared(process.env[SHARED_MONGO], async () => startMongo({ fresh: false }));
}

export async function sharedRabbit(): Promise<Shared> {
  return shared(process.env[SHARED_RABBIT], async () => startRabbit({ fresh: false }));
}

export interface SharedServers {
  mongo: Shared;
  rabbit: Shared;
  client: MongoClient;
}

/** Both, and a client, for the tests of a `describe` or a file: there from the first of them to the last. */
export function useSharedServers(): SharedServers {
  return use(sharedMongo, sharedRabbit);
}

/** The same, but nobody else's: for tests that write so much that others, who look at the last minutes of the oplog, would see nothing else. */
export function useOwnServers(): SharedServers {
  return use(
    async () => shared(undefined, async () => startMongo({})),
    async () => shared(undefined, async () => startRabbit({})),
  );
}

function use(mongo: () => Promise<Shared>, rabbit: () => Promise<Shared>): SharedServers {
  const servers = {} as SharedServers;
  before(async () => {
    [servers.mongo, servers.rabbit] = await Promise.all([mongo(), rabbit()]);
    servers.client = await MongoClient.connect(servers.mongo.uri);
  });
  after(async () => {
    await servers.client.close();
    await Promise.all([servers.mongo.stop(), servers.rabbit.stop()]);
  });
  return servers;
}

async function shared(
  uri: string | undefined,
  start: () => Promise<{ readonly uri: string; stop(): Promise<void> }>,
): Promise<Shared> {
  const server = uri === undefined ? await start() : undefined;
  const stop = async (): Promise<void> => server?.stop();
  return { uri: server?.uri ?? uri ?? '', stop, [Symbol.asyncDispose]: stop };
}
