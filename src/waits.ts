/** Waiting, that ends by itself. */

/** Resolves after `ms`, or at once when `stop` fires: the caller looks at `stop` itself. */
export function sleep(ms: number, stop: AbortSignal): Promise<void> {
  return settled(undefined, stop, ms);
}

/** Whether `work` has come to its end after `ms`; rejects where it does by then. What it does later is nobody's. */
export async function endsWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
  const done = new AbortController();
  try {
    return await Promise.race([work.then(() => true), sleep(ms, done.signal).then(() => false)]);
  } finally {
    done.abort();
  }
}

/** Resolves with `work`, which must not reject, or when `signal` fires, or after `mostMs`. */
export function settled(work: Promise<void> | undefined, signal: AbortSignal, mostMs?: number): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = mostMs === undefined ? undefined : setTimeout(done, mostMs);
    signal.addEventListener('abort', done, { once: true });
    void work?.finally(done);
  });
}

/** Rejects when `signal` fires. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined);
  await settled(
    work.then(
      () => undefined,
      () => undefined,
    ),
    signal,
  );
  signal.throwIfAborted();
  return await work;
}
