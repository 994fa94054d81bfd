/** `tailrace parked drop`: gives parked events up for good, and their room back. */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import { loadConfig } from '../config/load.ts';
import { confirmed } from './confirm.ts';
import { countBy } from '../replay/counts.ts';
import { countTable, NOTHING_PARKED } from './parked-counts.ts';
import { parkedOfStopped } from './stopped-folder.ts';
import { asJson, talk, toStdout } from './output.ts';

export interface ParkedDropOptions extends FilterFlags {
  /** The configuration file. */
  readonly config: string;
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly json?: boolean;
  readonly write?: (text: string) => void;
}

/** Of so many records the disk is awaited once. */
const CHUNK = 1_000;

export async function parkedDrop(options: ParkedDropOptions): Promise<number> {
  const { config, dryRun, yes, json = false, write = toStdout, ...flags } = options;
  const say = talk({ json, yes: yes || dryRun, write });
  const filter = parseFilter(flags);
  await using stopped = await parkedOfStopped(await loadConfig(config, process.env), 'parked drop');
  const chosen = [...(stopped?.store.list(filter) ?? [])].map(({ subscription, id, reason, origin }) => ({
    subscription,
    id,
    reason,
    origin,
  }));
  const counts = countBy(chosen);
  const done = (dropped: number, text: string): number => {
    write(json ? asJson({ dryRun, asked: chosen.length, dropped, counts }) : text);
    return 0;
  };
  if (stopped === undefined || chosen.length === 0) return done(0, NOTHING_PARKED);
  say(countTable(counts));
  if (dryRun) return done(0, `\n${chosen.length} would be dropped for good.\n`);
  if (!(await confirmed(`Drop these ${chosen.length} for good?`, yes))) return done(0, 'Nothing was dropped.\n');
  let dropped = 0;
  for (let from = 0; from < chosen.length; from += CHUNK) {
    dropped += await stopped.store.settle({ gone: chosen.slice(from, from + CHUNK), kept: [] });
  }
  return done(dropped, `\nDropped ${dropped}.\n`);
}
