/**
 * How many threads there should be, by load, and how many jobs may be with those that there are. One more is wanted where batches
 * have waited in line for a while although the main thread had time to spare: where main is the limit a thread more would only take
 * cores and memory. What has not been needed for long is given up again. Nothing here has a timer, so that an idle engine is not
 * woken: it is told when a job begins, when one waits, when one ends, and every now and then while some wait.
 * Invariants: a thread is only added after a whole `GROW_AFTER_MS` in which jobs waited without a break, so a burst adds none, and
 * none while the one before is not up; none is given up within `SHRINK_AFTER_MS` of the last moment when all were busy, so their
 * number does not swing; no more jobs run than threads are up.
 */
import { performance } from 'node:perf_hooks';
import type { EventLoopUtilization } from 'node:perf_hooks';

export interface ThreadRange {
  readonly least: number;
  readonly most: number;
}

/** What a thread costs to start is long paid for by then. */
export const GROW_AFTER_MS = 1_000;
const SHRINK_AFTER_MS = 30_000;
/** Where the system refused a thread, so soon it is not asked again. */
const REFUSED_FOR_MS = 60_000;
/** Above it the main thread is as good as busy. */
const BUSY = 0.85;

export interface Clock {
  now(): number;
  /** Of the main thread: since `from`, or since ever. */
  utilization(from?: EventLoopUtilization): EventLoopUtilization;
}

const ofThisThread: Clock = {
  now: () => performance.now(),
  utilization: (from) => performance.eventLoopUtilization(from),
};

export class ThreadCount {
  readonly #least: number;
  readonly #most: number;
  readonly #clock: Clock;
  #wanted: number;
  #ready = 0;
  #running = 0;
  /** When all that are up were last at work. */
  #fullAt = 0;
  #refusedUntil = -Infinity;
  /** Since when jobs have been waiting, and how busy main was by then; undefined while none waits. */
  #line: { readonly since: number; readonly used: EventLoopUtilization } | undefined;

  constructor({ least, most }: ThreadRange, clock: Clock = ofThisThread) {
    this.#least = least;
    this.#most = most;
    this.#clock = clock;
    this.#wanted = least;
  }

  get wanted(): number {
    return this.#wanted;
  }

  /** One that is up has nothing to do, and is one too many. */
  get hasSurplus(): boolean {
    return this.#ready > this.#wanted && this.#running < this.#ready;
  }

  /** Some are wanted that are not up. */
  get isShort(): boolean {
    return this.#ready < this.#wanted;
  }

  /** Whether it may ever want more than it does now. */
  get mayGrow(): boolean {
    return this.#wanted < this.#most;
  }

  /** True: a job may begin now; otherwise it has to wait. */
  begin(): boolean {
    if (this.#wanted > this.#least) this.#shrink();
    if (this.#running >= this.#ready) {
      if (this.mayGrow) this.#line ??= this.#lineFromNow();
      return false;
    }
    this.#run(1);
    return true;
  }

  /** A job has ended and so many wait: how many of those may begin. */
  end(waiting: number): number {
    this.#running -= 1;
    if (waiting === 0) this.#line = undefined;
    else this.look();
    return this.#next(waiting);
  }

  /** So many threads are up now, and so many jobs wait: how many of those may begin. */
  have(ready: number, waiting: number): number {
    // That jobs had to wait for this one does not say that they need another.
    if (this.#line && ready > this.#ready) this.#line = this.#lineFromNow();
    this.#ready = ready;
    return this.#next(waiting);
  }

  /** To be called now and then while jobs wait and none ends: those that run may hang. */
  look(): void {
    if (this.#line === undefined || !this.mayGrow || this.isShort) return;
    const now = this.#clock.now();
    if (now - this.#line.since < GROW_AFTER_MS || now < this.#refusedUntil) return;
    if (this.#clock.utilization(this.#line.used).utilization < BUSY) {
      this.#wanted += 1;
      this.#fullAt = now;
    }
    this.#line = this.#lineFromNow();
  }

  /** The thread that was wanted cannot be had: those that there are have to do, down to the least. */
  refused(): void {
    this.#wanted = Math.max(this.#least, this.#ready);
    this.#refusedUntil = this.#clock.now() + REFUSED_FOR_MS;
  }

  #next(waiting: number): number {
    const begin = Math.max(0, Math.min(waiting, this.#ready - this.#running));
    if (begin > 0) this.#run(begin);
    return begin;
  }

  #run(jobs: number): void {
    this.#running += jobs;
    if (this.#running >= this.#ready && this.#ready > this.#least) this.#fullAt = this.#clock.now();
  }

  #shrink(): void {
    const now = this.#clock.now();
    if (now - this.#fullAt < SHRINK_AFTER_MS) return;
    this.#wanted = Math.max(this.#least, this.#running, this.#wanted - 1);
    this.#fullAt = now;
  }

  #lineFromNow(): { readonly since: number; readonly used: EventLoopUtilization } {
    return { since: this.#clock.now(), used: this.#clock.utilization() };
  }
}
