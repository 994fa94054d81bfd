/** `tailrace parked list`: what was set aside, and why; also beside a running engine. */
import { readParked } from '../checkpoint/read-only.ts';
import { loadConfig } from '../config/load.ts';
import { table } from './table.ts';

export interface ParkedListOptions {
  /** The configuration file. */
  readonly config: string;
  readonly json: boolean;
  readonly subscription?: string | undefined;
  readonly reason?: string | undefined;
  readonly write?: (text: string) => void;
}

export async function parkedList({
  config,
  json,
  subscription,
  reason,
  write = toStdout,
}: ParkedListOptions): Promise<number> {
  const { checkpoint } = await loadConfig(config, process.env);
  const parked = await readParked(checkpoint.path, { subscription, reason });
  if (json) {
    const shown = parked.map((event) => ({ ...event, at: new Date(event.at).toISOString() }));
    write(`${JSON.stringify({ parked: shown }, undefined, 2)}\n`);
  } else if (parked.length === 0) {
    write('Nothing is parked.\n');
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
  }
  return 0;
}

function toStdout(text: string): void {
  process.stdout.write(text);
}
