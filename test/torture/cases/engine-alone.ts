/** One engine at a time: a second one on the same data folder, or on the same subscription from elsewhere. */
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineFolder, until } from '../../harness/engine-process.ts';
import { confirmed } from '../../harness/waiting.ts';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const ALONE_CASES: readonly TortureCase[] = [
  { end: 'engine', name: 'a second engine on the same data folder', run: sameFolder },
  { end: 'engine', name: 'a second engine on the same subscription', run: sameSubscription },
];

async function sameFolder(arena: Arena): Promise<Outcome> {
  await using trial = await Trial.begin({ arena });
  const times = arena.pick(2, 5);
  for (let n = 0; n < times; n++) {
    const second = trial.folder.start();
    const exit = await second.ended();
    if (exit !== 2 || !second.log().includes('is in use by the engine')) {
      throw new Error(`the second engine ended with ${exit}: ${second.log()}`);
    }
    // The lock of one that was killed is in nobody's way.
    await trial.engine.kill();
    trial.start();
    await trial.strike(async () => {});
  }
  return await trial.verdict({ repeats: times * trial.perKill });
}

async function sameSubscription(arena: Arena): Promise<Outcome> {
  await using trial = await Trial.begin({ arena });
  await using elsewhere = await EngineFolder.create(trial.config);
  const second = elsewhere.start();
  await until('the second waits for the first', () => second.log().includes('Another engine delivers this'));
  await sleep(arena.pick(2_000, 20_000));
  if ((await confirmed(second)) > 0) throw new Error('the second engine delivered beside the first');
  await trial.engine.kill();
  await trial.strike(async () => trial.goOnWith(second));
  // The second knows nothing of what the first has delivered.
  return await trial.verdict({ repeats: Infinity });
}
