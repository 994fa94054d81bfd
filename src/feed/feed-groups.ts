/** The sources that are read, each with its feeds. They come and go; the run ends when it is told to, or when all that are left have lost their position. */
import { AnyOf } from '../source/any-of.ts';
import type { FeedGroup } from './feed-group.ts';
import type { Feed } from './feed.ts';

/** How a run ended: 0 as asked to, 3 with a position lost and nothing left to read. */
export type ExitCode = 0 | 3;

interface Running {
  readonly quit: AbortController;
  readonly done: Promise<void>;
}

export class FeedGroups {
  readonly #groups = new Map<string, FeedGroup>();
  readonly #running = new Map<FeedGroup, Running>();
  #stop: AbortSignal | undefined;
  #settle: { readonly resolve: (outcome: ExitCode) => void; readonly reject: (error: unknown) => void } | undefined;

  constructor(groups: readonly FeedGroup[]) {
    for (const group of groups) this.#groups.set(group.name, group);
  }

  get all(): readonly FeedGroup[] {
    return [...this.#groups.values()];
  }

  get feeds(): readonly Feed[] {
    return this.all.flatMap(({ feeds }) => feeds);
  }

  get(source: string): FeedGroup | undefined {
    return this.#groups.get(source);
  }

  /** Until `stop`, or until all have lost their position: 3. Rejects with what ended one. */
  async run(stop: AbortSignal): Promise<ExitCode> {
    const over = new AbortController();
    using either = new AnyOf([stop, over.signal]);
    this.#stop = either.signal;
    const stopped = (): void => this.resolveIfOver();
    either.signal.addEventListener('abort', stopped);
    try {
      const outcome = await new Promise<ExitCode>((resolve, reject) => {
        this.#settle = { resolve, reject };
        for (const group of this.all) this.#launch(group, either.signal);
        stopped();
      });
      over.abort(new Error('nothing is left to read'));
      await Promise.all([...this.#running.values()].map(async ({ done }) => done));
      return outcome;
    } finally {
      over.abort(new Error('a source has failed'));
    }
  }

  /** Reads from one more. */
  add(group: FeedGroup): void {
    this.#groups.set(group.name, group);
    if (this.#stop) this.#launch(group, this.#stop);
  }

  /** Of one that nobody is read for any more. Resolves once its connections are closed. */
  async remove(source: string): Promise<void> {
    const group = this.#groups.get(source);
    if (!group) return;
    this.#groups.delete(source);
    const running = this.#running.get(group);
    running?.quit.abort(new Error('nothing is read from it any more'));
    await running?.done;
    await group.drain();
    await group.close();
  }

  #launch(group: FeedGroup, stop: AbortSignal): void {
    const quit = new AbortController();
    const done = this.#run(group, [stop, quit.signal]).then(
      () => {
        this.#running.delete(group);
        if (stop.aborted) this.resolveIfOver();
      },
      (error: unknown) => this.#settle?.reject(error),
    );
    this.#running.set(group, { quit, done });
  }

  /** Where a source goes while another takes its place, that is for whoever changes them to say. */
  resolveIfOver(): void {
    const { all } = this;
    const isOver =
      this.#stop?.aborted === true ? this.#running.size === 0 : all.length > 0 && all.every((it) => it.isGivenUp);
    if (isOver) this.#settle?.resolve(all.some((it) => it.isGivenUp) ? 3 : 0);
  }

  async #run(group: FeedGroup, stops: readonly AbortSignal[]): Promise<void> {
    using either = new AnyOf(stops);
    await group.run(either.signal, () => {
      if (this.#groups.get(group.name) === group) this.resolveIfOver();
    });
  }
}
