/** What happens between the engine and either end: links that are cut, stall, crawl, or end in the middle of a frame. */
import { startProxy } from '../../servers/index.ts';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const NETWORK_CASES: readonly TortureCase[] = [
  { end: 'network', name: 'connections to RabbitMQ cut under full load', versionsOf: 'RabbitMQ', run: cutFromBroker },
];

async function cutFromBroker(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using proxy = await startProxy({ to: Number(new URL(rabbit.uri).port) });
  await using trial = await Trial.begin({
    arena,
    mongo: await arena.mongo(),
    rabbit: { uri: rabbit.uri, through: `amqp://127.0.0.1:${proxy.port}` },
    backlog: arena.pick(60_000, 1_000_000),
    eventsPerSecond: 5_000,
  });
  const cuts = arena.pick(5, 100);
  for (let cut = 0; cut < cuts; cut++) await trial.strike(async () => proxy.cut());
  return await trial.verdict({ repeats: cuts * trial.underWay });
}
