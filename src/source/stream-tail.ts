/**
 * A change stream behind one point, through what interrupts it without loss: the end of what was watched (the stream goes on
 * behind the invalidate), and an event too large to be sent.
 *
 * The server does not say which event that is, only that the batch could not be made. So the stream is opened again at the last
 * position and read event by event: the one behind which it fails is the one; it is asked for again without its documents.
 */
import { MongoError } from 'mongodb';
import { PositionLostError, UserError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { CursorEndedError } from './cursor.ts';
import { codeOf } from './failures.ts';
import type { Tail } from './member-reader.ts';
import { MemberUnfitError } from './member.ts';
import { compareTs, formatTs, pointAfter } from './position.ts';
import type { OpTime, ResumePoint, Ts } from './position.ts';
import type { ReplicaSet } from './replica-set.ts';
import { documentAt } from './reply.ts';
import type { StreamReply } from './reply.ts';
import type { Stuck } from './stuck.ts';
import { opTimeOfToken, placeOfEvent } from './resume-token.ts';
import type { RawBatch } from './source.ts';
import { StreamCursor, isKnown } from './stream-cursor.ts';
import type { StreamFeatures, StreamOptions } from './stream-cursor.ts';
import { Fragments, eventsBehind, markedTooLarge } from './stream-fragments.ts';

export interface StreamTailOptions extends Omit<StreamOptions, 'point' | 'reduced'> {
  readonly source: string;
  /** Whose other members are asked before a position is given up. */
  readonly set: Pick<ReplicaSet, 'askOthers'>;
  readonly stuck: Stuck;
  /** Several shards' events share positions: one at the last event's may be missing yet. */
  readonly sharded: boolean;
  readonly log: Log;
}

type TokenPoint = ResumePoint & { readonly kind: 'token' };

/** How long another member may take to find a position. */
const ANSWER_MS = 30_000;
/** BSONObjectTooLarge */
const TOO_LARGE = 10_334;
/** What the server says where a token, or a time, is not in its history any more or never was. */
const LOST = new Map<number, 'truncated' | 'diverged'>([
  [260, 'diverged'], // InvalidResumeToken
  [280, 'diverged'], // ChangeStreamFatalError: "the resume token was not found"
  [286, 'truncated'], // ChangeStreamHistoryLost
  [326, 'truncated'], // OplogQueryMinTsMissing
]);

export class StreamTail implements Tail {
  readonly #o: StreamTailOptions;
  /** Behind the last event that was given. */
  #at: ResumePoint;
  #cursor: StreamCursor | undefined;
  #head: RawBatch | undefined;
  #fragments = new Fragments();
  /** Event by event, up to the one that is too large, or that the server cannot make. */
  #careful = false;
  /** So many events more: then all are passed that the failed batch can have held. */
  #carefulFor = Infinity;
  #closed = false;
  /** While it may still come again, as the stream had to begin before it. */
  #done: TokenPoint | undefined;
  /** Where the server ended the stream the last time. */
  #endedAt: ResumePoint | undefined;

  private constructor(options: StreamTailOptions, at: ResumePoint) {
    this.#o = options;
    this.#at = at;
    if (!options.stuck.careful) return;
    this.#careful = true;
    this.#carefulFor = options.batchSize.entries;
  }

  static async open(options: StreamTailOptions, at: ResumePoint, signal: AbortSignal): Promise<StreamTail> {
    const tail = new StreamTail(options, at);
    try {
      tail.#head = await tail.#reopen(signal);
    } catch (error) {
      if (!isTooLarge(error)) throw tail.#noted(error);
      tail.#head = await tail.#stepTowards(error, signal);
    }
    return tail;
  }

  get head(): RawBatch | undefined {
    return this.#head;
  }

  async next(signal: AbortSignal): Promise<RawBatch> {
    try {
      const cursor = this.#cursor;
      if (cursor === undefined) return await this.#reopen(signal);
      if (cursor.ended) return await this.#goOn(signal);
      const careful = this.#careful;
      const batch = this.#given(await cursor.next(careful ? { entries: 1 } : {}, signal));
      if (careful) this.#passed(batch.entries);
      return batch;
    } catch (error) {
      if (isTooLarge(error)) return await this.#stepTowards(error, signal);
      this.#noted(error);
      throw (await lostPosition(error, this.#o, this.#at, signal)) ?? error;
    }
  }

  #noted(error: unknown): unknown {
    this.#o.stuck.note(error, this.#at);
    return error;
  }

  #passed(entries: number): void {
    this.#carefulFor -= entries;
    if (this.#carefulFor > 0) return;
    this.#careful = false;
    this.#carefulFor = Infinity;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#drop();
  }

  /** What was watched is gone, or the server has another reason: then it ends the stream again where it did before. */
  async #goOn(signal: AbortSignal): Promise<RawBatch> {
    const { member, source, log } = this.#o;
    if (this.#at === this.#endedAt) throw new CursorEndedError(`${member.address} closes the change stream`);
    this.#endedAt = this.#at;
    log.info({ source, position: formatTs(this.#at.ts) }, 'What was watched is gone; waiting for it to come back.');
    return await this.#reopen(signal);
  }

  async #reopen(signal: AbortSignal): Promise<RawBatch> {
    await this.#drop();
    signal.throwIfAborted();
    const { batchSize } = this.#o;
    const entries = this.#careful ? 1 : batchSize.entries;
    try {
      const cursor = await this.#opened({ ...this.#o, point: this.#at }, entries, signal);
      this.#cursor = cursor;
      this.#fragments = new Fragments();
      if (this.#closed) await this.#drop();
      return this.#given(cursor.first);
    } catch (error) {
      throw (await lostPosition(error, this.#o, this.#at, signal)) ?? error;
    }
  }

  async #opened(options: StreamOptions, entries: number, signal: AbortSignal): Promise<StreamCursor> {
    const at = this.#at;
    if (at.kind === 'token' && !isKnown(at.token, this.#o.features)) {
      if (this.#done === undefined || compareDone({ ts: at.ts, index: at.token.index }, this.#done) > 0)
        this.#done = at;
    }
    return await StreamCursor.open(options, entries, signal);
  }

  #given(reply: StreamReply): RawBatch {
    const { expanded, split } = this.#o.features;
    const joined = split ? this.#fragments.join(reply) : undefined;
    const { batch, entries, token } = joined ?? reply;
    const last = token === undefined ? undefined : this.#opTimeOf(token, { split: joined?.split === true, expanded });
    if (last !== undefined) this.#at = pointAfter(last);
    if (this.#done === undefined) return { bytes: batch, entries, last };
    return this.#without(this.#done, { bytes: batch, entries, last });
  }

  /** Where the stream began at the time of the position: what was done by then is not given again. */
  #without(done: TokenPoint, { bytes, entries, last }: RawBatch): RawBatch {
    const order = last?.token === undefined ? -1 : compareDone({ ts: last.ts, index: last.token.index }, done);
    if (order > 0) this.#done = undefined;
    const fewer = eventsBehind(bytes, (event) => {
      const place = placeOfEvent(event);
      return place === undefined || compareDone(place, done) > 0;
    });
    // The position does not go back.
    return { bytes: fewer?.batch ?? bytes, entries: fewer?.entries ?? entries, last: order < 0 ? undefined : last };
  }

  #opTimeOf(document: Uint8Array, { split, expanded }: StreamFeatures): OpTime {
    const { config, sharded } = this.#o;
    const { token, ...opTime } = opTimeOfToken(document, config.watch);
    const index = sharded && token.index >= 0 ? token.index - 1 : token.index;
    return { ...opTime, token: { ...token, index, ...(split && { split }), ...(expanded && { expanded }) } };
  }

  /** A batch with an event that the server cannot send. */
  async #stepTowards(error: unknown, signal: AbortSignal): Promise<RawBatch> {
    const { source, config, log } = this.#o;
    if (config.onOversizeEvent === 'stop') {
      throw new UserError(
        'event-too-large',
        `source "${source}": the change stream holds an event over 16 MB behind ${formatTs(this.#at.ts)}, which this server cannot ` +
          `send (from 6.0.9 and 7.0 on it can be split). Leave out fullDocumentBeforeChange or fullDocument, upgrade the server, ` +
          `or let such events be parked: \`changeStream.onOversizeEvent: park\`.`,
        { cause: error },
      );
    }
    if (!this.#careful) {
      log.warn(
        { code: 'stream-event-too-large', source, position: formatTs(this.#at.ts) },
        'The change stream holds an event that is too large to be sent; looking for it.',
      );
      this.#careful = true;
      try {
        return await this.#reopen(signal);
      } catch (again) {
        if (!isTooLarge(again)) throw again;
      }
    }
    const event = await this.#reduced(signal);
    this.#careful = false;
    this.#carefulFor = Infinity;
    // The next one is behind it, with everything.
    await this.#drop();
    return event;
  }

  /** The event behind the position, without its documents. */
  async #reduced(signal: AbortSignal): Promise<RawBatch> {
    await this.#drop();
    this.#fragments = new Fragments();
    let cursor: StreamCursor | undefined;
    try {
      cursor = await this.#opened({ ...this.#o, point: this.#at, reduced: true }, 1, signal);
      let reply = cursor.first;
      while (reply.entries === 0) reply = await cursor.next({ entries: 1 }, signal);
      return this.#given({ ...reply, batch: markedTooLarge(documentAt(reply.batch, 0)), entries: 1 });
    } catch (error) {
      throw (await lostPosition(error, this.#o, this.#at, signal)) ?? error;
    } finally {
      await cursor?.close();
    }
  }

  async #drop(): Promise<void> {
    const cursor = this.#cursor;
    this.#cursor = undefined;
    await cursor?.close();
  }
}

function compareDone(place: { readonly ts: Ts; readonly index: number }, done: TokenPoint): number {
  return compareTs(place.ts, done.ts) || place.index - done.token.index;
}

export function isTooLarge(error: unknown): boolean {
  return codeOf(error) === TOO_LARGE;
}

/** Throws `MemberUnfitError` where another member's history reaches back to the position. */
export async function lostPosition(
  error: unknown,
  options: StreamTailOptions,
  position: ResumePoint,
  signal: AbortSignal,
): Promise<PositionLostError | undefined> {
  const reason = LOST.get(codeOf(error) ?? 0);
  if (reason === undefined || !(error instanceof MongoError)) return undefined;
  const { member, set, source } = options;
  if (reason === 'truncated') {
    const { answers } = await set.askOthers(
      member.address,
      async (other) => {
        const until = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
        const cursor = await StreamCursor.open({ ...options, member: other, point: position }, 1, until);
        await cursor.close();
      },
      signal,
    );
    signal.throwIfAborted();
    const longer = answers[0];
    if (longer !== undefined) {
      throw new MemberUnfitError(
        `the oplog of ${member.address} does not reach back far enough, that of ${longer.address} does`,
      );
    }
  }
  return new PositionLostError({ source, position, oldest: undefined, reason });
}
