/** `tailrace parked drop`: gives parked events up for good, and their room back. */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import { loadConfig } from '../config/load.ts';
import { confirmed } from './confirm.ts';
import { countedBy, NOTHING_PARKED } from './parked-counts.ts';
import { parkedOfStopped } from './stopped-folder.ts';
import { toStdout } from './output.ts';

export interface ParkedDropOptions extends FilterFlags {
  /** The configuration file. */
  readonly config: string;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly write?: (text: string) => void;
}

/** Of so many records the disk is awaited once. */
const CHUNK = 1_000;

export async function parkedDrop({
  config,
  dryRun,
  yes,
  write = toStdout,
  ...flags
}: ParkedDropOptions): Promise<number> {
  const filter = parseFilter(flags);
  await using stopped = await parkedOfStopped(await loadConfig(config, process.env), 'parked drop');
  if (stopped === undefined) {
    write(NOTHING_PARKED);
    return 0;
  }
  const { store } = stopped;
  const chosen = [...store.list(filter)].map(({ subscription, id, reason, origin }) => ({
    subscription,
    id,
    reason,
    origin,
  }));
  if (chosen.length === 0) {
    write(NOTHING_PARKED);
    return 0;
  }
  write(countedBy(chosen));
  if (dryRun) {
    write(`\n${chosen.length} would be dropped for good.\n`);
    return 0;
  }
  if (!(await confirmed(`Drop these ${chosen.length} for good?`, yes))) {
    write('Nothing was dropped.\n');
    return 0;
  }
  let dropped = 0;
  for (let from = 0; from < chosen.length; from += CHUNK) {
    dropped += await store.settle({ gone: chosen.slice(from, from + CHUNK), kept: [] });
  }
  write(`\nDropped ${dropped}.\n`);
  return 0;
}
