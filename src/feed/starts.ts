/**
 * Where the subscriptions of a source begin: behind their checkpoints, or where `start` says; and where they go on when that
 * place is gone. Every point is held against the oplog before it is used.
 */
import { planStart } from '../checkpoint/plan-start.ts';
import { PositionLostError } from '../errors.ts';
import { formatTs } from '../source/position.ts';
import type { LanePosition } from '../checkpoint/record.ts';
import type { PipelineConfig, SourceConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { ResumePoint } from '../source/position.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import type { Checkpoints, Route } from './route.ts';

export interface StartsOptions {
  readonly source: Source;
  readonly config: SourceConfig;
  readonly routes: readonly Route[];
  readonly pipeline: PipelineConfig;
  readonly checkpoints: Checkpoints;
  readonly log: Log;
  readonly repartition: boolean;
}

/** Where a subscription stood when this life began. */
export interface Standing {
  readonly resume: ResumePoint;
  /** By partition: what an earlier life had confirmed behind it. */
  readonly lanes: readonly (LanePosition | undefined)[];
}

export class Starts {
  readonly #o: StartsOptions;

  constructor(options: StartsOptions) {
    this.#o = options;
  }

  /** By subscription. Throws `UserError` and, where the policy is to stop, `PositionLostError`; incomplete only when stopped. */
  async find(identity: SourceIdentity, stop: AbortSignal): Promise<Standing[]> {
    const { source, config, routes } = this.#o;
    const planned = routes.map((route) => this.#planned(route, identity));
    const standings: Standing[] = [];
    for (const [s, route] of routes.entries()) {
      const resume = planned[s]?.resume ?? (await source.resolve(config.start, stop));
      const verified = await this.#verified(route, resume, stop);
      standings.push({ resume: verified, lanes: verified === resume ? (planned[s]?.lanes ?? []) : [] });
      if (stop.aborted) break;
    }
    return standings;
  }

  /** A position is lost: the point that the policy names, after a record of the gap; rethrows where it is to stop. */
  async goOn(error: PositionLostError, routes: readonly Route[], stop: AbortSignal): Promise<ResumePoint> {
    const { source, config, checkpoints, log } = this.#o;
    const policy = config.onPositionLost;
    if (policy === 'stop') throw error;
    const point = await source.resolve({ kind: policy }, stop);
    for (const route of routes) {
      const gap = {
        source: config.name,
        subscription: route.config.name,
        from: error.position.ts,
        to: point.ts,
        reason: error.reason,
        at: Date.now(),
      };
      await checkpoints.addGap(gap);
      log.error(
        { ...gap, from: formatTs(gap.from), to: formatTs(gap.to), policy },
        'Position lost: changes in between were not delivered; going on as `onPositionLost` says.',
      );
    }
    return point;
  }

  #planned(route: Route, identity: SourceIdentity): Standing | undefined {
    const { config, pipeline, checkpoints, log, repartition } = this.#o;
    const plan = planStart({
      subscription: {
        name: route.config.name,
        source: config.name,
        routing: route.routing,
        layout: route.layout,
        partitions: pipeline.partitions,
        usesPartitionQueues: route.partitionQueues,
      },
      stored: checkpoints.get(route.config.name),
      connected: identity,
      repartition,
    });
    if (plan.kind === 'fresh') return undefined;
    if (plan.warning !== undefined) log.warn({ subscription: route.config.name }, plan.warning);
    return { resume: plan.resume, lanes: plan.lanes };
  }

  async #verified(route: Route, point: ResumePoint, stop: AbortSignal): Promise<ResumePoint> {
    try {
      await this.#o.source.verify(point, stop);
      return point;
    } catch (error) {
      if (!(error instanceof PositionLostError)) throw error;
      return await this.goOn(error, [route], stop);
    }
  }
}
