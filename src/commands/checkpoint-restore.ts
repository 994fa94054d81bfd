/** `tailrace checkpoint restore`: the checkpoints out of their copy, when the store is damaged; the damaged one is kept. */
import { COPY } from '../checkpoint/data-folder.ts';
import { restoreCheckpoints } from '../checkpoint/restore.ts';
import { loadConfig } from '../config/load.ts';
import { formatTs } from '../source/position.ts';
import { withTime } from '../check/positions.ts';
import { lockStopped } from './stopped-folder.ts';
import { table } from './table.ts';
import { asJson, toStdout } from './output.ts';

export interface CheckpointRestoreOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json?: boolean;
  readonly write?: (text: string) => void;
}

export async function checkpointRestore({
  config,
  json = false,
  write = toStdout,
}: CheckpointRestoreOptions): Promise<number> {
  const { checkpoint, subscriptions } = await loadConfig(config, process.env);
  const { path } = checkpoint;
  await using lock = await lockStopped(path, 'checkpoint restore');
  void lock;
  const restored = await restoreCheckpoints(path);
  if (restored === undefined) {
    write(json ? asJson({ restored: false }) : `The checkpoints in ${path} are sound: nothing was changed.\n`);
    return 0;
  }
  const { copy, damage, movedAside } = restored;
  const known = new Set(copy.records.map(({ subscription }) => subscription));
  const without = subscriptions.filter(({ name }) => !known.has(name));
  if (json) {
    const checkpoints = copy.records.map(({ subscription, source, resume }) => ({
      name: subscription,
      source,
      resume: formatTs(resume.ts),
    }));
    const { writtenAt } = copy;
    const names = without.map(({ name }) => name);
    write(asJson({ restored: true, damage, writtenAt, checkpoints, withoutCheckpoint: names, movedAside }));
    return 0;
  }
  write(`The checkpoints were damaged (${damage}). They are now those of ${COPY}, written ${copy.writtenAt}:\n\n`);
  const rows = copy.records.map(({ subscription, source, resume }) => [subscription, source, withTime(resume.ts)]);
  write(table([['SUBSCRIPTION', 'SOURCE', 'RESUMES'], ...rows]));
  write('\nWhat was delivered after that comes again; nothing is skipped.\n');
  for (const { name, source } of without) {
    write(`There was no checkpoint of ${name}: it begins at the \`start\` of source "${source}".\n`);
  }
  if (movedAside.length > 0) write(`Kept, and safe to remove: ${movedAside.join(', ')} in ${path}\n`);
  return 0;
}
