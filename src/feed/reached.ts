/** What is known of a source once it has been reached, and what follows from that for all that is read of it. */
import { createHash } from 'node:crypto';
import { hasWallTime, versionNumber } from '../source/server-version.ts';
import { wantsExpanded } from '../source/make-source.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { ParkedOrigin } from '../checkpoint/record.ts';
import type { PipelineConfig, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { Source, SourceIdentity } from '../source/source.ts';
import type { JobOptions } from '../worker/pool.ts';
import type { Route } from './route.ts';

export interface ReachedOptions {
  readonly source: Source;
  readonly config: SourceConfig;
  readonly pipeline: PipelineConfig;
  readonly log: Log;
}

export class Reached {
  readonly identity: SourceIdentity;
  readonly #isStream: boolean;
  /** Collections with a default collation, where that decides lanes. */
  readonly #collated: readonly string[];
  readonly #version: number;

  /** Tells the log of what this server cannot do for the `subscriptions`. */
  static async of(
    identity: SourceIdentity,
    options: ReachedOptions,
    subscriptions: readonly SubscriptionConfig[],
    stop: AbortSignal,
  ): Promise<Reached> {
    const reached = new Reached(identity, options.config, await collatedNamespaces(options, stop));
    if (reached.#isStream && !hasWallTime(reached.#version) && wantsExpanded(subscriptions)) {
      options.log.warn(
        { code: 'stream-commands-missing', source: options.config.name, serverVersion: identity.serverVersion },
        'Change streams tell of create, createIndexes, dropIndexes and modify, and what `expanded` adds, from MongoDB 6.0 on: none of it comes from this server. `mode: oplog` tells of them.',
      );
    }
    return reached;
  }

  constructor(identity: SourceIdentity, { changeStream }: SourceConfig, collated: readonly string[]) {
    this.identity = identity;
    this.#isStream = changeStream !== undefined;
    this.#collated = collated.toSorted();
    this.#version = versionNumber(identity.serverVersion);
  }

  /** Whether the two make the same of an entry, so that one can go on where the other was. */
  readsAs(other: Reached): boolean {
    const isSame = this.identity.replicaSetId === other.identity.replicaSetId;
    return isSame && this.#collated.join('\n') === other.#collated.join('\n');
  }

  /** Which collections have a collation decides lanes too. */
  routing({ routing }: Route): string {
    if (this.#collated.length === 0) return routing;
    const both = [routing, ...this.#collated].join('\n');
    return createHash('sha256').update(both).digest('hex').slice(0, routing.length);
  }

  get job(): Pick<JobOptions, 'wallTime' | 'serverVersion' | 'collated'> {
    return { wallTime: hasWallTime(this.#version), serverVersion: this.#version, collated: this.#collated };
  }

  /** How its entries are to be read again, later on. */
  origin(subscriptions: readonly SubscriptionConfig[]): Pick<ParkedOrigin, 'serverVersion' | 'collated' | 'stream'> {
    return {
      serverVersion: this.#version,
      ...(this.#collated.length > 0 && { collated: this.#collated }),
      ...(this.#isStream && { stream: wantsExpanded(subscriptions) ? 'expanded' : 'plain' }),
    };
  }
}

async function collatedNamespaces(
  { source, config, pipeline, log }: ReachedOptions,
  stop: AbortSignal,
): Promise<readonly string[]> {
  const byDocument = pipeline.partitionBy.filter((rule) => rule.key === 'document');
  const patterns = byDocument.flatMap(({ namespaces }) => namespaces);
  if (patterns.length === 0) return [];
  const collated = await source.collatedNamespaces(compilePatterns(patterns), stop);
  if (collated.length > 0) {
    log.warn(
      { code: 'collation-by-namespace', source: config.name, namespaces: collated },
      'These collections have a default collation, under which different `_id`s can be equal: partitioned by namespace.',
    );
  }
  return collated;
}
