/** What is managed online: sources, sinks and subscriptions are added, changed and removed; versions of them all. */
import { z } from 'zod';
import type { DefinitionVersion } from '../checkpoint/definitions.ts';
import { KINDS } from '../config/definitions.ts';
import type { Config } from '../config/config.ts';
import type { Definitions, Kind } from '../config/definitions.ts';
import { shownSecretless } from '../config/declared.ts';
import { ConfigError, formatPath } from '../config/faults.ts';
import { isMapping } from '../config/salvage.ts';
import { NAME, NAME_EXPECTED } from '../config/schema.ts';
import { parseStart, START_EXPECTED } from '../config/start.ts';
import type { DefinitionFault } from '../library/management.ts';
import { asConflict } from './conflict.ts';
import { sink, source, subscriptionWithLanes } from './flow.ts';
import { endpoint, found, NOTHING } from './endpoint.ts';
import type { Endpoint, EngineView } from './endpoint.ts';
import { ProblemError } from './problem.ts';
import {
  definitionBodies,
  definitionsAnswer,
  definitionsBody,
  differenceAnswer,
  faultAnswer,
  sinkAnswer,
  sourceAnswer,
  subscriptionDetail,
  versionAnswer,
  versionDetail,
} from './schemas.ts';

/** Many subscriptions with large filters. */
const WHOLE_BYTES = 4 * 2 ** 20;

const by = z.string().min(1).max(200).optional().meta({ description: 'Who changes it, for the history.' });
const byName = z.strictObject({ name: z.string().meta({ description: 'What it is called.' }) });
const newName = z.string({ error: NAME_EXPECTED }).regex(NAME, { error: NAME_EXPECTED });
const byNumber = z.strictObject({
  number: z
    .string()
    .regex(/^[1-9]\d{0,15}$/, { error: "a version's number" })
    .transform(Number)
    .meta({ description: "The version's number." }),
});
const start = z
  .string({ error: START_EXPECTED })
  .refine((written) => parseStart(written) !== undefined, { error: START_EXPECTED })
  .optional()
  .meta({
    description:
      'Where it begins: `latest`, `earliest`, an ISO date, or `seconds:increment`. Left out: a new one begins where its source says, and one that is changed goes on where it stands.',
  });

const SHOWN = {
  source: { answer: sourceAnswer, show: source },
  sink: { answer: sinkAnswer, show: sink },
  subscription: { answer: subscriptionDetail, show: subscriptionWithLanes },
} as const;

const REFUSALS = ['api-not-found', 'api-conflict', 'managed-by-file'] as const;

const whole = z.strictObject({ changes: z.array(differenceAnswer).readonly() });

export const definitionEndpoints: readonly Endpoint[] = [
  ...KINDS.flatMap((kind) => changesOf(kind)),
  endpoint({
    path: '/definitions',
    operationId: 'getDefinitions',
    tag: 'definitions',
    summary: 'All sources, sinks and subscriptions as they are written, and who manages them.',
    parameters: NOTHING,
    query: NOTHING,
    answer: definitionsAnswer,
    handle({ management }) {
      return {
        management: management.mode,
        version: management.version?.number ?? null,
        ...shown(management.definitions),
      };
    },
  }),
  endpoint({
    method: 'post',
    path: '/definitions/check',
    operationId: 'checkDefinition',
    tag: 'definitions',
    summary: 'What would be wrong with a source, sink or subscription, were it so; nothing is changed.',
    parameters: NOTHING,
    query: NOTHING,
    body: z.discriminatedUnion(
      'kind',
      [
        z.strictObject({ kind: z.literal('source'), name: z.string(), configuration: definitionBodies.source }),
        z.strictObject({ kind: z.literal('sink'), name: z.string(), configuration: definitionBodies.sink }),
        z.strictObject({
          kind: z.literal('subscription'),
          name: z.string(),
          configuration: definitionBodies.subscription,
        }),
      ],
      { error: `kind: ${KINDS.join(', ')}` },
    ),
    answer: z.strictObject({ faults: z.array(faultAnswer) }),
    async handle({ management }, { body: { kind, name, configuration } }) {
      return { faults: (await management.check(kind, name, withoutName(configuration))).map(faultOf) };
    },
  }),
  endpoint({
    method: 'post',
    path: '/definitions/plan',
    operationId: 'planDefinitions',
    tag: 'definitions',
    summary: 'What would be added, changed and removed, were these all there is; nothing is changed.',
    parameters: NOTHING,
    query: NOTHING,
    body: definitionsBody,
    maxBodyBytes: WHOLE_BYTES,
    answer: whole,
    async handle({ management }, { body }) {
      return { changes: await asked('', management.plan(byNames(body))) };
    },
  }),
  endpoint({
    method: 'post',
    path: '/definitions/apply',
    operationId: 'applyDefinitions',
    tag: 'definitions',
    summary: 'Makes these all there is. What does not differ is not touched.',
    problems: ['api-conflict', 'managed-by-file'],
    parameters: NOTHING,
    query: NOTHING,
    body: definitionsBody,
    maxBodyBytes: WHOLE_BYTES,
    answer: whole,
    async handle({ management }, { body }) {
      const { by: who = 'api' } = body;
      return { changes: await asked('', management.apply(byNames(body), { by: who, cause: 'file' })) };
    },
  }),
  endpoint({
    path: '/definitions/versions',
    operationId: 'listVersions',
    tag: 'definitions',
    summary: 'Who changed what, and when; the newest first.',
    parameters: NOTHING,
    query: NOTHING,
    answer: z.strictObject({ versions: z.array(versionAnswer) }),
    handle({ management }) {
      return { versions: management.versions.map(versionOf).toReversed() };
    },
  }),
  endpoint({
    path: '/definitions/versions/{number}',
    operationId: 'getVersion',
    tag: 'definitions',
    summary: 'One version, whole.',
    problems: ['api-not-found'],
    parameters: byNumber,
    query: NOTHING,
    answer: versionDetail,
    handle(view, { path: { number } }) {
      const version = versionAt(view, number);
      return { ...versionOf(version), definitions: shown(version.definitions) };
    },
  }),
  endpoint({
    method: 'post',
    path: '/definitions/versions/{number}/restore',
    operationId: 'restoreVersion',
    tag: 'definitions',
    summary:
      'Makes an earlier version the newest again. Subscriptions go on where they stand; those that were removed begin anew.',
    problems: [...REFUSALS],
    parameters: byNumber,
    query: z.strictObject({ by }),
    answer: whole,
    async handle(view, { path: { number }, query: { by: who = 'api' } }) {
      const { definitions } = versionAt(view, number);
      const restored = view.management.apply(definitions, { by: who, cause: 'restore', from: number });
      return { changes: await asked('', restored) };
    },
  }),
];

function changesOf(kind: Kind): Endpoint[] {
  const path = `/${kind}s`;
  const Name = kind[0]!.toUpperCase() + kind.slice(1);
  const { answer, show } = SHOWN[kind];
  const configuration = definitionBodies[kind];
  const begins = kind === 'subscription' ? { start } : {};
  const common = { tag: `${kind}s`, problems: [...REFUSALS], query: NOTHING, answer } as const;
  return [
    endpoint({
      ...common,
      method: 'post',
      path,
      status: 201,
      operationId: `create${Name}`,
      summary: `Adds a ${kind}.`,
      parameters: NOTHING,
      body: z.strictObject({ name: newName, configuration, by, ...begins }),
      async handle(view, { body: { name, configuration: written, by: who, ...rest } }) {
        if (view.management.has(kind, name)) {
          throw new ProblemError({ code: 'api-conflict', detail: `There is a ${kind} "${name}" already.` });
        }
        await put(view, { kind, name, written, who, rest });
        return show(view, name);
      },
    }),
    endpoint({
      ...common,
      method: 'put',
      path: `${path}/{name}`,
      operationId: `change${Name}`,
      summary: `Changes a ${kind}. What does not depend on it is not touched.`,
      parameters: byName,
      body: z.strictObject({ configuration, by, ...begins }),
      async handle(view, { path: { name }, body: { configuration: written, by: who, ...rest } }) {
        found(kind, name, view.management.has(kind, name) || undefined);
        await put(view, { kind, name, written, who, rest });
        return show(view, name);
      },
    }),
    endpoint({
      ...common,
      method: 'delete',
      path: `${path}/{name}`,
      operationId: `remove${Name}`,
      summary:
        kind === 'subscription'
          ? 'Removes a subscription, and its checkpoint: one of its name begins anew.'
          : `Removes a ${kind} that no subscription needs.`,
      parameters: byName,
      query: z.strictObject({ by }),
      answer: whole,
      async handle({ management, config }, { path: { name }, query: { by: who = 'api' } }) {
        found(kind, name, management.has(kind, name) || undefined);
        if (management.mode === 'online') refuseNeeded(kind, name, config);
        return { changes: await asked('', management.set(kind, name, undefined, { by: who })) };
      },
    }),
  ];
}

/** Subscriptions that need it have to go first, or elsewhere. */
function refuseNeeded(kind: Kind, name: string, { subscriptions }: Config): void {
  const needing = subscriptions.filter(({ source: from, to }) =>
    kind === 'source' ? from === name : kind === 'sink' && 'sink' in to && to.sink === name,
  );
  if (needing.length === 0) return;
  const which = needing.map((one) => `"${one.name}"`).join(', ');
  const detail = `The ${kind} "${name}" is needed by subscription ${which}: remove what needs it, or give it another ${kind}, first.`;
  throw new ProblemError({ code: 'api-conflict', detail });
}

interface Put {
  readonly kind: Kind;
  readonly name: string;
  readonly written: unknown;
  readonly who: string | undefined;
  readonly rest: object;
}

async function put({ management }: EngineView, { kind, name, written, who = 'api', rest }: Put): Promise<void> {
  const starts = 'start' in rest && typeof rest.start === 'string' ? { [name]: rest.start } : {};
  const value = withoutName(written);
  if (isMapping(written) && written['name'] !== undefined && written['name'] !== name) {
    const expected = `${JSON.stringify(name)}, or nothing: a name stays what it is`;
    throw badDefinition([{ path: 'name', expected }], 'body.configuration');
  }
  const faults = await management.check(kind, name, value);
  if (faults.length > 0) throw badDefinition(faults.map(faultOf), 'body.configuration');
  await asked('body', management.set(kind, name, value, { by: who, starts }));
}

/** Faults in what was sent, and what cannot be done as things are, are the asker's business. */
async function asked<T>(where: string, work: Promise<T>): Promise<T> {
  try {
    return await asConflict(work);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw badDefinition(error.faults.map(faultOf), where);
  }
}

function badDefinition(faults: readonly { path: string; expected: string }[], where: string): ProblemError {
  const placed = faults.map(({ path, expected }) => ({
    path: [where, path].filter((part) => part !== '').join('.'),
    expected,
  }));
  const said = placed.map(({ path, expected }) => `${path}: ${expected}`).join('; ');
  return new ProblemError({ code: 'api-bad-request', detail: `It cannot be so: ${said}.`, faults: placed });
}

function faultOf({ path, found: what, expected }: DefinitionFault): { path: string; expected: string } {
  return { path: formatPath(path), expected: what === undefined ? expected : `found ${what}; expected ${expected}` };
}

function withoutName(written: unknown): unknown {
  if (!isMapping(written)) return written;
  const { name, ...rest } = written;
  void name;
  return rest;
}

/** Its names are plain here: a placeholder would be one nobody could look up. */
function byNames({ sources, sinks, subscriptions }: z.output<typeof definitionsBody>): Definitions {
  const twice = subscriptions.findIndex(({ name }, i) => subscriptions.findIndex((one) => one.name === name) < i);
  if (twice >= 0) {
    const expected = 'a name that no other has';
    throw badDefinition([{ path: `subscriptions[${twice}].name`, expected }], 'body');
  }
  return {
    sources,
    sinks,
    subscriptions: Object.fromEntries(subscriptions.map(({ name, ...one }) => [name, one])),
  };
}

type Shown = Pick<z.input<typeof definitionsAnswer>, 'sources' | 'sinks' | 'subscriptions'>;

function shown({ sources, sinks, subscriptions }: Definitions): Shown {
  const each = (all: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(all).map(([name, one]) => [name, shownMapping(one)]));
  const written = {
    sources: each(sources),
    sinks: each(sinks),
    subscriptions: Object.entries(each(subscriptions)).map(([name, one]) => ({ name, ...one })),
  };
  // They were held against these very schemas before they came to be.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return written as unknown as Shown;
}

function shownMapping(one: unknown): Record<string, unknown> {
  const value = shownSecretless(one);
  return isMapping(value) ? value : {};
}

function versionAt({ management }: EngineView, number: number): DefinitionVersion {
  return found(
    'version',
    String(number),
    management.versions.find((one) => one.number === number),
  );
}

function versionOf({ number, at, by: who, cause, from, changes }: DefinitionVersion): z.input<typeof versionAnswer> {
  return {
    number,
    at: new Date(at).toISOString(),
    by: who,
    cause,
    from: from ?? null,
    changes,
  };
}
