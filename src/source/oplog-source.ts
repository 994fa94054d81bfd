/**
 * Reads one replica set's oplog, raw and in order, for as long as it is asked to: it finds a member, tails it, and when the
 * member or the cursor goes, finds another and reads on behind the last entry it has read.
 *
 * Invariants:
 * - Every entry is given exactly once, in order, or `PositionLostError` is thrown: a cursor is only ever opened through the
 *   resume check, at the point asked for or at the very last entry read.
 * - What is given is held by a majority, so the last entry read cannot be rolled back.
 * - The next reply is asked for before the last one is given, but only while the budget has room; at most one is under way.
 * - A batch with entries takes twice its bytes from the budget when it is received; whoever takes the batch gives them back.
 */
import { Backoff, sleep } from '../backoff.ts';
import type { SourceConfig, Start } from '../config/config.ts';
import { PositionLostError, UserError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { BatchSize } from './batch-size.ts';
import type { ByteBudget } from './byte-budget.ts';
import { collatedNamespaces } from './collations.ts';
import { CursorEndedError } from './cursor.ts';
import { timeSeriesNamespaces } from './time-series.ts';
import type { OplogCursor } from './cursor.ts';
import { withoutSecrets } from '../config/redact.ts';
import { classify, codeOf, refusal } from './failures.ts';
import type { Hello } from './hello.ts';
import type { Member } from './member.ts';
import { findEntry, findPrevious } from './history.ts';
import type { Found, OplogHistory } from './history.ts';
import { contradict, openAt } from './opening.ts';
import { sameOpTime } from './position.ts';
import type { OpTime, ResumePoint } from './position.ts';
import { ReplicaSet } from './replica-set.ts';
import type { Reply } from './reply.ts';
import { costOf } from './source.ts';
import type { RawBatch, Source, SourceIdentity, SourceState, SourceWindow } from './source.ts';
import { monitorWindow } from './window.ts';

export interface OplogSourceOptions {
  readonly config: SourceConfig;
  readonly budget: ByteBudget;
  /** How long an idle getMore waits for entries. */
  readonly awaitMs?: number;
  readonly log: Log;
  /** A member had to be found anew. */
  readonly onReconnect?: () => void;
}

/** Beyond the await time, before a connection counts as dead. */
const GRACE_MS = 5_000;
const POLL_MS = 100;

export class OplogSource implements Source {
  readonly name: string;
  readonly #budget: ByteBudget;
  readonly #awaitMs: number;
  readonly #log: Log;
  readonly #onReconnect: () => void;
  readonly #uri: string;
  readonly #set: ReplicaSet;
  readonly #backoff = new Backoff();
  readonly #batchSize = new BatchSize();
  readonly #closing = new AbortController();
  readonly #monitors = new Set<Promise<void>>();
  readonly #cursors = new Set<OplogCursor>();
  #member: Member | undefined;
  #identity: SourceIdentity | undefined;
  #state: SourceState = 'connecting';
  #window: SourceWindow | undefined;
  #lastReplyAt: number | undefined;

  constructor({ config, budget, awaitMs = 1_000, log, onReconnect = () => undefined }: OplogSourceOptions) {
    this.name = config.name;
    this.#budget = budget;
    this.#awaitMs = awaitMs;
    this.#log = log;
    this.#onReconnect = onReconnect;
    this.#uri = config.uri;
    this.#set = new ReplicaSet({ source: config.name, uri: config.uri, ioTimeoutMs: awaitMs + GRACE_MS, log });
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

  async connect(stop: AbortSignal): Promise<SourceIdentity> {
    await this.#withMember(() => Promise.resolve(), this.#until(stop));
    if (this.#identity === undefined) throw new Error('unreachable: a member was found, but not identified');
    return this.#identity;
  }

  async resolve(start: Start, stop: AbortSignal): Promise<ResumePoint> {
    const until = this.#until(stop);
    switch (start.kind) {
      case 'latest':
        return this.#withMember(newestOfMajority, until);
      case 'earliest':
        return this.#withMember(
          async (member, signal) => ({ kind: 'from', ts: (await member.oldest(signal)).ts }) as const,
          until,
        );
      case 'from':
        return { kind: 'from', ts: start.ts };
      default:
        return start satisfies never;
    }
  }

  async verify(point: ResumePoint, stop: AbortSignal): Promise<void> {
    await this.#withMember(async (member, signal) => {
      const { cursor } = await this.#open(member, point, signal);
      await cursor.close();
    }, this.#until(stop));
  }

  async *read(point: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch> {
    const until = this.#until(stop);
    let at = point;
    while (!until.aborted) {
      try {
        const member = await this.#reach(until);
        for await (const batch of this.#tail(member, at, until)) {
          if (batch.last !== undefined) at = { kind: 'after', ...batch.last };
          yield batch;
        }
      } catch (error) {
        if (until.aborted) break;
        await this.#recover(error, until);
      }
    }
    this.#become('stopped');
  }

  get history(): OplogHistory {
    return {
      entry: (at, stop) => this.#lookUp(findEntry, at, stop),
      previous: (at, stop) => this.#lookUp(findPrevious, at, stop),
    };
  }

  /** Members' oplogs are not equally long: a longer one is asked before an entry counts as gone. */
  async #lookUp<T>(
    find: (member: Member, at: OpTime, signal: AbortSignal) => Promise<Found<T>>,
    at: OpTime,
    stop: AbortSignal,
  ): Promise<Found<T>> {
    return this.#withMember(async (member, signal) => {
      const found = await find(member, at, signal);
      if (found.kind === 'gone') await contradict({ set: this.#set, member, point: at }, found.reason, signal);
      return found;
    }, this.#until(stop));
  }

  async collatedNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]> {
    return this.#withMember(
      (member, signal) => collatedNamespaces({ source: this.name, member, matches, log: this.#log }, signal),
      this.#until(stop),
    );
  }

  async timeSeriesNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]> {
    return this.#withMember(({ client }, signal) => timeSeriesNamespaces(client, matches, signal), this.#until(stop));
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the source is being closed'));
    await Promise.all([...this.#cursors].map((cursor) => cursor.close()));
    if (this.#member !== undefined) this.#set.release(this.#member);
    this.#member = undefined;
    await Promise.all(this.#monitors);
    await this.#set.close();
    this.#become('stopped');
  }

  /** Gives the batches behind `at` for as long as this cursor lasts; throws whatever ended it. */
  async *#tail(member: Member, at: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch> {
    const quit = new AbortController();
    const signal = AbortSignal.any([stop, member.left, quit.signal]);
    const { cursor, head } = await this.#open(member, at, signal);
    let asked: Promise<RawBatch> | undefined;
    this.#cursors.add(cursor);
    try {
      this.#become('reading');
      if (head !== undefined) yield this.#receive(head);
      for (;;) {
        if (asked === undefined) {
          await this.#room(signal);
          asked = this.#ask(cursor, signal);
        }
        const batch = await asked;
        asked = undefined;
        if (this.#budget.hasRoom) asked = this.#ask(cursor, signal);
        yield batch;
      }
    } finally {
      quit.abort(new Error('nobody reads on'));
      await asked?.then(
        (unread) => this.#budget.give(costOf(unread)),
        () => undefined,
      );
      await cursor.close();
      this.#cursors.delete(cursor);
    }
  }

  #ask(cursor: OplogCursor, signal: AbortSignal): Promise<RawBatch> {
    const asked = cursor.next({}, signal).then((reply) => this.#receive(reply));
    // It is awaited only after the batch before it was dealt with; until then its failure must not count as unhandled.
    asked.catch(() => undefined);
    return asked;
  }

  #receive({ batch, entries, last }: Reply): RawBatch {
    const received = { bytes: batch, entries, last };
    this.#budget.take(costOf(received));
    this.#lastReplyAt = performance.now();
    this.#backoff.reset();
    return received;
  }

  async #room(signal: AbortSignal): Promise<void> {
    if (this.#budget.hasRoom) return;
    this.#become('held');
    await this.#budget.room(signal);
    signal.throwIfAborted();
    this.#become('reading');
  }

  #open(member: Member, point: ResumePoint, signal: AbortSignal): ReturnType<typeof openAt> {
    return openAt(
      {
        source: this.name,
        set: this.#set,
        member,
        point,
        awaitMs: this.#awaitMs,
        batchSize: this.#batchSize,
        log: this.#log,
      },
      signal,
    );
  }

  /** Does something with a member, over and over until it works. */
  async #withMember<T>(use: (member: Member, signal: AbortSignal) => Promise<T>, stop: AbortSignal): Promise<T> {
    for (;;) {
      stop.throwIfAborted();
      try {
        const member = await this.#reach(stop);
        const value = await use(member, AbortSignal.any([stop, member.left]));
        this.#backoff.reset();
        return value;
      } catch (error) {
        stop.throwIfAborted();
        await this.#recover(error, stop);
      }
    }
  }

  /** The member that is connected, or a new one. */
  async #reach(stop: AbortSignal): Promise<Member> {
    if (this.#member !== undefined && !this.#member.left.aborted) return this.#member;
    if (this.#member !== undefined) this.#drop(this.#member);
    const { member, hello } = await this.#set.pick(stop);
    try {
      const identity = await this.#identify(member, hello, stop);
      if (this.#identity === undefined) {
        this.#log.info({ source: this.name, member: member.address, ...identity }, 'Connected to the replica set.');
      } else {
        this.#onReconnect();
        this.#log.info({ source: this.name, member: member.address }, 'Connected to the replica set again.');
      }
      this.#identity ??= identity;
    } catch (error) {
      this.#set.avoid(member.address);
      this.#set.release(member);
      throw error;
    }
    this.#member = member;
    this.#monitor(member);
    return member;
  }

  /** Asks for the oplog as well, so that missing rights show at the start. */
  async #identify(member: Member, { setName }: Hello, stop: AbortSignal): Promise<SourceIdentity> {
    await member.oldest(stop);
    const known = this.#identity;
    const replicaSetId = await member.replicaSetId(stop);
    if (replicaSetId === undefined && known === undefined) {
      this.#log.warn(
        { source: this.name, setName },
        'The replica set is told apart by its name only: its id may not be read. Grant find on local.system.replset.',
      );
    }
    const identity = {
      replicaSetId: replicaSetId ?? `name:${setName}`,
      setName,
      serverVersion: await member.serverVersion(stop),
    };
    if (known !== undefined && !sameSet(known, identity)) {
      throw new UserError(
        'other-replica-set',
        `source "${this.name}": the URI leads to another replica set now: ${describe(identity)} instead of ${describe(known)}.`,
      );
    }
    return identity;
  }

  #monitor(member: Member): void {
    const onWindow = (window: SourceWindow): void => {
      this.#window = window;
    };
    const monitor = monitorWindow({ member, set: this.#set, log: this.#log, onWindow });
    this.#monitors.add(monitor);
    void monitor.finally(() => this.#monitors.delete(monitor));
  }

  #drop(member: Member): void {
    if (this.#member === member) this.#member = undefined;
    this.#set.avoid(member.address);
    this.#set.release(member);
  }

  /** Rethrows what waiting does not mend; otherwise makes the next try possible, and waits as long as is right. */
  async #recover(error: unknown, stop: AbortSignal): Promise<void> {
    if (error instanceof PositionLostError) {
      this.#become('position_lost');
      throw error;
    }
    const failure = classify(error);
    const running = this.#identity !== undefined;
    switch (failure.kind) {
      case 'cursor':
      case 'position':
        // Once at once; a cursor that dies again and again is no better than a lost connection.
        this.#log.info({ source: this.name, code: codeOf(error) }, 'The cursor is gone; opening it again.');
        if (this.#backoff.tries === 0) {
          this.#backoff.next();
          return;
        }
        break;
      case 'fatal':
        throw error;
      case 'refused':
        if (!running) throw refusal({ source: this.name, code: failure.code, reason: this.#reason(error) });
        break;
      case 'transient':
        if (error instanceof UserError && !running) throw error;
        if (error instanceof CursorEndedError) break;
        if (this.#member !== undefined) this.#drop(this.#member);
        break;
    }
    this.#become(running ? 'reconnecting' : 'connecting');
    const pauseMs = Math.round(this.#backoff.next());
    const fields = {
      source: this.name,
      reason: this.#reason(error),
      code: codeOf(error),
      try: this.#backoff.tries,
      pauseMs,
    };
    if (error instanceof UserError || failure.kind === 'refused') {
      this.#log.error(fields, 'The source refuses; trying again.');
    } else {
      this.#log.warn(fields, 'The source failed; trying again.');
    }
    await sleep(pauseMs, stop);
  }

  #reason(error: unknown): string {
    return withoutSecrets(error instanceof Error ? error.message : String(error), this.#uri);
  }

  #become(state: SourceState): void {
    this.#state = state;
  }

  #until(stop: AbortSignal): AbortSignal {
    return AbortSignal.any([stop, this.#closing.signal]);
  }
}

/** The newest entry that cannot be taken back, once the member's oplog shows it. */
async function newestOfMajority(member: Member, signal: AbortSignal): Promise<ResumePoint> {
  for (;;) {
    const { majority } = await member.hello(signal);
    if (majority !== undefined) {
      const found = await member.entryFrom(majority.ts, signal);
      if (found !== undefined && sameOpTime(found, majority)) return { kind: 'after', ...found };
    }
    await sleep(POLL_MS, signal);
    signal.throwIfAborted();
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
