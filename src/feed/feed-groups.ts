/** The sources that are read, each with its feeds. They come and go; the run ends when it is told to, or when all that were left have lost their position. */
import { AnyOf } from '../source/any-of.ts';
import type { ExitCode, FeedGroup } from './feed-group.ts';
import type { Feed } from './feed.ts';

interface Running {
  readonly quit: AbortController;
  readonly done: Promise<void>;
}

export class FeedGroups {
  readonly #groups = new Map<string, FeedGroup>();
  readonly #running = new Map<FeedGroup, Running>();
  /** By source: how its run ended. */
  readonly #outcomes = new Map<string, ExitCode>();
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
    this.#stop = stop;
    const stopped = (): void => this.resolveIfOver();
    stop.addEventListener('abort', stopped);
    try {
      return await new Promise<ExitCode>((resolve, reject) => {
        this.#settle = { resolve, reject };
        for (const group of this.all) this.#launch(group, stop);
        stopped();
      });
    } finally {
      stop.removeEventListener('abort', stopped);
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
    this.#outcomes.delete(source);
    const running = this.#running.get(group);
    running?.quit.abort(new Error('nothing is read from it any more'));
    await running?.done;
    await group.drain();
    await group.close();
  }

  #launch(group: FeedGroup, stop: AbortSignal): void {
    const quit = new AbortController();
    const done = this.#run(group, [stop, quit.signal]).then(
      (outcome) => {
        this.#running.delete(group);
        if (this.#groups.get(group.name) === group) {
          this.#outcomes.set(group.name, outcome);
          this.resolveIfOver();
        } else if (stop.aborted) this.resolveIfOver();
      },
      (error: unknown) => this.#settle?.reject(error),
    );
    this.#running.set(group, { quit, done });
  }

  /** Where a source goes while another takes its place, that is for whoever changes them to say. */
  resolveIfOver(): void {
    const isLost = this.all.some(({ name }) => this.#outcomes.get(name) === 3);
    if (this.#running.size === 0 && (this.#stop?.aborted === true || isLost)) this.#settle?.resolve(isLost ? 3 : 0);
  }

  async #run(group: FeedGroup, stops: readonly AbortSignal[]): Promise<ExitCode> {
    using either = new AnyOf(stops);
    return await group.run(either.signal);
  }
}
