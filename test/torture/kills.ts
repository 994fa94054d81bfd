/**
 * An engine that is killed with SIGKILL again and again under full load. After each kill the messages in the queue are counted,
 * so that at the end it can be said for each life by itself how many of the messages it sent had been there before.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { untilReading } from '../harness/waiting.ts';
import { countMessages } from '../harness/queue-reader.ts';
import { Trial } from './trial.ts';
import type { Arena } from './arena.ts';
import type { Outcome } from './case.ts';

export async function killed(arena: Arena): Promise<Outcome> {
  const { random } = arena;
  const rabbit = await arena.rabbit();
  await using trial = await Trial.begin({
    arena,
    rabbit,
    backlog: arena.pick(60_000, 500_000),
    eventsPerSecond: arena.pick(5_000, 700),
  });
  const kills = arena.pick(8, 170);
  const ends: number[] = [];
  for (let kill = 0; kill < kills; kill++) {
    // Most kills fall into the flow, some into the start.
    if (kill % 5 !== 4) await untilReading(trial.engine);
    await sleep(random.next() * 1_000);
    await trial.engine.kill();
    trial.count();
    ends.push(await settledCount(rabbit.uri, trial.name, ends.at(-1)));
    trial.start();
  }
  await trial.strike(async () => {});
  return await trial.verdict({ repeats: kills * trial.perKill, ends });
}

/** Messages the broker still takes in after the kill come within moments. Nobody takes any out: fewer than before is no answer. */
async function settledCount(uri: string, queue: string, before = 0): Promise<number> {
  let count = -1;
  for (;;) {
    const now = await countMessages(uri, queue).catch(() => 0);
    if (now === count && now >= before) return count;
    count = now;
    await sleep(100);
  }
}
