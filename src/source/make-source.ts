/** The source that a configuration asks for. */
import type { DdlOperation, SourceConfig, SubscriptionConfig } from '../config/config.ts';
import type { Log } from '../observe/log.ts';
import type { ByteBudget } from './byte-budget.ts';
import { ChangeStreamSource } from './change-stream-source.ts';
import { namespaceFilter } from './namespace-filter.ts';
import { OplogSource } from './oplog-source.ts';
import type { Source } from './source.ts';

export interface MakeSourceOptions {
  readonly config: SourceConfig;
  /** Those that read from it. */
  readonly subscriptions: readonly SubscriptionConfig[];
  readonly budget: ByteBudget;
  readonly log: Log;
  readonly onReconnect: () => void;
}

/** What change streams show only with `showExpandedEvents`. */
const EXPANDED_ONLY: ReadonlySet<string> = new Set<DdlOperation>([
  'create',
  'createIndexes',
  'dropIndexes',
  'modify',
  'refineCollectionShardKey',
  'reshardCollection',
  'shardCollection',
]);

export function makeSource({ config, subscriptions, ...rest }: MakeSourceOptions): Source {
  const { changeStream, mode } = config;
  if ((mode === 'changeStream') !== (changeStream !== undefined)) throw new Error('a mode without its settings');
  if (changeStream === undefined) {
    const filterFor = (some: readonly SubscriptionConfig[]) =>
      namespaceFilter({ source: config.name, subscriptions: some, log: rest.log });
    return new OplogSource({
      config,
      ...(config.serverFilter && { filter: filterFor(subscriptions), filterFor }),
      ...rest,
    });
  }
  return new ChangeStreamSource({
    config: { ...config, changeStream },
    expanded: wantsExpanded(subscriptions),
    wantsExpanded,
    ...rest,
  });
}

export function wantsExpanded(subscriptions: readonly SubscriptionConfig[]): boolean {
  return subscriptions.some(
    ({ expanded, operations }) => expanded || operations.some((operation) => EXPANDED_ONLY.has(operation)),
  );
}
