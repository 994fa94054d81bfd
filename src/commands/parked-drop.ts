/** `tailrace parked drop`: gives parked events up for good, and their room back. */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import { loadConfig } from '../config/load.ts';
import { confirmed } from './confirm.ts';
import { countBy } from '../replay/counts.ts';
import { askerOf } from './folder-owner.ts';
import type { AskOwner } from './folder-owner.ts';
import { countTable, NOTHING_PARKED } from './parked-counts.ts';
import { droppedByEngine } from './parked-running.ts';
import { openParked } from './stopped-folder.ts';
import type { ChosenParked, OpenParked } from './stopped-folder.ts';
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

/** By a running engine, or, where it is stopped, here; in both cases those that were shown, whatever is parked meanwhile. */
export async function parkedDrop(options: ParkedDropOptions): Promise<number> {
  const { config: file, dryRun, yes, json = false, write = toStdout, ...flags } = options;
  const say = talk({ json, yes: yes || dryRun, write });
  const filter = parseFilter(flags);
  const config = await loadConfig(file, process.env);
  await using parked = await openParked(config);
  const ask = parked.kind === 'running' ? await askerOf(config, file) : undefined;
  const chosen = await parked.chosen(filter);
  const counts = countBy(chosen.map(({ subscription, reason }) => ({ subscription, reason })));
  const asked = chosen.length;
  const done = (dropped: number, text: string): number => {
    write(json ? asJson({ dryRun, asked, dropped, counts }) : text);
    return 0;
  };
  if (asked === 0) return done(0, NOTHING_PARKED);
  say(countTable(counts));
  if (dryRun) return done(0, `\n${asked} would be dropped for good.\n`);
  if (!(await confirmed(`Drop these ${asked} for good?`, yes))) return done(0, 'Nothing was dropped.\n');
  let dropped = 0;
  try {
    for await (const part of dropping(parked, chosen, ask)) dropped += part;
  } finally {
    done(dropped, `\nDropped ${dropped}.\n`);
  }
  return 0;
}

/** How many, a part at a time. */
async function* dropping(
  parked: OpenParked,
  chosen: readonly ChosenParked[],
  ask: AskOwner | undefined,
): AsyncGenerator<number> {
  if (ask) {
    const keys = chosen.map(({ key }) => key);
    for await (const { dropped } of droppedByEngine({ ask, keys })) yield dropped;
  } else if (parked.kind === 'stopped') {
    for (let from = 0; from < chosen.length; from += CHUNK) {
      yield await parked.store.settle({ gone: chosen.slice(from, from + CHUNK), kept: [] });
    }
  }
}
