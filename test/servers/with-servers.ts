/**
 * The servers that test files share: those the runner has started once for all of them, or, when a file is run by itself,
 * one of its own. Use databases, queues and exchanges with names of your own: others use the same servers.
 */
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

async function shared(
  uri: string | undefined,
  start: () => Promise<{ readonly uri: string; stop(): Promise<void> }>,
): Promise<Shared> {
  const server = uri === undefined ? await start() : undefined;
  const stop = async (): Promise<void> => server?.stop();
  return { uri: server?.uri ?? uri ?? '', stop, [Symbol.asyncDispose]: stop };
}
