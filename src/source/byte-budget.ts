/**
 * Bounds what has been read and not yet confirmed, in bytes. It is a source's only brake: the tail waits for room before
 * it asks for more, a confirm gives back, and nothing between them needs a limit of its own.
 * Invariant: what is taken while there was room may pass the limit by one batch, never by two.
 */
export class ByteBudget {
  readonly limit: number;
  #used = 0;
  #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  get hasRoom(): boolean {
    return this.#used < this.limit;
  }

  take(bytes: number): void {
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
    if (this.#used < this.limit && this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const wake of waiting) wake();
    }
  }

  /** `undefined` when there is room now; otherwise resolves once there is, or when `stop` fires. */
  room(stop: AbortSignal): Promise<void> | undefined {
    if (this.#used < this.limit || stop.aborted) return undefined;
    return new Promise((resolve) => {
      const done = (): void => {
        stop.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.push(done);
      stop.addEventListener('abort', done, { once: true });
    });
  }
}
