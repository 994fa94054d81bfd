/** What happens to the broker: it dies, restarts, blocks, refuses, closes, and forgets. */
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const RABBITMQ_CASES: readonly TortureCase[] = [
  { end: 'RabbitMQ', name: 'clean restart', versionsOf: 'RabbitMQ', run: restarted },
];

async function restarted(arena: Arena): Promise<Outcome> {
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({ arena, mongo: await arena.mongo(), rabbit, backlog: 10_000 });
  const times = arena.pick(1, 5);
  for (let n = 0; n < times; n++) await trial.strike(async () => rabbit.restart());
  return await trial.verdict({ repeats: times * trial.underWay });
}
