/**
 * Parked events of a running engine: it does the work over its API, for some seconds at a time, and is asked again until it has come to
 * the end.
 */
import { API_PATH } from '../api/path.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import type { DropOutcome } from '../replay/parked-work.ts';
import type { ReplayOutcome } from '../replay/replay.ts';
import { mergeCounts } from '../replay/counts.ts';
import { askEngine } from './ask-engine.ts';
import type { EngineAddress } from './ask-engine.ts';

interface Asked {
  readonly address: EngineAddress;
  readonly flags: FilterFlags;
  readonly dryRun: boolean;
}

export async function replayOfRunning(asked: Asked): Promise<ReplayOutcome> {
  const parts = await answersTo<ReplayOutcome>('replay', asked, {});
  const replayed = parts.reduce((sum, part) => sum + part.replayed, 0);
  return { dryRun: asked.dryRun, replayed, kept: mergeCounts(parts.flatMap(({ kept }) => kept)) };
}

export async function dropOfRunning(asked: Asked): Promise<DropOutcome> {
  const parts = await answersTo<DropOutcome>('drop', asked, { all: true });
  const dropped = parts.reduce((sum, part) => sum + part.dropped, 0);
  return { dryRun: asked.dryRun, dropped, counts: mergeCounts(parts.flatMap(({ counts }) => counts)) };
}

async function answersTo<T extends object>(
  what: 'replay' | 'drop',
  { address, flags: { event, ...flags }, dryRun }: Asked,
  more: object,
): Promise<readonly T[]> {
  const parts: T[] = [];
  for (let after: string | undefined; ;) {
    const body = { ...flags, ...more, dryRun, ...(event && { events: event }), ...(after && { after }) };
    // The engine's own document says so.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const part = (await askEngine(address, `${API_PATH}/parked/${what}`, { method: 'POST', body })) as T & {
      readonly next: string | null;
    };
    parts.push(part);
    if (part.next === null) return parts;
    after = part.next;
  }
}
