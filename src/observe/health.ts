/**
 * The rules that turn what can be observed into `/readyz` and `/healthz`. Pure: facts and a clock in, reasons out, and no
 * reason means 200. Ready means both ends really answer, not that the process runs; healthy is false only for what a restart
 * of the engine would mend, so that a broker's absence never becomes a crash loop.
 * All times are ms of one clock, `now` too.
 */
import type { Code } from '../codes.ts';
import type { LostReason } from '../errors.ts';
import type { SourceState } from '../source/source.ts';
import type { HoldReason } from './status.ts';

export interface HealthFacts {
  readonly sources: readonly SourceFacts[];
  readonly sinks: readonly SinkFacts[];
  readonly subscriptions: readonly SubscriptionFacts[];
  readonly checkpoint: CheckpointFacts;
  readonly parking: ParkingFacts;
  readonly workers: WorkerFacts;
}

export interface SourceFacts {
  readonly name: string;
  readonly state: SourceState;
  /** The position was found in this replica set's oplog. */
  readonly verified: boolean;
  /** The resolved start is in the checkpoint: from here on a crash repeats and skips nothing. */
  readonly startStored: boolean;
  /** When the newest reply came, an empty one too; undefined before the first. */
  readonly lastReplyAt: number | undefined;
  /** Since when the replica set has had entries that its majority does not take in; undefined while it does. */
  readonly majorityLateSince: number | undefined;
  /** Subscriptions that keep the source from asking for more. */
  readonly heldBy: readonly string[];
  /** What stopped it or keeps it away, for people: a `PositionLostError`'s message, the last connection error. */
  readonly trouble?: string;
  /** Of `position_lost`. */
  readonly lost?: LostReason;
}

export interface SinkFacts {
  readonly name: string;
  readonly connected: boolean;
  /** The broker's words for taking no more. */
  readonly blocked?: string;
  /** Why it is not connected, where that is known: the last error, for people. */
  readonly down?: { readonly code: 'sink-away' | 'sink-refused'; readonly reason: string };
}

export interface SubscriptionFacts {
  readonly name: string;
  /** Why another engine stands in its way, or cannot be told to do so. */
  readonly lock?: Reason | undefined;
  /** Why it has stopped, alone of its source's. */
  readonly lost?: { readonly reason: LostReason; readonly text: string };
  readonly lanes: readonly LaneFacts[];
}

export interface LaneFacts {
  readonly partition: number;
  readonly held?: { readonly reason: HoldReason; readonly detail: string };
  /** When the oldest message now unconfirmed was published. */
  readonly oldestUnconfirmedAt: number | undefined;
}

export interface CheckpointFacts {
  /** The last write's error, gone with the next that succeeds. */
  readonly failing?: string;
}

export interface ParkingFacts {
  /** The last write's error, gone with the next that succeeds. */
  readonly failing?: string;
  /** What waits because the store has reached `parked.maxBytes`, and what to do about it. */
  readonly full?: string;
}

export interface WorkerFacts {
  /** When the oldest batch that is now with the workers was given to them. */
  readonly oldestJobAt: number | undefined;
  /** When any of them last answered: bisecting a batch that kills its worker takes many short runs, and is not stuck. */
  readonly lastResultAt: number | undefined;
}

/** An idle server answers every second, so ten missed answers are no hiccup. */
const REPLY_LATE_MS = 10_000;
/** A majority that is there is milliseconds behind, seconds under load, and moves. Found out every 2 s. */
const MAJORITY_LATE_MS = 5_000;
const CONFIRM_LATE_MS = 5_000;
/** Beyond every deadline of the engine's own: a job's, a flush's, a connection's. */
const STUCK_MS = 60_000;

/** A reason for people, and its code, which has a page in docs/errors. */
export interface Reason {
  readonly code: Code;
  readonly text: string;
}

/** Why the engine is not delivering; empty when it is. */
export function readiness(facts: HealthFacts, now: number): Reason[] {
  return [
    ...facts.sources.flatMap((source) => sourceReasons(source, now)),
    ...facts.sinks.flatMap(sinkReasons),
    ...facts.subscriptions.flatMap((subscription) => laneReasons(subscription, now)),
    ...(facts.checkpoint.failing === undefined
      ? []
      : [
          {
            code: 'checkpoint-failing' as const,
            text: `the checkpoint cannot be written: ${facts.checkpoint.failing}`,
          },
        ]),
    ...parkingReasons(facts.parking),
  ];
}

/** Why only a restart helps; empty while the engine works, however little it is given. */
export function liveness({ workers }: HealthFacts, now: number): Reason[] {
  const reasons: Reason[] = [];
  if (workers.oldestJobAt !== undefined) {
    const silentMs = now - Math.max(workers.oldestJobAt, workers.lastResultAt ?? -Infinity);
    if (silentMs >= STUCK_MS)
      reasons.push({
        code: 'workers-stuck',
        text: `the workers have a batch and gave no answer for ${seconds(silentMs)}`,
      });
  }
  return reasons;
}

function sourceReasons(source: SourceFacts, now: number): Reason[] {
  const { name, state, trouble } = source;
  const because = trouble === undefined ? '' : `: ${trouble}`;
  switch (state) {
    case 'connecting':
    case 'reconnecting':
      return [{ code: 'source-away', text: `source "${name}" is ${state}${because}` }];
    case 'stopped':
      return [{ code: 'source-stopped', text: `source "${name}" has stopped${because}` }];
    case 'position_lost':
      return [
        {
          code: `position-${source.lost ?? 'truncated'}`,
          text: `source "${name}" has stopped, its position is lost${because}`,
        },
      ];
    case 'reading':
    case 'held':
      break;
  }
  if (!source.verified)
    return [{ code: 'position-unverified', text: `source "${name}" has not verified its position yet${because}` }];
  if (!source.startStored) return [{ code: 'start-not-stored', text: `source "${name}" has not stored its start yet` }];
  if (source.lastReplyAt === undefined) return [{ code: 'no-batch', text: `source "${name}" has had no batch yet` }];
  const silentMs = now - source.lastReplyAt;
  const lateMs = source.majorityLateSince === undefined ? 0 : now - source.majorityLateSince;
  if (silentMs < REPLY_LATE_MS) {
    if (lateMs < MAJORITY_LATE_MS) return [];
    // It answers, but may show nothing new.
    return [
      {
        code: 'majority-late',
        text: `source "${name}": no majority of the replica set has taken in what was written for ${seconds(lateMs)}`,
      },
    ];
  }
  // Held for a moment is how back pressure works at full speed; held for as long as this is a destination that stands still.
  const holder = state === 'held' ? `, held by ${source.heldBy.map((it) => `"${it}"`).join(', ') || 'its budget'}` : '';
  return [{ code: 'no-batch', text: `source "${name}" has had no batch for ${seconds(silentMs)}${holder}` }];
}

function parkingReasons({ failing, full }: ParkingFacts): Reason[] {
  const reasons: Reason[] = [];
  if (failing !== undefined)
    reasons.push({ code: 'parking-failing', text: `parked events cannot be written: ${failing}` });
  if (full !== undefined) reasons.push({ code: 'parking-full', text: `the parking store is full: ${full}` });
  return reasons;
}

function sinkReasons({ name, connected, blocked, down }: SinkFacts): Reason[] {
  if (!connected) {
    const because = down === undefined ? '' : `: ${down.reason}`;
    return [{ code: down?.code ?? 'sink-away', text: `sink "${name}" is not connected${because}` }];
  }
  if (blocked !== undefined)
    return [{ code: 'sink-blocked', text: `sink "${name}" is blocked by the broker: ${blocked}` }];
  return [];
}

/** One line for each cause, not for each lane: a broker that is away holds them all. */
function laneReasons({ name, lock, lost, lanes }: SubscriptionFacts, now: number): Reason[] {
  const holds = new Map<HoldReason, { readonly partitions: number[]; readonly detail: string }>();
  let lateMs = 0;
  let late = 0;
  for (const { partition, held, oldestUnconfirmedAt } of lanes) {
    if (held) {
      const same = holds.get(held.reason);
      if (same) same.partitions.push(partition);
      else holds.set(held.reason, { partitions: [partition], detail: held.detail });
    } else if (oldestUnconfirmedAt !== undefined && now - oldestUnconfirmedAt > CONFIRM_LATE_MS) {
      late += 1;
      lateMs = Math.max(lateMs, now - oldestUnconfirmedAt);
    }
  }
  const reasons: Reason[] =
    lock === undefined ? [] : [{ code: lock.code, text: `subscription "${name}": ${lock.text}` }];
  if (lost) reasons.push({ code: `position-${lost.reason}`, text: `subscription "${name}" has stopped: ${lost.text}` });
  for (const [reason, { partitions, detail }] of holds) {
    const which = partitions.length === lanes.length ? 'every lane' : `partition ${partitions.join(', ')}`;
    reasons.push({ code: `held-${reason}`, text: `subscription "${name}": ${which} held, ${reason}: ${detail}` });
  }
  if (late > 0) {
    reasons.push({
      code: 'confirm-late',
      text: `subscription "${name}": no confirm for ${seconds(lateMs)} (${late} of ${lanes.length} lanes)`,
    });
  }
  return reasons;
}

function seconds(ms: number): string {
  return `${Math.floor(ms / 1000)} s`;
}
