/** `/events`: events as they are delivered, for whoever watches. */
import { z } from 'zod';
import { fromText } from '../config/leaves.ts';
import { patterns } from '../config/schema.ts';
import { MOST_PER_SECOND, MOST_WATCHERS } from '../watch/watchers.ts';
import { MESSAGE_TYPES } from '../worker/protocol.ts';
import { found, NOTHING, OpenAnswer, streaming } from './endpoint.ts';
import { EventStream } from './event-stream.ts';
import { ProblemError } from './problem.ts';
import { watchedEvent } from './schemas.ts';

const USUAL_PER_SECOND = 50;

const OPERATION_TYPES = MESSAGE_TYPES.filter((type) => type !== 'batch');

const rateError = `a whole number from 1 to ${MOST_PER_SECOND}`;

/** Given once, or several times. */
function several<T extends z.ZodType>(list: T, description: string) {
  return z
    .preprocess((given) => (given === undefined || Array.isArray(given) ? given : [given]), list.optional())
    .meta({ description: `${description}; may be given several times.` });
}

export const eventsEndpoint = streaming({
  path: '/events',
  operationId: 'watchEvents',
  tag: 'events',
  summary: 'Events as they are delivered, live: some of those that match, as server-sent events.',
  description:
    'A message without a name is an event as its message holds it: JSON, BSON as relaxed Extended JSON, what is compressed as it is before that, ' +
    'each event of a message of many by itself, without what its subscription hides. Every event is held against the filters; of those that ' +
    'match, as many as `perSecond` allows are shown, each with the same chance. `skipped` counts the others, at most once a second: `overRate` ' +
    `were more than that, \`slowReader\` came while what was sent before was not read yet. \`end\`: the engine stops. ${MOST_WATCHERS} may watch at once. ` +
    'Nothing waits for a watcher: who needs every event reads a queue.',
  problems: ['api-not-found', 'api-too-many-watchers'],
  parameters: NOTHING,
  query: z.strictObject({
    subscription: several(z.array(z.string()), 'Only of this subscription'),
    ns: several(patterns(), 'Only of namespaces like this one, as in `namespaces`: `shop.*`, `!shop.tmp_*`'),
    op: several(
      z.array(z.enum(OPERATION_TYPES, { error: `one of ${OPERATION_TYPES.join(', ')}` })),
      'Only of this `operationType`',
    ),
    perSecond: z
      .preprocess(
        fromText,
        z.int({ error: rateError }).min(1, { error: rateError }).max(MOST_PER_SECOND, { error: rateError }),
      )
      .default(USUAL_PER_SECOND)
      .meta({ description: 'How many events a second are shown.' }),
  }),
  answer: watchedEvent,
  open({ config, watchers }, { query: { subscription: subscriptions, ns: namespaces, op: operations, perSecond } }) {
    for (const asked of subscriptions ?? []) {
      found(
        'subscription',
        asked,
        config.subscriptions.find(({ name }) => name === asked),
      );
    }
    return new OpenAnswer((response) => {
      const stream = new EventStream(response);
      const watching = watchers.open({ subscriptions, namespaces, operations, perSecond }, stream);
      if (watching === undefined) {
        throw new ProblemError({
          code: 'api-too-many-watchers',
          detail: `${MOST_WATCHERS} watch events already. Close a view that nobody looks at.`,
        });
      }
      stream.begin(watching);
    });
  },
});
