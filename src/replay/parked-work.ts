/**
 * Replays and drops parked events beside a running engine. Invariants: one such work at a time; each is bounded in time and says
 * where the next one goes on; between slices of records deliveries have their turn; what is replayed has a connection and a worker
 * of its own, so that neither waits for what is delivered, nor the other way round.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { ParkedFilter } from '../checkpoint/parked-filter.ts';
import type { ParkedKey } from '../checkpoint/parked-key.ts';
import type { ParkedName, ParkingStore } from '../checkpoint/parking.ts';
import type { Config, SubscriptionConfig } from '../config/config.ts';
import { NotNowError } from '../errors.ts';
import type { LanePort } from '../lanes/port.ts';
import { noLog } from '../library/no-log.ts';
import { countBy } from './counts.ts';
import type { Count } from './counts.ts';
import { Publisher } from './publisher.ts';
import { Remaker } from './remake.ts';
import { Replay } from './replay.ts';
import type { ReplayOutcome } from './replay.ts';

export interface ParkedWorkOptions {
  /** As it is now. */
  readonly config: () => Config;
  readonly store: ParkingStore;
  readonly streamPort: (subscription: SubscriptionConfig) => LanePort;
}

export interface Chosen {
  readonly filter: ParkedFilter;
  /** Only these; no filter then. */
  readonly keys?: readonly ParkedKey[] | undefined;
  /** Only behind this one. */
  readonly after?: ParkedKey | undefined;
  readonly dryRun: boolean;
}

/** `next`: the last one that was come to; undefined where there is nothing behind it. */
export type Partly<T> = T & { readonly next: ParkedKey | undefined };

export interface DropOutcome {
  readonly dryRun: boolean;
  readonly dropped: number;
  readonly counts: readonly Count[];
}

/** Then the answer says how far it has come. */
const WORK_MS = 10_000;
/** For a destination that says nothing. */
const PATIENCE_MS = 5_000;
/** Of so many records that are dropped the disk is awaited once. */
const CHUNK = 1_000;

export class ParkedWork implements AsyncDisposable {
  readonly #o: ParkedWorkOptions;
  readonly #stop = new AbortController();
  #working: Promise<unknown> | undefined;

  constructor(options: ParkedWorkOptions) {
    this.#o = options;
  }

  /** Throws `NotNowError`, and `UserError` for what the user must mend at the destination. */
  async replay(chosen: Chosen): Promise<Partly<ReplayOutcome>> {
    return this.#alone(async (stop) => {
      const { config: now, store, streamPort } = this.#o;
      const config = now();
      const names = config.subscriptions.map(({ name }) => name).filter((name) => store.count(name) > 0);
      await using remaker = new Remaker(config, noLog);
      await using publisher = new Publisher({
        config,
        subscriptions: new Set(names),
        log: noLog,
        patienceMs: PATIENCE_MS,
        stop,
        streamPort,
      });
      const replay = new Replay({ config, store, remaker, publisher, dryRun: chosen.dryRun });
      let next: ParkedKey | undefined;
      try {
        next = await this.#each(chosen, stop, async (name) => {
          const record = store.read(name);
          if (record) await replay.one(record);
        });
      } finally {
        await replay.settle();
      }
      return { ...replay.outcome, next };
    });
  }

  /** Throws `NotNowError`. */
  async drop(chosen: Chosen): Promise<Partly<DropOutcome>> {
    return this.#alone(async (stop) => {
      const { store } = this.#o;
      const counts: { subscription: string; reason: string }[] = [];
      let dropped = 0;
      let gone: ParkedName[] = [];
      const settle = async (): Promise<void> => {
        if (!chosen.dryRun) dropped += await store.settle({ gone, kept: [] });
        gone = [];
      };
      const next = await this.#each(chosen, stop, async (name, reason) => {
        counts.push({ subscription: name.subscription, reason });
        if (gone.push(name) >= CHUNK) await settle();
      });
      await settle();
      return { dryRun: chosen.dryRun, dropped: chosen.dryRun ? counts.length : dropped, counts: countBy(counts), next };
    });
  }

  /** Ends what is under way, and waits for it: the store is closed next. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the engine stops'));
    await this.#working?.catch(() => undefined);
  }

  async #alone<T>(work: (stop: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#working) {
      throw new NotNowError(
        'Parked events are being replayed or dropped already: ask again when that has been answered.',
      );
    }
    if (this.#stop.signal.aborted) throw new NotNowError('The engine stops.');
    const working = work(this.#stop.signal);
    this.#working = working;
    try {
      return await working;
    } finally {
      this.#working = undefined;
    }
  }

  /** Undefined once all were come to; otherwise the last one that was. */
  async #each(
    { filter, keys, after }: Chosen,
    stop: AbortSignal,
    use: (name: ParkedName, reason: string) => Promise<void>,
  ): Promise<ParkedKey | undefined> {
    const { store } = this.#o;
    const until = performance.now() + WORK_MS;
    let last = after;
    for (;;) {
      const { found, last: looked } = keys
        ? { found: lookedUp(store, keys), last: undefined }
        : store.slice(filter, last);
      for (const { key, summary } of found) {
        if (stop.aborted || performance.now() > until) return last;
        await use(summary, summary.reason);
        last = key;
      }
      if (looked === undefined) return undefined;
      last = looked;
      if (stop.aborted || performance.now() > until) return last;
      await turn();
    }
  }
}

function lookedUp(store: ParkingStore, keys: readonly ParkedKey[]) {
  return keys.flatMap((key) => store.look(key, 0) ?? []);
}
