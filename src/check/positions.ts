/** Positions as a person reads them. */
import { formatTs, isoTime } from '../source/position.ts';
import type { Ts } from '../source/position.ts';

export function withTime(ts: Ts): string {
  return `${formatTs(ts)} (${isoTime(ts)})`;
}
