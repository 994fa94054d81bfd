/**
 * One member of the set, over a client of its own with `directConnection`: the driver selects a server anew for every
 * command, so on a client that knows the whole set a getMore could reach another member than its find.
 * Invariant: every command has the deadline `ioTimeoutMs` (a cursor's may have a longer one), after which the driver drops its
 * connection.
 */
import { MongoClient, ObjectId, Timestamp } from 'mongodb';
import type { Document, MongoOptions } from 'mongodb';
import { AnyOf } from './any-of.ts';
import { closeClient } from './close-client.ts';
import { directOptions } from './direct-options.ts';
import { classify } from './failures.ts';
import { opTimeOf, parseHello } from './hello.ts';
import type { Hello } from './hello.ts';
import { withoutPoolChecks } from './pool-checks.ts';
import type { OpTime, Ts } from './position.ts';

export interface MemberOptions {
  /** host:port */
  readonly address: string;
  /** The options of the client that the user's URI made, once it has connected. */
  readonly parsed: Readonly<MongoOptions>;
  readonly ioTimeoutMs: number;
  /** How long a cursor may keep us waiting; `ioTimeoutMs` where left out. */
  readonly cursorTimeoutMs?: number;
  /** Left out: as many as the tail takes. */
  readonly connections?: number;
}

const READER_TIMEOUT_MS = 60_000;
const READERS = 5;
/** The tail, the monitor beside it, a killCursors, and one to spare. */
const CONNECTIONS = 4;

/** This member cannot serve now, or not well: another one may. */
export class MemberUnfitError extends Error {
  override readonly name = 'MemberUnfitError';
}

export class Member {
  readonly address: string;
  readonly client: MongoClient;
  readonly #left = new AbortController();
  readonly #options: MemberOptions;
  #reader: MongoClient | undefined;
  /** Where the connection's own deadline is a cursor's. */
  readonly #deadlineMs: number | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: MemberOptions) {
    const { address, ioTimeoutMs, cursorTimeoutMs, connections = CONNECTIONS } = options;
    this.#options = options;
    this.address = address;
    this.#deadlineMs = cursorTimeoutMs === undefined ? undefined : ioTimeoutMs;
    this.client = clientOf(options, {
      socketTimeoutMS: cursorTimeoutMs ?? ioTimeoutMs,
      maxPoolSize: connections,
    });
  }

  /** For what may take its time: many documents, off a slow disk. Made when it is first needed. */
  get reader(): MongoClient {
    this.#reader ??= clientOf(this.#options, { socketTimeoutMS: READER_TIMEOUT_MS, maxPoolSize: READERS });
    return this.#reader;
  }

  /** Fires when the member is to be left while commands may be waiting on it. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  leave(reason: string): void {
    this.#left.abort(new MemberUnfitError(reason));
  }

  async hello(signal: AbortSignal): Promise<Hello> {
    return parseHello(await this.#ask('admin', { hello: 1 }, signal));
  }

  async oldest(signal: AbortSignal): Promise<OpTime> {
    const query = { sort: { $natural: 1 }, projection: { ts: 1, t: 1 } };
    const oldest = opTimeOf(await this.#findOne('oplog.rs', query, signal));
    if (oldest === undefined) throw new MemberUnfitError(`the oplog of ${this.address} is empty`);
    return oldest;
  }

  /** The first majority-committed entry at or behind `ts`, if there is one by now. */
  async entryFrom(ts: Ts, signal: AbortSignal): Promise<OpTime | undefined> {
    const filter = { ts: { $gte: toTimestamp(ts) } };
    const query = { filter, projection: { ts: 1, t: 1 }, readConcern: { level: 'majority' } };
    return opTimeOf(await this.#findOne('oplog.rs', query, signal));
  }

  /** Hex; undefined where the user may not read it, or the set has none. */
  async replicaSetId(signal: AbortSignal): Promise<string | undefined> {
    try {
      const config = await this.#findOne('system.replset', {}, signal);
      const id: unknown = config?.['settings']?.replicaSetId;
      return id instanceof ObjectId ? id.toHexString() : undefined;
    } catch (error) {
      if (classify(error).kind === 'refused') return undefined;
      throw error;
    }
  }

  async serverVersion(signal: AbortSignal): Promise<string> {
    const info = await this.#ask('admin', { buildInfo: 1 }, signal);
    return String(info['version']);
  }

  close(): Promise<void> {
    this.leave('the connection is being closed');
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await Promise.all([this.client, ...(this.#reader ? [this.#reader] : [])].map(async (one) => closeClient(one)));
  }

  async #findOne(collection: string, query: Document, signal: AbortSignal): Promise<Document | undefined> {
    const command = { find: collection, limit: 1, singleBatch: true, ...query };
    const reply = await this.#ask('local', command, signal);
    return reply['cursor']?.firstBatch?.[0];
  }

  #ask(db: string, command: Document, signal: AbortSignal): Promise<Document> {
    return this.within((soon) => this.client.db(db).command(command, { signal: soon }), signal);
  }

  /**
   * For whatever is no cursor's: the connection's own deadline may be one. `times` as long for an answer that may be large, since
   * this counts from the question on, not from the last byte.
   */
  async within<T>(ask: (signal: AbortSignal) => Promise<T>, signal: AbortSignal, times = 1): Promise<T> {
    if (this.#deadlineMs === undefined) return ask(signal);
    return answerOf(ask, { address: this.address, ms: this.#deadlineMs * times, signal });
  }
}

function clientOf(
  { address, parsed, ioTimeoutMs }: MemberOptions,
  own: { readonly socketTimeoutMS: number; readonly maxPoolSize: number },
): MongoClient {
  return withoutPoolChecks(
    new MongoClient(`mongodb://${address}/`, {
      ...directOptions(parsed),
      directConnection: true,
      serverSelectionTimeoutMS: ioTimeoutMs,
      retryReads: false,
      ...own,
    }),
  );
}

interface Waiting {
  /** Of the member. */
  readonly address: string;
  readonly ms: number;
  readonly signal: AbortSignal;
}

/** Rejects with `MemberUnfitError` where no answer comes in time, whatever the driver makes of being stopped. */
export async function answerOf<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  { address, ms, signal }: Waiting,
): Promise<T> {
  const silence = new MemberUnfitError(`${address} has not answered for ${ms / 1_000} s`);
  using soon = new AnyOf([signal]).within(ms, silence);
  try {
    return await ask(soon.signal);
  } catch (error) {
    throw soon.signal.reason === silence ? silence : error;
  }
}

export function toTimestamp({ seconds, increment }: Ts): Timestamp {
  return new Timestamp({ t: seconds, i: increment });
}
