/**
 * How fast things go, from the totals and lags of a status that was asked for again and again: the engine keeps no rates. Rates are those of the
 * last seconds; how long catching up still takes comes from a longer stretch, as lags are whole seconds and commits come in bursts.
 * Invariant: what is not known yet is undefined, never 0.
 */
import type { StatusReport } from '../observe/status.ts';

export type Observed = Pick<StatusReport, 'uptimeSeconds' | 'sources' | 'subscriptions' | 'process'>;

export interface Rates {
  /** By source. */
  readonly sources: ReadonlyMap<string, { readonly entries: number; readonly bytes: number }>;
  /** By subscription. */
  readonly subscriptions: ReadonlyMap<string, { readonly events: number; readonly confirms: number }>;
  /** Processors in use, of all threads; 2 is two of them. */
  readonly processors: number;
  /** Of the main thread's time, from 0 to 1. */
  readonly eventLoop: number;
}

/** Of a source that was behind. */
export interface CatchingUp {
  /** Deliveries are that old. */
  readonly behindSeconds: number;
  /** From 0, where it was furthest behind, to 1. */
  readonly share: number;
  /** At the pace of the last seconds; Infinity while it falls further behind. */
  readonly leftSeconds: number | undefined;
}

interface Reading {
  readonly atMs: number;
  readonly report: Observed;
}

const RATES_OVER_MS = 4_000;
const PACE_OVER_MS = 20_000;
/** Before that a pace is a guess. */
const PACE_AFTER_MS = 2_000;
/** As far behind makes it worth a bar, which stays until it is in step; a set that idles is 10 s ahead with every sign of life. */
const BEHIND_SECONDS = 15;
const IN_STEP_SECONDS = 2;

export class Pace {
  /** The oldest first. */
  #readings: Reading[] = [];
  /** By source: how far behind it was at most since it fell behind. */
  readonly #furthest = new Map<string, number>();

  add(report: Observed, atMs: number): void {
    const last = this.#readings.at(-1);
    // Another process answers: its totals began anew.
    if (last && report.uptimeSeconds < last.report.uptimeSeconds) this.#readings = [];
    this.#readings.push({ atMs, report });
    while (atMs - this.#readings[0]!.atMs > PACE_OVER_MS) this.#readings.shift();
    for (const [name, { checkpointLagSeconds }] of Object.entries(report.sources)) {
      if (checkpointLagSeconds === null) continue;
      const furthest = this.#furthest.get(name);
      if (checkpointLagSeconds <= IN_STEP_SECONDS) this.#furthest.delete(name);
      else if (furthest !== undefined || checkpointLagSeconds >= BEHIND_SECONDS) {
        this.#furthest.set(name, Math.max(furthest ?? 0, checkpointLagSeconds));
      }
    }
  }

  /** Undefined until there are two readings to compare. */
  get rates(): Rates | undefined {
    const now = this.#readings.at(-1);
    const before = now && this.#readings.find(({ atMs }) => now.atMs - atMs <= RATES_OVER_MS);
    if (!now || !before || before === now || now.atMs === before.atMs) return undefined;
    return ratesBetween(before.report, now.report, (now.atMs - before.atMs) / 1_000);
  }

  /** Undefined of one that is in step, or of which it is not known yet. */
  catchingUp(source: string): CatchingUp | undefined {
    const furthest = this.#furthest.get(source);
    const now = this.#readings.at(-1);
    const behindSeconds = now && lagOf(now, source);
    if (furthest === undefined || behindSeconds === undefined) return undefined;
    return { behindSeconds, share: 1 - behindSeconds / furthest, leftSeconds: this.#left(source, now!, behindSeconds) };
  }

  #left(source: string, now: Reading, behindSeconds: number): number | undefined {
    const before = this.#readings.find((reading) => lagOf(reading, source) !== undefined);
    const elapsedMs = before ? now.atMs - before.atMs : 0;
    if (!before || elapsedMs < PACE_AFTER_MS) return undefined;
    const gained = lagOf(before, source)! - behindSeconds;
    return gained > 0 ? (behindSeconds / gained) * (elapsedMs / 1_000) : Infinity;
  }
}

function lagOf({ report }: Reading, source: string): number | undefined {
  return report.sources[source]?.checkpointLagSeconds ?? undefined;
}

function ratesBetween(before: Observed, now: Observed, seconds: number): Rates {
  const rate = (from: number | undefined, to: number): number => Math.max(0, to - (from ?? to)) / seconds;
  return {
    sources: new Map(
      Object.entries(now.sources).map(([name, { entriesRead, bytesRead }]) => {
        const then = before.sources[name];
        return [name, { entries: rate(then?.entriesRead, entriesRead), bytes: rate(then?.bytesRead, bytesRead) }];
      }),
    ),
    subscriptions: new Map(
      Object.entries(now.subscriptions).map(([name, { eventsPublished, messagesConfirmed }]) => {
        const then = before.subscriptions[name];
        return [
          name,
          {
            events: rate(then?.eventsPublished, eventsPublished),
            confirms: rate(then?.messagesConfirmed, messagesConfirmed),
          },
        ];
      }),
    ),
    processors: rate(before.process.cpuSeconds, now.process.cpuSeconds),
    eventLoop: Math.min(1, rate(before.process.eventLoopBusySeconds, now.process.eventLoopBusySeconds)),
  };
}
