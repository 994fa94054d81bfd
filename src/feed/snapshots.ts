/**
 * The snapshots that are read beside a feed: one runner for each of its subscriptions that has any. They come and go with those; how
 * far they are outlives them (`SnapshotBook`).
 */
import { SnapshotRunner } from '../snapshot/runner.ts';
import { Touches } from '../snapshot/touches.ts';
import { isActive } from '../snapshot/runs.ts';
import { DEFAULT_SNAPSHOT } from '../config/limits.ts';
import type { ByteBudget } from '../source/byte-budget.ts';
import type { SourceConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { SnapshotBook } from '../snapshot/runs.ts';
import type { SnapshotWay } from '../snapshot/way.ts';
import type { OpTime } from '../source/position.ts';
import type { Touched } from '../worker/protocol.ts';
import type { Member, Members } from './members.ts';

export interface FeedSnapshotsOptions {
  readonly config: SourceConfig;
  readonly members: Members;
  readonly book: SnapshotBook;
  readonly way: Omit<SnapshotWay, 'touches'>;
  /** What they may hold in memory, together. */
  readonly budget: ByteBudget;
  readonly log: Log;
  readonly touch: () => void;
}

export class FeedSnapshots {
  readonly #o: FeedSnapshotsOptions;
  readonly #touches = new Touches();
  /** By subscription's number. */
  readonly #runners = new Map<number, SnapshotRunner>();

  constructor(options: FeedSnapshotsOptions) {
    this.#o = options;
  }

  /** The collections whose changes have to be told, if any have. */
  get touching(): readonly string[] | undefined {
    if (this.#runners.size === 0) return undefined;
    return [...this.#runners.values()].flatMap((runner) => [...runner.namespaces]);
  }

  /** Of a batch, before it is put in order. */
  note(touched: Touched, at: OpTime): void {
    this.#touches.note(touched, at.ts);
    for (const command of touched.commands) {
      for (const runner of this.#runners.values()) runner.command(command);
    }
  }

  /** Is about to be read for here: what becomes of collections is told to it from now on, and nothing is read before `start`. */
  expect(member: Member): void {
    this.#runner(member);
  }

  /** Reads what there is for these; of those for whom something is read already nothing changes but what they are asked for. */
  start(members: readonly Member[]): void {
    for (const member of members) {
      const runner = this.#runner(member);
      runner?.look();
      runner?.start();
    }
  }

  /** Undefined where there is nothing to read. */
  #runner({ number, route }: Member): SnapshotRunner | undefined {
    const { config, book, way, budget, log, touch } = this.#o;
    const known = this.#runners.get(number);
    const runs = book.of(route.config.name);
    if (known || !way.reads || !runs.records.some(isActive)) return known;
    const runner = new SnapshotRunner({
      source: config.name,
      subscription: route.config,
      config: route.config.snapshot ?? DEFAULT_SNAPSHOT,
      number,
      runs,
      way: { ...way, touches: this.#touches },
      progress: book.progress(route.config.name),
      budget,
      log,
      touch,
      onIdle: () => this.stop(number),
    });
    this.#runners.set(number, runner);
    return runner;
  }

  /** Nothing more of this one is put in order. */
  stop(number: number): void {
    this.#runners.get(number)?.stop();
    this.#runners.delete(number);
  }

  /** Nothing more is put in order; what is under way may still be confirmed. */
  halt(): void {
    for (const runner of this.#runners.values()) runner.halt();
  }

  stopAll(): void {
    for (const number of this.#runners.keys()) this.stop(number);
  }
}
