/** Endpoints of every method, of which one keeps what it is sent: what bodies are held against without an engine. */
import { z } from 'zod';
import { endpoint, found, NOTHING } from '../../src/api/endpoint.ts';
import type { Endpoint } from '../../src/api/endpoint.ts';

const byName = z.strictObject({ name: z.string() });
const thing = z.strictObject({ size: z.int({ error: 'a whole number' }), tags: z.array(z.string()).optional() });
const namedThing = z.strictObject({ name: z.string(), ...thing.shape });

export const LARGE_BODY = 1024 * 1024;

export function thingEndpoints(): readonly Endpoint[] {
  const things = new Map<string, z.output<typeof thing>>();
  const common = { tag: 'things', parameters: NOTHING, query: NOTHING, answer: namedThing } as const;
  return [
    endpoint({
      ...common,
      path: '/things',
      operationId: 'listThings',
      summary: 'All.',
      answer: z.strictObject({ things: z.array(namedThing) }),
      handle: () => ({ things: [...things].map(([name, one]) => ({ name, ...one })) }),
    }),
    endpoint({
      ...common,
      method: 'post',
      status: 201,
      path: '/things',
      operationId: 'createThing',
      summary: 'One more.',
      maxBodyBytes: LARGE_BODY,
      body: namedThing,
      handle(_, { body: { name, ...one } }) {
        things.set(name, one);
        return { name, ...one };
      },
    }),
    endpoint({
      ...common,
      method: 'put',
      path: '/things/{name}',
      operationId: 'changeThing',
      summary: 'Another.',
      problems: ['api-not-found'],
      parameters: byName,
      body: thing,
      handle(_, { path: { name }, body }) {
        found('thing', name, things.get(name));
        things.set(name, body);
        return { name, ...body };
      },
    }),
    endpoint({
      ...common,
      method: 'delete',
      path: '/things/{name}',
      operationId: 'deleteThing',
      summary: 'One less.',
      problems: ['api-not-found'],
      parameters: byName,
      handle(_, { path: { name } }) {
        const one = found('thing', name, things.get(name));
        things.delete(name);
        return { name, ...one };
      },
    }),
  ];
}
