/**
 * The workers, as main sees them: bytes of a batch in, encoded messages out, whatever becomes of a thread in between.
 * A job whose worker dies, hangs or throws is run again; the second time it is cut in halves, down to the one entry that
 * does it, which is parked for every subscription, so that one bad entry stops nothing. Main keeps the batch's own bytes
 * until then and gives away copies: the reply they came in still belongs to the driver.
 *
 * A few entries, which somebody waits for, main encodes itself: that is sooner done than handed over, and a thread that must
 * be woken comes late on busy cores (bench `latency`, 1,000/s: p50 1.9 ms instead of 3.6, p99 13 instead of 38). What throws
 * there goes the workers' way.
 */
import { Backoff } from '../backoff.ts';
import { sleep } from '../waits.ts';
import { documentAt, entryAt } from '../source/reply.ts';
import { placeOfEvent } from '../source/resume-token.ts';
import { formatTs } from '../source/position.ts';
import type { OpTime } from '../source/position.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { Log } from '../observe/log.ts';
import type { RawBatch } from '../source/source.ts';
import { copyBytes } from './bson.ts';
import { hidesFields } from './craft.ts';
import { encodeBatch } from './encode-batch.ts';
import { NOTHING, UNCLEAR, eventIdTail } from './protocol.ts';
import { LEAST_BYTES, SpareBuffers } from './spare-buffers.ts';
import { GROW_AFTER_MS, ThreadCount } from './thread-count.ts';
import type { ThreadRange } from './thread-count.ts';
import { EMPTY_BATCH, Threads } from './threads.ts';
import { Turns } from './turns.ts';
import type { SharedPlan } from './plan.ts';
import type { BatchJob, BatchResult, ChunkJob } from './protocol.ts';

export interface WorkerPoolOptions {
  /** As many as the load asks for, between the two. */
  readonly threads: ThreadRange;
  readonly log: Log;
  /** A job that takes longer is taken for hanging; a piece of one that failed before gets a tenth of it. */
  readonly deadlineMs?: number;
  /** Main does what little there is itself; false: nothing that could be the end of it. */
  readonly quick?: boolean;
  /** The workers' module; a test gives one that dies when it is told to. Main does its work only where it is the usual one. */
  readonly workerFile?: string;
}

/** What a job holds besides the bytes. */
export type JobOptions = Omit<PoolJob, 'bytes' | 'range' | 'room'>;

type PoolJob = BatchJob & { readonly plan: SharedPlan };

const DEADLINE_MS = 30_000;
/** Of buffers that wait for their next use: a few batches and what comes of them. */
const SPARE_BYTES = 24 * 2 ** 20;
const ROOM_TO_SPARE = 1.05;
const LOG_EVERY_TRIES = 30;

const WORKER = new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url).href;

export class WorkerPool {
  /** Whether main does anything itself. */
  readonly #quick: boolean;
  readonly #threads: Threads;
  readonly #log: Log;
  readonly #deadlineMs: number;
  readonly #closing = new AbortController();
  /** Why the newest job that failed did. */
  #lastFault = '';
  readonly #startedAt = new Set<{ readonly at: number }>();
  #lastResultAt: number | undefined;
  readonly #count: ThreadCount;
  /** Jobs that wait for their turn. */
  readonly #waiting = new Turns<SharedPlan>();
  /** While they do. */
  #watch: NodeJS.Timeout | undefined;
  #adding = false;
  readonly #refusals = new Backoff();
  readonly #spare = new SpareBuffers(SPARE_BYTES);
  /** What is made of a batch, in bytes for each of its own: as much room is sent along. */
  #growth = 1;

  constructor({ threads, log, deadlineMs = DEADLINE_MS, quick = true, workerFile = WORKER }: WorkerPoolOptions) {
    this.#quick = quick && workerFile === WORKER;
    this.#log = log;
    this.#deadlineMs = deadlineMs;
    this.#count = new ThreadCount(threads);
    this.#threads = new Threads({
      workerFile,
      most: threads.most,
      startMs: deadlineMs,
      log,
      onLost: () => this.#recount(),
    });
    this.#adjust();
  }

  /** `performance.now()` of when the oldest batch that is now with the workers was given to them. */
  get oldestJobAt(): number | undefined {
    for (const { at } of this.#startedAt) return at;
    return undefined;
  }

  get lastResultAt(): number | undefined {
    return this.#lastResultAt;
  }

  get threadsUp(): number {
    return this.#threads.ready;
  }

  /** The living threads; for tests that end one. */
  get threads(): Threads['all'] {
    return this.#threads.all;
  }

  /** Of the whole batch, or of these entries; one result, or several in order where it had to be cut. Rejects only once the pool is closed. */
  async encode(
    batch: RawBatch,
    options: JobOptions,
    range?: { readonly from: number; readonly to: number },
  ): Promise<readonly BatchResult[]> {
    const started = { at: performance.now() };
    this.#startedAt.add(started);
    try {
      const job = { ...options, bytes: batch.bytes, ...(range && { range }) };
      const here = this.#quick && batch.bytes.byteLength < job.plan.quickBytes && job.piece === undefined;
      const result = here ? this.#encodeHere(job) : undefined;
      if (result) return [result];
      const backoff = new Backoff();
      for (;;) {
        for (let attempt = 1; attempt <= 2; attempt++) {
          const result = await this.#try(job, this.#deadlineMs);
          if (result) return [result];
        }
        const { from, to } = range ?? { from: 0, to: batch.entries };
        if (await this.#well(job)) return await this.#bisect(job, from, to);
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
    clearTimeout(this.#watch);
    this.#begin(this.#waiting.size);
    await this.#threads.close();
  }

  #encodeHere(job: PoolJob): BatchResult | undefined {
    try {
      const result = encodeBatch(job.plan.plan, job);
      this.#lastResultAt = performance.now();
      return result;
    } catch (error) {
      this.#log.warn(
        { code: 'worker-lost', err: error },
        'A few entries could not be encoded at once; a worker tries.',
      );
      return undefined;
    }
  }

  async #bisect(job: PoolJob, from: number, to: number): Promise<BatchResult[]> {
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
  async #lastTry(job: PoolJob, index: number): Promise<BatchResult> {
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
  async #well(job: PoolJob): Promise<boolean> {
    const { range: _range, images: _images, ...whole } = job;
    const answer = await this.#try({ ...whole, bytes: EMPTY_BATCH }, this.#deadlineMs);
    if (!answer)
      this.#log.error(
        { code: 'no-worker', reason: this.#lastFault },
        'No worker can encode even an empty batch; trying on.',
      );
    return answer !== undefined;
  }

  async #try(job: PoolJob, deadlineMs: number): Promise<BatchResult | undefined> {
    await this.#turn(job.plan);
    try {
      if (this.#closing.signal.aborted) throw new Error('the workers are being closed');
      return await this.#run(job, deadlineMs);
    } finally {
      this.#begin(this.#count.end(this.#waiting.size));
      this.#adjust();
    }
  }

  /** Jobs wait here, not in piscina's queue: the time behind a job that hangs is no fault of theirs. */
  async #turn(plan: SharedPlan): Promise<void> {
    const begun = this.#count.begin();
    this.#adjust();
    if (begun || this.#closing.signal.aborted) return;
    this.#keepWatch();
    await this.#waiting.wait(plan);
  }

  #begin(jobs: number): void {
    for (; jobs > 0; jobs--) this.#waiting.next();
  }

  /** A job that hangs tells nobody that others wait behind it. */
  #keepWatch(): void {
    if (!this.#count.mayGrow) return;
    this.#watch ??= setTimeout(() => {
      this.#watch = undefined;
      if (this.#waiting.size === 0) return;
      this.#count.look();
      this.#adjust();
      this.#keepWatch();
    }, GROW_AFTER_MS).unref();
  }

  #recount(): void {
    this.#begin(this.#count.have(this.#threads.ready, this.#waiting.size));
    this.#adjust();
  }

  /** As many threads as are wanted. */
  #adjust(): void {
    if (this.#closing.signal.aborted) return;
    if (this.#count.isShort && !this.#adding) void this.#add();
    while (this.#count.hasSurplus) {
      this.#threads.stopOne();
      this.#count.have(this.#threads.ready, 0);
    }
  }

  /** One thread more. That there cannot be one costs nothing where others do the work. */
  async #add(): Promise<void> {
    this.#adding = true;
    try {
      await this.#threads.start();
      this.#refusals.reset();
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#count.refused();
      const fields = { err: error, threads: this.#threads.ready };
      if (fields.threads > 0) {
        this.#log.warn(
          { code: 'worker-not-started', ...fields },
          'A worker thread could not be started; those that there are do its work.',
        );
      } else if (this.#refusals.tries % LOG_EVERY_TRIES === 0) {
        this.#log.error(
          { code: 'no-worker', ...fields },
          'No worker thread can be started, so nothing can be encoded; trying on.',
        );
      }
      if (this.#count.isShort) await sleep(this.#refusals.next(), this.#closing.signal);
    } finally {
      this.#adding = false;
    }
    this.#recount();
  }

  async #run(job: PoolJob, deadlineMs: number): Promise<BatchResult | undefined> {
    const copy = new Uint8Array(this.#spare.take(job.bytes.length), 0, job.bytes.length);
    copy.set(job.bytes);
    // What little comes of a small batch the worker puts into a buffer of its own, and what is more than is kept as well.
    const expected = Math.ceil(job.bytes.length * this.#growth);
    const room = expected < LEAST_BYTES || expected > SPARE_BYTES ? undefined : this.#spare.take(expected);
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), deadlineMs);
    try {
      const reply = await this.#threads.run(
        { ...job, plan: job.plan.handle, bytes: copy, ...(room && { room }) },
        room ? [copy.buffer, room] : [copy.buffer],
        deadline.signal,
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
      this.#log.warn(
        { code: 'worker-lost', reason: reply.reason, range: job.range },
        'A worker could not encode a batch.',
      );
    } catch (error) {
      if (this.#closing.signal.aborted) throw error;
      const reason = deadline.signal.aborted ? `no answer within ${deadlineMs} ms` : String(error);
      this.#lastFault = reason;
      this.#log.warn(
        { code: 'worker-lost', reason, range: job.range },
        'A worker was lost with its batch; another takes it.',
      );
      this.#recount();
    } finally {
      clearTimeout(timer);
    }
    return undefined;
  }

  /** Where it lies in its collection is all there is to tell of it: not even its `_id` may be looked at. */
  #parkDocument(job: PoolJob, { subscription, run, ns, at }: ChunkJob, index: number): BatchResult {
    const { source } = job.plan.plan;
    const bytes = documentAt(job.bytes, index);
    this.#log.error(
      { code: 'parked-worker-crash', source: source.name, ns },
      'A document ends every worker that reads it; it is parked.',
    );
    return {
      ...NOTHING,
      parked: [
        {
          subscription,
          id: `${source.name}:snapshot.${run}.${ns}.damaged.${formatTs(at)}.${index}`,
          ns,
          reason: 'worker-crash',
          detail: `no worker could encode this document of ${bytes.length} bytes: ${this.#lastFault}`,
          entry: new Uint8Array(0),
          shaped: true,
        },
      ],
    };
  }

  #parkEntry(job: PoolJob, index: number): BatchResult {
    if (job.chunk) return this.#parkDocument(job, job.chunk, index);
    const { source } = job.plan.plan;
    const { last, at, bytes } = source.changeStream === undefined ? entryOf(job, index) : eventOf(job.bytes, index);
    // The batch's memory may be another's by the time this is on disk: that of a piece is the next piece's.
    const entry = copyBytes(bytes, 0, bytes.length);
    this.#log.error(
      { code: 'parked-worker-crash', source: source.name, ts: at && formatTs(at.ts) },
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
        whole: true,
        ...(job.piece && { firstIndex: job.piece.firstIndex }),
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
      ...(job.touching && { touched: UNCLEAR }),
    };
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
