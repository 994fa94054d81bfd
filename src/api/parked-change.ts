/** `/parked/replay`, `/parked/drop`: parked events are delivered after all, or given up, while the engine goes on. */
import { z } from 'zod';
import type { Chosen } from '../replay/parked-work.ts';
import { asConflict } from './conflict.ts';
import { endpoint, NOTHING } from './endpoint.ts';
import type { Endpoint } from './endpoint.ts';
import { filterOf, idOf, keyOf, parkedFilter, parkedId } from './parked-id.ts';

const MOST_NAMED = 500;

const which = z
  .strictObject({
    ...parkedFilter,
    events: named(z.string()).meta({ description: 'Only those with these `_id`s.' }),
    ids: named(parkedId('`id` as `GET /parked` tells it')).meta({
      description: 'Only these; nothing else narrows it then.',
    }),
    dryRun: z.boolean().default(false).meta({ description: 'Only say what would become of them.' }),
  })
  .refine((asked) => asked.ids === undefined || (!isNarrowed(asked) && asked.after === undefined), {
    path: ['ids'],
    error: 'nothing beside it but dryRun',
  });

const whichOrAll = which
  .safeExtend({ all: z.literal(true).optional().meta({ description: 'Needed where nothing narrows it.' }) })
  .refine((asked) => asked.dryRun || asked.all === true || asked.ids !== undefined || isNarrowed(asked), {
    error: 'something that narrows it (subscription, reason, since, until, events, ids), or `all: true`',
  });

const next = z
  .string()
  .nullable()
  .meta({ description: 'For `after`, where there was no time to come to all; null at the end.' });
const partly =
  'After ten seconds it answers how far it has come: as long as `next` is not null, ask again with `after`, or with the same `ids`.';

const count = z.strictObject({ subscription: z.string(), reason: z.string(), events: z.int() });

export const parkedChangeEndpoints: readonly Endpoint[] = [
  endpoint({
    method: 'post',
    path: '/parked/replay',
    operationId: 'replayParked',
    tag: 'parked',
    summary: 'Delivers parked events after all, by what is configured now.',
    description: `They come out of order, each marked as replayed. One leaves the store once its messages are confirmed. Over a connection of its own: nothing else waits for it. ${partly}`,
    problems: ['api-conflict'],
    parameters: NOTHING,
    query: NOTHING,
    body: which,
    answer: z.strictObject({
      dryRun: z.boolean(),
      replayed: z
        .int()
        .meta({ description: 'With `dryRun`, those that could be made again; nothing was tried at the broker.' }),
      kept: z
        .array(count.extend({ detail: z.string().meta({ description: "The first one's." }).optional() }))
        .readonly()
        .meta({
          description: 'What stays parked, and why.',
        }),
      next,
    }),
    async handle({ parkedWork }, { body }) {
      const { next: last, ...outcome } = await asConflict(parkedWork.replay(chosen(body)));
      return { ...outcome, next: last === undefined ? null : idOf(last) };
    },
  }),
  endpoint({
    method: 'post',
    path: '/parked/drop',
    operationId: 'dropParked',
    tag: 'parked',
    summary: 'Gives parked events up for good, and their room back.',
    description: partly,
    problems: ['api-conflict'],
    parameters: NOTHING,
    query: NOTHING,
    body: whichOrAll,
    answer: z.strictObject({
      dryRun: z.boolean(),
      dropped: z.int().meta({ description: 'With `dryRun`, those that would be.' }),
      counts: z.array(count).readonly(),
      next,
    }),
    async handle({ parkedWork }, { body }) {
      const { next: last, ...outcome } = await asConflict(parkedWork.drop(chosen(body)));
      return { ...outcome, next: last === undefined ? null : idOf(last) };
    },
  }),
];

function named<T extends z.ZodType>(one: T) {
  const error = `a list of 1 to ${MOST_NAMED}`;
  return z.array(one, { error }).min(1, { error }).max(MOST_NAMED, { error }).optional();
}

function isNarrowed({ subscription, reason, since, until, events }: Partial<Record<string, unknown>>): boolean {
  return [subscription, reason, since, until, events].some((value) => value !== undefined);
}

function chosen({ ids, events, after, dryRun, ...asked }: z.output<typeof which>): Chosen {
  return {
    filter: { ...filterOf(asked), ids: events && new Set(events) },
    keys: ids?.map((id) => keyOf(id)!),
    after: after === undefined ? undefined : keyOf(after),
    dryRun,
  };
}
