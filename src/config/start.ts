/** `start`, as it is written: latest | snapshot | earliest | an ISO date | "seconds:increment". */
import { nextTs } from '../source/position.ts';
import type { Start } from './config.ts';

/** In messages, behind "expected". */
export const START_EXPECTED =
  'latest, snapshot, earliest, a date such as 2026-11-22 or 2026-11-22T06:00:00Z, or "seconds:increment"';

const MAX_UINT32 = 0xffff_ffff;
const DATE = /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s?([Zz]|[+-]\d{2}:?\d{2})?)?$/;

/** Undefined when it is none of them. A date without a zone is UTC; a fraction of a second begins at its second. */
export function parseStart(written: string): Start | undefined {
  if (written === 'latest' || written === 'earliest' || written === 'snapshot') return { kind: written };
  const pair = /^(\d{1,10}):(\d{1,10})$/.exec(written);
  if (pair !== null) {
    const ts = { seconds: Number(pair[1]), increment: Number(pair[2]) };
    if (ts.seconds > MAX_UINT32 || ts.increment > MAX_UINT32) return undefined;
    // "What came after it": a boundary that begins right behind.
    return { kind: 'from', ts: nextTs(ts), written };
  }
  const seconds = secondsOf(written);
  return seconds === undefined ? undefined : { kind: 'from', ts: { seconds, increment: 0 }, written };
}

function secondsOf(written: string): number | undefined {
  const match = DATE.exec(written);
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map((part) => Number(part ?? 0));
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // Date.UTC takes 30 February for 2 March.
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const seconds = date.getTime() / 1000 - zoneSeconds(match[7]);
  return seconds >= 0 && seconds <= MAX_UINT32 ? seconds : undefined;
}

function zoneSeconds(zone: string | undefined): number {
  const match = /^([+-])(\d{2}):?(\d{2})$/.exec(zone ?? '');
  if (match === null) return 0;
  return (match[1] === '-' ? -1 : 1) * (Number(match[2]) * 3600 + Number(match[3]) * 60);
}
