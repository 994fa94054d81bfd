/**
 * Parked events of a running engine: it does the work over its API, for some seconds at a time, on those that are named to it, and is
 * asked again until it has come to the end.
 */
import { API_PATH } from '../api/path.ts';
import { idOf } from '../api/parked-id.ts';
import type { ParkedKey } from '../checkpoint/parked-key.ts';
import type { DropOutcome } from '../replay/parked-work.ts';
import type { ReplayOutcome } from '../replay/replay.ts';
import type { AskOwner } from './folder-owner.ts';

/** As many as the engine takes at a time. */
const NAMED = 500;

interface Asked {
  readonly ask: AskOwner;
  readonly keys: readonly ParkedKey[];
  readonly dryRun: boolean;
}

/** `next`: where the following one goes on. */
interface Partly {
  readonly next: string | null;
}

/** A part at a time. */
export function replayedByEngine(asked: Asked): AsyncGenerator<ReplayOutcome & Partly> {
  return answers<ReplayOutcome>('replay', asked);
}

export function droppedByEngine(asked: Omit<Asked, 'dryRun'>): AsyncGenerator<DropOutcome & Partly> {
  return answers<DropOutcome>('drop', { ...asked, dryRun: false });
}

async function* answers<T extends object>(
  what: 'replay' | 'drop',
  { ask, keys, dryRun }: Asked,
): AsyncGenerator<T & Partly> {
  for (let from = 0; from < keys.length;) {
    const ids = keys.slice(from, from + NAMED).map((key) => idOf(key));
    // The engine's own document says so.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const part = (await ask(`${API_PATH}/parked/${what}`, { ids, dryRun })) as T & Partly;
    yield part;
    from += part.next === null ? ids.length : ids.indexOf(part.next) + 1;
  }
}
