/**
 * Reads one replica set's oplog, raw and in order, for as long as it is asked to.
 *
 * Invariants, beside those of `MemberReader`:
 * - A cursor is only ever opened through the resume check.
 * - What is given is held by a majority, so the last entry read cannot be rolled back.
 */
import { AnyOf } from './any-of.ts';
import { sleep } from '../waits.ts';
import type { SourceConfig, Start, SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import { BatchSize } from './batch-size.ts';
import type { ByteBudget } from './byte-budget.ts';
import { Clustered } from './clustered.ts';
import { collatedNamespaces } from './collations.ts';
import { findDocuments } from './documents.ts';
import type { DocumentReader } from './documents.ts';
import { MemberCollections } from './collection-reads.ts';
import type { CollectionReads } from './collection-reads.ts';
import { refusal } from './failures.ts';
import type { Hello } from './hello.ts';
import { findEntry, findPrevious } from './history.ts';
import type { Found, Looked, OplogHistory } from './history.ts';
import { MemberReader } from './member-reader.ts';
import type { Tail } from './member-reader.ts';
import type { NamespaceFilter } from './namespace-filter.ts';
import { MemberUnfitError } from './member.ts';
import type { Member } from './member.ts';
import { BEHIND_MS, contradict, openAt } from './opening.ts';
import { sameOpTime } from './position.ts';
import type { OpTime, ResumePoint } from './position.ts';
import { QuietStretch } from './quiet.ts';
import type { Reply } from './reply.ts';
import type { RawBatch, Source, SourceIdentity, SourceState, SourceWindow } from './source.ts';
import { versionNumber } from './server-version.ts';
import { timeSeriesNamespaces } from './time-series.ts';
import { SpareBuffers } from '../worker/spare-buffers.ts';

export interface OplogSourceOptions {
  readonly config: SourceConfig;
  readonly budget: ByteBudget;
  /** How long an idle getMore waits for entries. */
  readonly awaitMs?: number;
  /** What the server is asked to send; everything where left out. */
  readonly filter?: NamespaceFilter | undefined;
  /** The same for other subscriptions. */
  readonly filterFor?: ((subscriptions: readonly SubscriptionConfig[]) => NamespaceFilter | undefined) | undefined;
  readonly log: Log;
  /** A member had to be found anew. */
  readonly onReconnect?: () => void;
}

const POLL_MS = 100;
/** A filtered cursor can look at millions of entries before it has something to say. */
const FILTERED_TIMEOUT_MS = 600_000;
/** Of copies that wait for the next reply: a few, since they are taken out of what the budget lets be under way (`end-to-end`: RSS). */
const SPARE_BYTES = 12 * 2 ** 20;

export class OplogSource implements Source {
  readonly name: string;
  readonly #awaitMs: number;
  readonly #log: Log;
  readonly #filterFor: OplogSourceOptions['filterFor'];
  #filter: NamespaceFilter | undefined;
  readonly #reader: MemberReader;
  readonly #batchSize = new BatchSize();
  readonly #buffers = new SpareBuffers(SPARE_BYTES);
  readonly #collections: MemberCollections;
  readonly #clustered = new Clustered();
  #warned = false;
  /** The server's. */
  #version = 0;

  constructor(options: OplogSourceOptions) {
    const { config, budget, awaitMs = 1_000, filter, filterFor, log } = options;
    const { onReconnect = () => undefined } = options;
    this.name = config.name;
    this.#awaitMs = awaitMs;
    this.#log = log;
    this.#filterFor = filterFor;
    this.#filter = filter;
    this.#reader = new MemberReader({
      name: config.name,
      uri: config.uri,
      budget,
      awaitMs,
      ...((filter ?? filterFor) && { cursorTimeoutMs: FILTERED_TIMEOUT_MS }),
      log,
      onReconnect,
      open: (member, at, signal) => this.#tail(member, at, signal),
      identify: (member, hello, signal) => this.#identify(member, hello, signal),
      refusal: (code, reason) => refusal({ source: config.name, code, reason }),
    });
    this.#collections = new MemberCollections({
      set: this.#reader.set,
      member: (stop) => this.#reader.withMember((member) => Promise.resolve(member), stop),
    });
  }

  get state(): SourceState {
    return this.#reader.state;
  }

  get downFor(): string | undefined {
    return this.#reader.downFor;
  }

  get window(): SourceWindow | undefined {
    return this.#reader.window;
  }

  get lastReplyAt(): number | undefined {
    return this.#reader.lastReplyAt;
  }

  async connect(stop: AbortSignal): Promise<SourceIdentity> {
    return this.#reader.connect(stop);
  }

  async resolve(start: Start, stop: AbortSignal): Promise<ResumePoint> {
    switch (start.kind) {
      case 'latest':
      case 'snapshot':
        return this.#reader.withMember(newestOfMajority, stop);
      case 'earliest':
        return this.#reader.withMember(
          async (member, signal) => ({ kind: 'from', ts: (await member.oldest(signal)).ts }) as const,
          stop,
        );
      case 'from':
        return { kind: 'from', ts: start.ts };
      default:
        return start satisfies never;
    }
  }

  async verify(point: ResumePoint, stop: AbortSignal): Promise<void> {
    await this.#reader.withMember(async (member, signal) => {
      const { cursor } = await this.#open(member, point, signal);
      await cursor.close();
    }, stop);
  }

  read(point: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch> {
    return this.#reader.read(point, stop);
  }

  adapt(subscriptions: readonly SubscriptionConfig[]): boolean {
    if (!this.#filterFor) return false;
    this.#filter = this.#filterFor(subscriptions);
    return true;
  }

  get collections(): CollectionReads {
    return this.#collections;
  }

  get history(): OplogHistory {
    return {
      entry: (at, stop) => this.#lookUp(findEntry, at, stop),
      previous: (at, stop) => this.#lookUp(findPrevious, at, stop),
    };
  }

  get documents(): DocumentReader {
    return {
      find: async (wanted, stop) => {
        // What becomes of the question is no fault of the member's.
        const member = await this.#reader.withMember((reached) => Promise.resolve(reached), stop);
        using near = new AnyOf([stop, member.left]);
        return await findDocuments({ member, version: this.#version, clustered: this.#clustered }, wanted, near.signal);
      },
    };
  }

  /** Members' oplogs are not equally long: a longer one is asked before an entry counts as gone. */
  async #lookUp<T>(
    find: (member: Member, at: OpTime, signal: AbortSignal) => Promise<Looked<T>>,
    at: OpTime,
    stop: AbortSignal,
  ): Promise<Found<T>> {
    return this.#reader.withMember(async (member, signal) => {
      const since = performance.now();
      for (;;) {
        const found = await find(member, at, signal);
        if (found.kind === 'gone') await contradict({ set: this.#reader.set, member, point: at }, found.reason, signal);
        if (found.kind !== 'behind') return found;
        if (performance.now() - since > BEHIND_MS) {
          throw new MemberUnfitError(
            `${member.address} has not come as far as a part of a transaction that was read already`,
          );
        }
        await sleep(POLL_MS, signal);
        signal.throwIfAborted();
      }
    }, stop);
  }

  async collatedNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]> {
    return this.#reader.withMember(
      (member, signal) => collatedNamespaces({ source: this.name, member, matches, log: this.#log }, signal),
      stop,
    );
  }

  async timeSeriesNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]> {
    return this.#reader.withMember(({ client }, signal) => timeSeriesNamespaces(client, matches, signal), stop);
  }

  async close(): Promise<void> {
    this.#collections.close();
    await this.#reader.close();
  }

  async #tail(member: Member, at: ResumePoint, signal: AbortSignal): Promise<Tail> {
    const { cursor, head } = await this.#open(member, at, signal);
    const quiet = this.#filter && new QuietStretch(member, at);
    if (head?.last) quiet?.reached(head.last);
    return {
      head: head && this.#batchOf(head),
      next: async (stop) => {
        const ahead = await quiet?.ahead(stop);
        const reply = await cursor.next({}, stop);
        const last = reply.last ?? ahead;
        if (last !== undefined) quiet?.reached(last);
        return this.#batchOf({ ...reply, last });
      },
      close: () => cursor.close(),
    };
  }

  /**
   * A copy: the reply's own memory then dies young, which costs the collector nothing. Kept until the batch was dealt with it would
   * be found by a full collection only, and those then came ten times a second (bench `engine`: a quarter of all CPU).
   */
  #batchOf({ batch, entries, last }: Reply): RawBatch {
    if (entries === 0) return { bytes: batch, entries, last };
    const bytes = new Uint8Array(this.#buffers.take(batch.byteLength), 0, batch.byteLength);
    bytes.set(batch);
    return { bytes, entries, last, letGo: () => this.#buffers.give(bytes.buffer) };
  }

  #open(member: Member, point: ResumePoint, signal: AbortSignal): ReturnType<typeof openAt> {
    return openAt(
      {
        source: this.name,
        set: this.#reader.set,
        member,
        point,
        awaitMs: this.#awaitMs,
        batchSize: this.#batchSize,
        filter: this.#filter,
        log: this.#log,
      },
      signal,
    );
  }

  /** Asks for the oplog as well, so that missing rights show at the start. */
  async #identify(member: Member, { setName }: Hello, signal: AbortSignal): Promise<SourceIdentity> {
    await member.oldest(signal);
    const replicaSetId = await member.replicaSetId(signal);
    if (replicaSetId === undefined && !this.#warned) {
      this.#warned = true;
      this.#log.warn(
        { code: 'set-by-name-only', source: this.name, setName },
        'The replica set is told apart by its name only: its id may not be read. Grant find on local.system.replset.',
      );
    }
    const serverVersion = await member.serverVersion(signal);
    this.#version = versionNumber(serverVersion);
    return { replicaSetId: replicaSetId ?? `name:${setName}`, setName, serverVersion };
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
