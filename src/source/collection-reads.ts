/**
 * Reads collections as they stood at a position: raw documents in the order of `_id`, a piece at a time, from the member that is
 * tailed but over connections of its own. Nothing is tried again here, and a failure of a read is none of the tail's.
 *
 * A read begins at an index key, not at a comparison: those stop where the type of `_id` changes. What is read is exactly what was
 * there at the position: by a read concern from 5.0 on, by a transaction before. Of a capped collection the server shows nothing but
 * what it holds now; `shows` then says how much later than the position that may be.
 */
import { BSON, Long, MaxKey } from 'mongodb';
import type { ClientSession, Document } from 'mongodb';
import { findElement, encodeText, nameEnd, valueEnd, documentLast } from '../worker/bson.ts';
import { isInternal } from '../worker/route.ts';
import { AnyOf } from './any-of.ts';
import { rawCursor } from './cursor.ts';
import { exactValues } from './exact-values.ts';
import { opTimeOf } from './hello.ts';
import { toTimestamp } from './member.ts';
import type { Member } from './member.ts';
import { compareTs } from './position.ts';
import type { Ts } from './position.ts';
import type { ReplicaSet } from './replica-set.ts';
import { documentAt, readDocuments } from './reply.ts';
import { versionNumber } from './server-version.ts';

export interface FoundCollection {
  readonly ns: string;
  readonly kind: 'collection' | 'view' | 'timeseries';
  readonly capped: boolean;
}

export interface PieceRequest {
  readonly ns: string;
  readonly at: Ts;
  readonly capped: boolean;
  /** Behind this one: BSON with an `_id`. */
  readonly after?: Uint8Array | undefined;
  /** These alone instead, likewise. */
  readonly ids?: readonly Uint8Array[] | undefined;
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
  /** What is read is not older than `at`, and not newer than this. */
  readonly shows: Ts;
}

export interface CollectionReads {
  /** In the order of their names. */
  list(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly FoundCollection[]>;
  /** About how many documents it holds. */
  count(ns: string, stop: AbortSignal): Promise<number>;
  read(request: PieceRequest, stop: AbortSignal): Promise<Piece>;
}

export interface MemberCollectionsOptions {
  readonly set: ReplicaSet;
  /** The one that is tailed. */
  readonly member: (stop: AbortSignal) => Promise<Member>;
}

/** A piece may have to come from disk. */
const TIMEOUT_MS = 60_000;
/** The first server that reads at a position outside of transactions. */
const EXACT_SINCE = 500;
const idName = encodeText('_id');

/** A reply of this size may have been cut. */
const CUT_BYTES = 8 * 2 ** 20;

interface Answer {
  /** A BSON array. */
  readonly batch: Uint8Array;
  readonly entries: number;
  readonly shows: Ts;
}

interface Beside {
  /** The one that is tailed. */
  readonly tailed: Member;
  readonly member: Member;
  readonly serverVersion: number;
  /** Not in use. */
  readonly sessions: ClientSession[];
}

export class MemberCollections implements CollectionReads {
  readonly #o: MemberCollectionsOptions;
  #beside: Promise<Beside> | undefined;
  #current: Member | undefined;
  #transactions = BigInt(Date.now()) * 1_000n;

  constructor(options: MemberCollectionsOptions) {
    this.#o = options;
  }

  async list(matches: (ns: string) => boolean, stop: AbortSignal): Promise<readonly FoundCollection[]> {
    return this.#use(async ({ member: { client } }, signal) => {
      const found: FoundCollection[] = [];
      const command = { nameOnly: true, authorizedDatabases: true, signal };
      const { databases } = await client.db('admin').admin().listDatabases(command);
      for (const { name: db } of databases) {
        const options = { nameOnly: false as const, authorizedCollections: true, signal };
        for await (const { name, type, options: created } of client.db(db).listCollections({}, options)) {
          const ns = `${db}.${name}`;
          if (isInternal(db, name) || !matches(ns)) continue;
          const kind = type === 'view' || type === 'timeseries' ? type : 'collection';
          found.push({ ns, kind, capped: created?.['capped'] === true });
        }
      }
      return found.toSorted((a, b) => (a.ns < b.ns ? -1 : 1));
    }, stop);
  }

  async count(ns: string, stop: AbortSignal): Promise<number> {
    const { db, coll } = split(ns);
    return this.#use(async ({ member: { client } }, signal) => {
      const reply = await client.db(db).command({ count: coll }, { signal });
      return Number(reply['n']);
    }, stop);
  }

  async read(request: PieceRequest, stop: AbortSignal): Promise<Piece> {
    const { after, ids, at } = request;
    // Nothing lies behind it, and the server does not take it for a bound.
    if (!ids && after && isMaxKey(after)) return nothing(at);
    return this.#use(async (beside, signal) => {
      const session = beside.sessions.pop() ?? beside.member.client.startSession({ causalConsistency: false });
      try {
        const ask = async (command: Document) => this.#ask(beside, session, { ...request, command }, signal);
        if (ids) return pieceOf(await ask(byIds(request, ids)), request);
        const piece =
          request.filter === undefined
            ? pieceOf(await ask(behind(request)), request)
            : await filtered(request, request.filter, ask);
        // The key that no bound reaches.
        return piece.isEnd && after ? pieceOf(await ask(byIds(request, [MAX_KEY])), request) : piece;
      } finally {
        beside.sessions.push(session);
      }
    }, stop);
  }

  async #ask(
    { member: { client }, serverVersion }: Beside,
    session: ClientSession,
    { ns, at, capped, command }: PieceRequest & { readonly command: Document },
    signal: AbortSignal,
  ): Promise<Answer> {
    const concern = capped
      ? { readConcern: { level: 'majority', afterClusterTime: toTimestamp(at) } }
      : serverVersion >= EXACT_SINCE
        ? { readConcern: { level: 'snapshot', atClusterTime: toTimestamp(at) } }
        : this.#transaction(at);
    const { db, coll } = split(ns);
    const whole = { find: coll, hint: { _id: 1 }, singleBatch: true, ...command, ...concern };
    const reply = await client.db(db).command(whole, { signal, raw: true, session });
    const shown = capped ? opTimeOf({ ts: reply['operationTime'] })?.ts : undefined;
    return { ...readDocuments(rawCursor(reply)), shows: shown && compareTs(shown, at) > 0 ? shown : at };
  }

  close(): void {
    if (this.#current) this.#o.set.release(this.#current);
    this.#current = undefined;
  }

  /** The next one in the same session ends it, and so does the server after a minute. */
  #transaction(at: Ts): Document {
    this.#transactions += 1n;
    return {
      startTransaction: true,
      autocommit: false,
      txnNumber: Long.fromBigInt(this.#transactions),
      readConcern: { level: 'snapshot', atClusterTime: toTimestamp(at) },
    };
  }

  async #use<T>(use: (beside: Beside, signal: AbortSignal) => Promise<T>, stop: AbortSignal): Promise<T> {
    const tailed = await this.#o.member(stop);
    let beside = await this.#beside;
    if (beside?.tailed !== tailed || beside.member.left.aborted) {
      this.#beside = this.#open(tailed, stop);
      // Whoever comes next tries by itself.
      this.#beside.catch(() => (this.#beside = undefined));
      beside = await this.#beside;
    }
    using near = new AnyOf([stop, tailed.left, beside.member.left]);
    return await use(beside, near.signal);
  }

  async #open(tailed: Member, stop: AbortSignal): Promise<Beside> {
    this.close();
    const member = this.#o.set.beside(tailed, TIMEOUT_MS);
    this.#current = member;
    return { tailed, member, serverVersion: versionNumber(await member.serverVersion(stop)), sessions: [] };
  }
}

const MAX_KEY = BSON.serialize({ _id: new MaxKey() });

function isMaxKey(id: Uint8Array): boolean {
  return Buffer.compare(id, MAX_KEY) === 0;
}

function split(ns: string): { readonly db: string; readonly coll: string } {
  const dot = ns.indexOf('.');
  return { db: ns.slice(0, dot), coll: ns.slice(dot + 1) };
}

/** The `_id`, of exactly the type that it has. */
function valueOf(id: Uint8Array): unknown {
  return exactValues(id)[0];
}

/** The first ones behind a document; it is left out by name, since an index bound takes it in. */
function behind({ after, most }: PieceRequest): Document {
  return {
    ...(after && { min: { _id: valueOf(after) }, filter: { _id: { $ne: valueOf(after) } } }),
    limit: most,
    batchSize: most,
  };
}

function byIds({ filter = {} }: PieceRequest, ids: readonly Uint8Array[]): Document {
  const filters = { $and: [{ _id: { $in: ids.map(valueOf) } }, filter] };
  return { filter: filters, limit: ids.length, batchSize: ids.length };
}

/** Of so many documents those that match: the server would look for as many that do for as long as it takes. */
async function filtered(
  request: PieceRequest,
  filter: Document,
  ask: (command: Document) => Promise<Answer>,
): Promise<Piece> {
  const { most } = request;
  const keys = await ask({ ...behind({ ...request, most: 2 }), skip: most - 1, projection: { _id: 1 } });
  const last = keys.entries > 0 ? idOf(documentAt(keys.batch, 0)) : undefined;
  const next = keys.entries > 1 ? idOf(documentAt(keys.batch, 1)) : undefined;
  const { filter: others = {}, min } = behind(request);
  const bounds = { ...(min && { min }), ...(next && { max: { _id: valueOf(next) } }) };
  const answer = await ask({ ...bounds, filter: { $and: [others, filter] }, limit: most, batchSize: most });
  const piece = pieceOf(answer, request);
  // A reply may have been cut; and without a bound there may be more of them.
  if (!next || answer.batch.byteLength > CUT_BYTES) return piece;
  return { ...piece, last, isEnd: false };
}

function pieceOf({ batch, entries, shows }: Answer, { ids }: PieceRequest): Piece {
  return {
    bytes: batch,
    documents: entries,
    last: entries === 0 ? undefined : idOf(documentAt(batch, entries - 1)),
    isEnd: entries === 0 && !ids,
    shows,
  };
}

function nothing(at: Ts): Piece {
  return { bytes: BSON.serialize({}), documents: 0, last: undefined, isEnd: true, shows: at };
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
