/**
 * Whole documents for events: looked up in their collection, or the pre-images that the server keeps. Raw, as one BSON array after
 * another, and never as they were before the time that is asked for.
 */
import { Timestamp, UUID } from 'mongodb';
import type { Document } from 'mongodb';
import { endCursor, rawCursor } from './cursor.ts';
import { exactValues } from './exact-values.ts';
import { codeOf } from './failures.ts';
import { toTimestamp } from './member.ts';
import type { Member } from './member.ts';
import type { Ts } from './position.ts';
import { readStreamReply } from './reply.ts';

export interface Wanted {
  readonly db: string;
  readonly coll: string;
  /** Of the collection that is meant; where another has its name now, there are no such documents. */
  readonly uuid?: Uint8Array | undefined;
  /** A BSON array. */
  readonly ids: Uint8Array;
  readonly count: number;
  /** Not as they were before this. */
  readonly notBefore: Ts;
  /** No more than so many bytes. */
  readonly most: number;
}

export type FoundDocuments =
  | {
      readonly kind: 'found';
      /** BSON arrays. */
      readonly batches: readonly Uint8Array[];
      /** When they were so, or somewhat before. */
      readonly at: Ts;
    }
  | { readonly kind: 'too-much' }
  /** The user may not read them. */
  | { readonly kind: 'refused'; readonly reason: string };

export interface DocumentReader {
  find(wanted: Wanted, stop: AbortSignal): Promise<FoundDocuments>;
}

const UNAUTHORIZED = 13;
const NAMESPACE_NOT_FOUND = 26;
const COLLECTION_UUID_MISMATCH = 361;
/** The first server that is told which collection is meant. */
const UUID_SINCE = 600;
/** The first server that reads at one time outside of transactions, and says which. */
const SNAPSHOT_SINCE = 500;
/** Many documents, over a slow link. */
const LARGE = 50;

export const PRE_IMAGES = { db: 'config', coll: 'system.preimages' } as const;

export async function findDocuments(
  { member, version }: { readonly member: Member; readonly version: number },
  wanted: Wanted,
  signal: AbortSignal,
): Promise<FoundDocuments> {
  const { db, coll, notBefore } = wanted;
  const session = member.client.startSession({ causalConsistency: false });
  const ask = (command: Document): Promise<Document> =>
    member.within((soon) => member.client.db(db).command(command, { session, signal: soon, raw: true }), signal, LARGE);
  let id = 0n;
  try {
    const batches: Uint8Array[] = [];
    let bytes = 0;
    let reply = await ask(findCommand(wanted, version));
    const at = timeOf(reply) ?? notBefore;
    for (;;) {
      const { cursorId, batch } = readStreamReply(rawCursor(reply));
      id = cursorId;
      bytes += batch.byteLength;
      if (bytes > wanted.most) return { kind: 'too-much' };
      batches.push(batch);
      if (id === 0n) return { kind: 'found', batches, at };
      reply = await ask({ getMore: id, collection: coll });
    }
  } catch (error) {
    const code = codeOf(error);
    if (code === COLLECTION_UUID_MISMATCH || code === NAMESPACE_NOT_FOUND)
      return { kind: 'found', batches: [], at: notBefore };
    if (code === UNAUTHORIZED && wanted.uuid && version < UUID_SINCE) {
      // By its UUID takes a right of its own, `useUUID`.
      return await findDocuments({ member, version }, { ...wanted, uuid: undefined }, signal);
    }
    if (code === UNAUTHORIZED)
      return { kind: 'refused', reason: error instanceof Error ? error.message : String(error) };
    throw error;
  } finally {
    await endCursor({ member, session, db, collection: coll, id });
  }
}

function findCommand({ coll, uuid, ids, count, notBefore }: Wanted, version: number): Document {
  return {
    // Older servers find a collection by either.
    find: uuid && version < UUID_SINCE ? new UUID(uuid) : coll,
    filter: { _id: { $in: exactValues(ids) } },
    // One more than there can be: the cursor is closed with the first reply, if that holds all.
    batchSize: count + 1,
    readConcern: {
      level: version >= SNAPSHOT_SINCE ? 'snapshot' : 'majority',
      afterClusterTime: toTimestamp(notBefore),
    },
    ...(uuid && version >= UUID_SINCE && { collectionUUID: new UUID(uuid) }),
  };
}

/** Of a read at one time that time itself is not later than the reply's. */
function timeOf(reply: Document): Ts | undefined {
  const time: unknown = reply['operationTime'];
  return time instanceof Timestamp ? { seconds: time.t, increment: time.i } : undefined;
}
