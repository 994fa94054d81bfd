/**
 * Large buffers on their way round: main copies a batch into one and gives another for what comes of it, the worker sends both
 * back, and main keeps them for the next batches. A buffer that is dropped instead stays until a full collection finds it,
 * in main or in a worker, and each of their heaps lets 64 MB of those gather first (bench `end-to-end`: peak RSS).
 * Invariant: a buffer is given back by its only owner, so nobody else can still read it.
 */

/** Smaller ones are not worth sending round: few are needed at once, and the collector is quick with them. */
export const LEAST_BYTES = 128 * 1024;
/** Sizes are rounded up to this, so that one batch's buffer fits the next. */
const STEP_BYTES = 128 * 1024;
/** One that is far too large is left to those that need it. */
const MOST_WASTE = 4;

export class SpareBuffers {
  readonly #limit: number;
  #buffers: ArrayBuffer[] = [];
  #bytes = 0;

  /** Keeps at most so many bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Kept now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** One of at least this size, with anything in it. */
  take(bytes: number): ArrayBuffer {
    if (bytes < LEAST_BYTES) return new ArrayBuffer(bytes);
    let best = -1;
    for (let i = 0; i < this.#buffers.length; i++) {
      const size = this.#buffers[i]!.byteLength;
      const fits = size >= bytes && size <= Math.max(STEP_BYTES, bytes * MOST_WASTE);
      if (fits && (best < 0 || size < this.#buffers[best]!.byteLength)) best = i;
    }
    if (best < 0) return new ArrayBuffer(Math.ceil(bytes / STEP_BYTES) * STEP_BYTES);
    const [buffer] = this.#buffers.splice(best, 1);
    this.#bytes -= buffer!.byteLength;
    return buffer!;
  }

  give(buffer: ArrayBufferLike): void {
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < LEAST_BYTES) return;
    // The newest is of the size that is wanted now; what does not fit beside it goes, the oldest first.
    this.#buffers.push(buffer);
    this.#bytes += buffer.byteLength;
    while (this.#bytes > this.#limit) this.#bytes -= this.#buffers.shift()!.byteLength;
  }
}
