/**
 * Looks up single entries of the oplog by their position: the earlier parts of a transaction, which a tail has passed over or
 * has never seen. Reads at the majority, like the tail.
 */
import { rawCursor } from './cursor.ts';
import { opTimeOf } from './hello.ts';
import { toTimestamp } from './member.ts';
import type { Member } from './member.ts';
import { compareTs, sameOpTime } from './position.ts';
import type { OpTime } from './position.ts';
import { entryAt, readReply } from './reply.ts';

/** What an entry says of the one before it in its transaction, or in whole: `T`; or that the oplog has it no more. */
export type Found<T> =
  | { readonly kind: 'found'; readonly value: T }
  /** `truncated`: the oplog begins behind it; `diverged`: it is not in this history. */
  | { readonly kind: 'gone'; readonly reason: 'truncated' | 'diverged'; readonly oldest: OpTime };

/** Entries by position. */
export interface OplogHistory {
  /** The raw entry. */
  entry(at: OpTime, stop: AbortSignal): Promise<Found<Uint8Array>>;
  /** Its `prevOpTime`; undefined for the first of a chain. */
  previous(at: OpTime, stop: AbortSignal): Promise<Found<OpTime | undefined>>;
}

/** An entry can have 16 MB, and the link be slow. */
const LARGE = 50;

/** `behind`: this member, or its majority, has not come as far yet. */
export type Looked<T> = Found<T> | { readonly kind: 'behind' };

export async function findEntry(member: Member, at: OpTime, signal: AbortSignal): Promise<Looked<Uint8Array>> {
  const local = member.client.db('local');
  const raw = await member.within((soon) => local.command(lookUp(at), { signal: soon, raw: true }), signal, LARGE);
  const { batch, last } = readReply(rawCursor(raw));
  if (last === undefined) return { kind: 'behind' };
  if (!sameOpTime(last, at)) return gone(member, at, signal);
  return { kind: 'found', value: entryAt(batch, 0).bytes };
}

export async function findPrevious(
  member: Member,
  at: OpTime,
  signal: AbortSignal,
): Promise<Looked<OpTime | undefined>> {
  const projection = { ts: 1, t: 1, prevOpTime: 1 };
  const local = member.client.db('local');
  const reply = await member.within((soon) => local.command({ ...lookUp(at), projection }, { signal: soon }), signal);
  const found = reply['cursor']?.firstBatch?.[0];
  const itself = opTimeOf(found);
  if (itself === undefined) return { kind: 'behind' };
  if (!sameOpTime(itself, at)) return gone(member, at, signal);
  const previous = opTimeOf(found.prevOpTime);
  const isFirst = previous === undefined || (previous.ts.seconds === 0 && previous.ts.increment === 0);
  return { kind: 'found', value: isFirst ? undefined : previous };
}

/** Only `$gte` is a seek on every server version; what is found behind the position is noticed. */
function lookUp(at: OpTime) {
  return {
    find: 'oplog.rs',
    filter: { ts: { $gte: toTimestamp(at.ts) } },
    limit: 1,
    singleBatch: true,
    readConcern: { level: 'majority' },
  };
}

async function gone(member: Member, at: OpTime, signal: AbortSignal): Promise<Found<never>> {
  const oldest = await member.oldest(signal);
  return { kind: 'gone', reason: compareTs(oldest.ts, at.ts) > 0 ? 'truncated' : 'diverged', oldest };
}
