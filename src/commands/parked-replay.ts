/**
 * `tailrace parked replay`: delivers parked events after all. An event leaves the store only after its messages were confirmed, a
 * number of events at a time: what ends this command in the middle repeats those, and loses none.
 */
import { parseFilter } from '../checkpoint/parked-filter.ts';
import type { FilterFlags } from '../checkpoint/parked-filter.ts';
import type { ParkedName, ParkingStore } from '../checkpoint/parking.ts';
import type { ParkedRecord, ParkedSummary } from '../checkpoint/record.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/config.ts';
import { noLog } from '../library/no-log.ts';
import { Publisher } from '../replay/publisher.ts';
import type { Sent } from '../replay/publisher.ts';
import { Remaker } from '../replay/remake.ts';
import type { Remade } from '../replay/remake.ts';
import type { ParkReason } from '../worker/protocol.ts';
import { countBy, countTable, NOTHING_PARKED } from './parked-counts.ts';
import { stopOnSignals } from './signals.ts';
import { parkedOfStopped } from './stopped-folder.ts';
import { asJson, toStderr, toStdout } from './output.ts';

export interface ParkedReplayOptions extends FilterFlags {
  /** The configuration file. */
  readonly config: string;
  readonly dryRun: boolean;
  readonly json?: boolean;
  /** Of the report; standard error where events go to standard output. */
  readonly write?: (text: string) => void;
}

/** How many may be repeated when this is killed; as often the disk is awaited. */
const CHUNK = 100;
const FAILED = 1;

/** 0 when all that was asked for was delivered, or could be. */
export async function parkedReplay(options: ParkedReplayOptions): Promise<number> {
  const { config: file, dryRun, json = false, write, ...flags } = options;
  const nothing = json ? asJson({ dryRun, asked: 0, replayed: 0, kept: [], untouched: 0 }) : NOTHING_PARKED;
  const filter = parseFilter(flags);
  const config = await loadConfig(file, process.env);
  await using stopped = await parkedOfStopped(config, 'parked replay');
  if (stopped === undefined) {
    (write ?? toStdout)(nothing);
    return 0;
  }
  const { store } = stopped;
  const names = new Set<string>();
  const chosen: ParkedName[] = [];
  for (const { subscription, id, origin } of store.list(filter)) {
    names.add(subscription);
    chosen.push({ subscription, id, origin });
  }
  const report = write ?? (usesStdout(config, names) ? toStderr : toStdout);
  if (chosen.length === 0) {
    report(nothing);
    return 0;
  }
  await using remaker = new Remaker(config, noLog);
  await using publisher = new Publisher({ config, subscriptions: names, log: noLog });
  // It ends after the message that is under way.
  using signals = stopOnSignals(noLog);
  const replay = new Replay({ config, store, remaker, publisher, dryRun });
  try {
    for (const name of chosen) {
      if (signals.stop.aborted) break;
      const record = store.read(name);
      if (record) await replay.one(record);
    }
  } finally {
    await replay.settle();
    report(json ? asJson(replay.outcome(chosen.length)) : replay.summary(chosen.length));
  }
  return replay.replayed === chosen.length ? 0 : FAILED;
}

interface ReplayOptions {
  readonly config: Config;
  readonly store: ParkingStore;
  readonly remaker: Remaker;
  readonly publisher: Publisher;
  readonly dryRun: boolean;
}

interface Kept {
  readonly subscription: string;
  readonly reason: string;
  readonly detail: string;
}

class Replay {
  readonly #o: ReplayOptions;
  readonly #kept: Kept[] = [];
  readonly #unavailable = new Map<string, string>();
  #gone: ParkedName[] = [];
  #changed: ParkedSummary[] = [];
  replayed = 0;

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
        this.replayed += 1;
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

  /** For a program; with `dryRun`, what would become of them. */
  outcome(asked: number) {
    const untouched = asked - this.replayed - this.#kept.length;
    return { dryRun: this.#o.dryRun, asked, replayed: this.replayed, kept: countBy(this.#kept), untouched };
  }

  summary(asked: number): string {
    const { dryRun, kept, untouched } = this.outcome(asked);
    const parts = [
      dryRun ? `${this.replayed} would be replayed` : `Replayed ${this.replayed}`,
      ...(this.#kept.length > 0 ? [`${dryRun ? 'would stay' : 'still'} parked ${this.#kept.length}`] : []),
      ...(untouched > 0 ? [`not come to ${untouched}`] : []),
    ];
    const counts = kept.length > 0 ? `:\n${countTable(kept)}` : '.\n';
    return `${parts.join(', ')}${counts}`;
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

function usesStdout({ subscriptions }: Config, names: ReadonlySet<string>): boolean {
  return subscriptions.some(({ name, to }) => to.kind === 'stdout' && names.has(name));
}
