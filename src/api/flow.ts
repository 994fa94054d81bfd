/** `/sources`, `/sinks`, `/subscriptions`: what was declared, and how it is doing. */
import { z } from 'zod';
import type { Config, SubscriptionConfig } from '../config/config.ts';
import type { Declared } from '../config/declared.ts';
import { holdsByReason, underWay } from '../observe/lanes-summary.ts';
import type { StatusReport, SubscriptionStatus } from '../observe/status.ts';
import { asConflict } from './conflict.ts';
import { endpoint, found, NOTHING } from './endpoint.ts';
import type { Endpoint, EngineView } from './endpoint.ts';
import { sinkAnswer, sourceAnswer, subscriptionAnswer, subscriptionDetail } from './schemas.ts';

const byName = z.strictObject({ name: z.string().meta({ description: 'As it is called in the configuration.' }) });

const SAID = {
  pause: {
    summary: 'Delivers nothing more of a subscription until it is resumed, over restarts too.',
    description:
      'The others go on. What is under way for it is waited for, at most 5 s. It keeps its position, and the oplog moves on: `headroomSeconds` says how long it may stay so.',
  },
  resume: {
    summary: 'Goes on where a subscription was paused.',
    description: 'Beside the others until it has caught up, then with them; they do not wait for it.',
  },
};

export const flowEndpoints: readonly Endpoint[] = [
  endpoint({
    path: '/sources',
    operationId: 'listSources',
    tag: 'sources',
    summary: 'All sources, with what was declared and how they are doing.',
    parameters: NOTHING,
    query: NOTHING,
    answer: z.strictObject({ sources: z.array(sourceAnswer) }),
    handle({ config, status }) {
      const report = status();
      return { sources: config.sources.map(({ name }) => sourceOf(name, config, report)) };
    },
  }),
  endpoint({
    path: '/sources/{name}',
    operationId: 'getSource',
    tag: 'sources',
    summary: 'One source.',
    problems: ['api-not-found'],
    parameters: byName,
    query: NOTHING,
    answer: sourceAnswer,
    handle(view, { path: { name } }) {
      return source(view, name);
    },
  }),
  endpoint({
    path: '/sinks',
    operationId: 'listSinks',
    tag: 'sinks',
    summary: 'All sinks, with what was declared and how they are doing.',
    parameters: NOTHING,
    query: NOTHING,
    answer: z.strictObject({ sinks: z.array(sinkAnswer) }),
    handle({ config, status }) {
      const report = status();
      return { sinks: config.sinks.map(({ name }) => sinkAs(name, config, report)) };
    },
  }),
  endpoint({
    path: '/sinks/{name}',
    operationId: 'getSink',
    tag: 'sinks',
    summary: 'One sink.',
    problems: ['api-not-found'],
    parameters: byName,
    query: NOTHING,
    answer: sinkAnswer,
    handle(view, { path: { name } }) {
      return sink(view, name);
    },
  }),
  endpoint({
    path: '/subscriptions',
    operationId: 'listSubscriptions',
    tag: 'subscriptions',
    summary: 'All subscriptions, with what was declared and how they are doing.',
    parameters: NOTHING,
    query: NOTHING,
    answer: z.strictObject({ subscriptions: z.array(subscriptionAnswer) }),
    handle({ config, status }) {
      const { subscriptions } = status();
      return {
        // While one is being changed it is not read for.
        subscriptions: config.subscriptions.flatMap((one) => {
          const now = subscriptions[one.name];
          return now ? [{ ...subscription(one, config), status: summary(now) }] : [];
        }),
      };
    },
  }),
  endpoint({
    path: '/subscriptions/{name}',
    operationId: 'getSubscription',
    tag: 'subscriptions',
    summary: 'One subscription, with all its lanes and what holds them.',
    problems: ['api-not-found'],
    parameters: byName,
    query: NOTHING,
    answer: subscriptionDetail,
    handle(view, { path: { name } }) {
      return subscriptionWithLanes(view, name);
    },
  }),
  ...(['pause', 'resume'] as const).map((what) =>
    endpoint({
      method: 'post',
      path: `/subscriptions/{name}/${what}`,
      operationId: `${what}Subscription`,
      tag: 'subscriptions',
      ...SAID[what],
      problems: ['api-not-found', 'api-conflict'],
      parameters: byName,
      query: NOTHING,
      answer: subscriptionDetail,
      async handle(view, { path: { name } }) {
        known('subscription', name, view.config.subscriptions);
        await asConflict(view[what](name));
        return subscriptionWithLanes(view, name);
      },
    }),
  ),
];

function known<T extends { readonly name: string }>(what: string, name: string, all: readonly T[]): T {
  return found(
    what,
    name,
    all.find((one) => one.name === name),
  );
}

export function source({ config, status }: EngineView, name: string): z.input<typeof sourceAnswer> {
  known('source', name, config.sources);
  return sourceOf(name, config, status());
}

export function sink({ config, status }: EngineView, name: string): z.input<typeof sinkAnswer> {
  known('sink', name, config.sinks);
  return sinkAs(name, config, status());
}

export function subscriptionWithLanes(
  { config, status }: EngineView,
  name: string,
): z.input<typeof subscriptionDetail> {
  const one = known('subscription', name, config.subscriptions);
  const now = found('subscription', name, status().subscriptions[name]);
  return { ...subscription(one, config), status: { ...summary(now), lanes: now.lanes } };
}

function sourceOf(name: string, config: Config, { sources }: StatusReport): z.input<typeof sourceAnswer> {
  return {
    name,
    configuration: declared(config).sources[name]!,
    subscriptions: config.subscriptions.filter((one) => one.source === name).map((one) => one.name),
    status: sources[name] ?? null,
  };
}

function sinkAs(name: string, config: Config, { sinks }: StatusReport): z.input<typeof sinkAnswer> {
  return {
    name,
    configuration: declared(config).sinks[name]!,
    subscriptions: config.subscriptions.filter((one) => sinkOf(one) === name).map((one) => one.name),
    status: sinks[name] ?? null,
  };
}

function subscription(one: SubscriptionConfig, config: Config) {
  const { name, source: from } = one;
  return { name, source: from, sink: sinkOf(one), configuration: declared(config).subscriptions[name]! };
}

function sinkOf({ to }: SubscriptionConfig): string | null {
  return 'sink' in to ? to.sink : null;
}

/** Only an engine with a file has HTTP. */
function declared({ declared: written }: Config): Declared {
  if (written === undefined) throw new Error('a configuration that nobody wrote');
  return written;
}

function summary({ source: from, lanes, ...status }: SubscriptionStatus): z.input<typeof subscriptionAnswer>['status'] {
  void from;
  return { ...status, ...underWay(lanes), holds: holdsByReason(lanes) };
}
