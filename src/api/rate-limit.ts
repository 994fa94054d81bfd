/** Requests by address: a burst, then so many a second. It is against clients that went wild, not against attackers. */

const PER_SECOND = 50;
const BURST = 200;
/** Further addresses push the one out that has been quiet for longest. */
const MOST_ADDRESSES = 1_000;

interface Bucket {
  readonly left: number;
  readonly at: number;
}

export class RateLimit {
  /** The quietest first. */
  readonly #buckets = new Map<string, Bucket>();

  /** 0: go on; otherwise how many seconds to wait. `now` in milliseconds. */
  take(address: string, now: number): number {
    const before = this.#buckets.get(address);
    const filled = before ? Math.min(BURST, before.left + ((now - before.at) / 1000) * PER_SECOND) : BURST;
    const allowed = filled >= 1;
    this.#buckets.delete(address);
    this.#buckets.set(address, { left: allowed ? filled - 1 : filled, at: now });
    if (this.#buckets.size > MOST_ADDRESSES) {
      const [quietest = address] = this.#buckets.keys();
      this.#buckets.delete(quietest);
    }
    return allowed ? 0 : Math.ceil((1 - filled) / PER_SECOND);
  }
}
