/**
 * A change stream as raw replies: `aggregate`, then `getMore` by hand, in one session on one member, like `OplogCursor`.
 * Invariant: the pipeline is decided here alone, so that whoever opens at a token opens the same stream it came from.
 */
import { Binary } from 'bson';
import type { ClientSession, Document } from 'mongodb';
import type { ChangeStreamConfig } from '../config/config.ts';
import type { BatchSize } from './batch-size.ts';
import { CursorEndedError, endCursor, rawCursor } from './cursor.ts';
import { toTimestamp } from './member.ts';
import type { Member } from './member.ts';
import type { ResumePoint, StreamToken } from './position.ts';
import { readStreamReply } from './reply.ts';
import type { StreamReply } from './reply.ts';

export interface StreamOptions {
  readonly member: Member;
  readonly config: ChangeStreamConfig;
  readonly features: StreamFeatures;
  /** Undefined: from now on. */
  readonly point: ResumePoint | undefined;
  /** How long the server waits for events before it answers with none. */
  readonly awaitMs: number;
  readonly batchSize: BatchSize;
  /** Only what an event is about, without its documents. */
  readonly reduced?: boolean;
}

/** What a server's change streams can do, and what of it is wanted. */
export interface StreamFeatures {
  readonly expanded: boolean;
  /** Events over 16 MB come in fragments. */
  readonly split: boolean;
}

export class StreamCursor {
  readonly member: Member;
  readonly first: StreamReply;
  readonly #session: ClientSession;
  readonly #awaitMs: number;
  readonly #batchSize: BatchSize;
  readonly #db: string;
  readonly #collection: string;
  #id: bigint;

  private constructor(options: StreamOptions, session: ClientSession, first: StreamReply) {
    this.member = options.member;
    this.first = first;
    this.#session = session;
    this.#awaitMs = options.awaitMs;
    this.#batchSize = options.batchSize;
    const { db, collection } = placeOf(options.config.watch);
    this.#db = db;
    this.#collection = collection ?? '$cmd.aggregate';
    this.#id = first.cursorId;
  }

  /** `entries` bounds the first reply; 0: the server does not look for events yet, and does not find out yet that the point is lost. */
  static async open(options: StreamOptions, entries: number, signal: AbortSignal): Promise<StreamCursor> {
    const { client } = options.member;
    const { db, collection } = placeOf(options.config.watch);
    const session = client.startSession({ causalConsistency: false });
    try {
      const command = {
        aggregate: collection ?? 1,
        pipeline: pipelineOf(options),
        cursor: { batchSize: entries },
        readConcern: { level: 'majority' },
      };
      const reply = await client.db(db).command(command, { session, signal, raw: true });
      return new StreamCursor(options, session, readStreamReply(rawCursor(reply)));
    } catch (error) {
      await session.endSession();
      throw error;
    }
  }

  /** The server has nothing more to give: what was watched is gone, and the last token says so. */
  get ended(): boolean {
    return this.#id === 0n;
  }

  async next(
    { entries = this.#batchSize.entries }: { readonly entries?: number },
    signal: AbortSignal,
  ): Promise<StreamReply> {
    if (this.ended) throw new CursorEndedError(`${this.member.address} closed the change stream`);
    const command = { getMore: this.#id, collection: this.#collection, batchSize: entries, maxTimeMS: this.#awaitMs };
    const raw = await this.member.client.db(this.#db).command(command, { session: this.#session, signal, raw: true });
    const reply = readStreamReply(rawCursor(raw));
    this.#id = reply.cursorId;
    this.#batchSize.note(reply.batch.byteLength, reply.entries);
    return reply;
  }

  async close(): Promise<void> {
    const id = this.#id;
    this.#id = 0n;
    await endCursor({ member: this.member, session: this.#session, db: this.#db, collection: this.#collection, id });
  }
}

function pipelineOf({ config, features, point, reduced = false }: StreamOptions): Document[] {
  const { watch, fullDocument, fullDocumentBeforeChange } = config;
  const stream: Document = {
    ...(watch === 'deployment' && { allChangesForCluster: true }),
    ...(features.expanded && { showExpandedEvents: true }),
    ...startOf(point, features),
    // A document that is not wanted is not looked up either.
    ...(fullDocument !== 'default' && !reduced && { fullDocument }),
    ...(fullDocumentBeforeChange !== 'off' && !reduced && { fullDocumentBeforeChange }),
  };
  return [
    { $changeStream: stream },
    ...(reduced ? [{ $project: { fullDocument: 0, updateDescription: 0 } }] : []),
    ...(features.split ? [{ $changeStreamSplitLargeEvent: {} }] : []),
  ];
}

/** Whether a stream of these features certainly has the token. One that does not begins at its time, with what is done already. */
export function isKnown({ split, expanded }: StreamToken, features: StreamFeatures): boolean {
  return split === undefined && (expanded === true) === features.expanded;
}

function startOf(point: ResumePoint | undefined, features: StreamFeatures): Document {
  switch (point?.kind) {
    case undefined:
      return {};
    case 'token': {
      const { data, typeBits } = point.token;
      if (!isKnown(point.token, features)) return { startAtOperationTime: toTimestamp(point.ts) };
      // Unlike `resumeAfter` it goes on behind an invalidate, too.
      const bits = typeBits === undefined ? {} : { _typeBits: new Binary(Buffer.from(typeBits, 'base64')) };
      return { startAfter: { _data: data, ...bits } };
    }
    case 'from':
    case 'after':
      return { startAtOperationTime: toTimestamp(point.ts) };
  }
}

/** `collection` is undefined for a whole database, or deployment. */
function placeOf(watch: string): { readonly db: string; readonly collection: string | undefined } {
  if (watch === 'deployment') return { db: 'admin', collection: undefined };
  const dot = watch.indexOf('.');
  return dot < 0 ? { db: watch, collection: undefined } : { db: watch.slice(0, dot), collection: watch.slice(dot + 1) };
}
