/** Work of which one piece is done at a time, in the order in which it was asked for; what one fails with is its asker's alone. */
export class InTurn {
  #last: Promise<unknown> = Promise.resolve();

  /** Resolves or rejects as `work` does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Resolves once what was asked for until now is done; never rejects. */
  async settled(): Promise<void> {
    await this.#last;
  }
}
