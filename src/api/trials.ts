/**
 * `/sources/test`, `/sinks/test`, `/subscriptions/preview`: what would become of a definition before it is saved. Nothing is changed,
 * here or at the ends. Invariants: bounded in time, one of a kind at a time; no placeholder is filled in that the definitions do not
 * have in that very place: whoever may ask shall not read the environment, nor have it sent somewhere.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { checkSink } from '../check/check-sink.ts';
import { checkSource } from '../check/check-source.ts';
import { CHECK_TIMEOUT_MS, Findings } from '../check/findings.ts';
import { OneAtATime } from '../check/one-at-a-time.ts';
import { preview } from '../check/preview.ts';
import type { Preview } from '../check/preview.ts';
import { withOne } from '../config/definitions.ts';
import type { Definitions, Kind } from '../config/definitions.ts';
import { ConfigError, formatPath } from '../config/faults.ts';
import type { Path } from '../config/faults.ts';
import { isMapping } from '../config/salvage.ts';
import { faultsOf } from '../library/management.ts';
import { formatTs } from '../source/position.ts';
import type { LaneMessage } from '../lanes/port.ts';
import type { BodyProperties } from '../sinks/amqp-port.ts';
import { asConflict } from './conflict.ts';
import { badRequest, endpoint, NOTHING } from './endpoint.ts';
import type { Endpoint, EngineView } from './endpoint.ts';
import { definitionBodies, findingAnswer, messageAnswer } from './schemas.ts';

/** An end that says nothing is told of a moment before. */
const TRIAL_MS = CHECK_TIMEOUT_MS + 1_000;
const MOST_MINUTES = 60;
const MOST_SAMPLES = 20;
const MOST_COUNTS = 500;
/** Of a sample's body. */
const MOST_SHOWN_BYTES = 16 * 1024;

const name = z.string().optional().meta({
  description: 'Of one that there is: as if it were changed, with its subscriptions. Left out: as if it were new.',
});

/** By what is tested: no two, however many ask. */
const turns = {
  source: new OneAtATime('A source is being tested'),
  sink: new OneAtATime('A sink is being tested'),
  subscription: new OneAtATime('A subscription is being previewed'),
} as const;

const whatWasFound = z.strictObject({
  ok: z.boolean().meta({ description: 'No fault was found.' }),
  findings: z.array(findingAnswer).readonly(),
});

export const trialEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'post',
    path: '/sources/test',
    operationId: 'testSource',
    tag: 'sources',
    summary: 'Connects to a source, and says what `tailrace check` would say of it; nothing is changed.',
    problems: ['api-conflict'],
    parameters: NOTHING,
    query: NOTHING,
    body: z.strictObject({ configuration: definitionBodies.source, name }),
    answer: whatWasFound,
    async handle(view, { body }) {
      const { config, name: asked } = await wouldBe(view, 'source', body);
      const source = config.sources.find((one) => one.name === asked)!;
      const stored = new Map(view.checkpoints.all().map((record) => [record.subscription, record]));
      return await tried('source', (findings) => checkSource(source, { config, stored }, findings));
    },
  }),
  endpoint({
    method: 'post',
    path: '/sinks/test',
    operationId: 'testSink',
    tag: 'sinks',
    summary: 'Connects to a sink, and says what `tailrace check` would say of it; nothing is changed.',
    problems: ['api-conflict'],
    parameters: NOTHING,
    query: NOTHING,
    body: z.strictObject({ configuration: definitionBodies.sink, name }),
    answer: whatWasFound,
    async handle(view, { body }) {
      const { config, name: asked } = await wouldBe(view, 'sink', body);
      const sink = config.sinks.find((one) => one.name === asked)!;
      return await tried('sink', (findings) => checkSink(sink, config, findings));
    },
  }),
  endpoint({
    method: 'post',
    path: '/subscriptions/preview',
    operationId: 'previewSubscription',
    tag: 'subscriptions',
    summary: 'What a subscription would have matched of the last minutes, and messages as it would have sent them.',
    description:
      'Read from the oplog by itself, for five seconds and 128 MiB at most, and less far back where there is more: `whole` says whether it came to the end. Counted is what `where` lets through, too. Of a transaction that spans entries of the oplog nothing is counted.',
    problems: ['api-conflict'],
    parameters: NOTHING,
    query: NOTHING,
    body: z.strictObject({
      subscription: definitionBodies.subscription,
      name,
      minutes: whole(1, MOST_MINUTES).default(10).meta({ description: 'How far back it looks.' }),
      samples: whole(0, MOST_SAMPLES).default(5).meta({ description: 'How many messages are shown, the newest.' }),
    }),
    answer: z.strictObject({
      from: z.string(),
      to: z.string().meta({ description: 'Positions: what lies between them was looked at.' }),
      entries: z.int().meta({ description: 'Of the oplog, whoever they concern.' }),
      whole: z.boolean().meta({ description: 'Everything until now was looked at.' }),
      counts: z
        .array(z.strictObject({ ns: z.string(), operation: z.string(), events: z.int() }))
        .readonly()
        .meta({ description: `What matches, the most frequent first; at most ${MOST_COUNTS}.` }),
      parked: z
        .array(z.strictObject({ reason: z.string(), detail: z.string(), events: z.int() }))
        .readonly()
        .meta({ description: 'What would be set aside instead of sent, and why.' }),
      samples: z.array(messageAnswer).readonly(),
    }),
    async handle(view, { body: { subscription: configuration, name: given, minutes, samples } }) {
      const { config, name: asked } = await wouldBe(view, 'subscription', { configuration, name: given });
      const subscription = config.subscriptions.find((one) => one.name === asked)!;
      const work = turns.subscription.run(async () =>
        preview({ config, subscription, seconds: minutes * 60, samples }),
      );
      return shown(await asConflict(work));
    },
  }),
];

function whole(least: number, most: number) {
  const error = `a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
}

interface Asked {
  readonly configuration: Record<string, unknown>;
  readonly name?: string | undefined;
}

/** All that would be configured then, and what this one would be called. */
async function wouldBe({ management }: EngineView, kind: Kind, { configuration, name: given }: Asked) {
  const { name: own, ...written } = configuration;
  const asked = given ?? (typeof own === 'string' ? own : unused((one) => management.has(kind, one)));
  const where = kind === 'subscription' ? 'subscription' : 'configuration';
  const foreign = foreignPlaceholders(written, Object.values(management.definitions[`${kind}s`]));
  if (foreign.length > 0) {
    throw badRequest(
      foreign.map((path) => ({
        path: formatPath(['body', where, ...path]),
        expected: 'no placeholder other than those that a definition has in this place: it would be filled in here',
      })),
    );
  }
  const isNew = kind !== 'subscription' && !management.has(kind, asked);
  const definitions = isNew
    ? byItself(management.definitions, kind, asked, written)
    : withOne(management.definitions, kind, asked, written);
  try {
    const config = await management.configOf(definitions);
    return { name: asked, config: isNew ? { ...config, subscriptions: [] } : config };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw badRequest(
      faultsOf(error, definitions, kind, asked).map(({ path, expected }) => ({
        path: formatPath(['body', where, ...path]),
        expected,
      })),
    );
  }
}

/**
 * What nobody uses yet, without whoever leaves out which one it means because there is one. A configuration wants a subscription all
 * the same.
 */
function byItself(definitions: Definitions, kind: 'source' | 'sink', asked: string, written: unknown): Definitions {
  const alone = { ...definitions, [`${kind}s`]: { [asked]: written } };
  const source = Object.keys(alone.sources)[0];
  return { ...alone, subscriptions: { trial: { source, namespaces: ['*'], to: 'stdout' } } };
}

function unused(isUsed: (name: string) => boolean): string {
  let asked = 'trial';
  while (isUsed(asked)) asked += '_';
  return asked;
}

/** Where they stand. */
function foreignPlaceholders(value: unknown, known: readonly unknown[], path: Path = []): Path[] {
  if (typeof value === 'string') return value.includes('${') && !known.includes(value) ? [path] : [];
  if (Array.isArray(value)) {
    const inside = known.flatMap((one): readonly unknown[] => (Array.isArray(one) ? one : []));
    return value.flatMap((one, i) => foreignPlaceholders(one, inside, [...path, i]));
  }
  if (!isMapping(value)) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    const inside = known.flatMap((mapping) =>
      isMapping(mapping) && Object.hasOwn(mapping, key) ? [mapping[key]] : [],
    );
    return [...(key.includes('${') ? [[...path, key]] : []), ...foreignPlaceholders(one, inside, [...path, key])];
  });
}

/** Who asks has an answer in time; what is under way then ends in its own. */
async function tried(kind: 'source' | 'sink', look: (findings: Findings) => Promise<void>) {
  const findings = new Findings(() => undefined);
  const over = new AbortController();
  const looking = turns[kind].run(async () => look(findings)).finally(() => over.abort());
  looking.catch(() => undefined);
  const late = sleep(TRIAL_MS, 'late' as const, { signal: over.signal }).catch(() => 'over' as const);
  if ((await Promise.race([late, asConflict(looking)])) === 'late') {
    findings.fault(`there was no time for more: it took over ${TRIAL_MS / 1000} s`);
  }
  const { faults, all } = findings;
  return { ok: faults === 0, findings: all.flatMap((one) => [...one.findings]) };
}

function shown({ from, to, counts, samples, as, ...rest }: Preview) {
  return {
    ...rest,
    from: formatTs(from),
    to: formatTs(to),
    counts: counts.slice(0, MOST_COUNTS),
    samples: samples.map((one) => shownMessage(one, as)),
  };
}

function shownMessage(message: LaneMessage, as: BodyProperties): z.input<typeof messageAnswer> {
  const { body, routingKey, type, messageId, events, headers = {} } = message;
  const part = body.subarray(0, MOST_SHOWN_BYTES);
  const isText = as.contentEncoding === undefined && !as.contentType.endsWith('bson');
  return {
    routingKey,
    type,
    messageId,
    contentType: as.contentType,
    contentEncoding: as.contentEncoding ?? null,
    headers: { ...headers },
    events,
    bytes: body.length,
    body: isText ? part.toString() : part.toString('base64'),
    encoding: isText ? 'text' : 'base64',
    truncated: part.length < body.length,
  };
}
