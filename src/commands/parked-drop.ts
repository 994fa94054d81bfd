/** `tailrace parked drop`: gives parked events up for good, and their room back. */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags, ParkedFilter } from '../checkpoint/parked-filter.ts';
import type { ParkedName, ParkingStore } from '../checkpoint/parking.ts';
import { loadConfig } from '../config/load.ts';
import { confirmed } from './confirm.ts';
import type { DropOutcome } from '../replay/parked-work.ts';
import { countBy, eventsIn } from '../replay/counts.ts';
import { addressIn } from './engine-address.ts';
import { countTable, NOTHING_PARKED } from './parked-counts.ts';
import { dropOfRunning } from './parked-running.ts';
import { openParked } from './stopped-folder.ts';
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

/** By a running engine, or, where it is stopped, here. */
export async function parkedDrop(options: ParkedDropOptions): Promise<number> {
  const { config: file, dryRun, yes, json = false, write = toStdout, ...flags } = options;
  const say = talk({ json, yes: yes || dryRun, write });
  const filter = parseFilter(flags);
  const config = await loadConfig(file, process.env);
  await using parked = await openParked(config);
  const ofRunning = async (trial: boolean): Promise<DropOutcome> =>
    dropOfRunning({ address: addressIn(config, file), flags, dryRun: trial });
  const chosen = parked.kind === 'stopped' ? chosenOf(parked.store, filter) : [];
  const { counts } = parked.kind === 'running' ? await ofRunning(true) : { counts: countBy(chosen) };
  const asked = eventsIn(counts);
  const done = (dropped: number, text: string): number => {
    write(json ? asJson({ dryRun, asked, dropped, counts }) : text);
    return 0;
  };
  if (asked === 0) return done(0, NOTHING_PARKED);
  say(countTable(counts));
  if (dryRun) return done(0, `\n${asked} would be dropped for good.\n`);
  if (!(await confirmed(`Drop these ${asked} for good?`, yes))) return done(0, 'Nothing was dropped.\n');
  const dropped = parked.kind === 'stopped' ? await drop(parked.store, chosen) : (await ofRunning(false)).dropped;
  return done(dropped, `\nDropped ${dropped}.\n`);
}

function chosenOf(store: ParkingStore, filter: ParkedFilter) {
  return [...store.list(filter)].map(({ subscription, id, reason, origin }) => ({ subscription, id, reason, origin }));
}

async function drop(store: ParkingStore, chosen: readonly ParkedName[]): Promise<number> {
  let dropped = 0;
  for (let from = 0; from < chosen.length; from += CHUNK) {
    dropped += await store.settle({ gone: chosen.slice(from, from + CHUNK), kept: [] });
  }
  return dropped;
}
