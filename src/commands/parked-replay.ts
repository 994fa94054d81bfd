/** `tailrace parked replay`: delivers parked events after all. */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import { managedConfig } from './managed-config.ts';
import type { Config } from '../config/config.ts';
import { noLog } from '../library/no-log.ts';
import { Publisher } from '../replay/publisher.ts';
import { Remaker } from '../replay/remake.ts';
import { Replay } from '../replay/replay.ts';
import { eventsIn, mergeCounts } from '../replay/counts.ts';
import type { ReplayOutcome } from '../replay/replay.ts';
import { askerOf } from './folder-owner.ts';
import { countTable, NOTHING_PARKED } from './parked-counts.ts';
import { stopOnSignals } from './signals.ts';
import { replayedByEngine } from './parked-running.ts';
import { openParked } from './stopped-folder.ts';
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

/** By a running engine, or, where it is stopped, here. 0 when all that was asked for was delivered, or could be. */
export async function parkedReplay(options: ParkedReplayOptions): Promise<number> {
  const { config: file, dryRun, json = false, write, ...flags } = options;
  const filter = parseFilter(flags);
  const config = await managedConfig(file);
  await using parked = await openParked(config);
  const ask = parked.kind === 'running' ? await askerOf(config, file) : undefined;
  const chosen = await parked.chosen(filter);
  const names = new Set(chosen.map(({ subscription }) => subscription));
  const say = write ?? (parked.kind === 'stopped' && usesStdout(config, names) ? toStderr : toStdout);
  let outcome: ReplayOutcome = { dryRun, replayed: 0, kept: [] };
  const reported = (): number => {
    const asked = chosen.length;
    if (json) say(asJson(forPrograms(outcome, asked)));
    else say(asked === 0 ? NOTHING_PARKED : summary(outcome, asked));
    return outcome.replayed === asked ? 0 : FAILED;
  };
  if (chosen.length === 0) return reported();
  let exitCode = FAILED;
  try {
    if (ask) {
      const keys = chosen.map(({ key }) => key);
      for await (const part of replayedByEngine({ ask, keys, dryRun })) outcome = sum(outcome, part);
    } else if (parked.kind === 'stopped') {
      await using remaker = new Remaker(config, noLog);
      await using publisher = new Publisher({ config, subscriptions: names, log: noLog });
      // It ends after the message that is under way.
      using signals = stopOnSignals(noLog);
      const replay = new Replay({ config, store: parked.store, remaker, publisher, dryRun });
      try {
        for (const name of chosen) {
          if (signals.stop.aborted) break;
          const record = parked.store.read(name);
          if (record) await replay.one(record);
        }
      } finally {
        await replay.settle();
        ({ outcome } = replay);
      }
    }
  } finally {
    exitCode = reported();
  }
  return exitCode;
}

function sum(a: ReplayOutcome, b: ReplayOutcome): ReplayOutcome {
  return { ...a, replayed: a.replayed + b.replayed, kept: mergeCounts([...a.kept, ...b.kept]) };
}

function forPrograms({ dryRun, replayed, kept }: ReplayOutcome, asked: number): object {
  const stayed = eventsIn(kept);
  return { dryRun, asked, replayed, kept, untouched: asked - replayed - stayed };
}

function summary({ dryRun, replayed, kept }: ReplayOutcome, asked: number): string {
  const stayed = eventsIn(kept);
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
