/**
 * `/parked`: events that were set aside. Invariant: an answer is bounded, in events and in records looked at, and is made in slices that
 * let deliveries through between them: millions may be parked.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { z } from 'zod';
import { partsOf } from '../checkpoint/parked-filter.ts';
import type { ParkedFilter } from '../checkpoint/parked-filter.ts';
import type { ParkedKey } from '../checkpoint/parked-key.ts';
import { SLICE } from '../checkpoint/parking.ts';
import type { FoundParked } from '../checkpoint/parking.ts';
import type { Config } from '../config/config.ts';
import { fromText } from '../config/leaves.ts';
import { isoTime } from '../source/position.ts';
import { endpoint, found, NOTHING } from './endpoint.ts';
import type { Endpoint, EngineView } from './endpoint.ts';
import { contentOf, MOST_SHOWN_BYTES } from './parked-content.ts';
import { filterOf, idOf, keyOf, parkedFilter } from './parked-id.ts';
import { parkedAnswer, parkedDetail } from './schemas.ts';

const MOST_A_PAGE = 500;
const MOST_LOOKED_AT = 20_000;

const limitError = `a whole number from 1 to ${MOST_A_PAGE}`;

export const parkedEndpoints: readonly Endpoint[] = [
  endpoint({
    path: '/parked',
    operationId: 'listParked',
    tag: 'parked',
    summary: 'Events that were set aside instead of delivered, by subscription and position; a page at a time.',
    description:
      `A page may hold fewer events than asked for, even none, though more follow: at most ${MOST_LOOKED_AT} are looked at. ` +
      'As long as `next` is not null, ask again with `after`.',
    parameters: NOTHING,
    query: z.strictObject({
      ...parkedFilter,
      limit: z
        .preprocess(
          fromText,
          z.int({ error: limitError }).min(1, { error: limitError }).max(MOST_A_PAGE, { error: limitError }),
        )
        .default(100)
        .meta({ description: 'How many a page may hold.' }),
    }),
    answer: z.strictObject({
      parked: z.array(parkedAnswer),
      next: z.string().nullable().meta({ description: 'For `after`; null at the end.' }),
      store: z.strictObject({ bytes: z.int(), maxBytes: z.int() }).meta({
        description: 'Of the whole store, and `parked.maxBytes`.',
      }),
    }),
    async handle(view, { query: { limit, after, ...asked } }) {
      const { events, next } = await page(view, filterOf(asked), limit, after === undefined ? undefined : keyOf(after));
      return {
        parked: events.map((one) => shown(one, view.config)),
        next: next === undefined ? null : idOf(next),
        store: { bytes: view.parking.totalBytes, maxBytes: view.config.parked.maxBytes },
      };
    },
  }),
  endpoint({
    path: '/parked/{id}',
    operationId: 'getParked',
    tag: 'parked',
    summary: 'One of them, and what is in it, as far as its subscription hides nothing of it.',
    problems: ['api-not-found'],
    parameters: z.strictObject({ id: z.string().meta({ description: '`id` of the list.' }) }),
    query: NOTHING,
    answer: parkedDetail,
    handle({ parking, config }, { path: { id } }) {
      const key = keyOf(id);
      const one = found('parked event', id, key && parking.look(key, MOST_SHOWN_BYTES));
      const { contentType = null, contentEncoding = null, headers = {}, message } = one.summary;
      return {
        ...shown(one, config),
        contentType,
        contentEncoding,
        headers: { ...headers },
        message: message
          ? { routingKey: message.routingKey, type: message.type, events: message.events, partition: message.partition }
          : null,
        content: contentOf(one, config),
      };
    },
  }),
];

interface Page {
  readonly events: readonly FoundParked[];
  readonly next: ParkedKey | undefined;
}

async function page({ parking }: EngineView, filter: ParkedFilter, limit: number, after?: ParkedKey): Promise<Page> {
  const events: FoundParked[] = [];
  let last = after;
  for (let looked = 0; looked < MOST_LOOKED_AT; looked += SLICE) {
    const slice = parking.slice(filter, last);
    for (const one of slice.found) {
      events.push(one);
      if (events.length === limit) return { events, next: one.key };
    }
    if (slice.last === undefined) return { events, next: undefined };
    last = slice.last;
    await turn();
  }
  return { events, next: last };
}

function shown({ key, summary, bytes }: FoundParked, { subscriptions }: Config): z.input<typeof parkedAnswer> {
  const { id, subscription, ns, reason, detail, at, payloadKind } = summary;
  const ts = partsOf(id)?.ts;
  return {
    id: idOf(key),
    event: id,
    subscription,
    configured: subscriptions.some(({ name }) => name === subscription),
    ns,
    reason,
    detail,
    time: ts === undefined ? null : isoTime(ts),
    parkedAt: new Date(at).toISOString(),
    kind: payloadKind,
    bytes,
  };
}
