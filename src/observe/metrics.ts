/**
 * The numbers behind `/metrics`, in a registry of their own. What happens is counted where it happens, once per batch or
 * per confirmed group, through meters whose labels are bound beforehand; what is (lag, bytes in flight, states) is not
 * pushed at all but taken from one `StatusReport` when somebody scrapes.
 * Invariant: a counter exists from the start with 0: Prometheus sees no increase in a series that appears with its first fault.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { PARK_REASONS } from '../worker/protocol.ts';
import type { ParkReason } from '../worker/protocol.ts';
import { METRICS } from './metric-list.ts';
import type { MetricSpec } from './metric-list.ts';
import { GAP_REASONS } from './status.ts';
import type { SourceStatus, StatusReport } from './status.ts';

/** One source's counters. */
export interface SourceMeter {
  read(entries: number, bytes: number): void;
  filtered(operations: number): void;
  batch(phase: BatchPhase, seconds: number): void;
  reconnected(): void;
}

/** Waiting for a worker and the transfer · the worker's own time · waiting for the batches before it. */
export type BatchPhase = 'wait' | 'decode' | 'order';

/** One subscription's counters; all its lanes share them. */
export interface LaneMeter {
  published(events: number): void;
  confirmed(messages: number): void;
  returned(messages: number): void;
  nacked(messages: number): void;
  parked(reason: ParkReason, events: number): void;
  /** Once per group of confirms, with the time of its oldest message. */
  readonly confirmSeconds: { observe(seconds: number): void };
}

export interface SinkMeter {
  reconnected(): void;
}

/** What the status repeats of the counters, which prom-client hands out only later. */
export interface SourceTotals {
  entriesRead: number;
  bytesRead: number;
}

export interface LaneTotals {
  eventsPublished: number;
  messagesConfirmed: number;
}

interface MetricsOptions {
  readonly version: string;
  /** Asked once a scrape. */
  readonly status: () => StatusReport;
}

/**
 * How often the event loop's delay is looked at; less is not seen, and this much is what it shows at rest. prom-client's own 10 ms wakes an
 * engine that has nothing to do a hundred times a second, which was half of what it cost (bench `idle`).
 */
const EVENT_LOOP_LOOK_MS = 100;

export class Metrics {
  readonly #registry = new Registry();
  readonly #status: () => StatusReport;
  readonly #all: Instruments;
  readonly #sourceTotals = new Map<string, SourceTotals>();
  readonly #laneTotals = new Map<string, LaneTotals>();

  constructor({ version, status }: MetricsOptions) {
    this.#status = status;
    this.#all = register(this.#registry);
    this.#all.buildInfo.set({ version }, 1);
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: EVENT_LOOP_LOOK_MS });
  }

  /** The `Content-Type` of `text()`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything, in Prometheus' text format. */
  async text(): Promise<string> {
    mirror(this.#all, this.#status());
    return this.#registry.metrics();
  }

  /** Of a source, since its meter was made. */
  readBy(source: string): Readonly<SourceTotals> {
    return kept(this.#sourceTotals, source, { entriesRead: 0, bytesRead: 0 });
  }

  /** Of a subscription, since its meter was made. */
  sentBy(subscription: string): Readonly<LaneTotals> {
    return kept(this.#laneTotals, subscription, { eventsPublished: 0, messagesConfirmed: 0 });
  }

  source(name: string): SourceMeter {
    const source = { source: name };
    const end = { end: 'source', name };
    const { entriesRead, readBytes, eventsFiltered, reconnects, workerBatchSeconds } = this.#all;
    for (const counter of [entriesRead, readBytes, eventsFiltered]) counter.inc(source, 0);
    reconnects.inc(end, 0);
    const totals = kept(this.#sourceTotals, name, { entriesRead: 0, bytesRead: 0 });
    const phases = {
      wait: workerBatchSeconds.labels({ source: name, phase: 'wait' }),
      decode: workerBatchSeconds.labels({ source: name, phase: 'decode' }),
      order: workerBatchSeconds.labels({ source: name, phase: 'order' }),
    };
    return {
      read: (entries, bytes) => {
        totals.entriesRead += entries;
        totals.bytesRead += bytes;
        entriesRead.inc(source, entries);
        readBytes.inc(source, bytes);
      },
      filtered: (operations) => eventsFiltered.inc(source, operations),
      batch: (phase, seconds) => phases[phase].observe(seconds),
      reconnected: () => reconnects.inc(end),
    };
  }

  lane(subscription: string): LaneMeter {
    const labels = { subscription };
    const { eventsPublished, eventsParked, messagesConfirmed, messagesReturned, messagesNacked } = this.#all;
    for (const counter of [eventsPublished, messagesConfirmed, messagesReturned, messagesNacked])
      counter.inc(labels, 0);
    for (const reason of PARK_REASONS) eventsParked.inc({ subscription, reason }, 0);
    const totals = kept(this.#laneTotals, subscription, { eventsPublished: 0, messagesConfirmed: 0 });
    return {
      published: (events) => {
        totals.eventsPublished += events;
        eventsPublished.inc(labels, events);
      },
      confirmed: (messages) => {
        totals.messagesConfirmed += messages;
        messagesConfirmed.inc(labels, messages);
      },
      returned: (messages) => messagesReturned.inc(labels, messages),
      nacked: (messages) => messagesNacked.inc(labels, messages),
      parked: (reason, events) => eventsParked.inc({ subscription, reason }, events),
      confirmSeconds: this.#all.publishConfirmSeconds.labels(labels),
    };
  }

  /** It is there no more, and its series must not stand still for ever; one of its name begins with 0. */
  forget(kind: 'source' | 'sink' | 'subscription', name: string): void {
    const all = this.#all;
    if (kind === 'subscription') {
      const labels = { subscription: name };
      for (const counter of [all.eventsPublished, all.messagesConfirmed, all.messagesReturned, all.messagesNacked])
        counter.remove(labels);
      for (const reason of PARK_REASONS) all.eventsParked.remove({ subscription: name, reason });
      all.publishConfirmSeconds.remove(labels);
      this.#laneTotals.delete(name);
      return;
    }
    all.reconnects.remove({ end: kind, name });
    if (kind === 'sink') return;
    const labels = { source: name };
    for (const counter of [all.entriesRead, all.readBytes, all.eventsFiltered]) counter.remove(labels);
    for (const phase of ['wait', 'decode', 'order']) all.workerBatchSeconds.remove({ source: name, phase });
    this.#sourceTotals.delete(name);
  }

  sink(name: string): SinkMeter {
    const end = { end: 'sink', name };
    const { reconnects } = this.#all;
    reconnects.inc(end, 0);
    return { reconnected: () => reconnects.inc(end) };
  }
}

function kept<T>(all: Map<string, T>, name: string, fresh: T): T {
  const totals = all.get(name) ?? fresh;
  all.set(name, totals);
  return totals;
}

/** Sets every metric that mirrors live state. What the report does not know has no series, rather than a wrong 0. */
function mirror(all: Instruments, report: StatusReport): void {
  all.ready.set(report.notReady.length === 0 ? 1 : 0);
  all.workerThreads.set(report.workers.threads);
  all.parkedBytes.set(report.parking.bytes);
  all.parkedLimitBytes.set(report.parking.maxBytes);

  const { sourceLag, majorityLag, checkpointLag, oplogWindow, oplogHeadroom, inFlightBytes } = all;
  for (const gauge of [sourceLag, majorityLag, checkpointLag, oplogWindow, oplogHeadroom, inFlightBytes]) gauge.reset();
  all.sourceState.reset();
  all.sourceHeldBy.reset();
  all.gaps.reset();
  for (const [source, status] of Object.entries(report.sources)) {
    setKnown(sourceLag, { source }, status.lagSeconds);
    setKnown(majorityLag, { source }, status.majorityLagSeconds);
    setKnown(checkpointLag, { source }, status.checkpointLagSeconds);
    setKnown(oplogWindow, { source }, status.windowSeconds);
    setKnown(oplogHeadroom, { source }, status.headroomSeconds);
    inFlightBytes.set({ source }, status.inFlightBytes);
    for (const state of SOURCE_STATES) all.sourceState.set({ source, state }, state === status.state ? 1 : 0);
    for (const reason of GAP_REASONS) all.gaps.inc({ source, reason }, 0);
  }
  for (const { source, reason } of report.gaps) all.gaps.inc({ source, reason });

  all.messagesUnconfirmed.reset();
  all.laneQueued.reset();
  all.laneUnconfirmed.reset();
  all.laneHeld.reset();
  all.subscriptionDetached.reset();
  all.subscriptionPaused.reset();
  all.keptDocuments.reset();
  all.keptBytes.reset();
  all.keptLeftOut.reset();
  for (const [subscription, { source, state, lanes, detached, kept }] of Object.entries(report.subscriptions)) {
    const holds = report.sources[source]?.heldBy.includes(subscription) === true;
    all.sourceHeldBy.set({ source, subscription }, holds ? 1 : 0);
    all.subscriptionDetached.set({ source, subscription }, detached ? 1 : 0);
    all.subscriptionPaused.set({ source, subscription }, state === 'paused' ? 1 : 0);
    if (kept) {
      all.keptDocuments.set({ subscription }, kept.documents);
      all.keptBytes.set({ subscription }, kept.bytes);
      all.keptLeftOut.inc({ subscription }, kept.leftOut);
    }
    let unconfirmed = 0;
    for (const lane of lanes) {
      unconfirmed += lane.unconfirmed;
      all.laneQueued.set({ subscription, partition: lane.partition }, lane.queued);
      all.laneUnconfirmed.set({ subscription, partition: lane.partition }, lane.unconfirmed);
      if (lane.held) all.laneHeld.set({ subscription, partition: lane.partition, reason: lane.held.reason }, 1);
    }
    all.messagesUnconfirmed.set({ subscription }, unconfirmed);
  }

  all.snapshotDocuments.reset();
  all.snapshotExpected.reset();
  for (const { subscription, state, documents, expectedDocuments } of report.snapshots) {
    if (state !== 'running' && state !== 'paused') continue;
    all.snapshotDocuments.inc({ subscription }, documents);
    if (expectedDocuments !== null) all.snapshotExpected.inc({ subscription }, expectedDocuments);
  }

  all.sinkBlocked.reset();
  for (const [sink, { blocked }] of Object.entries(report.sinks))
    all.sinkBlocked.set({ sink }, blocked === null ? 0 : 1);
}

function setKnown(gauge: Gauge<'source'>, labels: { readonly source: string }, value: number | null): void {
  if (value !== null) gauge.set(labels, value);
}

type Instruments = ReturnType<typeof register>;

interface Spec<Type extends MetricSpec['type'], Label extends string> extends MetricSpec {
  readonly type: Type;
  readonly labels: readonly Label[];
}

/** Spelled out, so that the compiler holds each metric's type and labels against every use of it. */
function register(registry: Registry) {
  const registers = [registry];
  const counter = <Label extends string>({ name, help, labels }: Spec<'counter', Label>) =>
    new Counter({ name, help, labelNames: labels, registers });
  const gauge = <Label extends string>({ name, help, labels }: Spec<'gauge', Label>) =>
    new Gauge({ name, help, labelNames: labels, registers });
  const histogram = <Label extends string>({ name, help, labels, buckets = [] }: Spec<'histogram', Label>) =>
    new Histogram({ name, help, labelNames: labels, registers, buckets: [...buckets] });
  return {
    buildInfo: gauge(METRICS.buildInfo),
    ready: gauge(METRICS.ready),
    entriesRead: counter(METRICS.entriesRead),
    readBytes: counter(METRICS.readBytes),
    eventsFiltered: counter(METRICS.eventsFiltered),
    sourceLag: gauge(METRICS.sourceLag),
    majorityLag: gauge(METRICS.majorityLag),
    checkpointLag: gauge(METRICS.checkpointLag),
    oplogWindow: gauge(METRICS.oplogWindow),
    oplogHeadroom: gauge(METRICS.oplogHeadroom),
    inFlightBytes: gauge(METRICS.inFlightBytes),
    workerBatchSeconds: histogram(METRICS.workerBatchSeconds),
    workerThreads: gauge(METRICS.workerThreads),
    sourceState: gauge(METRICS.sourceState),
    sourceHeldBy: gauge(METRICS.sourceHeldBy),
    subscriptionDetached: gauge(METRICS.subscriptionDetached),
    subscriptionPaused: gauge(METRICS.subscriptionPaused),
    snapshotDocuments: gauge(METRICS.snapshotDocuments),
    snapshotExpected: gauge(METRICS.snapshotExpected),
    keptDocuments: gauge(METRICS.keptDocuments),
    keptBytes: gauge(METRICS.keptBytes),
    keptLeftOut: counter(METRICS.keptLeftOut),
    gaps: counter(METRICS.gaps),
    eventsPublished: counter(METRICS.eventsPublished),
    eventsParked: counter(METRICS.eventsParked),
    messagesConfirmed: counter(METRICS.messagesConfirmed),
    messagesReturned: counter(METRICS.messagesReturned),
    messagesNacked: counter(METRICS.messagesNacked),
    messagesUnconfirmed: gauge(METRICS.messagesUnconfirmed),
    publishConfirmSeconds: histogram(METRICS.publishConfirmSeconds),
    laneQueued: gauge(METRICS.laneQueued),
    laneUnconfirmed: gauge(METRICS.laneUnconfirmed),
    laneHeld: gauge(METRICS.laneHeld),
    sinkBlocked: gauge(METRICS.sinkBlocked),
    reconnects: counter(METRICS.reconnects),
    parkedBytes: gauge(METRICS.parkedBytes),
    parkedLimitBytes: gauge(METRICS.parkedLimitBytes),
  } satisfies Record<keyof typeof METRICS, unknown>;
}

// Unions have no values to loop over; as keys of a record the compiler tells when one is new.

const SOURCE_STATES = Object.keys({
  connecting: true,
  reading: true,
  held: true,
  reconnecting: true,
  position_lost: true,
  stopped: true,
  idle: true,
} satisfies Record<SourceStatus['state'], true>);
