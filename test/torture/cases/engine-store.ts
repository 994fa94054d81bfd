/** What may happen to the checkpoint's files while no engine runs: a start says so and changes nothing, and a restore goes on. */
import { open, readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { Trial } from '../trial.ts';
import type { Arena } from '../arena.ts';
import type { Outcome, TortureCase } from '../case.ts';

export const STORE_CASES: readonly TortureCase[] = [
  { end: 'engine', name: 'checkpoint truncated', run: async (arena) => damaged(arena, halved) },
  { end: 'engine', name: 'checkpoint overwritten with garbage', run: async (arena) => damaged(arena, scribbled) },
];

/** Written between the file that `restore` reads and a kill: half a second's, and more where the disk is slow. */
const SINCE_THE_FILE = 5_000;

async function damaged(arena: Arena, damage: (path: string, arena: Arena) => Promise<void>): Promise<Outcome> {
  await using trial = await Trial.begin({ arena });
  const times = arena.pick(1, 4);
  for (let n = 0; n < times; n++) {
    await trial.engine.kill();
    const data = join(trial.folder.folder, 'tailrace-data');
    await damage(join(data, 'checkpoints', 'data.mdb'), arena);
    const recent = (await readdir(data)).filter((name) => name.startsWith('recent-') && !name.includes('.damaged-'));
    for (const name of recent) for (const file of ['a', 'b']) await damage(join(data, name, file), arena);
    await trial.refused('store-damaged');
    const { code, stdout, stderr } = await trial.folder.command('checkpoint', 'restore');
    if (code !== 0) throw new Error(`checkpoint restore ended with ${code}: ${stdout}${stderr}`);
    trial.start();
    await trial.strike(async () => {});
  }
  return await trial.verdict({ repeats: times * (trial.perKill + SINCE_THE_FILE) });
}

async function halved(path: string): Promise<void> {
  await truncate(path, Math.floor((await stat(path)).size / 2));
}

async function scribbled(path: string, { random }: Arena): Promise<void> {
  const { size } = await stat(path);
  await using file = await open(path, 'r+');
  // The first pages tell where all others are.
  await file.write(Buffer.from(random.many(Math.min(size, 8_192), () => random.below(256))), 0, undefined, 0);
}
