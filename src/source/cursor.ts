/**
 * A tailing cursor over the oplog, as raw replies: `find`, then `getMore` by hand, since the driver's own cursors take every
 * reply apart. It reads only what a majority holds, so nothing that a failover can take back.
 * Invariant: `find` and every `getMore` use one session on one member; the server refuses anything else.
 */
import type { ClientSession, Db, Document, MongoClient } from 'mongodb';
import type { BatchSize } from './batch-size.ts';
import { answerOf, toTimestamp } from './member.ts';
import type { Member } from './member.ts';
import type { NamespaceFilter } from './namespace-filter.ts';
import type { Ts } from './position.ts';
import { readReply } from './reply.ts';
import type { Reply } from './reply.ts';

export interface CursorOptions {
  readonly member: Member;
  /** Where the cursor begins, inclusive. */
  readonly ts: Ts;
  /** How long the server waits for entries before it answers with none. */
  readonly awaitMs: number;
  readonly batchSize: BatchSize;
  /** What the server sends; everything where left out. */
  readonly filter?: NamespaceFilter | undefined;
}

const KILL_TIMEOUT_MS = 1_000;
/** A reply of this size may have been cut for it: the server's limit is 16 MB. */
const CUT_BYTES = 8 * 2 ** 20;
/** For a filtered cursor that had come to the oplog's end; what is longer than that takes a lot to look at, or a dead connection. */
const SILENT_MS = 30_000;
/** Asked so soon behind the reply before, there is not much to look at. */
const PROMPT_MS = 5_000;

/** The server has closed the cursor without an error: find again. */
export class CursorEndedError extends Error {
  override readonly name = 'CursorEndedError';
}

export class OplogCursor {
  readonly member: Member;
  /** At most one entry: what the resume check looks at. */
  readonly first: Reply;
  readonly #session: ClientSession;
  /** Made once: the driver takes all options apart for each (bench `latency`, at 1,000/s 20 µs a change). */
  readonly #db: Db;
  readonly #awaitMs: number;
  readonly #batchSize: BatchSize;
  readonly #filtered: boolean;
  #id: bigint;
  /** When a reply held all that there was; undefined where the newest one did not. */
  #atEndSince: number | undefined;

  private constructor(options: CursorOptions, session: ClientSession, first: Reply) {
    this.member = options.member;
    this.first = first;
    this.#session = session;
    this.#db = options.member.client.db('local');
    this.#awaitMs = options.awaitMs;
    this.#batchSize = options.batchSize;
    this.#filtered = options.filter !== undefined;
    this.#id = first.cursorId;
  }

  static async open(options: CursorOptions, signal: AbortSignal): Promise<OplogCursor> {
    const { client } = options.member;
    const session = client.startSession({ causalConsistency: false });
    try {
      const command = {
        find: 'oplog.rs',
        filter: {
          ts: { $gte: toTimestamp(options.ts) },
          ...(options.filter && { $or: options.filter(options.ts) }),
        },
        tailable: true,
        awaitData: true,
        batchSize: 1,
        readConcern: { level: 'majority' },
      };
      const reply = await client.db('local').command(command, { session, signal, raw: true });
      return new OplogCursor(options, session, readReply(rawCursor(reply)));
    } catch (error) {
      await session.endSession();
      throw error;
    }
  }

  /** `entries` bounds the reply; the size that suits is taken where it is left out. */
  async next(
    { entries = this.#batchSize.entries }: { readonly entries?: number },
    signal: AbortSignal,
  ): Promise<Reply> {
    if (this.#id === 0n) throw new CursorEndedError(`${this.member.address} closed the cursor`);
    const command = { getMore: this.#id, collection: 'oplog.rs', batchSize: entries, maxTimeMS: this.#awaitMs };
    const raw = await this.#answer((within) => {
      return this.#db.command(command, { session: this.#session, signal: within, raw: true });
    }, signal);
    const reply = readReply(rawCursor(raw));
    this.#id = reply.cursorId;
    // Where it was closed, that nothing came does not say that there is nothing.
    if (this.#id === 0n && reply.entries === 0) throw new CursorEndedError(`${this.member.address} closed the cursor`);
    const isEnd = reply.entries < entries && reply.batch.byteLength < CUT_BYTES;
    this.#atEndSince = isEnd ? performance.now() : undefined;
    this.#batchSize.note(reply.batch.byteLength, reply.entries);
    return reply;
  }

  /**
   * A filtered cursor may be silent for minutes while the server passes over what is not wanted, so its connection has no short
   * deadline. Right behind the oplog's end there is nothing to pass over: whatever is silent then is gone.
   */
  async #answer(ask: (signal: AbortSignal) => Promise<Document>, signal: AbortSignal): Promise<Document> {
    const isNear = this.#atEndSince !== undefined && performance.now() - this.#atEndSince < PROMPT_MS;
    if (!this.#filtered || !isNear) return ask(signal);
    return answerOf(ask, { address: this.member.address, ms: SILENT_MS, signal });
  }

  async close(): Promise<void> {
    const id = this.#id;
    this.#id = 0n;
    await endCursor({ member: this.member, session: this.#session, db: 'local', collection: 'oplog.rs', id });
  }
}

export interface OpenCursor {
  readonly member: Member;
  /** The session's. */
  readonly client?: MongoClient;
  readonly session: ClientSession;
  readonly db: string;
  readonly collection: string;
  /** 0 when the server has closed it. */
  readonly id: bigint;
}

/** Best effort: a member that cannot be reached forgets the cursor by itself. */
export async function endCursor({
  member,
  client = member.client,
  session,
  db,
  collection,
  id,
}: OpenCursor): Promise<void> {
  try {
    // A member that is being left is not asked: each question could cost the whole deadline.
    if (id !== 0n && !member.left.aborted) {
      const command = { killCursors: collection, cursors: [id] };
      await client.db(db).command(command, { session, signal: AbortSignal.timeout(KILL_TIMEOUT_MS) });
    }
  } catch {
    // See above.
  } finally {
    await session.endSession();
  }
}

/** The raw `cursor` of a raw reply. */
export function rawCursor(reply: Document): Uint8Array {
  const cursor: unknown = reply['cursor'];
  if (!(cursor instanceof Uint8Array)) throw new Error('the reply has no cursor');
  return cursor;
}
