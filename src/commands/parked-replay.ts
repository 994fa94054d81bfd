/** `tailrace parked replay`: delivers parked events after all. */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import type { ParkedName } from '../checkpoint/parking.ts';
import { managedConfig } from './managed-config.ts';
import type { Config } from '../config/config.ts';
import { noLog } from '../library/no-log.ts';
import { Publisher } from '../replay/publisher.ts';
import { Remaker } from '../replay/remake.ts';
import { Replay } from '../replay/replay.ts';
import type { ReplayOutcome } from '../replay/replay.ts';
import { countTable, NOTHING_PARKED } from './parked-counts.ts';
import { stopOnSignals } from './signals.ts';
import { parkedOfStopped } from './stopped-folder.ts';
import { asJson, toStderr, toStdout } from './output.ts';

export interface ParkedReplayOptions extends FilterFlags {
  /** The configuration file. */
  readonly config: string;
  readonly dryRun: boolean;
  readonly json?: boolean;
  /** Of the report; standard error where events go to standard output. */
  readonly write?: (text: string) => void;
}

const FAILED = 1;

/** 0 when all that was asked for was delivered, or could be. */
export async function parkedReplay(options: ParkedReplayOptions): Promise<number> {
  const { config: file, dryRun, json = false, write, ...flags } = options;
  const nothing = json ? asJson({ dryRun, asked: 0, replayed: 0, kept: [], untouched: 0 }) : NOTHING_PARKED;
  const filter = parseFilter(flags);
  const config = await managedConfig(file);
  await using stopped = await parkedOfStopped(config, 'parked replay');
  if (stopped === undefined) {
    (write ?? toStdout)(nothing);
    return 0;
  }
  const { store } = stopped;
  const names = new Set<string>();
  const chosen: ParkedName[] = [];
  for (const { subscription, id, origin } of store.list(filter)) {
    names.add(subscription);
    chosen.push({ subscription, id, origin });
  }
  const report = write ?? (usesStdout(config, names) ? toStderr : toStdout);
  if (chosen.length === 0) {
    report(nothing);
    return 0;
  }
  await using remaker = new Remaker(config, noLog);
  await using publisher = new Publisher({ config, subscriptions: names, log: noLog });
  // It ends after the message that is under way.
  using signals = stopOnSignals(noLog);
  const replay = new Replay({ config, store, remaker, publisher, dryRun });
  try {
    for (const name of chosen) {
      if (signals.stop.aborted) break;
      const record = store.read(name);
      if (record) await replay.one(record);
    }
  } finally {
    await replay.settle();
    const { outcome } = replay;
    report(json ? asJson(forPrograms(outcome, chosen.length)) : summary(outcome, chosen.length));
  }
  return replay.outcome.replayed === chosen.length ? 0 : FAILED;
}

function forPrograms({ dryRun, replayed, kept }: ReplayOutcome, asked: number): object {
  const stayed = kept.reduce((sum, { events }) => sum + events, 0);
  return { dryRun, asked, replayed, kept, untouched: asked - replayed - stayed };
}

function summary({ dryRun, replayed, kept }: ReplayOutcome, asked: number): string {
  const stayed = kept.reduce((sum, { events }) => sum + events, 0);
  const untouched = asked - replayed - stayed;
  const parts = [
    dryRun ? `${replayed} would be replayed` : `Replayed ${replayed}`,
    ...(stayed > 0 ? [`${dryRun ? 'would stay' : 'still'} parked ${stayed}`] : []),
    ...(untouched > 0 ? [`not come to ${untouched}`] : []),
  ];
  const counts = kept.length > 0 ? `:\n${countTable(kept)}` : '.\n';
  return `${parts.join(', ')}${counts}`;
}

function usesStdout({ subscriptions }: Config, names: ReadonlySet<string>): boolean {
  return subscriptions.some(({ name, to }) => to.kind === 'stdout' && names.has(name));
}
