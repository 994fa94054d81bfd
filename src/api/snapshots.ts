/** `/snapshots`: what is being read beside the changes, and what was; asked for, held up, ended. */
import { z } from 'zod';
import { asConflict } from './conflict.ts';
import { endpoint, found, NOTHING } from './endpoint.ts';
import type { Endpoint, EngineView } from './endpoint.ts';
import { snapshotAnswer } from './schemas.ts';

const FILTER = 'a query as a JSON object, such as {"status": "open"}';

const byId = z.strictObject({
  id: z.string().meta({ description: "The list's: the subscription's name, a point, and the run." }),
});

const SAID = {
  pause: 'Holds a snapshot where it is, over restarts too; changes are delivered as ever.',
  resume: 'Goes on with a snapshot that was paused, where it was.',
  cancel: 'Ends a snapshot; what was delivered of it stays delivered.',
} as const;

export const snapshotEndpoints: readonly Endpoint[] = [
  endpoint({
    path: '/snapshots',
    operationId: 'listSnapshots',
    tag: 'snapshots',
    summary: 'All snapshots that go on, and the last few that are over, with how far they are.',
    parameters: NOTHING,
    query: NOTHING,
    answer: z.strictObject({ snapshots: z.array(snapshotAnswer) }),
    handle({ status }) {
      return { snapshots: [...status().snapshots] };
    },
  }),
  endpoint({
    method: 'post',
    path: '/snapshots',
    operationId: 'addSnapshot',
    tag: 'snapshots',
    summary: 'Delivers what is in the collections of a subscription, beside its changes.',
    description:
      'Of one subscription they come one after another. Views and time-series collections are refused where they are named.',
    problems: ['api-not-found', 'api-conflict'],
    status: 201,
    parameters: NOTHING,
    query: NOTHING,
    body: z.strictObject({
      subscription: z.string({ error: 'the name of a subscription' }),
      namespaces: z
        .array(z.string().min(1), { error: 'patterns over "db.coll"' })
        .min(1)
        .max(1_000)
        .optional()
        .meta({ description: 'Patterns, as in the configuration: only these of its collections.' }),
      filter: z
        .record(z.string(), z.unknown(), { error: FILTER })
        .optional()
        .meta({ description: `Only documents that match: ${FILTER}, in Extended JSON.` }),
    }),
    answer: snapshotAnswer,
    async handle(view, { body: { subscription, namespaces, filter } }) {
      found(
        'subscription',
        subscription,
        view.config.subscriptions.find(({ name }) => name === subscription),
      );
      const asked = { namespaces, filter: filter && JSON.stringify(filter) };
      return snapshot(view, await asConflict(view.addSnapshot(subscription, asked)));
    },
  }),
  ...(['pause', 'resume', 'cancel'] as const).map((what) =>
    endpoint({
      method: 'post',
      path: `/snapshots/{id}/${what}`,
      operationId: `${what}Snapshot`,
      tag: 'snapshots',
      summary: SAID[what],
      problems: ['api-not-found', 'api-conflict'],
      parameters: byId,
      query: NOTHING,
      answer: snapshotAnswer,
      async handle(view, { path: { id } }) {
        const { subscription } = snapshot(view, id);
        const state = { pause: 'paused', resume: 'running', cancel: 'cancelled' } as const;
        await asConflict(view.setSnapshot(subscription, id.slice(subscription.length + 1), state[what]));
        return snapshot(view, id);
      },
    }),
  ),
];

function snapshot({ status }: EngineView, id: string): z.input<typeof snapshotAnswer> {
  return found(
    'snapshot',
    id,
    status().snapshots.find((one) => one.id === id),
  );
}
