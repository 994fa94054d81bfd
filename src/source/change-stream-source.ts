/**
 * Reads a change stream, raw and in order, where the oplog may not be read: on Atlas, through a mongos, or with rights on the
 * data alone. The position is the resume token of the last reply, which moves on without events too.
 *
 * Invariants, beside those of `MemberReader`:
 * - An event that the server split comes as one (`Fragments`).
 * - An event that the server cannot send at all is stepped over only where the user said so, and is then given as what is known
 *   of it, marked, so that it is parked.
 */
import type { ChangeStreamConfig, SourceConfig, Start, SubscriptionConfig } from '../config/config.ts';
import { UserError } from '../errors.ts';
import type { UserErrorCode } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { BatchSize } from './batch-size.ts';
import type { ByteBudget } from './byte-budget.ts';
import { collatedNamespaces } from './collations.ts';
import type { Hello } from './hello.ts';
import { MemberReader } from './member-reader.ts';
import type { Member } from './member.ts';
import type { ResumePoint } from './position.ts';
import { opTimeOfToken } from './resume-token.ts';
import type { RawBatch, Source, SourceIdentity, SourceState, SourceWindow } from './source.ts';
import { StreamCursor } from './stream-cursor.ts';
import type { StreamFeatures } from './stream-cursor.ts';
import { Stuck } from './stuck.ts';
import { timeSeriesNamespaces } from './time-series.ts';
import { StreamTail, isTooLarge, lostPosition } from './stream-tail.ts';

export interface ChangeStreamSourceOptions {
  readonly config: SourceConfig & { readonly changeStream: ChangeStreamConfig };
  /** Some subscription wants what only `showExpandedEvents` shows. */
  readonly expanded: boolean;
  /** Whether one of these does. */
  readonly wantsExpanded?: (subscriptions: readonly SubscriptionConfig[]) => boolean;
  readonly budget: ByteBudget;
  readonly awaitMs?: number;
  readonly log: Log;
  readonly onReconnect?: () => void;
}

/** Where little of what happens is watched, the server can read its oplog for long before it finds the first event. */
const CURSOR_TIMEOUT_MS = 600_000;
/** Beyond the await time, to open a stream that begins now. */
const GRACE_MS = 5_000;
const UNIDENTIFIED =
  'What is read is told apart by its name only, as its id may not be read: that it is still the one of the checkpoint, and not another of ' +
  'the same name, is yours to make sure. For a replica set, granting find on local.system.replset helps.';

export class ChangeStreamSource implements Source {
  readonly name: string;
  /** Transactions come whole. */
  readonly history = undefined;
  readonly documents = undefined;
  readonly collections = undefined;
  readonly #o: ChangeStreamSourceOptions;
  readonly #awaitMs: number;
  readonly #reader: MemberReader;
  readonly #batchSize = new BatchSize();
  readonly #stuck: Stuck;
  #expanded: boolean;
  #serverVersion = '0';
  #features: StreamFeatures = { expanded: false, split: false };
  #sharded = false;
  /** Said once. */
  #warned = false;

  constructor(options: ChangeStreamSourceOptions) {
    const { config, budget, awaitMs = 1_000, log, onReconnect = () => undefined } = options;
    this.name = config.name;
    this.#o = options;
    this.#expanded = options.expanded;
    this.#awaitMs = awaitMs;
    this.#stuck = new Stuck(config.name, log);
    this.#reader = new MemberReader({
      name: config.name,
      uri: config.uri,
      budget,
      awaitMs,
      cursorTimeoutMs: CURSOR_TIMEOUT_MS,
      mongos: true,
      log,
      onReconnect,
      open: (member, at, signal) => StreamTail.open(this.#tailOptions(member), at, signal),
      identify: (member, hello, signal) => this.#identify(member, hello, signal),
      refusal: (code, reason) => this.#refusal(code, reason),
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
        return this.#reader.withMember((member, signal) => this.#now(member, signal), stop);
      case 'earliest':
        // The configuration's check has refused it.
        throw new UserError(
          'config-invalid',
          `source "${this.name}": a change stream has no earliest position to ask for.`,
        );
      case 'from':
        return { kind: 'from', ts: start.ts };
      default:
        return start satisfies never;
    }
  }

  async verify(point: ResumePoint, stop: AbortSignal): Promise<void> {
    await this.#reader.withMember(async (member, signal) => {
      try {
        // One event: without any the server would not look yet.
        const cursor = await StreamCursor.open({ ...this.#tailOptions(member), point }, 1, signal);
        await cursor.close();
      } catch (error) {
        if (isTooLarge(error)) return;
        throw (await lostPosition(error, this.#tailOptions(member), point, signal)) ?? error;
      }
    }, stop);
  }

  read(point: ResumePoint, stop: AbortSignal): AsyncGenerator<RawBatch> {
    return this.#reader.read(point, stop);
  }

  adapt(subscriptions: readonly SubscriptionConfig[]): boolean {
    const expanded = this.#o.wantsExpanded?.(subscriptions) ?? this.#expanded;
    if (expanded === this.#expanded) return false;
    this.#expanded = expanded;
    this.#features = this.#featuresOf(this.#serverVersion);
    return true;
  }

  async collatedNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]> {
    const { watch } = this.#o.config.changeStream;
    const database = watch === 'deployment' ? undefined : watch.split('.', 1)[0];
    return this.#reader.withMember(
      (member, signal) =>
        collatedNamespaces({ source: this.name, member, database, matches, log: this.#o.log }, signal),
      stop,
    );
  }

  async timeSeriesNamespaces(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly string[]> {
    return this.#reader.withMember(({ client }, signal) => timeSeriesNamespaces(client, matches, signal), stop);
  }

  async close(): Promise<void> {
    await this.#reader.close();
  }

  /** A stream that begins now says where that is: everything before it is over, and majority-committed. */
  async #now(member: Member, signal: AbortSignal): Promise<ResumePoint> {
    const cursor = await StreamCursor.open({ ...this.#tailOptions(member), point: undefined }, 0, signal);
    try {
      const { token } = cursor.first;
      if (token === undefined) throw new Error(`${member.address} gives no postBatchResumeToken`);
      const { ts, token: at } = opTimeOfToken(token, this.#o.config.changeStream.watch);
      return { kind: 'token', ts, token: at };
    } finally {
      await cursor.close();
    }
  }

  /** Opens a stream as well, so that missing rights show at the start. */
  async #identify(member: Member, { kind, setName }: Hello, signal: AbortSignal): Promise<SourceIdentity> {
    const serverVersion = await member.serverVersion(signal);
    this.#serverVersion = serverVersion;
    this.#features = this.#featuresOf(serverVersion);
    // A server that does not answer is none to read from.
    await this.#now(member, AbortSignal.any([signal, AbortSignal.timeout(this.#awaitMs + GRACE_MS)]));
    const name = kind === 'mongos' ? 'sharded cluster' : setName;
    const replicaSetId = kind === 'mongos' ? undefined : await member.replicaSetId(signal);
    this.#sharded = kind === 'mongos';
    if (replicaSetId === undefined && !this.#warned) {
      this.#warned = true;
      this.#o.log.warn({ code: 'set-by-name-only', source: this.name, setName: name }, UNIDENTIFIED);
    }
    return {
      replicaSetId: replicaSetId ?? `name:${name}`,
      setName: name,
      serverVersion,
      ...(this.#sharded && { sharded: true }),
    };
  }

  #featuresOf(version: string): StreamFeatures {
    const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/, 3).map(Number);
    const { fullDocument, fullDocumentBeforeChange } = this.#o.config.changeStream;
    const images =
      fullDocument === 'whenAvailable' || fullDocument === 'required' || fullDocumentBeforeChange !== 'off';
    if (images && major < 6) {
      throw new UserError(
        'config-invalid',
        `source "${this.name}": pre- and post-images (fullDocument: whenAvailable or required, fullDocumentBeforeChange) need ` +
          `MongoDB 6.0; this is ${version}. Use \`fullDocument: updateLookup\` or default, and \`fullDocumentBeforeChange: off\`.`,
      );
    }
    return {
      expanded: this.#expanded && major >= 6,
      split: major >= 7 || (major === 6 && (minor > 0 || patch >= 9)),
    };
  }

  #tailOptions(member: Member) {
    return {
      source: this.name,
      sharded: this.#sharded,
      set: this.#reader.set,
      stuck: this.#stuck,
      member,
      config: this.#o.config.changeStream,
      features: this.#features,
      awaitMs: this.#awaitMs,
      batchSize: this.#batchSize,
      log: this.#o.log,
    };
  }

  #refusal(code: UserErrorCode, reason: string): UserError {
    const about = `source "${this.name}": `;
    if (code === 'credentials-refused') {
      return new UserError(
        code,
        `${about}the server refuses the credentials (${reason}). Check user, password and authSource.`,
      );
    }
    if (code === 'rights-missing') {
      const { watch } = this.#o.config.changeStream;
      const grant =
        watch === 'deployment'
          ? 'the role "readAnyDatabase" on "admin", or watch one database with `changeStream.watch`'
          : `the role "read" on the database "${watch.split('.', 1)[0]}"`;
      return new UserError(code, `${about}the user may not watch ${watch} (${reason}). Grant ${grant}.`);
    }
    return new UserError(code, about + reason);
  }
}
