/** What a snapshot is asked of, and has none: refused where it is named, passed over where a pattern takes it in. */
import { NotNowError, UserError } from '../errors.ts';
import { AnyOf } from '../source/any-of.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { SubscriptionConfig } from '../config/config.ts';
import type { Feed } from '../feed/feed.ts';

export interface AskedFor {
  readonly feed: Feed;
  readonly config: SubscriptionConfig;
  readonly namespaces: readonly string[] | undefined;
}

const LIST_MS = 20_000;

export async function refuseWhatHasNone(
  { feed: { source }, config, namespaces }: AskedFor,
  stop: AbortSignal,
): Promise<void> {
  const { collections } = source;
  if (!collections) {
    throw new UserError(
      'usage',
      `Source "${source.name}" reads a change stream: snapshots need the positions of an oplog (\`mode: oplog\`).`,
    );
  }
  if (!namespaces) return;
  const follows = compilePatterns(config.namespaces);
  const matches = compilePatterns(namespaces);
  using soon = new AnyOf([stop]).within(LIST_MS, new NotNowError(`Source "${source.name}" does not answer in time.`));
  const found = await collections.list((ns) => matches(ns), soon.signal);
  const wanted = found.filter(({ ns }) => follows(ns));
  const other = found.find(({ ns, kind }) => kind !== 'collection' && namespaces.includes(ns));
  if (other) {
    const what = other.kind === 'view' ? 'a view' : 'a time-series collection';
    throw new UserError('usage', `${other.ns} is ${what}: it has no changes, and so no snapshot beside them.`);
  }
  if (wanted.length === 0) {
    throw new UserError(
      'usage',
      `There is no collection that subscription "${config.name}" follows and that matches ${namespaces.join(', ')}.`,
    );
  }
}
