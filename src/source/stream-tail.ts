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
import { formatTs, pointAfter } from './position.ts';
import type { OpTime, ResumePoint } from './position.ts';
import { documentAt } from './reply.ts';
import type { StreamReply } from './reply.ts';
import { opTimeOfToken } from './resume-token.ts';
import type { RawBatch } from './source.ts';
import { StreamCursor } from './stream-cursor.ts';
import type { StreamOptions } from './stream-cursor.ts';
import { Fragments, markedTooLarge } from './stream-fragments.ts';

export interface StreamTailOptions extends Omit<StreamOptions, 'point' | 'reduced'> {
  readonly source: string;
  /** Several shards' events share positions: one at the last event's may be missing yet. */
  readonly sharded: boolean;
  readonly log: Log;
}

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
  /** Event by event, up to the one that is too large. */
  #careful = false;
  #closed = false;
  /** Where the server ended the stream the last time. */
  #endedAt: ResumePoint | undefined;

  private constructor(options: StreamTailOptions, at: ResumePoint) {
    this.#o = options;
    this.#at = at;
  }

  static async open(options: StreamTailOptions, at: ResumePoint, signal: AbortSignal): Promise<StreamTail> {
    const tail = new StreamTail(options, at);
    try {
      tail.#head = await tail.#reopen(signal);
    } catch (error) {
      if (!isTooLarge(error)) throw error;
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
      return this.#given(await cursor.next(this.#careful ? { entries: 1 } : {}, signal));
    } catch (error) {
      if (isTooLarge(error)) return await this.#stepTowards(error, signal);
      throw lostPosition(error, this.#o.source, this.#at) ?? error;
    }
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
      const cursor = await StreamCursor.open({ ...this.#o, point: this.#at }, entries, signal);
      this.#cursor = cursor;
      this.#fragments = new Fragments();
      if (this.#closed) await this.#drop();
      return this.#given(cursor.first);
    } catch (error) {
      throw lostPosition(error, this.#o.source, this.#at) ?? error;
    }
  }

  #given(reply: StreamReply): RawBatch {
    const { batch, entries, token } = this.#o.features.split ? this.#fragments.join(reply) : reply;
    const last = token === undefined ? undefined : this.#opTimeOf(token);
    if (last !== undefined) this.#at = pointAfter(last);
    return { bytes: batch, entries, last };
  }

  #opTimeOf(document: Uint8Array): OpTime {
    const { config, sharded } = this.#o;
    const opTime = opTimeOfToken(document, config.watch);
    const { token } = opTime;
    return sharded && token.index >= 0 ? { ...opTime, token: { ...token, index: token.index - 1 } } : opTime;
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
        { source, position: formatTs(this.#at.ts) },
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
    // The next one is behind it, with everything.
    await this.#drop();
    return event;
  }

  /** The event behind the position, without its documents. */
  async #reduced(signal: AbortSignal): Promise<RawBatch> {
    await this.#drop();
    this.#fragments = new Fragments();
    const cursor = await StreamCursor.open({ ...this.#o, point: this.#at, reduced: true }, 1, signal);
    try {
      let reply = cursor.first;
      while (reply.entries === 0) reply = await cursor.next({ entries: 1 }, signal);
      return this.#given({ ...reply, batch: markedTooLarge(documentAt(reply.batch, 0)), entries: 1 });
    } finally {
      await cursor.close();
    }
  }

  async #drop(): Promise<void> {
    const cursor = this.#cursor;
    this.#cursor = undefined;
    await cursor?.close();
  }
}

export function isTooLarge(error: unknown): boolean {
  return codeOf(error) === TOO_LARGE;
}

export function lostPosition(error: unknown, source: string, position: ResumePoint): PositionLostError | undefined {
  const reason = LOST.get(codeOf(error) ?? 0);
  if (reason === undefined || !(error instanceof MongoError)) return undefined;
  return new PositionLostError({ source, position, oldest: undefined, reason });
}
