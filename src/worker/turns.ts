/**
 * Who waits for a worker. Each owner has a queue, and owners take turns: one that has much to do at once, as when it catches up, keeps
 * nobody else waiting for longer than one piece of it.
 */
export class Turns<Owner> {
  /** Whose turn is next comes first. */
  readonly #queues = new Map<Owner, (() => void)[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  wait(owner: Owner): Promise<void> {
    this.#size += 1;
    return new Promise((resolve) => {
      const queue = this.#queues.get(owner);
      if (queue) queue.push(resolve);
      else this.#queues.set(owner, [resolve]);
    });
  }

  /** Ends the wait of whoever is next. */
  next(): void {
    const [first] = this.#queues;
    if (!first) return;
    const [owner, queue] = first;
    this.#size -= 1;
    this.#queues.delete(owner);
    queue.shift()!();
    if (queue.length > 0) this.#queues.set(owner, queue);
  }
}
