/**
 * Looks at the member that is being read, about once a second, half as often while nothing is written: how far it and its
 * majority have come, and every 5 s how far back its oplog reaches. It also notices what a tail cannot: that the member is no
 * longer fit, or that its majority point stands still while another member's has moved on (a primary that was cut off from the
 * others still answers politely).
 */
import { sleep } from '../waits.ts';
import type { Log } from '../observe/log.ts';
import { classify } from './failures.ts';
import type { Hello } from './hello.ts';
import type { Member } from './member.ts';
import { compareTs } from './position.ts';
import type { OpTime } from './position.ts';
import type { ReplicaSet } from './replica-set.ts';
import type { SourceWindow } from './source.ts';

export interface WindowMonitorOptions {
  readonly member: Member;
  readonly set: ReplicaSet;
  readonly log: Log;
  readonly onWindow: (window: SourceWindow) => void;
  /** No answer within it, and the member is left; where left out, its connections see to that. */
  readonly deadlineMs?: number | undefined;
}

const HELLO_MS = 1_000;
/** Where nothing was written since the last look; each costs an idle engine a seventh of what it costs at all (bench `idle`). */
const IDLE_HELLO_MS = 2_000;
const OLDEST_MS = 5_000;
/** An idle set writes a no-op every 10 s, so that a healthy majority point never stands still for longer. */
const STALLED_MS = 15_000;
const ASK_OTHERS_MS = 5_000;

/** Runs until the member is left, by itself or by somebody else. */
export async function monitorWindow({ member, set, log, onWindow, deadlineMs }: WindowMonitorOptions): Promise<void> {
  const { left } = member;
  let oldest: OpTime | undefined;
  let oldestReadAt = -Infinity;
  let newest: OpTime | undefined;
  let answeredAt = performance.now();
  let lateSince: number | undefined;
  let stall = { majority: undefined as OpTime | undefined, since: performance.now(), askedAt: -Infinity };

  while (!left.aborted) {
    let pauseMs = HELLO_MS;
    try {
      const hello = await member.hello(left);
      const now = performance.now();
      answeredAt = now;
      if (hello.role === 'other') {
        member.leave(`${member.address} is neither primary nor secondary any more`);
        return;
      }
      if (oldestReadAt !== Infinity && now - oldestReadAt >= OLDEST_MS) {
        oldest = await oldestIfAllowed(member);
        oldestReadAt = oldest === undefined ? Infinity : now;
      }
      if (newest !== undefined && hello.newest !== undefined && compareTs(newest.ts, hello.newest.ts) === 0) {
        pauseMs = IDLE_HELLO_MS;
      }
      newest = hello.newest;
      const { majority } = hello;
      if (newest !== undefined && majority !== undefined) {
        const isLate = compareTs(newest.ts, majority.ts) > 0;
        const hasMoved = !sameMajority(stall.majority, hello);
        lateSince = isLate ? ((hasMoved ? undefined : lateSince) ?? now) : undefined;
        onWindow({ member: member.address, newest, majority, oldest, majorityLateSince: lateSince, seenAt: now });
      }
      if (!sameMajority(stall.majority, hello)) {
        stall = { majority: hello.majority, since: now, askedAt: -Infinity };
      } else if (now - stall.since > STALLED_MS && now - stall.askedAt > ASK_OTHERS_MS) {
        stall.askedAt = now;
        if (await overtaken({ member, set, stalledAt: stall.majority })) {
          member.leave(`the majority point of ${member.address} stands still, another member's has moved on`);
          return;
        }
      }
    } catch (error) {
      // The tail meets the same fault and acts on it, unless it waits for this very member for longer.
      if (deadlineMs !== undefined && performance.now() - answeredAt > deadlineMs) {
        member.leave(`${member.address} does not answer`);
        return;
      }
      if (!left.aborted) log.debug({ member: member.address, err: error }, 'Could not look at the member.');
    }
    await sleep(pauseMs, left);
  }
}

/** A change stream needs no rights on the oplog; how far back it reaches is then not known. */
async function oldestIfAllowed(member: Member): Promise<OpTime | undefined> {
  try {
    return await member.oldest(member.left);
  } catch (error) {
    if (classify(error).kind === 'refused') return undefined;
    throw error;
  }
}

function sameMajority(known: OpTime | undefined, { majority }: Hello): boolean {
  if (known === undefined || majority === undefined) return known === majority;
  return compareTs(known.ts, majority.ts) === 0;
}

interface Stall {
  readonly member: Member;
  readonly set: ReplicaSet;
  readonly stalledAt: OpTime | undefined;
}

async function overtaken({ member, set, stalledAt }: Stall): Promise<boolean> {
  const { left } = member;
  const { answers } = await set.askOthers(member.address, (other) => other.hello(left), left);
  const isAhead = ({ majority }: Hello): boolean =>
    majority !== undefined && (stalledAt === undefined || compareTs(majority.ts, stalledAt.ts) > 0);
  // Asked last: had this one moved as well by now, it is not stalled.
  return answers.some(({ answer }) => isAhead(answer)) && sameMajority(stalledAt, await member.hello(left));
}
