/**
 * How long to wait before the next try. Tries follow each other quickly at first (100 ms, doubling to 1 s) and stay at
 * one a second for two minutes, so that a restart on the other end costs at most a second; after that the pause grows in
 * step with the outage, to 10 s. Jitter keeps many engines from knocking at the same instant.
 * Invariant: a pause is never longer than the cap of its moment: 1 s within the first two minutes, 10 s ever.
 */
const FIRST_MS = 100;
const QUICK_CAP_MS = 1_000;
const SLOW_CAP_MS = 10_000;
const QUICK_FOR_MS = 120_000;

export interface BackoffOptions {
  /** In [0, 1). */
  readonly random?: () => number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export class Backoff {
  readonly #random: () => number;
  readonly #now: () => number;
  #tries = 0;
  #since = 0;

  constructor({ random = Math.random, now = () => performance.now() }: BackoffOptions = {}) {
    this.#random = random;
    this.#now = now;
  }

  /** Failed tries since the last success. */
  get tries(): number {
    return this.#tries;
  }

  /** The pause before the next try, in milliseconds; the first call after `reset` begins the outage. */
  next(): number {
    const now = this.#now();
    if (this.#tries === 0) this.#since = now;
    const outageMs = now - this.#since;
    const cap = Math.min(SLOW_CAP_MS, QUICK_CAP_MS * Math.max(1, outageMs / QUICK_FOR_MS));
    const pause = Math.min(cap, FIRST_MS * 2 ** Math.min(this.#tries, 20));
    this.#tries += 1;
    return pause * (0.5 + this.#random() / 2);
  }

  /** It worked. */
  reset(): void {
    this.#tries = 0;
  }
}
