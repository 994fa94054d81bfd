/** The OpenAPI document: made of the endpoints and of the very schemas that check what they take. */
import { z } from 'zod';
import { isMapping } from '../config/salvage.ts';
import { VERSION } from '../version.ts';
import type { Endpoint } from './endpoint.ts';
import { EVENT_STREAM } from './event-stream.ts';
import { API_PATH } from './path.ts';
import { PROBLEMS } from './problem.ts';
import type { ProblemCode } from './problem.ts';
import { named, problemSchema, SENT_AS, WRITTEN } from './schemas.ts';

type Json = Record<string, unknown>;

/** What any endpoint may answer. */
const ALWAYS: readonly ProblemCode[] = [
  'api-unauthorized',
  'api-closed',
  'api-cross-site',
  'api-too-many',
  'http-failed',
];

/** Besides `api-bad-request`. */
const OF_BODIES: readonly ProblemCode[] = ['api-too-large', 'api-content-type'];

export function openApiDocument(endpoints: readonly Endpoint[]): Json {
  const paths: Record<string, Json> = {};
  for (const one of endpoints) paths[one.path] = { ...paths[one.path], [one.method ?? 'get']: operation(one) };
  return {
    openapi: '3.1.1',
    info: {
      title: 'Tailrace',
      version: VERSION,
      description:
        'What a running Tailrace is doing, and what it can be told to do. Errors are `application/problem+json` with a code that `tailrace explain CODE` tells more ' +
        'about. On loopback no token is needed unless `http.token` is configured; beyond it always.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: API_PATH }],
    tags: [...new Set(endpoints.map(({ tag }) => tag))].map((name) => ({ name })),
    security: [{}, { token: [] }],
    paths,
    components: {
      schemas: schemas(),
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: '`http.token`' } },
    },
  };
}

function operation({
  operationId,
  tag,
  summary,
  description,
  parameters,
  query,
  body,
  answer,
  status = 200,
  problems = [],
  isStream = false,
}: Endpoint): Json {
  const asked = [...parametersOf(parameters, 'path'), ...parametersOf(query, 'query')];
  const codes = [
    ...problems,
    ...(asked.length > 0 || body ? (['api-bad-request'] as const) : []),
    ...(body ? OF_BODIES : []),
    ...ALWAYS,
  ];
  // What one event of a stream holds, this version of OpenAPI cannot say of the whole.
  const content = isStream
    ? {
        [EVENT_STREAM]: {
          schema: { type: 'string', contentMediaType: EVENT_STREAM },
          'x-event-data': schemaOf(answer),
        },
      }
    : { 'application/json': { schema: schemaOf(answer) } };
  const responses: Json = { [status]: { description: 'What was asked for.', content } };
  for (const refused of [...new Set(codes.map((code) => PROBLEMS[code].status))].sort((a, b) => a - b)) {
    const titles = codes
      .filter((code) => PROBLEMS[code].status === refused)
      .map((code) => `\`${code}\`: ${PROBLEMS[code].title}`);
    responses[refused] = {
      description: titles.join(' '),
      content: { 'application/problem+json': { schema: schemaOf(problemSchema) } },
    };
  }
  return {
    operationId,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    ...(asked.length > 0 && { parameters: asked }),
    ...(body && { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body) } } } }),
    responses,
  };
}

function parametersOf(object: z.ZodObject, where: 'path' | 'query'): Json[] {
  const { properties = {}, required = [] } = z.toJSONSchema(object, { io: 'input' });
  return Object.entries(properties).map(([name, value]) => {
    const { description, ...schema } = typeof value === 'object' ? value : {};
    return {
      name,
      in: where,
      required: required.includes(name),
      ...(description !== undefined && { description }),
      schema,
    };
  });
}

export function schemas(): Json {
  const all = z.toJSONSchema(named, { io: 'input', unrepresentable: 'any', uri: reference }).schemas;
  const written = new Set(WRITTEN.map((schema) => named.get(schema)?.id));
  return Object.fromEntries(
    Object.entries(all).map(([id, { $schema, $id, ...schema }]) => {
      void $schema;
      void $id;
      return [id, written.has(id) ? withPlaceholders(schema) : schema];
    }),
  );
}

/** Of a schema that has a name only that. */
export function schemaOf(schema: z.ZodType): Json {
  const id = named.get(schema)?.id;
  if (id !== undefined) return { $ref: reference(id) };
  const { $schema, ...rest } = z.toJSONSchema(schema, {
    io: 'input',
    override: ({ zodSchema, jsonSchema }) => {
      const inner = zodSchema instanceof z.ZodType && zodSchema !== schema ? idOf(zodSchema) : undefined;
      if (inner === undefined) return;
      for (const key of Object.keys(jsonSchema)) delete jsonSchema[key];
      jsonSchema.$ref = reference(inner);
    },
    unrepresentable: 'any',
  });
  void $schema;
  return rest;
}

function idOf(schema: z.ZodType): string | undefined {
  return named.get(SENT_AS.get(schema) ?? schema)?.id;
}

function reference(id: string): string {
  return `#/components/schemas/${id}`;
}

/** In the environment and in files everything is text: `"5"` and `"true"` are taken too. */
const PLACEHOLDER = { type: 'string', pattern: '\\$\\{[^{}]*\\}|^\\d{1,15}$|^(?:true|false)$' };

/** Plain text can be a placeholder already; everything else may stand there as one. */
function withPlaceholders(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withPlaceholders);
  if (!isMapping(schema)) return schema;
  const { type } = schema;
  const isPlain = type !== 'integer' && type !== 'number' && type !== 'boolean' && !('pattern' in schema);
  if (isPlain && !Array.isArray(schema['enum'])) {
    return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, withPlaceholders(value)]));
  }
  const { description, default: usual, ...leaf } = schema;
  return {
    ...(description !== undefined && { description }),
    ...(usual !== undefined && { default: usual }),
    anyOf: [leaf, PLACEHOLDER],
  };
}
