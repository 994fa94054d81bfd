/**
 * Delivers parked events after all, one at a time. An event leaves the store only after its messages were confirmed, a number of
 * events at a time: what ends this in the middle repeats those, and loses none.
 */
import type { ParkedName, ParkingStore } from '../checkpoint/parking.ts';
import type { ParkedRecord, ParkedSummary } from '../checkpoint/record.ts';
import type { Config } from '../config/config.ts';
import type { ParkReason } from '../worker/protocol.ts';
import { countBy } from './counts.ts';
import type { Count } from './counts.ts';
import type { Publisher, Sent } from './publisher.ts';
import type { Remade, Remaker } from './remake.ts';

/** How many may be repeated when this is killed; as often the disk is awaited. */
const CHUNK = 100;

export interface ReplayOptions {
  readonly config: Config;
  readonly store: Pick<ParkingStore, 'settle'>;
  readonly remaker: Remaker;
  readonly publisher: Publisher;
  readonly dryRun: boolean;
}

interface Kept {
  readonly subscription: string;
  readonly reason: string;
  readonly detail: string;
}

export interface ReplayOutcome {
  readonly dryRun: boolean;
  readonly replayed: number;
  /** What stayed, by subscription and reason. */
  readonly kept: readonly Count[];
}

export class Replay {
  readonly #o: ReplayOptions;
  readonly #kept: Kept[] = [];
  readonly #unavailable = new Map<string, string>();
  #gone: ParkedName[] = [];
  #changed: ParkedSummary[] = [];
  #replayed = 0;

  constructor(options: ReplayOptions) {
    this.#o = options;
  }

  async one(record: ParkedRecord): Promise<void> {
    const { subscription } = record;
    const unavailable = this.#unavailable.get(subscription);
    if (unavailable !== undefined) {
      this.#keep(record, unavailable);
      return;
    }
    const remade = await this.#o.remaker.remake(record);
    if (remade.kind === 'kept') {
      this.#keep(record, remade.detail, remade.reason);
      return;
    }
    const sent = this.#o.dryRun ? DELIVERED : await this.#send(subscription, remade);
    switch (sent.kind) {
      case 'delivered':
        this.#replayed += 1;
        if (!this.#o.dryRun) this.#gone.push(record);
        break;
      case 'unavailable':
        // Nor will it take the others: they are not tried one by one, each with all the patience there is.
        this.#unavailable.set(subscription, sent.detail);
        this.#keep(record, sent.detail);
        break;
      case 'refused':
      case 'unroutable':
        this.#keep(record, sent.detail, sent.kind);
    }
    if (this.#gone.length + this.#changed.length >= CHUNK) await this.settle();
  }

  async settle(): Promise<void> {
    const settlement = { gone: this.#gone, kept: this.#changed };
    this.#gone = [];
    this.#changed = [];
    await this.#o.store.settle(settlement);
  }

  /** With `dryRun`, what would become of them. */
  get outcome(): ReplayOutcome {
    return { dryRun: this.#o.dryRun, replayed: this.#replayed, kept: countBy(this.#kept) };
  }

  async #send(name: string, { messages, as }: Remade & { kind: 'made' }): Promise<Sent> {
    const { config, publisher } = this.#o;
    const subscription = config.subscriptions.find((one) => one.name === name)!;
    for (const message of messages) {
      const sent = await publisher.send(subscription, message, as);
      if (sent.kind !== 'delivered') return sent;
    }
    return DELIVERED;
  }

  /** `reason`: where it is the event's own fault; that is what the store then says of it. */
  #keep(record: ParkedRecord, detail: string, reason?: ParkReason): void {
    const { payload, ...summary } = record;
    void payload;
    this.#kept.push({ subscription: summary.subscription, reason: reason ?? summary.reason, detail });
    if (this.#o.dryRun || reason === undefined) return;
    if (reason !== summary.reason || detail !== summary.detail) this.#changed.push({ ...summary, reason, detail });
  }
}

const DELIVERED: Sent = { kind: 'delivered' };
