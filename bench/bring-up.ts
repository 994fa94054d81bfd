/** What most scenarios begin with: a build, a mongod and a RabbitMQ of their own, and what they are. */
import { build } from '../test/build.ts';
import { startMongo, startRabbit } from '../test/servers/index.ts';
import type { MongoOptions, MongoServer, RabbitServer } from '../test/servers/index.ts';
import { environment } from './report.ts';

export interface BroughtUp {
  readonly mongo: MongoServer;
  readonly rabbit: RabbitServer;
  readonly env: Awaited<ReturnType<typeof environment>>;
}

/** `closers` gets what takes them down again, also of what was up when something failed; to be called the last one first. */
export async function bringUp(closers: (() => Promise<unknown>)[], options: MongoOptions = {}): Promise<BroughtUp> {
  const { fresh, progress } = options;
  await build();
  const mongo = await startMongo(options);
  closers.push(async () => mongo.stop());
  const rabbit = await startRabbit({ ...(fresh !== undefined && { fresh }), ...(progress && { progress }) });
  closers.push(async () => rabbit.stop());
  const env = await environment({ mongoUri: mongo.uri, amqpUri: rabbit.uri });
  return { mongo, rabbit, env };
}
