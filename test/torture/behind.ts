/** A trial whose engine reaches one of its two servers through a proxy that stands for a bad network. */
import { startProxy } from '../servers/index.ts';
import type { Proxy } from '../servers/index.ts';
import { Trial } from './trial.ts';
import type { Arena } from './arena.ts';
import type { TrialOptions } from './trial.ts';

/** Which of its two servers the engine reaches over a bad network. */
export type Far = 'RabbitMQ' | 'MongoDB';

/** Whoever writes and reads back does so without the proxy. */
export async function beginBehind(
  arena: Arena,
  { far, proxy, ...options }: { readonly far: Far; readonly proxy: Proxy } & Partial<TrialOptions>,
): Promise<Trial> {
  const mongo = await arena.mongo();
  const rabbit = await arena.rabbit();
  return await Trial.begin({
    arena,
    // One that asks the set for its members' addresses would go past the proxy.
    mongo: {
      uri: mongo.uri,
      ...(far === 'MongoDB' && { through: `mongodb://127.0.0.1:${proxy.port}/?directConnection=true` }),
    },
    rabbit: { uri: rabbit.uri, ...(far === 'RabbitMQ' && { through: `amqp://127.0.0.1:${proxy.port}` }) },
    ...options,
  });
}

export async function proxyTo(arena: Arena, far: Far): Promise<Proxy> {
  const { uri } = await (far === 'RabbitMQ' ? arena.rabbit() : arena.mongo());
  return await startProxy({ to: Number(new URL(uri).port) });
}
