/**
 * Reads collections as they stood at a position: raw documents in the order of `_id`, a piece at a time, from the member that is
 * tailed but over connections of its own. Nothing is tried again here, and a failure of a read is none of the tail's.
 *
 * A read begins at an index key, not at a comparison: those stop where the type of `_id` changes. What is read is exactly what was
 * there at the position: by a read concern from 5.0 on, by a transaction before. Of a capped collection the server shows nothing but
 * what it holds now; `shows` then says how much later than the position that may be.
 */
import { BSON, Long, MaxKey } from 'mongodb';
import type { ClientSession, Document, MongoClient } from 'mongodb';
import { BsonType, findElement, encodeText, nameEnd, valueEnd, documentLast } from '../worker/bson.ts';
import { isAskable } from '../worker/askable.ts';
import { AnyOf } from './any-of.ts';
import { among } from './clustered.ts';
import { collectionNamed, listCollections, unlessRefused } from './collection-list.ts';
import type { FoundCollections, Sought } from './collection-list.ts';
import { rawCursor } from './cursor.ts';
import { exactValues } from './exact-values.ts';
import { codeOf } from './failures.ts';
import { operationTimeOf } from './hello.ts';
import { toTimestamp } from './member.ts';
import type { Member } from './member.ts';
import { compareTs } from './position.ts';
import type { Ts } from './position.ts';
import type { ReplicaSet } from './replica-set.ts';
import { documentAt, readDocuments } from './reply.ts';
import { versionNumber } from './server-version.ts';
import { unlessAborted } from '../waits.ts';

export interface PieceRequest {
  readonly ns: string;
  readonly at: Ts;
  readonly capped: boolean;
  /** Behind this one: BSON with an `_id`. */
  readonly after?: Uint8Array | undefined;
  /** Nothing behind this one, likewise. */
  readonly until?: Uint8Array | undefined;
  /** These alone, likewise; in the collection's order. */
  readonly ids?: readonly Uint8Array[] | undefined;
  /** Not these but the last `_id` that there is. */
  readonly isLast?: boolean | undefined;
  /** Documents at most. */
  readonly most: number;
  readonly filter?: Document | undefined;
}

export interface Piece {
  /** A BSON array of documents. */
  readonly bytes: Uint8Array;
  readonly documents: number;
  /** What the next piece begins behind; undefined where that is not known. */
  readonly last: Uint8Array | undefined;
  /** There is nothing, and nothing behind it. */
  readonly isEnd: boolean;
  /** There may be more of those that were asked for, behind `last`: together they were too large for one reply. */
  readonly isCut: boolean;
  /** What is read is not older than `at`, and not newer than this. */
  readonly shows: Ts;
  /** It is exactly what was there at `at`. */
  readonly isExact: boolean;
  /** What the server knew by then: that a collection is gone, too, is not newer. */
  readonly knows: Ts;
}

/** Which collection had a name at some time not after `at`. */
export interface Identity {
  /** Its sixteen bytes. */
  readonly uuid: Uint8Array;
  readonly at: Ts;
}

export interface CollectionReads {
  /** Undefined where there is none. */
  identify(ns: string, stop: AbortSignal): Promise<Identity | 'not allowed' | undefined>;
  list(sought: Sought, stop: AbortSignal): Promise<FoundCollections & { readonly at: Ts | undefined }>;
  /** About how many documents it holds. */
  count(ns: string, stop: AbortSignal): Promise<number>;
  read(request: PieceRequest, stop: AbortSignal): Promise<Piece>;
  /** Rejects where the server does not take this for a query. */
  checkQuery(ns: string, filter: Document, stop: AbortSignal): Promise<void>;
}

export interface MemberCollectionsOptions {
  readonly set: ReplicaSet;
  /** The one that is tailed. */
  readonly member: (stop: AbortSignal) => Promise<Member>;
}

/** A piece may have to come from disk. */
const TIMEOUT_MS = 60_000;
/** Several subscriptions may read several collections each. */
const CONNECTIONS = 24;
/** The first server that reads at a position outside of transactions. */
const EXACT_SINCE = 500;
const NOT_PRIMARY = 10107;
const idName = encodeText('_id');
/** Of the server's own choice: it ends a reply at 16 MB. */
const MOST = 2 ** 31 - 1;

interface Answer {
  /** A BSON array. */
  readonly batch: Uint8Array;
  readonly entries: number;
  /** A document. */
  readonly last: Uint8Array | undefined;
  readonly shows: Ts;
  readonly isExact: boolean;
  readonly knows: Ts;
}

interface Beside {
  readonly member: Member;
  readonly serverVersion: number;
  /** Transactions are for primaries. */
  readonly isPrimary: boolean;
  /** Not in use. */
  readonly sessions: ClientSession[];
}

interface Opened {
  /** The one that is tailed. */
  readonly tailed: Member;
  readonly member: Member;
  readonly beside: Promise<Beside>;
}

export class MemberCollections implements CollectionReads {
  readonly #o: MemberCollectionsOptions;
  #opened: Opened | undefined;
  #transactions = BigInt(Date.now()) * 1_000n;

  constructor(options: MemberCollectionsOptions) {
    this.#o = options;
  }

  async list(sought: Sought, stop: AbortSignal): Promise<FoundCollections & { readonly at: Ts | undefined }> {
    return this.#use(async ({ member: { client } }, signal) => {
      const listed = await listCollections(client, sought, signal);
      const reply = await client.db('admin').command({ ping: 1 }, { signal });
      return { ...listed, at: operationTimeOf(reply) };
    }, stop);
  }

  async identify(ns: string, stop: AbortSignal): Promise<Identity | 'not allowed' | undefined> {
    const { db, coll } = split(ns);
    return this.#use(async ({ member: { client } }, signal) => {
      const named = await unlessRefused(collectionNamed(client, { db, coll }, signal));
      if (!named) return 'not allowed';
      const { uuid, at } = named;
      return uuid && at ? { uuid, at } : undefined;
    }, stop);
  }

  async count(ns: string, stop: AbortSignal): Promise<number> {
    const { db, coll } = split(ns);
    return this.#use(async ({ member: { client } }, signal) => {
      const reply = await client.db(db).command({ count: coll }, { signal });
      return Number(reply['n']);
    }, stop);
  }

  async checkQuery(ns: string, filter: Document, stop: AbortSignal): Promise<void> {
    const { db, coll } = split(ns);
    await this.#use(async ({ member: { client } }, signal) => {
      await client.db(db).command({ explain: { find: coll, filter }, verbosity: 'queryPlanner' }, { signal });
    }, stop);
  }

  async read(request: PieceRequest, stop: AbortSignal): Promise<Piece> {
    const { after, until = MAX_KEY, at } = request;
    // Nothing lies behind it, and the server does not take the two for bounds.
    if (after && isSame(after, until)) return nothing(at);
    return this.#use(async (beside, signal) => {
      const session = beside.sessions.pop() ?? beside.member.client.startSession({ causalConsistency: false });
      try {
        const piece = await read(request, async (command) =>
          this.#ask(beside, session, { ...request, command }, signal),
        );
        beside.sessions.push(session);
        return piece;
      } catch (error) {
        // Something of it may be under way.
        void session.endSession().catch(() => undefined);
        throw error;
      }
    }, stop);
  }

  async #ask(
    { member: { client }, serverVersion, isPrimary }: Beside,
    session: ClientSession,
    { ns, at, capped, command }: PieceRequest & { readonly command: Document },
    signal: AbortSignal,
  ): Promise<Answer> {
    const { db, coll } = split(ns);
    const ask = async (concern: Document): Promise<Document> => {
      const whole = { find: coll, hint: { _id: 1 }, singleBatch: true, ...command, ...concern };
      return client.db(db).command(whole, { signal, raw: true, session });
    };
    const isExact = !capped && (serverVersion >= EXACT_SINCE || isPrimary);
    const exactly = { readConcern: { level: 'snapshot', atClusterTime: toTimestamp(at) } };
    const reply = !isExact
      ? await ask({ readConcern: { level: 'majority', afterClusterTime: toTimestamp(at) } })
      : serverVersion >= EXACT_SINCE
        ? await ask(exactly)
        : await this.#inTransaction({ client, session, signal }, async (own) => ask({ ...exactly, ...own }));
    const knows = operationTimeOf(reply) ?? at;
    const shows = isExact || compareTs(knows, at) < 0 ? at : knows;
    return { ...readDocuments(rawCursor(reply)), shows, isExact, knows };
  }

  /**
   * Ended at once: open, it would keep others from building indexes, for a minute. By its session, since the driver gives a transaction
   * that is not its own another number to end.
   */
  async #inTransaction<T>(
    { client, session, signal }: { client: MongoClient; session: ClientSession; signal: AbortSignal },
    ask: (own: Document) => Promise<T>,
  ): Promise<T> {
    this.#transactions += 1n;
    try {
      return await ask({
        startTransaction: true,
        autocommit: false,
        txnNumber: Long.fromBigInt(this.#transactions),
      });
    } finally {
      const ending = client.db('admin').command({ killSessions: [session.id] });
      await unlessAborted(
        ending.catch(() => undefined),
        signal,
      );
    }
  }

  close(): void {
    if (this.#opened) this.#o.set.release(this.#opened.member);
    this.#opened = undefined;
  }

  async #use<T>(use: (beside: Beside, signal: AbortSignal) => Promise<T>, stop: AbortSignal): Promise<T> {
    const tailed = await this.#o.member(stop);
    const opened = this.#openedBeside(tailed);
    const beside = await unlessAborted(opened.beside, stop);
    using near = new AnyOf([stop, tailed.left, beside.member.left]);
    try {
      return await use(beside, near.signal);
    } catch (error) {
      // It may be another kind of member by now.
      if (codeOf(error) === NOT_PRIMARY && this.#opened === opened) this.close();
      throw error;
    }
  }

  /** One for all that ask, whoever came first and goes again. */
  #openedBeside(tailed: Member): Opened {
    const known = this.#opened;
    if (known?.tailed === tailed && !known.member.left.aborted) return known;
    this.close();
    const member = this.#o.set.beside(tailed, { ioTimeoutMs: TIMEOUT_MS, connections: CONNECTIONS });
    const opened = { tailed, member, beside: this.#open(tailed, member) };
    this.#opened = opened;
    opened.beside.catch(() => {
      if (this.#opened === opened) this.close();
    });
    return opened;
  }

  async #open(tailed: Member, member: Member): Promise<Beside> {
    using near = new AnyOf([tailed.left, member.left]);
    const serverVersion = versionNumber(await member.serverVersion(near.signal));
    const { role } = await member.hello(near.signal);
    return { member, serverVersion, isPrimary: role === 'primary', sessions: [] };
  }
}

/** A comparison takes in all that an index has between two of one of these. */
const ORDERED_TYPES: ReadonlySet<number | undefined> = new Set([
  BsonType.string,
  BsonType.binary,
  BsonType.objectId,
  BsonType.date,
  BsonType.int32,
  BsonType.int64,
]);
const MAX_KEY = BSON.serialize({ _id: new MaxKey() });

function isSame(id: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(id, other) === 0;
}

function split(ns: string): { readonly db: string; readonly coll: string } {
  const dot = ns.indexOf('.');
  return { db: ns.slice(0, dot), coll: ns.slice(dot + 1) };
}

/** There is an `_id` that the driver does not send back as it is. */
export class UnaskableIdError extends Error {
  override readonly name = 'UnaskableIdError';
}

function mayBeAsked(id: Uint8Array): boolean {
  return isAskable(id, { type: id[4]!, value: nameEnd(id, 5), end: id.length - 1 });
}

/** The `_id`, of exactly the type that it has. Throws `UnaskableIdError`. */
function valueOf(id: Uint8Array): unknown {
  if (!mayBeAsked(id)) {
    throw new UnaskableIdError(
      'an `_id` that MongoDB cannot be asked for: a text that is not UTF-8, or a date beyond the year 275760',
    );
  }
  return exactValues(id)[0];
}

/** The first ones behind a document; it is left out by name, since an index bound takes it in. */
function behind({ after, until, most }: Pick<PieceRequest, 'after' | 'until' | 'most'>): Document {
  return { ...boundOf(after), ...(until && { max: { _id: valueOf(until) } }), limit: most, batchSize: most };
}

function lastBehind(after: Uint8Array | undefined): Document {
  return { ...boundOf(after), sort: { _id: -1 }, projection: { _id: 1 }, limit: 1 };
}

function byIds({ after, filter = {} }: PieceRequest, ids: readonly Uint8Array[]): Document {
  const { filter: others = {}, min } = boundOf(after);
  const type = ids[0]?.[4];
  const isComparable = ORDERED_TYPES.has(type) && ids.at(-1)?.[4] === type;
  const filters = { $and: [{ _id: among(ids.map(valueOf), isComparable) }, others, filter] };
  return { filter: filters, ...(min && { min }), limit: ids.length, batchSize: ids.length };
}

function boundOf(after: Uint8Array | undefined): { readonly min?: Document; readonly filter?: Document } {
  return after ? { min: { _id: valueOf(after) }, filter: { _id: { $ne: valueOf(after) } } } : {};
}

async function read(request: PieceRequest, ask: (command: Document) => Promise<Answer>): Promise<Piece> {
  const { after, until = MAX_KEY, ids, isLast, filter } = request;
  if (isLast) {
    const piece = pieceOf(await ask(lastBehind(after)));
    return piece.last && mayBeAsked(piece.last) ? piece : { ...piece, last: undefined };
  }
  const piece = ids
    ? pieceOf(await ask(byIds(request, ids)), ids)
    : filter === undefined
      ? pieceOf(await ask(behind(request)))
      : await filtered(request, filter, ask);
  if (piece.documents > 0 || !(piece.isEnd || ids)) return piece;
  // The key that no bound takes in.
  const isAsked = ids?.some((id) => after && isSame(id, MAX_KEY)) ?? true;
  const alone = { ...request, after: undefined };
  return isAsked ? pieceOf(await ask(byIds(alone, [ids ? MAX_KEY : until])), ids) : piece;
}

/** Of so many documents those that match: the server would look for as many that do for as long as it takes. */
async function filtered(
  { after, until, most }: PieceRequest,
  filter: Document,
  ask: (command: Document) => Promise<Answer>,
): Promise<Piece> {
  const keys = await ask({ ...behind({ after, until, most: 2 }), skip: most - 1, projection: { _id: 1 } });
  const last = keys.entries > 0 ? idOf(documentAt(keys.batch, 0)) : undefined;
  const next = keys.entries > 1 && keys.last ? idOf(keys.last) : undefined;
  const { filter: others = {}, min } = boundOf(after);
  const end = next ?? until;
  const bounds = { ...(min && { min }), ...(end && { max: { _id: valueOf(end) } }) };
  // Between the two there may be more by now, where they are not of one time.
  const answer = await ask({
    ...bounds,
    filter: { $and: [others, filter] },
    ...(!next && { limit: most }),
    batchSize: MOST,
  });
  const piece = pieceOf(answer);
  // A reply ends before the document that does not fit into it, and without a bound there may be more of them: the next one begins
  // behind the last one that was given. Where there is none, nothing up to the bound matches.
  if (!next || piece.documents > 0) return piece;
  return { ...piece, last, isEnd: false };
}

function pieceOf(answer: Answer, ids?: readonly Uint8Array[]): Piece {
  const { batch, entries, last, shows, isExact, knows } = answer;
  return {
    bytes: batch,
    documents: entries,
    last: last && idOf(last),
    isEnd: entries === 0 && !ids,
    isCut: ids !== undefined && entries > 0 && entries < ids.length,
    shows,
    isExact,
    knows,
  };
}

function nothing(at: Ts): Piece {
  return {
    bytes: BSON.serialize({}),
    documents: 0,
    last: undefined,
    isEnd: true,
    isCut: false,
    shows: at,
    isExact: true,
    knows: at,
  };
}

/** BSON of a document with its `_id` alone. */
export function idOf(document: Uint8Array): Uint8Array {
  const element = findElement(document, 0, document.length, idName);
  if (element < 0) throw new Error('a document without an _id');
  const last = documentLast(document, 0, document.length);
  const end = valueEnd(document, document[element]!, nameEnd(document, element + 1), last);
  const id = Buffer.alloc(4 + (end - element) + 1);
  id.writeInt32LE(id.length);
  id.set(document.subarray(element, end), 4);
  return id;
}
