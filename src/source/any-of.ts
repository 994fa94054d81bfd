/**
 * A signal for one question: it fires with any of its sources, or when the time is up. Unlike with `AbortSignal.any` nothing of it
 * stays with the sources once it is disposed of: that leaves a reference for each call on a signal that lives as long as the
 * engine (Node 20), until the set of them is full.
 */
export class AnyOf implements Disposable {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
  #timer: NodeJS.Timeout | undefined;

  constructor(sources: readonly AbortSignal[]) {
    this.#sources = sources;
    for (const source of sources) {
      if (source.aborted) this.#controller.abort(source.reason);
      else source.addEventListener('abort', this.#fire);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Fires after `ms` with this reason. */
  within(ms: number, reason: Error): this {
    this.#timer = setTimeout(() => this.#controller.abort(reason), ms);
    return this;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const source of this.#sources) source.removeEventListener('abort', this.#fire);
  }

  readonly #fire = (event: Event): void => {
    // oxlint-disable-next-line no-unsafe-type-assertion -- it listens to signals only
    this.#controller.abort((event.target as AbortSignal).reason);
  };
}
