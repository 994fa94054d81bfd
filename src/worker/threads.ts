/**
 * The worker threads, in a piscina that neither starts nor replaces any by itself: it does so within its own callbacks, where a
 * thread that cannot be started ends the whole process, and then hands jobs to threads that may never be up. So the least number
 * it keeps is zero, and a thread comes or goes when it is told to here.
 * Invariants: one thread starts at a time. While no more jobs run than threads are `ready`, each job is given to one that is up,
 * and a thread that dies while it starts takes no job with it.
 */
import type { Worker } from 'node:worker_threads';
import { FixedQueue, Piscina } from 'piscina';
import type { Log } from '../observe/log.ts';
import type { BatchReply, ThreadJob } from './protocol.ts';

export interface ThreadsOptions {
  readonly workerFile: string;
  /** There are never more. */
  readonly most: number;
  /** A thread that is not up by then is given up. */
  readonly startMs: number;
  readonly log: Log;
  /** There may be fewer than before. */
  readonly onLost: () => void;
}

interface Starting {
  readonly thread: Worker;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
  readonly timer: NodeJS.Timeout;
  fault?: Error;
}

/** Bodies are outside the heap; what is on it is a batch's strings and tables. */
const HEAP_MB = 256;
/** Little survives a batch, so a young generation of 4 MB and its copy is as quick as V8's 16 (bench `end-to-end`: RSS). */
const YOUNG_MB = 12;
/** BSON's empty array. */
export const EMPTY_BATCH = Uint8Array.of(5, 0, 0, 0, 0);
/** Never run: there to have a thread started, or ended. */
const NO_JOB: ThreadJob = {
  plan: { number: -1, memory: new SharedArrayBuffer(0) },
  bytes: EMPTY_BATCH,
  wallTime: true,
  collated: [],
};

export class Threads {
  readonly #piscina: Piscina<ThreadJob, BatchReply>;
  /** Jobs do not stand here; see `start`. */
  readonly #line = new FixedQueue();
  readonly #startMs: number;
  readonly #onLost: () => void;
  #starting: Starting | undefined;
  /** The newest start has come to its end. */
  #settled: Promise<void> = Promise.resolve();

  constructor({ workerFile, most, startMs, log, onLost }: ThreadsOptions) {
    this.#startMs = startMs;
    this.#onLost = onLost;
    this.#piscina = new Piscina({
      filename: workerFile,
      minThreads: 0,
      maxThreads: most,
      idleTimeout: Infinity,
      taskQueue: this.#line,
      // Every job has a deadline, and so can be aborted. What has none is there to have a thread started.
      loadBalancer: ({ isAbortable }, threads) =>
        isAbortable ? (threads.find(({ currentUsage }) => currentUsage === 0) ?? null) : null,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB, maxYoungGenerationSizeMb: YOUNG_MB },
    });
    this.#piscina.on('workerCreate', () => this.#started());
    // It is still on piscina's list when this comes.
    this.#piscina.on('workerDestroy', () => queueMicrotask(() => this.#lost()));
    this.#piscina.on('error', (error) => {
      const starting = this.#starting;
      if (starting && !this.all.includes(starting.thread)) starting.fault = error;
      else log.warn({ code: 'worker-lost', err: error }, 'An idle worker was lost; another takes its place.');
    });
  }

  /** Those that live, the one that starts too. */
  get all(): Worker[] {
    return this.#piscina.threads;
  }

  /** So many are up. */
  get ready(): number {
    return this.all.length - (this.#starting ? 1 : 0);
  }

  /** One more; resolves once it is up, rejects with the reason why it is not. */
  start(): Promise<void> {
    const up = this.#start();
    this.#settled = up.catch(() => undefined);
    return up;
  }

  /** Ends one that has no job; there must be one. */
  stopOne(): void {
    const stop = new AbortController();
    // The thread of an aborted job is ended; piscina has no other word for it.
    this.#piscina.run(NO_JOB, { signal: stop.signal }).catch(() => undefined);
    stop.abort();
  }

  /** Rejects when its thread is lost, and when `signal` fires: the thread is ended then. */
  run(job: ThreadJob, transferList: ArrayBuffer[], signal: AbortSignal): Promise<BatchReply> {
    return this.#piscina.run(job, { transferList, signal });
  }

  /** Node aborts the whole process when a thread is ended while it links its modules (seen on 20.20), so one that starts may first come up. */
  async close(): Promise<void> {
    await this.#settled;
    await this.#piscina.destroy();
  }

  #start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const before = this.all;
      try {
        // piscina starts a thread for a job that finds none to take it. This one is out of line again before any could.
        void this.#piscina.run(NO_JOB);
      } finally {
        this.#line.shift();
      }
      const thread = this.all.find((one) => !before.includes(one));
      if (!thread) throw new Error(`there are ${before.length} threads already`);
      const timer = setTimeout(() => void thread.terminate(), this.#startMs).unref();
      this.#starting = { thread, resolve, reject, timer };
    });
  }

  #started(): void {
    const starting = this.#starting;
    this.#starting = undefined;
    clearTimeout(starting?.timer);
    starting?.resolve();
  }

  #lost(): void {
    const starting = this.#starting;
    if (starting && !this.all.includes(starting.thread)) {
      this.#starting = undefined;
      clearTimeout(starting.timer);
      starting.reject(starting.fault ?? new Error('it ended, or was not up in time'));
    }
    this.#onLost();
  }
}
