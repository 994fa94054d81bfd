/** What happens to the replica set: members die, are elected, cut off, rolled back, resized and replaced. */
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const MONGODB_CASES: readonly TortureCase[] = [
  { end: 'MongoDB', name: 'SIGKILL of a set of one', versionsOf: 'MongoDB', run: killedAlone },
];

async function killedAlone(arena: Arena): Promise<Outcome> {
  const mongo = await arena.mongo();
  await using trial = await Trial.begin({ arena, mongo, rabbit: await arena.rabbit() });
  for (let kill = 0; kill < arena.pick(1, 5); kill++) {
    await trial.strike(async () => {
      await mongo.kill();
      await trial.untilNotReady();
      await mongo.restart();
    });
  }
  return await trial.verdict({ repeats: 0 });
}
