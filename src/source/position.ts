/**
 * Where in an oplog: MongoDB's `ts` (seconds and increment) and `t` (the term). Two entries of one replica set's history
 * are the same entry exactly when both are equal; the same `ts` under another term is a history that was rolled back.
 */

/** MongoDB's Timestamp as two unsigned 32-bit numbers; compares by seconds, then increment. */
export interface Ts {
  readonly seconds: number;
  readonly increment: number;
}

/** An oplog entry's identity. `t` is the election term, -1 where the server gives none. */
export interface OpTime {
  readonly ts: Ts;
  readonly t: number;
  /** Only of a change stream, which goes on from tokens and knows no terms. */
  readonly token?: StreamToken;
}

/** A change stream's resume token. */
export interface StreamToken {
  /** `_data`: hexadecimal. */
  readonly data: string;
  /** `_typeBits`, where the token has them: base64. */
  readonly typeBits?: string;
  /** The last operation at its `ts` that is done with; -1 where none of them is (a high-water mark). */
  readonly index: number;
  /** What the stream watches: a token is good for a stream over the same only. */
  readonly watch: string;
  /** Of a fragment: no stream knows it once the event splits in another way, or not at all. */
  readonly split?: true;
  /** Of a stream with `showExpandedEvents`: another one may not know its event. */
  readonly expanded?: true;
}

/** One operation: an entry, and the number of the operation inside it (0 unless it holds many). */
export interface Position extends OpTime {
  readonly index: number;
}

/**
 * Where a cursor opens. `after` is exact: that very entry must still be there, and reading goes on behind it. `from` is a
 * boundary a person or a policy chose: everything at or behind `ts`, valid while the oldest entry is at or before it. `token` is
 * a change stream's, exact as well.
 */
export type ResumePoint =
  | { readonly kind: 'after'; readonly ts: Ts; readonly t: number }
  | { readonly kind: 'from'; readonly ts: Ts }
  | { readonly kind: 'token'; readonly ts: Ts; readonly token: StreamToken };

/** The point right behind what was read or confirmed. */
export function pointAfter({ ts, t, token }: OpTime): ResumePoint {
  return token === undefined ? { kind: 'after', ts, t } : { kind: 'token', ts, token };
}

export function compareTs(a: Ts, b: Ts): number {
  return a.seconds - b.seconds || a.increment - b.increment;
}

export function sameOpTime(a: OpTime, b: OpTime): boolean {
  return a.t === b.t && compareTs(a.ts, b.ts) === 0;
}

/** Its seconds, ISO 8601. */
export function isoTime({ seconds }: Ts): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** `seconds:increment`, the form users write and read. */
export function formatTs(ts: Ts): string {
  return `${ts.seconds}:${ts.increment}`;
}

/** The timestamp right behind `ts`: what a boundary "after ts" begins with. */
export function nextTs(ts: Ts): Ts {
  return ts.increment === 0xffff_ffff
    ? { seconds: ts.seconds + 1, increment: 0 }
    : { seconds: ts.seconds, increment: ts.increment + 1 };
}

/** Clocks differ a little, and a set that is idle writes only every 10 s. */
const FUTURE_SLACK_SECONDS = 60;

/** Whether a start would pass over everything until then. */
export function isFuture(start: Ts, newest: Ts): boolean {
  return start.seconds > newest.seconds + FUTURE_SLACK_SECONDS;
}
