/**
 * Opens a cursor at a position and makes sure that nothing lies between the two: the server's own check when a member chooses
 * whom to copy from, done here, because a client gets no error.
 * Invariant: a cursor is returned only where reading on from it leaves no gap; and a position is given up only when this
 * member's history says so and no other member's contradicts, or when most members have not even come as far.
 */
import { PositionLostError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import type { BatchSize } from './batch-size.ts';
import { OplogCursor } from './cursor.ts';
import { MemberUnfitError } from './member.ts';
import type { Member } from './member.ts';
import type { NamespaceFilter } from './namespace-filter.ts';
import { compareTs, formatTs, sameOpTime } from './position.ts';
import type { OpTime, ResumePoint, Ts } from './position.ts';
import type { ReplicaSet } from './replica-set.ts';
import type { Reply } from './reply.ts';
import { checkResume } from './resume-check.ts';

export interface OpeningOptions {
  readonly source: string;
  readonly set: ReplicaSet;
  readonly member: Member;
  readonly point: ResumePoint;
  readonly awaitMs: number;
  readonly batchSize: BatchSize;
  readonly filter?: NamespaceFilter | undefined;
  readonly log: Log;
}

export interface Opened {
  readonly cursor: OplogCursor;
  /** What was read already and has to be delivered. */
  readonly head: Reply | undefined;
}

/** How long a member may take to come as far as the position. */
export const BEHIND_MS = 15_000;

export async function openAt(options: OpeningOptions, signal: AbortSignal): Promise<Opened> {
  const { member, point, awaitMs, batchSize, filter } = options;
  const cursor = await OplogCursor.open({ member, ts: point.ts, awaitMs, batchSize, filter }, signal);
  try {
    const oldest = (): Promise<OpTime> => member.oldest(signal);
    let reply = cursor.first;
    let behindSince: number | undefined;
    for (;;) {
      const first = reply.last ?? (filter && (await firstOfAll(member, point, signal)));
      const verdict = await checkResume({ point, first, oldest });
      switch (verdict.kind) {
        case 'valid':
          return { cursor, head: verdict.skipFirst || reply.entries === 0 ? undefined : reply };
        case 'lost':
          await contradict(options, verdict.reason, signal);
          throw lost(options, verdict.reason, verdict.oldest);
        case 'behind':
          if (behindSince === undefined) {
            behindSince = performance.now();
            options.log.info(
              { source: options.source, member: member.address, position: formatTs(point.ts) },
              'The member has not come as far as the position yet; waiting.',
            );
          } else if (performance.now() - behindSince > BEHIND_MS) {
            await leaveOrGiveUp(options, signal);
            behindSince = performance.now();
          }
          // One entry at a time, so that the first is all there is to look at.
          reply = await cursor.next({ entries: 1 }, signal);
      }
    }
  } catch (error) {
    await cursor.close();
    throw error;
  }
}

/**
 * A filtered cursor stays empty while only what it leaves out is written, also where the position is gone. The position's own entry
 * it does not leave out: where that has come in between, the next reply has it.
 */
async function firstOfAll(member: Member, point: ResumePoint, signal: AbortSignal): Promise<OpTime | undefined> {
  if (point.kind !== 'after') return undefined;
  const found = await member.entryFrom(point.ts, signal);
  return found !== undefined && sameOpTime(found, point) ? undefined : found;
}

/**
 * Each member has an oplog of its own length: one that was added lately has a short one. Throws `MemberUnfitError` where another
 * member's reaches back further.
 */
export async function contradict(
  { set, member, point }: { readonly set: ReplicaSet; readonly member: Member; readonly point: { readonly ts: Ts } },
  reason: 'truncated' | 'diverged',
  signal: AbortSignal,
): Promise<void> {
  if (reason === 'diverged') return;
  const { answers } = await set.askOthers(member.address, (other) => other.oldest(signal), signal);
  const longer = answers.find(({ answer }) => compareTs(answer.ts, point.ts) <= 0);
  if (longer !== undefined) {
    throw new MemberUnfitError(
      `the oplog of ${member.address} does not reach back far enough, that of ${longer.address} does`,
    );
  }
}

/** This member has not had the position for 15 s. Returns where there is nothing better than to wait on. */
async function leaveOrGiveUp(options: OpeningOptions, signal: AbortSignal): Promise<void> {
  const { set, member, point } = options;
  const here = await member.hello(signal);
  const { members, answers } = await set.askOthers(member.address, (other) => other.hello(signal), signal);
  const isBehind = (at: OpTime | undefined): boolean => at !== undefined && compareTs(at.ts, point.ts) < 0;
  const behind = [here, ...answers.map(({ answer }) => answer)].filter((hello) => isBehind(hello.newest)).length;
  if (behind * 2 > members) throw lost(options, 'diverged', await member.oldest(signal));
  const ahead = answers.find(({ answer }) => answer.majority !== undefined && !isBehind(answer.majority));
  if (ahead !== undefined) {
    throw new MemberUnfitError(`${member.address} has not come as far as the position, ${ahead.address} has`);
  }
}

function lost(options: OpeningOptions, reason: 'truncated' | 'diverged', oldest: OpTime): PositionLostError {
  return new PositionLostError({ source: options.source, position: options.point, oldest, reason });
}
