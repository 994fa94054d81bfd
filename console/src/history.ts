/**
 * What has been seen since the page was opened: the engine has totals and no past, so that rates and charts are made here, of differences.
 * Invariants: a rate is of one process, never across a restart; time in which nobody looked is a hole in a chart, not a line.
 */
import type { StatusReport } from './types.ts';

/** A rate is over the samples of this time: one second alone would jump. */
const RATE_MS = 5_000;
/** An hour at one a second; older ones are forgotten. */
const MOST_SAMPLES = 3_600;
/** Longer between two samples, and nobody has looked. */
const HOLE_MS = 10_000;

export interface Sample {
  /** `Date.now()`. */
  readonly at: number;
  readonly status: StatusReport;
}

export interface Rates {
  readonly entriesRead: Readonly<Record<string, number>>;
  readonly bytesRead: Readonly<Record<string, number>>;
  readonly eventsPublished: Readonly<Record<string, number>>;
  readonly messagesConfirmed: Readonly<Record<string, number>>;
  /** Processor cores that are used, and the share of time in which the main thread is busy. */
  readonly cpu: number | null;
  readonly mainBusy: number | null;
}

/** Columns of equal length, which is what charts take. `null`: not known then. */
class Columns {
  readonly at: number[] = [];
  readonly #columns = new Map<string, (number | null)[]>();

  add(atSeconds: number, values: ReadonlyMap<string, number | null>): void {
    this.at.push(atSeconds);
    const { length } = this.at;
    for (const [name, value] of values) {
      let column = this.#columns.get(name);
      if (!column) this.#columns.set(name, (column = Array.from({ length: length - 1 }, () => null)));
      column.push(value);
    }
    for (const column of this.#columns.values()) if (column.length < length) column.push(null);
    if (length <= MOST_SAMPLES) return;
    this.at.shift();
    for (const column of this.#columns.values()) column.shift();
  }

  of(name: string): readonly (number | null)[] {
    return this.#columns.get(name) ?? this.at.map(() => null);
  }
}

export class History {
  readonly columns = new Columns();
  #recent: Sample[] = [];

  add(sample: Sample): Rates {
    const last = this.#recent.at(-1);
    const isOther = last && sample.status.uptimeSeconds < last.status.uptimeSeconds;
    if (isOther) this.#recent = [];
    if (last && (isOther || sample.at - last.at > HOLE_MS)) this.columns.add((last.at + 1) / 1000, new Map());
    this.#recent = [...this.#recent.filter(({ at }) => sample.at - at <= RATE_MS + 500), sample];
    const rates = ratesOf(this.#recent[0]!, sample);
    this.columns.add(sample.at / 1000, valuesOf(sample.status, rates));
    return rates;
  }
}

function ratesOf(before: Sample, now: Sample): Rates {
  const { status } = now;
  const passed = (now.at - before.at) / 1000;
  const known = passed > 0;
  const rate = (later: number, earlier: number | undefined): number => Math.max(0, later - (earlier ?? later)) / passed;
  const each = <T>(
    of: (report: StatusReport) => Readonly<Record<string, T>>,
    total: (one: T) => number,
  ): Record<string, number> => {
    if (!known) return {};
    const earlier = of(before.status);
    return Object.fromEntries(
      Object.entries(of(status)).map(([name, one]) => {
        const old = earlier[name];
        return [name, rate(total(one), old === undefined ? undefined : total(old))];
      }),
    );
  };
  return {
    entriesRead: each(
      ({ sources }) => sources,
      ({ entriesRead }) => entriesRead,
    ),
    bytesRead: each(
      ({ sources }) => sources,
      ({ bytesRead }) => bytesRead,
    ),
    eventsPublished: each(
      ({ subscriptions }) => subscriptions,
      ({ eventsPublished }) => eventsPublished,
    ),
    messagesConfirmed: each(
      ({ subscriptions }) => subscriptions,
      ({ messagesConfirmed }) => messagesConfirmed,
    ),
    cpu: known ? rate(status.process.cpuSeconds, before.status.process.cpuSeconds) : null,
    mainBusy: known
      ? Math.min(1, rate(status.process.eventLoopBusySeconds, before.status.process.eventLoopBusySeconds))
      : null,
  };
}

function valuesOf(status: StatusReport, rates: Rates): Map<string, number | null> {
  const values = new Map<string, number | null>();
  for (const [name, one] of Object.entries(status.sources)) {
    values.set(`source/${name}/lag`, one.lagSeconds);
    values.set(`source/${name}/headroom`, one.headroomSeconds);
    values.set(`source/${name}/window`, one.windowSeconds);
    values.set(`source/${name}/inFlight`, one.inFlightBytes);
    values.set(`source/${name}/entries`, rates.entriesRead[name] ?? null);
    values.set(`source/${name}/bytes`, rates.bytesRead[name] ?? null);
  }
  for (const [name, one] of Object.entries(status.subscriptions)) {
    values.set(`subscription/${name}/lag`, one.lagSeconds);
    values.set(`subscription/${name}/headroom`, one.headroomSeconds);
    values.set(`subscription/${name}/events`, rates.eventsPublished[name] ?? null);
    values.set(`subscription/${name}/messages`, rates.messagesConfirmed[name] ?? null);
  }
  return values;
}
