/**
 * Reads one collection for a snapshot, in pieces, and puts them in order beside the changes:
 *
 *     P, where the feed stands ──▶ the piece as it stood at P ──▶ encoded ──▶ at P2, when its turn in the feed has come
 *                                                              less what was touched in (P, P2]: that is read again
 *
 * So what is put at P2 is what is there at P2: behind every change that it holds, before every one that it does not. A document that
 * was touched again while it was read again is read with the feed's order held: then P is P2, however often it changes.
 *
 * Invariants:
 * - What a run says is delivered was confirmed, pieces in the order of `_id` without a gap, and whatever was taken out of them as well.
 * - Nothing is put behind a command that ended its collection.
 */
import { BSON } from 'mongodb';
import type { Document } from 'mongodb';
import { Backoff } from '../backoff.ts';
import { settled, sleep, unlessAborted } from '../waits.ts';
import { codeOf, reasonOf } from '../source/failures.ts';
import { compareTs } from '../source/position.ts';
import { documentStarts } from '../source/reply.ts';
import { UnaskableIdError, idOf } from '../source/collection-reads.ts';
import { Slots } from '../slots.ts';
import { AnyOf } from '../source/any-of.ts';
import { documentLast, eachElement, encodeText, findElement, nameEnd, valueEnd } from '../worker/bson.ts';
import { DOCUMENT_FIELDS } from '../worker/protocol.ts';
import { stateKey } from '../worker/state-keys.ts';
import { snapshotId, snapshotIdPrefix } from '../worker/snapshot-id.ts';
import { cutOut, hashesOf } from './cut.ts';
import { isActive, nameInIds, openOf } from './runs.ts';
import type { SnapshotRecord } from '../checkpoint/record.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import type { FoundCollection } from '../source/collection-list.ts';
import type { Identity, Piece, PieceRequest } from '../source/collection-reads.ts';
import type { OpTime, Ts } from '../source/position.ts';
import type { BatchResult } from '../worker/protocol.ts';
import type { Insertion } from './insertion.ts';
import type { Pace } from './pace.ts';
import type { Runs } from './runs.ts';
import type { SnapshotProgress } from './progress.ts';
import type { TouchedSince } from './touches.ts';
import type { SnapshotWay } from './way.ts';

export interface ReadingOptions {
  readonly source: string;
  readonly subscription: SubscriptionConfig;
  /** The subscription's. */
  readonly number: number;
  readonly runs: Runs;
  readonly way: SnapshotWay;
  readonly pace: Pace;
  readonly progress: SnapshotProgress;
  readonly budget: ByteBudget;
  readonly log: Log;
  /** What is stored of it has changed. */
  readonly touch: () => void;
}

/** `ended`: by whoever called `end`. `left-out`: it cannot be read. `again`: it is to be tried again, from where it was. */
export type Outcome = 'whole' | 'ended' | 'left-out' | 'again';

interface Part {
  readonly last: string;
  readonly documents: number;
  isDone: boolean;
}

/** A piece that was read. */
interface Read {
  readonly piece: Piece;
  readonly since: TouchedSince;
  readonly at: Ts;
}

type Asked = Pick<PieceRequest, 'after' | 'until' | 'ids' | 'isLast' | 'most'>;

/** To be read again. */
interface Again {
  readonly ids: readonly Uint8Array[];
  readonly after?: Uint8Array | undefined;
  /** How often they were read. */
  readonly tries: number;
}

interface Encoded {
  readonly result: BatchResult;
  readonly touched: ReadonlySet<number> | 'all';
  readonly piece: Piece;
}

const LOOK_MS = 20;
/** Parts that are not done, before another is read. */
const AHEAD = 4;
/** Read again without holding the feed's order; then with it. */
const FREE_TRIES = 1;
/** So many at a time, and so long, is the order held. */
const HELD_DOCUMENTS = 200;
const HELD_MS = 500;
/** A failure that passes is nothing to speak of. */
const QUIET_TRIES = 3;
/** Then the collection may be of another kind than it was. */
const TRIES_ELSEWHERE = 20;
const NO_COLLECTION: ReadonlySet<number> = new Set([26, 166, 168]);
/** There is no index over `_id`; of the first code that is one of many reasons. */
const BAD_VALUE = 2;
const NO_HINT = 'hint provided does not correspond';
const NO_QUERY_PLAN = 291;
/** What stood there then cannot be read (any more, or so early); another position will do. */
const OTHER_POSITION: ReadonlySet<number> = new Set([239, 246]);

export class Reading {
  readonly #o: ReadingOptions;
  readonly #run: string;
  /** As the events' ids have it. */
  readonly #name: string;
  readonly #filter: Document | undefined;
  readonly #found: FoundCollection;
  /** Fires when nothing of it may be put in order any more. */
  readonly #over = new AbortController();
  /** Fires when nothing more of it is read or put in order; what is under way comes to its end. */
  readonly #held = new AbortController();
  /** In the order of `_id`: those that are not yet part of what the run says is delivered. */
  readonly #parts: Part[] = [];
  /** They wait for their turn in that order. */
  readonly #inOrder = new Slots(1);
  #partEnded: () => void = () => undefined;
  /** As the last piece was. */
  #isExact = true;
  #outcome: Outcome | undefined;
  /** Which collection it is; known where states are kept. */
  #identity: Identity | undefined;

  /** The collection has begun. */
  constructor(options: ReadingOptions, record: SnapshotRecord, found: FoundCollection) {
    const { run, filter } = record;
    this.#o = options;
    this.#run = run;
    this.#name = nameInIds(record, found.ns);
    this.#found = found;
    if (filter !== undefined) this.#filter = queryOf(filter);
  }

  get ns(): string {
    return this.#found.ns;
  }

  get run(): string {
    return this.#run;
  }

  halt(): void {
    this.#held.abort(new Error('nothing more is read'));
  }

  /** Nothing more of it is put in order, and what is under way means nothing any more. */
  end(reason: Error): void {
    this.#finish('ended', reason);
  }

  #finish(outcome: Outcome, reason: Error): void {
    this.#outcome ??= outcome;
    this.#over.abort(reason);
    this.#held.abort(reason);
  }

  async read(): Promise<Outcome> {
    try {
      if (this.#o.way.stored && !(await this.#identify())) return 'again';
      const isAtEnd = await this.#pieces();
      if (this.#outcome) return this.#outcome;
      return isAtEnd && this.#parts.length === 0 ? 'whole' : 'again';
    } finally {
      this.#finish('ended', new Error('the collection has been read'));
    }
  }

  /** Asked now that its commands are told: one that makes it another ends this reading. Whether there was an answer. */
  async #identify(): Promise<boolean> {
    const { way, progress, log } = this.#o;
    try {
      const identity = await way.reads?.identify(this.ns, this.#held.signal);
      if (identity !== 'not allowed') this.#identity = identity;
      else {
        log.warn(
          { code: 'states-unknown', ...this.#names(), ns: this.ns },
          'The documents of a snapshot do not become known to `images: local`: the user may not list collections. Grant it `listCollections` on the database.',
        );
      }
      return true;
    } catch (error) {
      if (!this.#held.signal.aborted) progress.trouble(this.#run, reasonOf(error));
      return false;
    }
  }

  /** Whether it came to the end. */
  async #pieces(): Promise<boolean> {
    const { budget, pace, runs } = this.#o;
    const { signal } = this.#held;
    const stored = openOf(runs.get(this.#run)!, this.ns)?.last;
    let after = stored === undefined ? undefined : Buffer.from(stored, 'base64');
    // What is inserted from here on comes as a change: whoever read that as well would run behind it.
    const end = await this.#piece({ ...(after && { after }), isLast: true, most: 1 }, () => this.#isRunning());
    end?.since[Symbol.dispose]();
    const until = end?.piece.last && Buffer.from(end.piece.last);
    let bytesEach: number | undefined;
    let isAtEnd = false;
    let looks = 0;
    const parts: Promise<void>[] = [];
    while (!signal.aborted && this.#isRunning()) {
      if (this.#parts.length >= AHEAD) {
        await settled(new Promise((resolve) => (this.#partEnded = resolve)), signal);
        continue;
      }
      await budget.room(signal);
      await pace.allowed(signal);
      const most = pace.documents(bytesEach);
      const read = await this.#roomFor(most * (bytesEach ?? 0), async () =>
        this.#piece({ ...(after && { after }), ...(until && { until }), most }, () => this.#isRunning()),
      );
      if (!read) break;
      const { piece } = read;
      if (piece.isEnd || !piece.last) {
        read.since[Symbol.dispose]();
        // A drop that the others do not know of may come to nothing, and then the collection is there again.
        isAtEnd = looks++ > 0 || !(await this.#comeTo(piece.knows));
        if (isAtEnd) break;
        continue;
      }
      looks = 0;
      after = Buffer.from(piece.last);
      pace.took(piece.documents);
      if (piece.documents > 0) bytesEach = piece.bytes.length / piece.documents;
      const part = { last: after.toString('base64'), documents: piece.documents, isDone: false };
      this.#parts.push(part);
      // What is under way when the run is paused comes to its end.
      parts.push(this.#part(read, part));
    }
    await settled(
      Promise.all(parts).then(() => undefined),
      this.#over.signal,
    );
    return isAtEnd && !signal.aborted;
  }

  /** Counted before it is known: several are read at a time. */
  async #roomFor<T>(bytes: number, read: () => Promise<T>): Promise<T> {
    const { budget } = this.#o;
    budget.take(bytes);
    try {
      return await read();
    } finally {
      budget.give(bytes);
    }
  }

  async #part(read: Read, part: Part): Promise<void> {
    const { runs, touch, progress } = this.#o;
    const { signal } = this.#over;
    try {
      const out = await this.#deliver(read);
      if (!out || !(await this.#again(out)) || signal.aborted) return;
      // A kill must not leave it behind, with documents of which nobody knows the states.
      await this.#o.way.stored?.(signal);
      if (signal.aborted) return;
      part.isDone = true;
      while (this.#parts[0]?.isDone) {
        const { last, documents } = this.#parts.shift()!;
        runs.advance(this.#run, this.ns, last, documents);
        progress.delivered(this.#run, documents);
      }
      touch();
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    } finally {
      this.#partEnded();
    }
  }

  #failed(error: unknown): void {
    const { progress, log } = this.#o;
    const reason = reasonOf(error);
    if (error instanceof UnaskableIdError) {
      this.#leaveOut(error);
      return;
    }
    progress.trouble(this.#run, reason);
    log.error({ code: 'snapshot-failed', ...this.#names(), ns: this.ns, err: error }, 'A piece of a snapshot failed.');
    this.#finish('again', new Error(reason));
  }

  #leaveOut(error: unknown): void {
    this.#o.log.error(
      { code: 'snapshot-left-out', ...this.#names(), namespaces: [this.ns], reason: reasonOf(error) },
      'A collection cannot be read for a snapshot: what is not delivered of it yet is left out.',
    );
    this.#finish('left-out', new Error('it cannot be read'));
  }

  /** What had to be taken out of a piece, until all of it is delivered. Whether it is. */
  async #again(ids: readonly Uint8Array[]): Promise<boolean> {
    const left: Again[] = ids.length > 0 ? [{ ids, tries: 1 }] : [];
    const backoff = new Backoff();
    for (let next = left.shift(); next; next = left.shift()) {
      if (this.#held.signal.aborted) return false;
      const { tries } = next;
      if (tries <= FREE_TRIES || !this.#isExact) {
        if (tries > 3) await sleep(LOOK_MS, this.#held.signal);
        const read = await this.#piece({ ...next, most: next.ids.length }, () => this.#isWanted());
        const out = read && (await this.#deliver(read));
        if (!out) return false;
        left.push(...againOf(next, read.piece, out));
        continue;
      }
      const now = { ...next, ids: next.ids.slice(0, HELD_DOCUMENTS) };
      const rest = next.ids.slice(HELD_DOCUMENTS);
      if (rest.length > 0) left.unshift({ ...next, ids: rest });
      const more = await this.#deliverHeld(now);
      if (!more) return false;
      if (more === 'failed') {
        const half = Math.ceil(now.ids.length / 2);
        left.unshift({ ...now, ids: now.ids.slice(0, half) });
        if (half < now.ids.length) left.unshift({ ...now, ids: now.ids.slice(half) });
        await sleep(backoff.next(), this.#held.signal);
      } else left.push(...more);
    }
    return true;
  }

  /** Read where the feed stands; until it can be. Undefined where it is not to be any more. */
  async #piece(asked: Asked, isWanted: () => boolean): Promise<Read | undefined> {
    const { progress, log } = this.#o;
    const { signal } = this.#held;
    const backoff = new Backoff();
    while (!signal.aborted && isWanted()) {
      try {
        if (!(await this.#stands())) return undefined;
        // Asked once more in one breath with what follows: a batch may have been taken since.
        const at = this.#o.way.position();
        if (!at) continue;
        const read = await this.#pieceAt(asked, at.ts, signal);
        if (backoff.tries > 0) progress.trouble(this.#run, undefined);
        return read;
      } catch (error) {
        if (signal.aborted) return undefined;
        if (this.#isOver(error)) return undefined;
        const isElsewhere = OTHER_POSITION.has(codeOf(error) ?? 0);
        const reason = reasonOf(error);
        if (backoff.tries >= QUIET_TRIES || !isElsewhere) progress.trouble(this.#run, reason);
        if (isElsewhere && backoff.tries >= TRIES_ELSEWHERE) {
          this.#finish('again', new Error(reason));
          return undefined;
        }
        if (backoff.tries === QUIET_TRIES) {
          log.warn(
            {
              code: 'snapshot-waits',
              ...this.#names(),
              run: this.#run,
              ns: this.ns,
              serverCode: codeOf(error),
              reason,
            },
            'A snapshot cannot read on; trying again.',
          );
        }
        await sleep(backoff.next(), signal);
      }
    }
    return undefined;
  }

  /** Of a failure: whether it will never be another. */
  #isOver(error: unknown): boolean {
    const code = codeOf(error);
    const hasNoIndex = code === NO_QUERY_PLAN || (code === BAD_VALUE && reasonOf(error).includes(NO_HINT));
    if (code !== undefined && NO_COLLECTION.has(code))
      this.#finish('left-out', new Error('there is no such collection'));
    else if (hasNoIndex || error instanceof UnaskableIdError) this.#leaveOut(error);
    else return false;
    return true;
  }

  /** Must be called in the same breath in which the feed has said that it stands there. */
  async #pieceAt(asked: Asked, at: Ts, signal: AbortSignal): Promise<Read> {
    const { way } = this.#o;
    const { ns, capped } = this.#found;
    const since = way.touches.from(at, ns);
    try {
      const filter = this.#filter && { filter: this.#filter };
      const piece = await way.reads!.read({ ns, at, capped, ...asked, ...filter }, signal);
      this.#isExact = piece.isExact;
      return { piece, since, at };
    } catch (error) {
      since[Symbol.dispose]();
      throw error;
    }
  }

  /** Where the feed stands, once it may. */
  async #stands(): Promise<OpTime | undefined> {
    const { signal } = this.#held;
    while (!signal.aborted) {
      const at = this.#o.way.position();
      if (at) return at;
      await sleep(LOOK_MS, signal);
    }
    return undefined;
  }

  /** Until the feed has; false where it is not waited for any more. */
  async #comeTo(ts: Ts): Promise<boolean> {
    const { signal } = this.#held;
    for (let waitMs = 1; ; waitMs = Math.min(LOOK_MS, waitMs * 2)) {
      const stands = await this.#stands();
      if (!stands) return false;
      if (compareTs(stands.ts, ts) >= 0) return true;
      await sleep(waitMs, signal);
    }
  }

  /** Puts it in order; resolves once it was confirmed, with the `_id`s of what had to be taken out. Undefined: it will never be. */
  async #deliver({ piece, since, at }: Read): Promise<readonly Uint8Array[] | undefined> {
    const { way, pace, budget } = this.#o;
    using watching = since;
    if (piece.documents === 0) return [];
    const cost = piece.bytes.length * 2;
    budget.take(cost);
    try {
      const encoding = this.#encoded(piece, at);
      const entered = this.#inOrder.run(async () => {
        await encoding;
        return await pace.enter(this.#held.signal);
      });
      entered.catch(() => undefined);
      const results = await encoding;
      let hashes: ReadonlySet<number> | undefined;
      watching.only(() => (hashes ??= hashesOf(results)));
      if (!(await entered)) return undefined;
      return await this.#entered(async () => {
        // What is read may be newer than the position; the feed has to have come as far.
        if (!(await this.#comeTo(piece.shows))) return undefined;
        if (this.#identity && !(await this.#comeTo(this.#identity.at))) return undefined;
        return await this.#confirmed(async (insert) =>
          way.insert(() => {
            const { touched } = watching;
            watching[Symbol.dispose]();
            return insert(results.map((result) => ({ result, touched, piece })));
          }),
        );
      });
    } finally {
      budget.give(cost);
    }
  }

  /** Reads and encodes these while the feed's order waits for it: nothing lies between. */
  async #deliverHeld({ ids, after, tries }: Again): Promise<readonly Again[] | 'failed' | undefined> {
    const { way, pace, progress } = this.#o;
    const { signal } = this.#held;
    if (!(await this.#stands()) || !(await pace.enter(signal))) return undefined;
    return await this.#entered(async () => {
      let failure: unknown;
      let given: Piece | undefined;
      const out = await this.#confirmed(async (insert) =>
        way.insert(async (at) => {
          // Long before anybody is held up by it.
          using soon = new AnyOf([signal]).within(HELD_MS, new Error('it took too long to read some documents again'));
          try {
            const reading = this.#pieceAt({ ids, after, most: ids.length }, at.ts, soon.signal);
            reading.then(
              ({ since }) => since[Symbol.dispose](),
              () => undefined,
            );
            const { piece } = await unlessAborted(reading, soon.signal);
            given = piece;
            if (piece.documents === 0) return [];
            const results = await unlessAborted(this.#encoded(piece, at.ts), soon.signal);
            return insert(results.map((result) => ({ result, touched: NOTHING_TOUCHED, piece })));
          } catch (error) {
            failure = error;
            return [];
          }
        }),
      );
      if (failure === undefined) return out && given && againOf({ ids, after, tries }, given, out);
      if (signal.aborted || this.#isOver(failure)) return undefined;
      progress.trouble(this.#run, reasonOf(failure));
      return 'failed';
    });
  }

  async #entered<T>(work: () => Promise<T>): Promise<T> {
    const { way, pace } = this.#o;
    const began = performance.now();
    const live = way.liveEntries();
    try {
      return await work();
    } finally {
      pace.leave(performance.now() - began, way.liveEntries() > live);
    }
  }

  async #encoded(piece: Piece, at: Ts): Promise<readonly BatchResult[]> {
    const { way, number } = this.#o;
    return await way.encode(piece.bytes, piece.documents, { subscription: number, ns: this.ns, run: this.#name, at });
  }

  /** `put` is given what makes insertions of results; resolves once those are confirmed. */
  async #confirmed(
    put: (insert: (parts: readonly Encoded[]) => readonly Insertion[]) => Promise<boolean>,
  ): Promise<Uint8Array[] | undefined> {
    const { subscription, source, budget } = this.#o;
    const { signal } = this.#over;
    const again: Uint8Array[] = [];
    const waits: Promise<boolean>[] = [];
    const prefix = snapshotIdPrefix({ source, run: this.#name, ns: this.ns });
    const isInOrder = await put((parts) => {
      if (signal.aborted) return [];
      return parts.map(({ result, touched, piece }) => {
        const idOfNumber = idsOf(piece, result.firstDocument ?? 0);
        const idText = (number: number): string => {
          const id = idOfNumber(number);
          return snapshotId(prefix, id, 4, id.length - 1);
        };
        const cut = cutOut(result, touched, { isDivisible: subscription.compression === undefined, idOf: idText });
        for (const number of cut.out.toSorted((a, b) => a - b)) again.push(idOfNumber(number));
        let over: (confirmed: boolean) => void = () => undefined;
        waits.push(new Promise((resolve) => (over = resolve)));
        const uuid = this.#identity?.uuid;
        const states = uuid && ((): States => statesOf(piece, result, { uuid, out: cut.out }));
        return { result: cut.result, budget, isWanted: () => !signal.aborted, over, states };
      });
    });
    if (!isInOrder) return undefined;
    let confirmed = false;
    await settled(
      Promise.all(waits).then((all) => void (confirmed = all.every(Boolean))),
      signal,
    );
    return signal.aborted || !confirmed ? undefined : again;
  }

  #isRunning(): boolean {
    return this.#o.runs.get(this.#run)?.state === 'running';
  }

  #isWanted(): boolean {
    const run = this.#o.runs.get(this.#run);
    return run !== undefined && isActive(run);
  }

  #names(): { readonly source: string; readonly subscription: string } {
    return { source: this.#o.source, subscription: this.#o.subscription.name };
  }
}

type States = readonly (readonly [key: Buffer, state: Uint8Array])[];

/** Of the documents of a piece that a result shows, but for those that were taken out. */
function statesOf(
  { bytes }: Piece,
  { documents = new Uint32Array(), firstDocument = 0 }: BatchResult,
  { uuid, out }: { readonly uuid: Uint8Array; readonly out: readonly number[] },
): States {
  const gone = new Set(out);
  const count = documents.length / DOCUMENT_FIELDS;
  const states: [Buffer, Uint8Array][] = [];
  let number = -firstDocument;
  eachElement(bytes, 0, bytes.length, (_at, start, end) => {
    const n = number++;
    if (n < 0 || n >= count || gone.has(n)) return;
    const id = findElement(bytes, start, end, idName);
    if (id < 0) return;
    const value = nameEnd(bytes, id + 1);
    const key = stateKey(bytes, { uuid, id, value, end: valueEnd(bytes, bytes[id]!, value, end - 1) });
    states.push([key, bytes.subarray(start, end)]);
  });
  return states;
}

const idName = encodeText('_id');
const NOTHING_TOUCHED: ReadonlySet<number> = new Set();

function queryOf(filter: string): Document {
  const query: Document = BSON.EJSON.parse(filter, { relaxed: false });
  return query;
}

/** The `_id` of the n-th document, counted from the `first`. */
function idsOf({ bytes, documents }: Piece, first: number): (number: number) => Uint8Array {
  let starts: Uint32Array | undefined;
  return (number) => {
    starts ??= documentStarts(bytes, documents);
    const at = starts[first + number]!;
    return idOf(bytes.subarray(at, documentLast(bytes, at, bytes.length) + 1));
  };
}

/** What is left of these: those that had to be taken out, and those behind the last that was given, where the answer may have had no room. */
function againOf({ ids, tries }: Again, { isCut, last }: Piece, out: readonly Uint8Array[]): Again[] {
  const again = out.length > 0 ? [{ ids: out, tries: tries + 1 }] : [];
  if (!isCut || !last) return again;
  const at = ids.findIndex((id) => Buffer.compare(id, last) === 0);
  // Not by a bound if it can be helped: where some are gone meanwhile, the server would go on from there to the collection's end.
  const rest = at < 0 ? { ids, after: last, tries } : { ids: ids.slice(at + 1), tries };
  return rest.ids.length > 0 ? [...again, rest] : again;
}
