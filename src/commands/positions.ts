/** Positions as a person reads them. */
import { formatTs } from '../source/position.ts';
import type { Ts } from '../source/position.ts';

export function withTime(ts: Ts): string {
  return `${formatTs(ts)} (${isoTime(ts)})`;
}

export function isoTime(ts: Ts): string {
  return new Date(ts.seconds * 1000).toISOString().replace('.000Z', 'Z');
}
