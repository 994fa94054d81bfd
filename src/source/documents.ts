/**
 * Whole documents for events: looked up in their collection, or the pre-images that the server keeps. Raw, as one BSON array after
 * another, and never as they were before the time that is asked for.
 */
import { UUID } from 'mongodb';
import type { ClientSession, Document } from 'mongodb';
import { among } from './clustered.ts';
import type { Clustered } from './clustered.ts';
import { endCursor, rawCursor } from './cursor.ts';
import { exactValues } from './exact-values.ts';
import { codeOf, reasonOf } from './failures.ts';
import { operationTimeOf } from './hello.ts';
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
  /** The ids are in the collection's order, and all that lies between them is wanted, or next to all. */
  readonly isRising?: boolean;
  /** Not as they were before this. */
  readonly notBefore: Ts;
  /** So many bytes are left to all that are asked for together; below zero it is too much. */
  readonly room: { bytes: number };
}

export type FoundDocuments =
  | {
      readonly kind: 'found';
      /** BSON arrays. */
      readonly batches: readonly Uint8Array[];
      /** When they were so, or somewhat before. */
      readonly at: Ts;
    }
  /** `isRefusal`: the user may not read them. */
  | { readonly kind: 'failed'; readonly isRefusal: boolean; readonly reason: string };

export interface DocumentReader {
  find(wanted: Wanted, stop: AbortSignal): Promise<FoundDocuments>;
}

const UNAUTHORIZED = 13;
const NAMESPACE_NOT_FOUND = 26;
const COLLECTION_UUID_MISMATCH = 361;
/** The first server that is told which collection is meant. */
const UUID_SINCE = 600;
/** They lie in a clustered collection; a worker asks for those of one collection in their order. */
export const PRE_IMAGES = { db: 'config', coll: 'system.preimages', isRising: true } as const;

/** Where they are read. */
interface Place {
  readonly member: Member;
  readonly version: number;
  readonly clustered: Clustered;
}

/**
 * By a majority, not at one time: that cannot be had of capped collections. Nothing is thrown, and nothing that goes wrong here says
 * anything of the member: who tails it notices by itself when it is gone.
 */
export async function findDocuments(place: Place, wanted: Wanted, signal: AbortSignal): Promise<FoundDocuments> {
  const { member, version, clustered } = place;
  const { db, coll, notBefore, room, isRising } = wanted;
  const client = member.reader;
  const batches: Uint8Array[] = [];
  let session: ClientSession | undefined;
  let id = 0n;
  try {
    session = client.startSession({ causalConsistency: false });
    let at = notBefore;
    const oneByOne = isRising !== true && (await clustered.has(client, version, wanted, signal));
    for (const filter of filtersFor(wanted, oneByOne)) {
      let command = findCommand(wanted, filter, version);
      while (room.bytes >= 0) {
        const reply = await client.db(db).command(command, { session, signal, raw: true });
        const { cursorId, batch } = readStreamReply(rawCursor(reply));
        id = cursorId;
        room.bytes -= batch.byteLength;
        batches.push(batch);
        at = operationTimeOf(reply) ?? at;
        if (id === 0n) break;
        command = { getMore: id, collection: coll };
      }
    }
    // What is not read is not absent: whatever others give back, it stays too much.
    if (room.bytes < 0) room.bytes = -Infinity;
    return { kind: 'found', batches, at };
  } catch (error) {
    // What is asked for again is not twice too much.
    for (const batch of batches) room.bytes += batch.byteLength;
    const code = codeOf(error);
    if (code === COLLECTION_UUID_MISMATCH || code === NAMESPACE_NOT_FOUND) {
      return { kind: 'found', batches: [], at: notBefore };
    }
    if (code === UNAUTHORIZED && wanted.uuid && version < UUID_SINCE) {
      // By its UUID takes a right of its own, `useUUID`.
      return await findDocuments(place, { ...wanted, uuid: undefined }, signal);
    }
    return { kind: 'failed', isRefusal: code === UNAUTHORIZED, reason: reasonOf(error) };
  } finally {
    if (session) await endCursor({ member, client, session, db, collection: coll, id });
  }
}

/** One after the other they find all. */
function filtersFor({ ids, isRising }: Wanted, oneByOne: boolean): readonly Document[] {
  const values = exactValues(ids);
  if (oneByOne) return values.map((value) => ({ _id: { $eq: value } }));
  return [{ _id: among(values, isRising === true) }];
}

function findCommand({ coll, uuid, count, notBefore }: Wanted, filter: Document, version: number): Document {
  return {
    // Older servers find a collection by either.
    find: uuid && version < UUID_SINCE ? new UUID(uuid) : coll,
    filter,
    // One more than there can be: the cursor is closed with the first reply, if that holds all.
    batchSize: count + 1,
    readConcern: { level: 'majority', afterClusterTime: toTimestamp(notBefore) },
    ...(uuid && version >= UUID_SINCE && { collectionUUID: new UUID(uuid) }),
  };
}
