/**
 * From one configuration to the next, in a running engine: sources, sinks and subscriptions that do not differ are not touched. What can
 * be refused (a broker that refuses the login, a queue with other arguments, a source that cannot be reached) is tried while all is as it
 * was; what fails later is undone. Where the definitions are kept, the new ones are stored between the last position of the old and the
 * first of the new: whatever a kill leaves behind, a start goes on from where each subscription stood.
 */
import { canonicalJson } from './config/canonical-json.ts';
import type { CheckpointStore } from './checkpoint/store.ts';
import type { CheckpointRecord } from './checkpoint/record.ts';
import type { Config, SourceConfig, Start, SubscriptionConfig } from './config/config.ts';
import type { FeedGroup } from './feed/feed-group.ts';
import type { FeedGroups } from './feed/feed-groups.ts';
import type { Route } from './feed/route.ts';
import type { Log } from './observe/log.ts';
import type { Metrics } from './observe/metrics.ts';
import type { Broker, Destinations } from './sinks/destinations.ts';

export type KeptCheckpoints = Pick<CheckpointStore, 'get' | 'set' | 'forget'>;

/** What a changeover needs of an engine. */
export interface Changeable {
  readonly config: Config;
  readonly sources: FeedGroups;
  readonly destinations: Destinations;
  readonly metrics: Pick<Metrics, 'forget'>;
  readonly log: Log;
  /** Everything is made by this one from now on. */
  readonly adopt: (config: Config) => void;
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
export async function changeOver(engine: Changeable, change: Change): Promise<void> {
  const { to, checkpoints, starts, keep } = change;
  const from = engine.config;
  const steps = stepsBetween(from, to, new Set(starts.keys()));
  const way: Way = {
    engine,
    change,
    from,
    steps,
    brokers: await prepare(engine, to, steps),
    stopped: [],
    stood: new Map(),
  };
  try {
    await stop(engine, from, steps.stops, way.stopped);
  } catch (error) {
    await closeAll(way.brokers.values());
    await relaunch(engine, from, way.stopped);
    throw error;
  }
  for (const name of [...steps.stops, ...steps.begins]) way.stood.set(name, checkpoints.get(name));
  try {
    await swap(engine, to, steps, way.brokers);
    await keep();
    await forgetBefore(way);
    await begin(way);
  } catch (error) {
    await undo(way);
    throw error;
  }
  await finish(way);
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
  readonly change: Change;
  readonly from: Config;
  readonly steps: Steps;
  /** By sink that is fresh. */
  readonly brokers: ReadonlyMap<string, Broker>;
  /** Names of those that were read for, and are no more. */
  readonly stopped: string[];
  /** By subscription that is touched: its record, while nobody was read for. */
  readonly stood: Map<string, CheckpointRecord | undefined>;
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

/** What is under way is waited for, and where each stands is stored. `stopped`: those that it is done with, also where it throws. */
async function stop(engine: Changeable, config: Config, names: readonly string[], stopped: string[]): Promise<void> {
  const wanted = new Set(names);
  const sources = new Set(config.subscriptions.filter(({ name }) => wanted.has(name)).map(({ source }) => source));
  const ends = await Promise.allSettled(
    [...sources].map(async (source) => {
      stopped.push(...((await engine.sources.get(source)?.removeAll(wanted)) ?? []));
    }),
  );
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/** Nothing that is still on its way over the old connections may arrive behind what goes over the new ones. */
async function swap(
  { sources, destinations, adopt }: Changeable,
  to: Config,
  steps: Steps,
  brokers: ReadonlyMap<string, Broker>,
): Promise<void> {
  await Promise.all(steps.stops.map(async (name) => destinations.leave(name)));
  const old = [...new Set([...steps.sinks.gone, ...steps.sinks.fresh])].flatMap(
    (name) => destinations.replace(name, brokers.get(name)) ?? [],
  );
  await closeAll(old);
  for (const name of steps.sources.gone) await sources.remove(name);
  adopt(to);
  for (const one of to.subscriptions) if (steps.begins.includes(one.name)) destinations.join(one);
}

/** One that is told where to begin has no other position, and neither has one that is new: whose name it was is gone. */
async function forgetBefore({ change: { starts, checkpoints }, from, steps }: Way): Promise<void> {
  for (const name of steps.begins) {
    const isNew = !from.subscriptions.some((one) => one.name === name);
    if (checkpoints.get(name) && (isNew || starts.has(name))) await checkpoints.forget(name, { beginsAnew: !isNew });
  }
}

/** Paused ones stay so, unless they are told where to begin. */
async function begin({ engine, change: { to, starts, checkpoints }, steps }: Way): Promise<void> {
  for (const one of to.subscriptions) {
    if (!steps.begins.includes(one.name)) continue;
    const group = groupOf(engine, to, one);
    if (checkpoints.get(one.name)?.pausedAt !== undefined) continue;
    await group.add(engine.route(one, starts.get(one.name)));
  }
}

/** As at the start of a run: whenever their sources answer. */
async function relaunch(engine: Changeable, config: Config, names: readonly string[]): Promise<void> {
  for (const one of config.subscriptions) {
    if (names.includes(one.name)) await groupOf(engine, config, one).launch(engine.route(one, undefined));
  }
}

function groupOf(engine: Changeable, config: Config, { source: name }: SubscriptionConfig): FeedGroup {
  const there = engine.sources.get(name);
  if (there) return there;
  const group = engine.group(config.sources.find((one) => one.name === name)!);
  engine.sources.add(group);
  return group;
}

/** Nothing in it may keep the rest from happening: whoever was read for is read for again. */
async function undo({ engine, change, from, steps, stopped, stood }: Way): Promise<void> {
  const { to, checkpoints, takeBack } = change;
  const tried = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      engine.log.error({ code: 'change-not-undone', err: error }, `A change was refused, and ${what}.`);
    }
  };
  await tried('what it began could not be ended', async () => stop(engine, to, steps.begins, []));
  const back: Steps = {
    sources: { gone: steps.sources.fresh, fresh: steps.sources.gone },
    sinks: { gone: steps.sinks.fresh, fresh: steps.sinks.gone },
    stops: steps.begins,
    begins: steps.stops,
  };
  const brokers = new Map(
    from.sinks
      .filter(({ name }) => steps.sinks.gone.includes(name))
      .map((sink) => [sink.name, engine.destinations.open(sink, from)]),
  );
  await tried('not everything of it could be closed', async () => swap(engine, from, back, brokers));
  engine.adopt(from);
  for (const [name, record] of stood) {
    if (checkpoints.get(name) === record) continue;
    await tried(`subscription "${name}" does not stand where it did`, async () =>
      record ? checkpoints.set(record) : checkpoints.forget(name, { beginsAnew: false }),
    );
  }
  await tried('its version could not be taken back', takeBack);
  await relaunch(engine, from, stopped);
}

/** It holds; what is left behind is tidied up. */
async function finish({ engine, change: { checkpoints }, steps }: Way): Promise<void> {
  for (const name of missing(steps.stops, steps.begins)) {
    engine.metrics.forget('subscription', name);
    try {
      if (checkpoints.get(name)) await checkpoints.forget(name, { beginsAnew: false });
    } catch (error) {
      const code = 'checkpoint-failing';
      engine.log.warn({ code, err: error, subscription: name }, 'The checkpoint of a subscription that is gone stays.');
    }
  }
  for (const name of missing(steps.sinks.gone, steps.sinks.fresh)) engine.metrics.forget('sink', name);
  for (const name of missing(steps.sources.gone, steps.sources.fresh)) engine.metrics.forget('source', name);
  engine.sources.resolveIfOver();
}

function missing(names: readonly string[], from: readonly string[]): readonly string[] {
  return names.filter((name) => !from.includes(name));
}

async function closeAll(brokers: Iterable<Broker>): Promise<void> {
  await Promise.all([...brokers].map(async ({ sink }) => sink.close()));
}
