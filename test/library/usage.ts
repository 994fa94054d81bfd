/**
 * How a program in TypeScript uses the library. Nothing here runs: the compiler checks it with the sources, and
 * `package.test.ts` from outside, against the package as it is published.
 */
import { PositionLostError, UserError, createEngine, handle, tail } from '../../src/index.ts';
import type { ChangeEvent, Handlers, InsertEvent, TailOptions } from '../../src/index.ts';

interface Order {
  readonly _id: number;
  readonly total: number;
}

const handlers: Handlers<Order> = {
  insert: ({ fullDocument }) => sum(fullDocument.total),
  rename: async ({ to }) => say(to.coll),
};

export async function follow(uri: string, options: TailOptions): Promise<ChangeEvent<Order> | undefined> {
  let last: ChangeEvent<Order> | undefined;
  try {
    for await (const event of tail<Order>(uri, { ...options, from: new Date(0), operations: ['insert', 'rename'] })) {
      await handle(event, handlers);
      look(event);
      last = event;
    }
  } catch (error) {
    if (error instanceof PositionLostError) say(error.reason);
    else if (error instanceof UserError) say(error.code);
    else throw error;
  }
  return last;
}

function look(event: ChangeEvent<Order>): void {
  if (event.operationType === 'insert') {
    const insert: InsertEvent<Order> = event;
    // @ts-expect-error: an order has no such field
    say(insert.fullDocument.colour);
  } else if (event.operationType === 'update') {
    event.updateDescription.removedFields.forEach(say);
  } else if (event.operationType === 'delete') {
    // @ts-expect-error: what was deleted is not told
    say(event.fullDocument);
  } else if (event.operationType === 'dropDatabase') {
    // @ts-expect-error: a database, no collection
    say(event.ns.coll);
  }
}

export async function embed(signal: AbortSignal): Promise<0 | 3> {
  const engine = await createEngine({ config: 'tailrace.yaml', env: {} });
  for (const source of Object.values(engine.status().sources)) say(source.state);
  say(await engine.metrics());
  // @ts-expect-error: no operation of MongoDB's
  tail('mongodb://h', { operations: ['upsert'] });
  return await engine.run(signal);
}

declare function sum(total: number): void;
declare function say(word: string): void;
