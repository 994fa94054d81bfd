/**
 * Where each subscription of a source stands, of which its checkpoints are made: where it stood when this life began, and how far
 * its lanes and the ledger have come since.
 * Invariant: a snapshot is taken in one turn of the event loop, so that its watermark and lanes are of the same moment.
 */
import { RECORD_VERSION } from '../checkpoint/record.ts';
import { Floors, comparePoints, doneBy, earliest, later } from '../lanes/floors.ts';
import { compareTs, pointAfter } from '../source/position.ts';
import type { CheckpointRecord, LanePosition } from '../checkpoint/record.ts';
import type { Ledger } from '../lanes/ledger.ts';
import type { Position, ResumePoint, Ts } from '../source/position.ts';
import type { LaneSet } from './lane-set.ts';
import type { OpenTransactions } from './open-transactions.ts';
import type { Members } from './members.ts';
import type { Route } from './route.ts';
import type { SetAside } from './set-aside.ts';
import type { SnapshotBook } from '../snapshot/runs.ts';
import type { Standing } from './starts.ts';

export interface StandingsOptions {
  /** The source's name. */
  readonly source: string;
  readonly members: Members;
  readonly partitions: number;
  /** The one that counts now: reading begins anew with another after a lost position. */
  readonly ledger: () => Ledger;
  readonly lanes: LaneSet;
  readonly open: OpenTransactions;
  readonly setAside: SetAside;
  readonly book: SnapshotBook;
}

/** What a checkpoint says of its source. */
export interface Reading {
  readonly replicaSetId: string;
  readonly routing: (route: Route) => string;
}

export class Standings {
  readonly #o: StandingsOptions;
  /** By number. */
  #began: ReadonlyMap<number, Standing> = new Map();

  constructor(options: StandingsOptions) {
    this.#o = options;
  }

  /** By number, where they stand as this life begins, or reading begins anew in it. */
  begin(standings: ReadonlyMap<number, Standing>): void {
    this.#began = standings;
  }

  /** One more, which stands here. */
  join(number: number, standing: Standing): void {
    this.#began = new Map([...this.#began, [number, standing]]);
  }

  leave(number: number): void {
    this.#began = new Map([...this.#began].filter(([other]) => other !== number));
  }

  /** What was confirmed before now, which is not delivered again. */
  floors(): Floors {
    return Floors.of(this.#began, this.#o.members.size, this.#o.partitions);
  }

  /** The earliest that a subscription wants. */
  get start(): ResumePoint {
    return earliest([...this.#began.values()].flatMap((it) => [it.resume, ...(it.readFrom ? [it.readFrom] : [])]));
  }

  /** Before this, every subscription knows that transactions are torn. */
  get torn(): Ts | undefined {
    const torn = [...this.#began.values()].flatMap((standing) => standing.torn ?? []);
    return torn.length === this.#began.size ? torn.toSorted(compareTs)[0] : undefined;
  }

  /** Where this subscription would read on after a crash; undefined before its start is known. */
  resume(subscription: number): ResumePoint | undefined {
    const began = this.#began.get(subscription);
    const watermark = this.#o.ledger().watermark(subscription);
    if (!began || !watermark) return began?.resume;
    const open = this.#o.open.bound(watermark);
    const at = open && compareTs(open.ts, watermark.ts) < 0 ? open : watermark;
    const point = pointAfter(at);
    return comparePoints(point, began.resume) < 0 ? began.resume : point;
  }

  /** As if this life ended now, by number. */
  now(): ReadonlyMap<number, Standing> {
    return new Map([...this.#began.keys()].map((number) => [number, this.#now(number)]));
  }

  /** As this life began, but with the lanes of now. */
  lanesNow(subscription: number): Standing {
    return { ...this.#began.get(subscription)!, lanes: this.#lanePositions(subscription) };
  }

  /** Of all subscriptions whose start is known, at this moment. */
  snapshot({ replicaSetId, routing }: Reading): CheckpointRecord[] {
    const { source, members, partitions, ledger, open, setAside, book } = this.#o;
    open.forget(members.all.map(({ number }) => ledger().watermark(number)));
    return members.all.flatMap(({ number: s, route }) => {
      if (!this.#began.has(s)) return [];
      const { resume, watermark, torn, lanes } = this.#now(s);
      const snapshots = book.of(route.config.name).records;
      return {
        version: RECORD_VERSION,
        subscription: route.config.name,
        source,
        replicaSetId,
        resume,
        watermark,
        torn,
        lanes: setAside.lanesBefore(s) ?? lanes,
        routing: routing(route),
        layout: route.layout,
        partitions,
        partitionQueues: route.partitionQueues,
        updatedAt: Date.now(),
        ...(snapshots.length > 0 && { snapshots }),
      };
    });
  }

  #now(subscription: number): Standing {
    const began = this.#began.get(subscription)!;
    const watermark = this.#o.ledger().watermark(subscription);
    return {
      resume: this.resume(subscription)!,
      watermark: furthest(watermark && { t: watermark.t, ...doneBy(watermark) }, began.watermark),
      torn: began.torn,
      lanes: this.#lanePositions(subscription),
    };
  }

  #lanePositions(subscription: number): (LanePosition | undefined)[] {
    const { partitions, lanes } = this.#o;
    const began = this.#began.get(subscription)!.lanes;
    return Array.from({ length: partitions }, (_, p) => lanes.at(subscription, p)?.confirmedPosition ?? began[p]);
  }
}

/** Reading may begin before what is done: a transaction was open there. */
function furthest(a: Position | undefined, b: Position | undefined): Position | undefined {
  return b ? later(a, b) : a;
}
