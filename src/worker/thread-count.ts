/**
 * How many threads may work at once, by load. One more is added where batches have waited in line for a while although the main
 * thread had time to spare: where main is the limit a thread more would only take cores and memory. What has not been
 * needed for long is given up again. Nothing here has a timer, so that an idle engine is not woken: it is told when a job begins,
 * when one waits, and when one ends.
 * Invariants: a thread is only added after a whole `GROW_AFTER_MS` in which jobs waited without a break, so a burst adds none; and
 * none is given up within `SHRINK_AFTER_MS` of the last moment when all were busy, so their number does not swing.
 */
import { performance } from 'node:perf_hooks';
import type { EventLoopUtilization } from 'node:perf_hooks';

export interface ThreadRange {
  readonly least: number;
  readonly most: number;
}

/** What a thread costs to start is long paid for by then. */
const GROW_AFTER_MS = 1_000;
export const SHRINK_AFTER_MS = 30_000;
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
  #allowed: number;
  #running = 0;
  /** When all that are allowed were last at work. */
  #fullAt = 0;
  /** Since when jobs have been waiting, and how busy main was by then; undefined while none waits. */
  #line: { readonly since: number; readonly used: EventLoopUtilization } | undefined;

  constructor({ least, most }: ThreadRange, clock: Clock = ofThisThread) {
    this.#least = least;
    this.#most = most;
    this.#clock = clock;
    this.#allowed = least;
  }

  get allowed(): number {
    return this.#allowed;
  }

  /** True: a job may begin now; otherwise it has to wait. */
  begin(): boolean {
    if (this.#allowed > this.#least) this.#shrink();
    if (this.#running >= this.#allowed) {
      if (this.#allowed < this.#most) this.#line ??= { since: this.#clock.now(), used: this.#clock.utilization() };
      return false;
    }
    this.#running += 1;
    if (this.#running === this.#allowed) this.#fullAt = this.#clock.now();
    return true;
  }

  /** A job has ended and so many wait: how many of those may begin. */
  end(waiting: number): number {
    this.#running -= 1;
    if (waiting === 0) this.#line = undefined;
    else this.#grow();
    const begin = Math.min(waiting, this.#allowed - this.#running);
    this.#running += begin;
    if (begin > 0 && this.#running === this.#allowed && this.#allowed > this.#least) this.#fullAt = this.#clock.now();
    return begin;
  }

  #grow(): void {
    if (this.#line === undefined || this.#allowed === this.#most) return;
    const now = this.#clock.now();
    if (now - this.#line.since < GROW_AFTER_MS) return;
    if (this.#clock.utilization(this.#line.used).utilization < BUSY) this.#allowed += 1;
    this.#line = { since: now, used: this.#clock.utilization() };
  }

  #shrink(): void {
    const now = this.#clock.now();
    if (now - this.#fullAt < SHRINK_AFTER_MS) return;
    this.#allowed = Math.max(this.#least, this.#running, this.#allowed - 1);
    this.#fullAt = now;
  }
}
