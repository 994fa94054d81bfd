/**
 * Moves the position on where the server leaves out what nobody wants: while other collections are busy and ours are not, nothing
 * comes, and a position that stood still would leave the oplog in the end.
 * Invariants:
 * - A position is only moved on to where an empty reply proves that nothing was passed over: its getMore was sent after the
 *   majority was seen to have come as far on the same member, and so has looked at everything up to there.
 * - It is an entry's own position, that was found in the oplog: the resume check finds it again, and it knows other histories.
 */
import type { Member } from './member.ts';
import { compareTs, sameOpTime } from './position.ts';
import type { OpTime, ResumePoint, Ts } from './position.ts';

const QUIET_MS = 5_000;

export class QuietStretch {
  readonly #member: Member;
  #at: Ts;
  #since = performance.now();

  constructor(member: Member, { ts }: ResumePoint) {
    this.#member = member;
    this.#at = ts;
  }

  /** To be asked before a getMore: where the position is once that comes back empty; undefined where it stays. */
  async ahead(signal: AbortSignal): Promise<OpTime | undefined> {
    if (performance.now() - this.#since < QUIET_MS) return undefined;
    const { majority } = await this.#member.hello(signal);
    if (majority === undefined || compareTs(majority.ts, this.#at) <= 0) return undefined;
    const found = await this.#member.entryFrom(majority.ts, signal);
    return found !== undefined && sameOpTime(found, majority) ? majority : undefined;
  }

  /** Everything up to here was read, or is of no use. */
  reached({ ts }: OpTime): void {
    this.#at = ts;
    this.#since = performance.now();
  }
}
