/**
 * From one configuration to the next, in a running engine: sources, sinks and subscriptions that do not differ are not touched. What can
 * be refused (a broker that refuses the login, a queue with other arguments, a source that cannot be reached) is tried while all is as it
 * was; what fails later is undone. Where the definitions are kept, the new ones are stored between the last position of the old and the
 * first of the new: whatever a kill leaves behind, a start goes on from where each subscription stood.
 */
import { canonicalJson } from './config/canonical-json.ts';
import { NotNowError } from './errors.ts';
import type { CheckpointStore } from './checkpoint/store.ts';
import type { CheckpointRecord } from './checkpoint/record.ts';
import type { Config, SourceConfig, Start, SubscriptionConfig } from './config/config.ts';
import type { FeedGroup } from './feed/feed-group.ts';
import type { FeedGroups } from './feed/feed-groups.ts';
import type { Route } from './feed/route.ts';
import type { Metrics } from './observe/metrics.ts';
import type { Broker, Destinations } from './sinks/destinations.ts';

export type KeptCheckpoints = Pick<CheckpointStore, 'get' | 'set' | 'forget'>;

/** What a changeover needs of an engine. */
export interface Changeable {
  readonly config: Config;
  readonly sources: FeedGroups;
  readonly destinations: Destinations;
  readonly metrics: Pick<Metrics, 'forget'>;
  /** Everything is made by this one from now on. */
  adopt(config: Config): void;
  group(source: SourceConfig): FeedGroup;
  route(subscription: SubscriptionConfig, start: Start | undefined): Route;
  /** Whether it answers. Throws `NotNowError` and `UserError`. */
  reach(source: SourceConfig): Promise<void>;
}

export interface Change {
  readonly to: Config;
  readonly checkpoints: KeptCheckpoints;
  /** By subscription: where it begins. Others go on where they stand; new ones begin where their source says. */
  readonly starts: ReadonlyMap<string, Start>;
  /** Makes it last, or takes that back. */
  readonly keep: () => Promise<void>;
  readonly takeBack: () => Promise<void>;
}

/** Throws `UserError`, `NotNowError` and `PositionLostError`: all is as it was then. */
export async function changeOver(
  engine: Changeable,
  { to, checkpoints, starts, keep, takeBack }: Change,
): Promise<void> {
  const from = engine.config;
  const forth = stepsBetween(from, to, new Set(starts.keys()));
  const fresh = await prepare(engine, to, forth);
  const stood = new Map<string, CheckpointRecord>();
  const way: Way = { engine, checkpoints, from, to, steps: forth, brokers: fresh };
  try {
    await stop(way, stood);
  } catch (error) {
    await closeAll(fresh.values());
    await begin({ engine, checkpoints, from, to: from, steps: forth, brokers: new Map() }, forth.stops, new Map());
    throw error;
  }
  const old = await swap(way);
  try {
    await keep();
    for (const name of starts.keys()) if (stood.has(name)) await checkpoints.forget(name, { beginsAnew: true });
    await begin(way, forth.begins, starts);
  } catch (error) {
    await undo(way, { old, stood });
    await takeBack();
    throw error;
  }
  for (const name of missing(forth.stops, forth.begins)) {
    await checkpoints.forget(name, { beginsAnew: false });
    engine.metrics.forget('subscription', name);
  }
  for (const name of missing(forth.sinks.gone, forth.sinks.fresh)) engine.metrics.forget('sink', name);
  for (const name of missing(forth.sources.gone, forth.sources.fresh)) engine.metrics.forget('source', name);
  await closeAll(old.values());
}

function missing(names: readonly string[], from: readonly string[]): readonly string[] {
  return names.filter((name) => !from.includes(name));
}

/** Names. */
interface Steps {
  readonly sources: Names;
  readonly sinks: Names;
  /** Subscriptions that are read for no more, as they were. */
  readonly stops: readonly string[];
  /** Subscriptions that are read for from then on. */
  readonly begins: readonly string[];
}

interface Names {
  /** Those that go, those that change too. */
  readonly gone: readonly string[];
  /** Those that come, those that change too. */
  readonly fresh: readonly string[];
}

interface Way {
  readonly engine: Changeable;
  readonly checkpoints: KeptCheckpoints;
  readonly from: Config;
  readonly to: Config;
  readonly steps: Steps;
  /** By sink that is fresh. */
  readonly brokers: ReadonlyMap<string, Broker>;
}

function stepsBetween(from: Config, to: Config, restarted: ReadonlySet<string>): Steps {
  const sources = namesBetween(from.sources, to.sources);
  const sinks = namesBetween(from.sinks, to.sinks);
  const own = namesBetween(from.subscriptions, to.subscriptions);
  const touches = ({ source, to: way }: SubscriptionConfig, which: 'gone' | 'fresh'): boolean =>
    sources[which].includes(source) || ('sink' in way && sinks[which].includes(way.sink));
  const named = (all: readonly SubscriptionConfig[], which: 'gone' | 'fresh'): string[] =>
    all
      .filter((one) => own[which].includes(one.name) || restarted.has(one.name) || touches(one, which))
      .map(({ name }) => name);
  return { sources, sinks, stops: named(from.subscriptions, 'gone'), begins: named(to.subscriptions, 'fresh') };
}

function namesBetween(from: readonly { name: string }[], to: readonly { name: string }[]): Names {
  const texts = (all: readonly { name: string }[]): Map<string, string> =>
    new Map(all.map((one) => [one.name, canonicalJson(one)]));
  const [before, after] = [texts(from), texts(to)];
  return {
    gone: [...before].filter(([name, text]) => after.get(name) !== text).map(([name]) => name),
    fresh: [...after].filter(([name, text]) => before.get(name) !== text).map(([name]) => name),
  };
}

async function prepare(
  engine: Changeable,
  to: Config,
  { sources, sinks, begins }: Steps,
): Promise<Map<string, Broker>> {
  const fresh = new Map<string, Broker>();
  try {
    for (const source of to.sources) if (sources.fresh.includes(source.name)) await engine.reach(source);
    for (const sink of to.sinks) {
      if (sinks.fresh.includes(sink.name)) fresh.set(sink.name, await engine.destinations.connect(sink, to));
    }
    for (const one of to.subscriptions) {
      if (begins.includes(one.name)) await engine.destinations.prepare(one, [...fresh.values()]);
    }
    return fresh;
  } catch (error) {
    await closeAll(fresh.values());
    throw error;
  }
}

/** What is under way is waited for, and where each stands is stored. */
async function stop({ engine, checkpoints, from, steps }: Way, stood: Map<string, CheckpointRecord>): Promise<void> {
  for (const { name, source } of from.subscriptions) {
    if (!steps.stops.includes(name)) continue;
    const isKnown = await engine.sources.get(source)?.remove(name, (record) => record);
    if (isKnown === false) {
      throw new NotNowError(
        `subscription "${name}" cannot be changed yet: where it begins is stored only once its source has been reached.`,
      );
    }
    const record = checkpoints.get(name);
    if (record) stood.set(name, record);
  }
}

/** Resolves with the brokers whose place was taken. */
async function swap({ engine, to, steps, brokers }: Way): Promise<Map<string, Broker>> {
  const { sources, destinations } = engine;
  const old = new Map<string, Broker>();
  for (const name of steps.stops) await destinations.leave(name);
  for (const name of new Set([...steps.sinks.gone, ...steps.sinks.fresh])) {
    const before = destinations.replace(name, brokers.get(name));
    if (before) old.set(name, before);
  }
  for (const name of steps.sources.gone) await sources.remove(name);
  engine.adopt(to);
  for (const one of to.subscriptions) if (steps.begins.includes(one.name)) destinations.join(one);
  return old;
}

/** Paused ones stay so, unless they are told where to begin. */
async function begin(
  { engine, checkpoints, to }: Way,
  names: readonly string[],
  starts: ReadonlyMap<string, Start>,
): Promise<void> {
  const { sources } = engine;
  for (const one of to.subscriptions) {
    if (!names.includes(one.name)) continue;
    const source = to.sources.find(({ name }) => name === one.source)!;
    let group = sources.get(source.name);
    if (!group) {
      group = engine.group(source);
      sources.add(group);
    }
    if (checkpoints.get(one.name)?.pausedAt !== undefined) continue;
    await group.add(engine.route(one, starts.get(one.name)));
  }
}

async function undo(
  way: Way,
  { old, stood }: { readonly old: ReadonlyMap<string, Broker>; readonly stood: ReadonlyMap<string, CheckpointRecord> },
): Promise<void> {
  const { engine, checkpoints, from, to, steps } = way;
  const back: Steps = {
    sources: { gone: steps.sources.fresh, fresh: steps.sources.gone },
    sinks: { gone: steps.sinks.fresh, fresh: steps.sinks.gone },
    stops: steps.begins,
    begins: steps.stops,
  };
  const wayBack: Way = { engine, checkpoints, from: to, to: from, steps: back, brokers: old };
  await stop(wayBack, new Map());
  const replaced = await swap(wayBack);
  await closeAll(replaced.values());
  for (const name of back.stops) {
    const record = stood.get(name);
    if (record) await checkpoints.set(record);
    else if (checkpoints.get(name)) await checkpoints.forget(name, { beginsAnew: false });
  }
  await begin(wayBack, back.begins, new Map());
}

async function closeAll(brokers: Iterable<Broker>): Promise<void> {
  await Promise.all([...brokers].map(async ({ sink }) => sink.close()));
}
