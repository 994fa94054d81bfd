/** Which of the parked events a command is about. Time is the event's own, from its `_id`; of one so damaged that it has none, when it was parked. */
import { UserError } from '../errors.ts';
import { suggestion } from '../config/nearest.ts';
import { parseStart } from '../config/start.ts';
import { compareTs } from '../source/position.ts';
import type { Ts } from '../source/position.ts';
import { PARK_REASONS } from '../worker/protocol.ts';
import type { ParkedSummary } from './record.ts';

export interface ParkedFilter {
  readonly subscription?: string | undefined;
  readonly reason?: string | undefined;
  /** At or after it. */
  readonly since?: Ts | undefined;
  /** Before it. */
  readonly until?: Ts | undefined;
  /** One of these `_id`s. */
  readonly ids?: ReadonlySet<string> | undefined;
}

/** As they stand in a command line. */
export interface FilterFlags {
  readonly subscription?: string | undefined;
  readonly reason?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly event?: readonly string[] | undefined;
}

export function parseFilter({ subscription, reason, since, until, event }: FilterFlags): ParkedFilter {
  return {
    subscription,
    reason: reason === undefined ? undefined : knownReason(reason),
    since: since === undefined ? undefined : moment('--since', since),
    until: until === undefined ? undefined : moment('--until', until),
    ids: event && new Set(event),
  };
}

/** Of one that there is not nothing would be found, as if nothing were parked. */
function knownReason(written: string): string {
  if (PARK_REASONS.some((known) => known === written)) return written;
  const near = suggestion(written.replace(/^parked-/, ''), PARK_REASONS);
  throw new UserError(
    'usage',
    `--reason "${written}": nothing is parked for that${near} Known are ${PARK_REASONS.join(', ')}`,
  );
}

export function matches(summary: ParkedSummary, { subscription, reason, since, until, ids }: ParkedFilter): boolean {
  if (subscription !== undefined && summary.subscription !== subscription) return false;
  if (reason !== undefined && summary.reason !== reason) return false;
  if (ids !== undefined && !ids.has(summary.id)) return false;
  if (since === undefined && until === undefined) return true;
  const at = timeOf(summary);
  return (since === undefined || compareTs(at, since) >= 0) && (until === undefined || compareTs(at, until) < 0);
}

/** The source, the first event's position, and which operation it is. A message of several events is named `first..last`. */
const ID = /^(?<source>.*?):(?<seconds>\d+)\.(?<increment>\d+)\.(?<index>\d+|begin|end)(?:\.\.|$)/s;

export interface IdParts {
  readonly source: string;
  readonly ts: Ts;
  readonly index: number | 'begin' | 'end';
}

/** Undefined for an entry so damaged that it has no position. */
export function partsOf(id: string): IdParts | undefined {
  const groups = ID.exec(id)?.groups;
  if (groups === undefined) return undefined;
  const { source = '', seconds, increment, index } = groups;
  return {
    source,
    ts: { seconds: Number(seconds), increment: Number(increment) },
    index: index === 'begin' || index === 'end' ? index : Number(index),
  };
}

function timeOf({ id, at }: ParkedSummary): Ts {
  return partsOf(id)?.ts ?? { seconds: Math.floor(at / 1000), increment: 0 };
}

export const MOMENT_EXPECTED = "an ISO date, or seconds:increment as in an event's _id";

/** Undefined where it is none. */
export function parseMoment(written: string): Ts | undefined {
  const pair = /^(\d+):(\d+)$/.exec(written);
  const parsed = parseStart(written);
  if (parsed?.kind !== 'from') return undefined;
  // As a start, a position means what came after it; here it is the event's own.
  return pair ? { seconds: Number(pair[1]), increment: Number(pair[2]) } : parsed.ts;
}

function moment(flag: string, written: string): Ts {
  const parsed = parseMoment(written);
  if (parsed === undefined) throw new UserError('usage', `${flag} "${written}": expected ${MOMENT_EXPECTED}`);
  return parsed;
}
