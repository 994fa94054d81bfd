/**
 * Where the subscriptions of a source begin: behind their checkpoints, or where `start` says; and where they go on when that
 * place is gone. Every point is held against the oplog before it is used.
 */
import { planStart } from '../checkpoint/plan-start.ts';
import { PositionLostError, UserError } from '../errors.ts';
import { floorOf } from '../lanes/floors.ts';
import { compareTs, formatTs, isFuture } from '../source/position.ts';
import { adaptedTo, lanesHold } from '../source/resume-token.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { PipelineConfig, SourceConfig, Start } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { Position, ResumePoint, Ts } from '../source/position.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import type { Members } from './members.ts';
import type { Checkpoints, Route } from './route.ts';

export interface StartsOptions {
  readonly source: Source;
  readonly config: SourceConfig;
  readonly members: Members;
  readonly pipeline: PipelineConfig;
  readonly checkpoints: Omit<Checkpoints, 'durable'>;
  readonly log: Log;
  readonly repartition: boolean;
}

/** Where a subscription stood when this life began. */
export interface Standing {
  readonly resume: ResumePoint;
  /** Everything up to here is done; it can lie behind `resume`, where a transaction was open. */
  readonly watermark: Position | undefined;
  /** See `CheckpointRecord`. */
  readonly torn: Ts | undefined;
  /** By partition: what an earlier life had confirmed behind it. */
  readonly lanes: readonly (LanePosition | undefined)[];
  /** Where reading begins, if that is before `resume`: for what is known of documents, and delivered to nobody. */
  readonly readFrom?: ResumePoint;
  /** What is there already is to come as well, and why. */
  readonly snapshot?: 'start' | 'position-lost';
  /** What was changed before is not known. */
  readonly isBeyondGap?: true;
}

/** What is known once the source is connected. */
export interface Found {
  readonly identity: SourceIdentity;
  /** The hash of all that decides a subscription's lanes. */
  readonly routing: (route: Route) => string;
}

export class Starts {
  readonly #o: StartsOptions;

  constructor(options: StartsOptions) {
    this.#o = options;
  }

  /** By number. Throws `UserError` and, where the policy is to stop, `PositionLostError`. */
  async find({ identity, routing }: Found, stop: AbortSignal): Promise<Map<number, Standing>> {
    const planned = this.#o.members.all.map((one) => ({
      ...one,
      standing: this.#planned(one.route, { identity, routing }),
    }));
    const standings = new Map<number, Standing>();
    for (const { number, route, standing } of planned) {
      const found = standing ?? (await this.#fresh(route.start ?? this.#o.config.start, stop));
      standings.set(number, await this.#verified(route, found, stop));
    }
    return standings;
  }

  /**
   * A cursor's position was lost while running. Subscriptions that stood ahead of it may still be where they were; for the
   * others it is as the policy says. Rethrows where that is to stop.
   */
  async goOn(
    error: PositionLostError,
    standings: ReadonlyMap<number, Standing>,
    stop: AbortSignal,
  ): Promise<Map<number, Standing>> {
    const after = new Map<number, Standing>();
    for (const [number, standing] of standings) {
      // One may have left meanwhile.
      if (!this.#o.members.all.some((one) => one.number === number)) continue;
      const route = this.#o.members.route(number);
      const ahead = compareTs(standing.resume.ts, error.position.ts) > 0;
      after.set(number, ahead ? await this.#verified(route, standing, stop) : await this.#beyond(error, route, stop));
    }
    return after;
  }

  async #fresh(start: Start, stop: AbortSignal): Promise<Standing> {
    const { source } = this.#o;
    if (start.kind === 'from') await this.#refuseFuture(start, stop);
    if (start.kind === 'snapshot') {
      return { ...begun(await source.resolve({ kind: 'latest' }, stop), start), snapshot: 'start' };
    }
    for (;;) {
      const point = await source.resolve(start, stop);
      if (start.kind !== 'earliest') return begun(point, start);
      try {
        await source.verify(point, stop);
        return begun(point, start);
      } catch (error) {
        // The oldest entry has just gone; there is another oldest now.
        if (!(error instanceof PositionLostError)) throw error;
      }
    }
  }

  /** Stored, it would pass over everything until then, and look well. */
  async #refuseFuture(start: Start & { readonly kind: 'from' }, stop: AbortSignal): Promise<void> {
    const { source, config } = this.#o;
    const newest = await source.resolve({ kind: 'latest' }, stop);
    if (!isFuture(start.ts, newest.ts)) return;
    throw new UserError(
      'start-in-future',
      `source "${config.name}": \`start: ${start.written}\` lies in the future (the newest entry is ${formatTs(newest.ts)}): ` +
        `everything until then would be passed over. Use \`latest\` to begin now.`,
    );
  }

  /** Where the policy goes on, after a record of the gap. */
  async #beyond(error: PositionLostError, route: Route, stop: AbortSignal): Promise<Standing> {
    const { source, config, checkpoints, log } = this.#o;
    const policy = config.onPositionLost;
    if (policy === 'stop') throw error;
    const resume = await source.resolve({ kind: policy === 'snapshot' ? 'latest' : policy }, stop);
    const gap = {
      source: config.name,
      subscription: route.config.name,
      from: error.position.ts,
      to: resume.ts,
      reason: error.reason,
      at: Date.now(),
    };
    await checkpoints.addGap(gap);
    log.error(
      { code: `position-${error.reason}`, ...gap, from: formatTs(gap.from), to: formatTs(gap.to), policy },
      'Position lost: changes in between were not delivered; going on as `onPositionLost` says.',
    );
    return {
      ...begun(resume, { kind: policy }),
      isBeyondGap: true,
      ...(policy === 'snapshot' && { snapshot: 'position-lost' }),
    };
  }

  #planned(route: Route, { identity, routing }: Found): Standing | undefined {
    const { config, pipeline, checkpoints, log, repartition } = this.#o;
    const plan = planStart({
      subscription: {
        name: route.config.name,
        source: config.name,
        routing: routing(route),
        layout: route.layout,
        partitions: pipeline.partitions,
        usesPartitionQueues: route.partitionQueues,
      },
      stored: checkpoints.get(route.config.name),
      connected: identity,
      repartition,
    });
    if (plan.kind === 'fresh') return undefined;
    if (plan.warning !== undefined)
      log.warn({ code: 'checkpoint-differs', subscription: route.config.name }, plan.warning);
    // The other mode's positions are boundaries here; what was done at that very time is then in the watermark alone.
    const watch = config.changeStream?.watch;
    const resume = adaptedTo(watch, plan.resume);
    const watermark = resume === plan.resume ? plan.watermark : { t: -1, ...floorOf(plan) };
    return {
      resume,
      watermark,
      torn: plan.torn,
      lanes: lanesHold(watch, plan.resume, route.config.namespaces) ? plan.lanes : [],
    };
  }

  async #verified(route: Route, standing: Standing, stop: AbortSignal): Promise<Standing> {
    try {
      await this.#o.source.verify(standing.resume, stop);
      return standing;
    } catch (error) {
      if (!(error instanceof PositionLostError)) throw error;
      return await this.#beyond(error, route, stop);
    }
  }
}

function begun(resume: ResumePoint, start: Start): Standing {
  const index = start.kind === 'from' ? start.index : undefined;
  return {
    resume,
    watermark: index === undefined ? undefined : { ts: resume.ts, t: -1, index },
    torn: start.kind === 'earliest' ? resume.ts : undefined,
    lanes: [],
  };
}
