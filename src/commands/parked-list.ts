/** `tailrace parked list`: what was set aside, and why; also beside a running engine. */
import { readParked } from '../checkpoint/read-only.ts';
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import { loadConfig } from '../config/load.ts';
import { formatBytes } from '../terminal/amounts.ts';
import { NOTHING_PARKED } from './parked-counts.ts';
import { table } from './table.ts';
import { asJson, toStdout } from './output.ts';

export interface ParkedListOptions extends FilterFlags {
  /** The configuration file. */
  readonly config: string;
  readonly json: boolean;
  readonly write?: (text: string) => void;
}

export async function parkedList({ config, json, write = toStdout, ...flags }: ParkedListOptions): Promise<number> {
  const filter = parseFilter(flags);
  const { checkpoint, parked: bound } = await loadConfig(config, process.env);
  const { parked, storeBytes } = await readParked(checkpoint.path, filter, ({ summary }) => summary);
  if (json) {
    const shown = parked.map((event) => ({ ...event, at: new Date(event.at).toISOString() }));
    write(asJson({ parked: shown, store: { bytes: storeBytes, maxBytes: bound.maxBytes } }));
  } else if (parked.length === 0) {
    write(storeBytes === 0 ? 'Nothing is parked.\n' : NOTHING_PARKED);
  } else {
    const rows = parked.map((event) => [
      event.subscription,
      event.id,
      event.ns,
      event.reason,
      new Date(event.at).toISOString(),
      event.detail.replaceAll(/\s+/g, ' '),
    ]);
    write(table([['SUBSCRIPTION', 'EVENT', 'NAMESPACE', 'REASON', 'PARKED AT', 'DETAIL'], ...rows]));
    write(`\n${parked.length} parked.\n`);
    write(`The store holds ${formatBytes(storeBytes)} of ${formatBytes(bound.maxBytes)} (parked.maxBytes).\n`);
  }
  return 0;
}
