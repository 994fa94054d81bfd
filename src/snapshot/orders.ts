/** What is asked of snapshots in a running engine: one more, and that one be held, gone on with or ended. Answered once it is stored. */
import { NotNowError } from '../errors.ts';
import type { InTurn } from '../in-turn.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { CheckpointRecord } from '../checkpoint/record.ts';
import type { Checkpoints } from '../feed/route.ts';
import type { Log } from '../observe/log.ts';
import type { Source } from '../source/source.ts';
import { refuseSnapshot } from './refused.ts';
import { MOST_ACTIVE, isActive } from './runs.ts';
import type { SnapshotBook } from './runs.ts';
import { snapshotId } from './shown.ts';

export interface AskedSnapshot {
  /** Patterns; undefined: all that the subscription follows. */
  readonly namespaces?: readonly string[] | undefined;
  /** A query, as Extended JSON. */
  readonly filter?: string | undefined;
}

/** The feed that reads for a subscription. */
export interface ReadingFeed {
  readonly source: Source;
  snapshotAdded(number: number): void;
  /** What its checkpoint is to say. */
  snapshot(): CheckpointRecord[];
}

export interface SnapshotOrdersOptions {
  readonly book: SnapshotBook;
  readonly checkpoints: Checkpoints;
  /** One change of the engine at a time. */
  readonly changes: InTurn;
  readonly log: Log;
  /** Throws `NotNowError` where there is no such subscription. `reading`: undefined while it is not read for. */
  readonly find: (subscription: string) => {
    readonly config: SubscriptionConfig;
    readonly isPaused: boolean;
    readonly reading: { readonly feed: ReadingFeed; readonly number: number } | undefined;
  };
  readonly stop: AbortSignal;
}

export class SnapshotOrders {
  readonly #o: SnapshotOrdersOptions;

  constructor(options: SnapshotOrdersOptions) {
    this.#o = options;
  }

  /** Resolves with its id. Throws `NotNowError` and `UserError`. */
  async add(subscription: string, asked: AskedSnapshot): Promise<string> {
    const { book, changes, stop } = this.#o;
    const { feed, config } = this.#reading(subscription);
    await refuseSnapshot({ source: feed.source, config, ...asked }, stop);
    return await changes.run(async () => {
      const now = this.#reading(subscription);
      const runs = book.of(subscription);
      if (runs.records.filter(isActive).length >= MOST_ACTIVE) {
        throw new NotNowError(`Subscription "${subscription}" has ${MOST_ACTIVE} snapshots already that are not over.`);
      }
      const { run } = runs.add({ cause: 'asked', ...asked });
      now.feed.snapshotAdded(now.number);
      await this.#store(now.feed.snapshot());
      return snapshotId(subscription, run);
    });
  }

  /** Throws `NotNowError`. */
  async set(subscription: string, run: string, state: 'running' | 'paused' | 'cancelled'): Promise<void> {
    const { book, changes, checkpoints, log, find } = this.#o;
    await changes.run(async () => {
      const stored = find(subscription).isPaused ? checkpoints.get(subscription) : undefined;
      const reading = stored ? undefined : this.#reading(subscription);
      if (stored) book.load(subscription, stored.snapshots);
      const runs = book.of(subscription);
      if (!runs.setState(run, state)) throw new NotNowError('That snapshot is over.');
      reading?.feed.snapshotAdded(reading.number);
      await this.#store(stored ? [{ ...stored, snapshots: runs.records }] : reading!.feed.snapshot());
      log.info({ subscription, run, state }, 'A snapshot was changed.');
    });
  }

  async #store(records: CheckpointRecord[]): Promise<void> {
    await this.#o.checkpoints.put(records);
    await this.#o.checkpoints.flushed();
  }

  #reading(subscription: string) {
    const { config, reading, isPaused } = this.#o.find(subscription);
    if (reading) return { ...reading, config };
    throw new NotNowError(
      isPaused
        ? `Subscription "${subscription}" is paused: \`tailrace ctl resume ${subscription}\` first.`
        : `Subscription "${subscription}" is not read for now: its source has not been reached.`,
    );
  }
}
