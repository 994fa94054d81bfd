/** How far the snapshots of a subscription are, for people: what there is to read as far as it was counted, and how fast it goes. */

export interface RunProgress {
  /** About; undefined while not all was counted. */
  readonly expected: number | undefined;
  readonly perSecond: number;
  /** Why it does not go on. */
  readonly trouble: string | undefined;
}

interface Following {
  readonly collections: ReadonlySet<string>;
  readonly counted: Map<string, number>;
  /** Delivered lately, by the second. */
  readonly seconds: Map<number, number>;
  begunAt: number;
  trouble: string | undefined;
}

const WINDOW_SECONDS = 10;

export class SnapshotProgress {
  readonly #runs = new Map<string, Following>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  begin(run: string, collections: readonly string[]): void {
    const known = this.#runs.get(run);
    this.#runs.set(run, {
      collections: new Set(collections),
      counted: known?.counted ?? new Map(),
      seconds: new Map(),
      begunAt: this.#now(),
      trouble: undefined,
    });
  }

  expect(run: string, ns: string, documents: number): void {
    this.#runs.get(run)?.counted.set(ns, documents);
  }

  delivered(run: string, documents: number): void {
    const seconds = this.#runs.get(run)?.seconds;
    if (!seconds) return;
    const second = Math.floor(this.#now() / 1_000);
    seconds.set(second, (seconds.get(second) ?? 0) + documents);
    for (const old of seconds.keys()) if (old < second - WINDOW_SECONDS) seconds.delete(old);
  }

  trouble(run: string, reason: string | undefined): void {
    if (reason !== undefined && !this.#runs.has(run)) this.begin(run, []);
    const following = this.#runs.get(run);
    if (following) following.trouble = reason;
  }

  of(run: string): RunProgress {
    const following = this.#runs.get(run);
    if (!following) return { expected: undefined, perSecond: 0, trouble: undefined };
    const { collections, counted, seconds, begunAt, trouble } = following;
    const isCounted = [...collections].every((ns) => counted.has(ns));
    let expected = 0;
    for (const documents of counted.values()) expected += documents;
    const second = Math.floor(this.#now() / 1_000);
    let delivered = 0;
    for (const [at, documents] of seconds) if (at >= second - WINDOW_SECONDS) delivered += documents;
    const forSeconds = Math.max(1, Math.min(WINDOW_SECONDS, (this.#now() - begunAt) / 1_000));
    return { expected: isCounted ? expected : undefined, perSecond: delivered / forSeconds, trouble };
  }
}
