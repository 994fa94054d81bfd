/**
 * What every source of a replica set shares: finds a member, reads from it for as long as it is asked to, and when the member
 * or the cursor goes, finds another and reads on behind the last entry it has read. What a cursor is, and whether one may be
 * opened at a point, the source says.
 *
 * Invariants:
 * - Every entry is given exactly once, in order, or `PositionLostError` is thrown: a cursor is only ever opened at the point
 *   asked for or behind the very last entry read.
 * - The next reply is asked for before the last one is given, but only while the budget has room; at most one is under way.
 * - A batch with entries takes twice its bytes from the budget when it is received; whoever takes the batch gives them back.
 */
import { MongoNetworkError } from 'mongodb';
import { Backoff } from '../backoff.ts';
import { sleep } from '../waits.ts';
import { withoutSecrets } from '../config/redact.ts';
import { PositionLostError, UserError } from '../errors.ts';
import type { UserErrorCode } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { AnyOf } from './any-of.ts';
import type { ByteBudget } from './byte-budget.ts';
import { CursorEndedError } from './cursor.ts';
import { classify, codeOf, reasonOf } from './failures.ts';
import type { Hello } from './hello.ts';
import type { Member } from './member.ts';
import { pointAfter } from './position.ts';
import type { ResumePoint } from './position.ts';
import { ReplicaSet } from './replica-set.ts';
import { costOf, isSmall } from './source.ts';
import type { RawBatch, SourceIdentity, SourceState, SourceWindow } from './source.ts';
import { monitorWindow } from './window.ts';

/** A cursor that was opened at a point, with nothing missing in between. */
export interface Tail {
  /** What was read already and has to be delivered. */
  readonly head: RawBatch | undefined;
  next(signal: AbortSignal): Promise<RawBatch>;
  close(): Promise<void>;
}

export interface MemberReaderOptions {
  readonly name: string;
  readonly uri: string;
  readonly budget: ByteBudget;
  /** How long an idle getMore waits for entries. */
  readonly awaitMs: number;
  /** How long a cursor may keep us waiting while its member is alive; where left out, no longer than anything else. */
  readonly cursorTimeoutMs?: number;
  /** A mongos will do. */
  readonly mongos?: boolean;
  readonly log: Log;
  /** A member had to be found anew. */
  readonly onReconnect: () => void;
  readonly open: (member: Member, at: ResumePoint, signal: AbortSignal) => Promise<Tail>;
  /** Also makes missing rights show at the start. */
  readonly identify: (member: Member, hello: Hello, signal: AbortSignal) => Promise<SourceIdentity>;
  /** What the user reads when a first start is refused. */
  readonly refusal: (code: UserErrorCode, reason: string) => UserError;
}

/** Beyond the await time, before a connection counts as dead. */
const GRACE_MS = 5_000;

export class MemberReader {
  readonly set: ReplicaSet;
  readonly #o: MemberReaderOptions;
  readonly #backoff = new Backoff();
  readonly #closing = new AbortController();
  readonly #monitors = new Set<Promise<void>>();
  readonly #tails = new Set<Tail>();
  #member: Member | undefined;
  /** The tail and look-ups beside it share what one of them finds. */
  #reaching: Promise<Member> | undefined;
  #identity: SourceIdentity | undefined;
  #state: SourceState = 'connecting';
  #window: SourceWindow | undefined;
  #lastReplyAt: number | undefined;
  #downFor: string | undefined;

  constructor(options: MemberReaderOptions) {
    this.#o = options;
    const { name, uri, awaitMs, log, cursorTimeoutMs, mongos } = options;
    this.set = new ReplicaSet({
      source: name,
      uri,
      ioTimeoutMs: awaitMs + GRACE_MS,
      log,
      ...(cursorTimeoutMs !== undefined && { cursorTimeoutMs }),
      ...(mongos !== undefined && { mongos }),
    });
  }

  get state(): SourceState {
    return this.#state;
  }

  get window(): SourceWindow | undefined {
    return this.#window;
  }

  /** `performance.now()` of the last reply, with entries or without. */
  get lastReplyAt(): number | undefined {
    return this.#lastReplyAt;
  }

  /** Why it is connecting or reconnecting, without secrets. */
  get downFor(): string | undefined {
    return this.#downFor;
  }

  async connect(stop: AbortSignal): Promise<SourceIdentity> {
    await this.withMember(() => Promise.resolve(), stop);
    if (this.#identity === undefined) throw new Error('unreachable: a member was found, but not identified');
    return this.#identity;
  }

  async *read(point: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch> {
    const until = this.#until(stop);
    let at = point;
    while (!until.aborted) {
      let member: Member | undefined;
      try {
        member = await this.#reach(until);
        for await (const batch of this.#tail(member, at, until)) {
          if (batch.last !== undefined) at = pointAfter(batch.last);
          yield batch;
        }
      } catch (error) {
        if (until.aborted) break;
        await this.#recover(error, member, until);
      }
    }
    this.#become('stopped');
  }

  /** Does something with a member, over and over until it works. */
  async withMember<T>(use: (member: Member, signal: AbortSignal) => Promise<T>, stop: AbortSignal): Promise<T> {
    using either = new AnyOf([stop, this.#closing.signal]);
    const until = either.signal;
    for (;;) {
      until.throwIfAborted();
      let member: Member | undefined;
      try {
        member = await this.#reach(until);
        using near = new AnyOf([until, member.left]);
        const value = await use(member, near.signal);
        this.#backoff.reset();
        if (this.#tails.size > 0 && this.#state === 'reconnecting') this.#become('reading');
        return value;
      } catch (error) {
        until.throwIfAborted();
        await this.#recover(error, member, until);
      }
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the source is being closed'));
    await Promise.all([...this.#tails].map((tail) => tail.close()));
    await this.#reaching?.catch(() => undefined);
    if (this.#member !== undefined) this.set.release(this.#member);
    this.#member = undefined;
    await Promise.all(this.#monitors);
    await this.set.close();
    this.#become('stopped');
  }

  /** Gives the batches behind `at` for as long as this cursor lasts; throws whatever ended it. */
  async *#tail(member: Member, at: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch> {
    const quit = new AbortController();
    const signal = AbortSignal.any([stop, member.left, quit.signal]);
    const tail = await this.#o.open(member, at, signal);
    const { budget } = this.#o;
    let asked: Promise<RawBatch> | undefined;
    this.#tails.add(tail);
    try {
      this.#become('reading');
      // That the cursor could be opened is an answer, too: an idle server gives the next one only after the await time.
      this.#lastReplyAt = performance.now();
      if (tail.head !== undefined) yield this.#receive(tail.head);
      for (;;) {
        if (asked === undefined) {
          await this.#room(signal);
          asked = this.#ask(tail, signal);
        }
        const batch = await asked;
        asked = undefined;
        // Behind a small one nothing is asked for before whoever reads comes back: see `isSmall`.
        if (budget.hasRoom && !isSmall(batch)) asked = this.#ask(tail, signal);
        yield batch;
      }
    } catch (error) {
      // It is not asked to forget its cursor: the second that this may take would pass before another is looked for.
      if (error instanceof MongoNetworkError) member.leave(`${member.address} cannot be reached`);
      throw error;
    } finally {
      quit.abort(new Error('nobody reads on'));
      await asked?.then(
        (unread) => budget.give(costOf(unread)),
        () => undefined,
      );
      await tail.close();
      this.#tails.delete(tail);
    }
  }

  #ask(tail: Tail, signal: AbortSignal): Promise<RawBatch> {
    const asked = tail.next(signal).then((batch) => this.#receive(batch));
    // It is awaited only after the batch before it was dealt with; until then its failure must not count as unhandled.
    asked.catch(() => undefined);
    return asked;
  }

  #receive(batch: RawBatch): RawBatch {
    this.#o.budget.take(costOf(batch));
    this.#lastReplyAt = performance.now();
    this.#backoff.reset();
    return batch;
  }

  async #room(signal: AbortSignal): Promise<void> {
    if (this.#o.budget.hasRoom) return;
    this.#become('held');
    await this.#o.budget.room(signal);
    signal.throwIfAborted();
    this.#become('reading');
  }

  /** The member that is connected, or a new one. */
  async #reach(stop: AbortSignal): Promise<Member> {
    if (this.#member !== undefined && !this.#member.left.aborted) return this.#member;
    // Under no caller's signal: another may be waiting for the same member.
    this.#reaching ??= this.#find(this.#closing.signal).finally(() => (this.#reaching = undefined));
    const reaching = this.#reaching;
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(new Error('given up waiting for a member', { cause: stop.reason }));
      stop.addEventListener('abort', abort, { once: true });
      reaching.then(resolve, reject).finally(() => stop.removeEventListener('abort', abort));
    });
  }

  async #find(stop: AbortSignal): Promise<Member> {
    if (this.#member !== undefined) this.#drop(this.#member);
    const { name, log, onReconnect } = this.#o;
    const { member, hello } = await this.set.pick(stop);
    try {
      const identity = await this.#identify(member, hello, stop);
      if (this.#identity === undefined) {
        log.info({ source: name, member: member.address, ...identity }, 'Connected to the replica set.');
      } else {
        onReconnect();
        log.info({ source: name, member: member.address }, 'Connected to the replica set again.');
      }
      this.#identity ??= identity;
      stop.throwIfAborted();
    } catch (error) {
      this.set.avoidAfter(error, member.address);
      this.set.release(member);
      throw error;
    }
    this.#member = member;
    this.#monitor(member);
    return member;
  }

  async #identify(member: Member, hello: Hello, stop: AbortSignal): Promise<SourceIdentity> {
    const known = this.#identity;
    const identity = await this.#o.identify(member, hello, stop);
    if (known !== undefined && !sameSet(known, identity)) {
      throw new UserError(
        'other-replica-set',
        `source "${this.#o.name}": the URI leads to another replica set now: ${describe(identity)} instead of ${describe(known)}.`,
      );
    }
    return identity;
  }

  #monitor(member: Member): void {
    const onWindow = (window: SourceWindow): void => {
      this.#window = window;
    };
    const { log, awaitMs, cursorTimeoutMs } = this.#o;
    const deadlineMs = cursorTimeoutMs === undefined ? undefined : awaitMs + GRACE_MS;
    const monitor = monitorWindow({ member, set: this.set, log, onWindow, deadlineMs });
    this.#monitors.add(monitor);
    void monitor.finally(() => this.#monitors.delete(monitor));
  }

  #drop(member: Member): void {
    this.set.avoid(member.address);
    this.#leave(member);
  }

  /** It may be found again at once. */
  #leave(member: Member): void {
    if (this.#member === member) this.#member = undefined;
    this.set.release(member);
  }

  /**
   * Rethrows what waiting does not mend; otherwise makes the next try possible, and waits as long as is right. `used` is the
   * member it failed with: somebody else may have found a better one since.
   */
  async #recover(error: unknown, used: Member | undefined, stop: AbortSignal): Promise<void> {
    if (error instanceof PositionLostError) {
      this.#become('position_lost');
      throw error;
    }
    const { name, log, refusal } = this.#o;
    const failure = classify(error);
    const running = this.#identity !== undefined;
    switch (failure.kind) {
      case 'cursor':
      case 'position':
        // Once at once; a cursor that dies again and again is no better than a lost connection.
        log.info({ source: name, serverCode: codeOf(error) }, 'The cursor is gone; opening it again.');
        if (this.#backoff.tries === 0) {
          this.#backoff.next();
          return;
        }
        break;
      case 'fatal':
        throw error;
      case 'refused':
        if (!running) throw refusal(failure.code, this.#reason(error));
        // A connection is logged in for its life: one whose user was dropped is refused also when there is a user again.
        if (used !== undefined && this.#member === used) this.#leave(used);
        break;
      case 'transient':
        if (error instanceof UserError && (!running || error.code === 'event-too-large')) throw error;
        if (error instanceof CursorEndedError) break;
        if (used !== undefined && this.#member === used) this.#drop(used);
        break;
    }
    this.#become(running ? 'reconnecting' : 'connecting');
    this.#downFor = this.#reason(error);
    const pauseMs = Math.round(this.#backoff.next());
    const fields = {
      source: name,
      reason: this.#downFor,
      serverCode: codeOf(error),
      try: this.#backoff.tries,
      pauseMs,
    };
    if (error instanceof UserError || failure.kind === 'refused') {
      log.error({ code: 'source-refused', ...fields }, 'The source refuses; trying again.');
    } else {
      log.warn({ code: 'source-away', ...fields }, 'The source failed; trying again.');
    }
    await sleep(pauseMs, stop);
  }

  #reason(error: unknown): string {
    return withoutSecrets(reasonOf(error), this.#o.uri);
  }

  #become(state: SourceState): void {
    if (state !== this.#state) this.#downFor = undefined;
    this.#state = state;
  }

  #until(stop: AbortSignal): AbortSignal {
    return AbortSignal.any([stop, this.#closing.signal]);
  }
}

/** An id that could be read at one time and not at another (rights may change) says nothing. */
function sameSet(a: SourceIdentity, b: SourceIdentity): boolean {
  const byName = a.replicaSetId.startsWith('name:') || b.replicaSetId.startsWith('name:');
  return a.setName === b.setName && (byName || a.replicaSetId === b.replicaSetId);
}

function describe({ setName, replicaSetId }: SourceIdentity): string {
  return `"${setName}" (${replicaSetId})`;
}
