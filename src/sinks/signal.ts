/** Something that happens once, and that many may wait for. */
export class Signal {
  readonly #fired = new AbortController();

  fire(): void {
    this.#fired.abort();
  }

  /** Rejects at `stop`. */
  async fired(stop: AbortSignal): Promise<void> {
    await stopped(AbortSignal.any([this.#fired.signal, stop]));
    if (!this.#fired.signal.aborted) throw new Error('stopped');
  }
}

/** Resolves when it has fired. */
export function stopped(stop: AbortSignal): Promise<void> {
  if (stop.aborted) return Promise.resolve();
  return new Promise((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }));
}
