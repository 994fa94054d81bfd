/** Subscriptions to time-series collections: refused where one is named, warned of where a pattern with `*` takes one in. */
import { UserError } from '../errors.ts';
import { compilePatterns } from '../worker/pattern.ts';
import type { Log } from '../observe/log.ts';
import type { Source } from '../source/source.ts';
import type { Members } from './members.ts';

export interface TimeSeriesOptions {
  readonly source: Source;
  readonly members: Members;
  readonly log: Log;
}

/** Throws `UserError` where a subscription could never get what it names. */
export async function refuseTimeSeries({ source, members, log }: TimeSeriesOptions, stop: AbortSignal): Promise<void> {
  const routes = members.all.map(({ route }) => route);
  const matchers = routes.map(({ config }) => compilePatterns(config.namespaces));
  const all = await source.timeSeriesNamespaces((ns) => matchers.some((matches) => matches(ns)), stop);
  if (all.length === 0) return;
  for (const [s, { config }] of routes.entries()) {
    const namespaces = all.filter((ns) => matchers[s]!(ns));
    const named = namespaces.find((ns) => config.namespaces.includes(ns));
    if (named !== undefined) throw new UserError('time-series', timeSeriesFault(config.name, named));
    if (namespaces.length === 0) continue;
    log.warn(
      { code: 'time-series-left-out', subscription: config.name, namespaces },
      'These are time-series collections, which have no change events: they are left out.',
    );
  }
}

export function timeSeriesFault(subscription: string, ns: string): string {
  return (
    `subscription "${subscription}": ${ns} is a time-series collection. MongoDB keeps those in packed buckets and has no change ` +
    `events of them, so that nothing would ever come; take it out of \`namespaces\`.`
  );
}
