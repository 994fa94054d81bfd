/**
 * The workers, as main sees them: bytes of a batch in, encoded messages out, whatever becomes of a thread in between.
 * A job whose worker dies, hangs or throws is run again; the second time it is cut in halves, down to the one entry that
 * does it, which is parked for every subscription, so that one bad entry stops nothing. Main keeps the batch's own bytes
 * until then and gives away copies: the reply they came in still belongs to the driver.
 */
import { Piscina } from 'piscina';
import { Backoff, sleep } from '../backoff.ts';
import { documentAt, entryAt } from '../source/reply.ts';
import { placeOfEvent } from '../source/resume-token.ts';
import { formatTs } from '../source/position.ts';
import type { OpTime } from '../source/position.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { Log } from '../observe/log.ts';
import type { RawBatch } from '../source/source.ts';
import { copyBytes } from './bson.ts';
import { eventIdTail } from './protocol.ts';
import { LEAST_BYTES, SpareBuffers } from './spare-buffers.ts';
import { SHRINK_AFTER_MS, ThreadCount } from './thread-count.ts';
import type { ThreadRange } from './thread-count.ts';
import type { BatchJob, BatchReply, BatchResult, CraftPlan, WorkerPlan } from './protocol.ts';

export interface WorkerPoolOptions {
  readonly plan: WorkerPlan;
  /** As many as the load asks for, between the two. */
  readonly threads: ThreadRange;
  readonly log: Log;
  /** A job that takes longer is taken for hanging; a piece of one that failed before gets a tenth of it. */
  readonly deadlineMs?: number;
  /** The workers' module; a test gives one that dies when it is told to. */
  readonly workerFile?: string;
}

/** What a job holds besides the bytes. */
export type JobOptions = Omit<BatchJob, 'bytes' | 'range' | 'room'>;

const DEADLINE_MS = 30_000;
/** Bodies are outside the heap; what is on it is a batch's strings and tables. */
const HEAP_MB = 256;
/** Of buffers that wait for their next use: a few batches and what comes of them. */
const SPARE_BYTES = 24 * 2 ** 20;
const ROOM_TO_SPARE = 1.05;
/** BSON's empty array. */
const EMPTY_BATCH = Uint8Array.of(5, 0, 0, 0, 0);

const WORKER = new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url).href;

function hidesFields(craft: CraftPlan | undefined): boolean {
  return craft?.fields !== undefined || craft?.mask !== undefined;
}

export class WorkerPool {
  readonly #plan: WorkerPlan;
  readonly #threads: ThreadRange;
  readonly #log: Log;
  readonly #deadlineMs: number;
  readonly #workerFile: string;
  #piscina: Piscina<BatchJob, BatchReply>;
  readonly #closing = new AbortController();
  /** Why the newest job that failed did. */
  #lastFault = '';
  readonly #startedAt = new Set<{ readonly at: number }>();
  #lastResultAt: number | undefined;
  readonly #count: ThreadCount;
  /** Jobs that wait for their turn. */
  readonly #waiting: (() => void)[] = [];
  readonly #spare = new SpareBuffers(SPARE_BYTES);
  /** What is made of a batch, in bytes for each of its own: as much room is sent along. */
  #growth = 1;

  constructor({ plan, threads, log, deadlineMs = DEADLINE_MS, workerFile = WORKER }: WorkerPoolOptions) {
    this.#plan = plan;
    this.#threads = threads;
    this.#log = log;
    this.#deadlineMs = deadlineMs;
    this.#workerFile = workerFile;
    this.#count = new ThreadCount(threads);
    this.#piscina = this.#create();
  }

  /** `performance.now()` of when the oldest batch that is now with the workers was given to them. */
  get oldestJobAt(): number | undefined {
    for (const { at } of this.#startedAt) return at;
    return undefined;
  }

  get lastResultAt(): number | undefined {
    return this.#lastResultAt;
  }

  /** The living threads; for tests that end one. */
  get threads(): Piscina['threads'] {
    return this.#piscina.threads;
  }

  /** One result, or several in order where the batch had to be cut. Rejects only once the pool is closed. */
  async encode(batch: RawBatch, options: JobOptions): Promise<readonly BatchResult[]> {
    const started = { at: performance.now() };
    this.#startedAt.add(started);
    try {
      const job = { ...options, bytes: batch.bytes };
      const backoff = new Backoff();
      for (;;) {
        for (let attempt = 1; attempt <= 2; attempt++) {
          const result = await this.#try(job, this.#deadlineMs);
          if (result) return [result];
        }
        if (await this.#well(job)) return await this.#bisect(job, 0, batch.entries);
        await sleep(backoff.next(), this.#closing.signal);
      }
    } finally {
      this.#startedAt.delete(started);
    }
  }

  /** Nobody has a use for these bodies any more. */
  takeBack(bodies: Uint8Array): void {
    this.#spare.give(bodies.buffer);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#piscina.destroy();
  }

  async #bisect(job: BatchJob, from: number, to: number): Promise<BatchResult[]> {
    if (to - from === 1) return [await this.#lastTry(job, from)];
    const middle = (from + to) >>> 1;
    const results: BatchResult[] = [];
    for (const [start, end] of [
      [from, middle],
      [middle, to],
    ] as const) {
      const range = { from: start, to: end };
      const result = await this.#try({ ...job, range }, this.#deadlineMs / 10);
      if (result) results.push(result);
      else results.push(...(await this.#bisect(job, start, end)));
    }
    return results;
  }

  /** Alone and with all the time there is: an entry whose worker was merely slow to start must not be parked. */
  async #lastTry(job: BatchJob, index: number): Promise<BatchResult> {
    const range = { from: index, to: index + 1 };
    const backoff = new Backoff();
    for (;;) {
      const result = await this.#try({ ...job, range }, this.#deadlineMs);
      if (result) return result;
      if (await this.#well(job)) return this.#parkEntry(job, index);
      await sleep(backoff.next(), this.#closing.signal);
    }
  }

  /** Whether workers can do anything at all: where not even an empty batch comes back, no entry is to blame. */
  async #well(job: BatchJob): Promise<boolean> {
    const { range: _, ...whole } = job;
    const answer = await this.#try({ ...whole, bytes: EMPTY_BATCH }, this.#deadlineMs);
    if (!answer) this.#log.error({ reason: this.#lastFault }, 'No worker can encode even an empty batch; trying on.');
    return answer !== undefined;
  }

  async #try(job: BatchJob, deadlineMs: number): Promise<BatchResult | undefined> {
    await this.#turn();
    try {
      if (this.#closing.signal.aborted) throw new Error('the workers are being closed');
      return await this.#run(job, deadlineMs);
    } finally {
      for (let begin = this.#count.end(this.#waiting.length); begin > 0; begin--) this.#waiting.shift()!();
    }
  }

  /** Jobs wait here, not in piscina's queue: the time behind a job that hangs is no fault of theirs. */
  async #turn(): Promise<void> {
    if (!this.#count.begin()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async #run(job: BatchJob, deadlineMs: number): Promise<BatchResult | undefined> {
    const copy = new Uint8Array(this.#spare.take(job.bytes.length), 0, job.bytes.length);
    copy.set(job.bytes);
    // What little comes of a small batch the worker puts into a buffer of its own.
    const expected = Math.ceil(job.bytes.length * this.#growth);
    const room = expected < LEAST_BYTES ? undefined : this.#spare.take(expected);
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), deadlineMs);
    try {
      const reply = await this.#piscina.run(
        { ...job, bytes: copy, ...(room && { room }) },
        { transferList: room ? [copy.buffer, room] : [copy.buffer], signal: deadline.signal },
      );
      if (reply.kind === 'done') {
        this.#lastResultAt = performance.now();
        const { spare, ...result } = reply;
        for (const buffer of spare ?? []) this.#spare.give(buffer);
        if (job.bytes.length >= LEAST_BYTES) {
          const growth = (result.bodies.length / job.bytes.length) * ROOM_TO_SPARE;
          this.#growth = Math.max(growth, this.#growth * 0.99);
        }
        return result;
      }
      this.#lastFault = reply.reason;
      this.#log.warn({ reason: reply.reason, range: job.range }, 'A worker could not encode a batch.');
    } catch (error) {
      if (this.#closing.signal.aborted) throw error;
      const reason = deadline.signal.aborted ? `no answer within ${deadlineMs} ms` : String(error);
      this.#lastFault = reason;
      this.#log.warn({ reason, range: job.range }, 'A worker was lost with its batch; another takes it.');
      // piscina gives up on replacing threads once one died while it was starting.
      if (this.#piscina.threads.length === 0) {
        void this.#piscina.destroy();
        this.#piscina = this.#create();
      }
    } finally {
      clearTimeout(timer);
    }
    return undefined;
  }

  #parkEntry(job: BatchJob, index: number): BatchResult {
    const source = this.#plan.sources[job.source]!;
    const { last, at, bytes } = source.changeStream === undefined ? entryOf(job, index) : eventOf(job.bytes, index);
    // The batch's memory may be another's by the time this is on disk: that of a piece is the next piece's.
    const entry = copyBytes(bytes, 0, bytes.length);
    this.#log.error(
      { source: source.name, ts: at && formatTs(at.ts) },
      'An entry ends every worker that reads it; it is parked for all subscriptions.',
    );
    return {
      kind: 'done',
      records: new Uint32Array(),
      bodies: new Uint8Array(),
      routingKeys: [],
      parked: source.subscriptions.map(({ craft }, subscription) => ({
        subscription,
        id: at
          ? `${source.name}:${eventIdTail(at.ts.seconds, at.ts.increment, at.index)}`
          : `${source.name}:damaged.${bytes.length}.0`,
        ns: '',
        reason: 'worker-crash',
        detail: `no worker could encode this entry: ${this.#lastFault}`,
        // Nothing could take out of it what the subscription may not see.
        ...(hidesFields(craft) ? { entry: new Uint8Array(0), shaped: true } : { entry }),
      })),
      gates: [],
      marks: [],
      ...(job.piece?.tally && { tally: job.piece.tally }),
      last,
      lastWallMs: 0,
      entries: 1,
      events: new Uint32Array(source.subscriptions.length),
      filtered: 0,
      unknownOps: {},
      decodeMs: 0,
    };
  }

  #create(): Piscina<BatchJob, BatchReply> {
    const piscina = new Piscina<BatchJob, BatchReply>({
      filename: this.#workerFile,
      workerData: this.#plan,
      minThreads: this.#threads.least,
      maxThreads: this.#threads.most,
      idleTimeout: this.#threads.least === this.#threads.most ? Infinity : SHRINK_AFTER_MS,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    piscina.on('error', (error) => this.#log.warn({ err: error }, 'An idle worker was lost; another takes its place.'));
    return piscina;
  }
}

/** Of the n-th entry of a batch: its bytes, its position, and what is done once it is. */
interface Culprit {
  readonly bytes: Uint8Array;
  readonly at: LanePosition | undefined;
  readonly last: OpTime | undefined;
}

function entryOf({ bytes: batch, piece }: BatchJob, index: number): Culprit {
  const { opTime, bytes } = entryAt(batch, index);
  return { bytes, at: { ts: opTime.ts, index: piece?.firstIndex ?? 0 }, last: opTime };
}

/** How far a change stream's batch reaches, the batch says. */
function eventOf(batch: Uint8Array, index: number): Culprit {
  const bytes = documentAt(batch, index);
  return { bytes, at: placeOfEvent(bytes), last: undefined };
}
